"""The measuring of the black-and-white rule: what it makes, that it repeats, that it counts."""

from __future__ import annotations

import numpy as np
import pytest

from restore.monochrome import Verdict
from training import TrainingError, monochrome_eval
from training.monochrome_eval import KINDS, Report, make_pictures, measure


def test_each_kind_is_made_equally_often(photo_folder):
    kinds = [made.kind for made in make_pictures(photo_folder, 10, 0)]
    assert {kind: kinds.count(kind) for kind in KINDS} == dict.fromkeys(KINDS, 2)


def test_only_photos_of_the_splits_serve(photo_folder):
    assert {made.name for made in make_pictures(photo_folder, 10, 0)} == {"large/5.png"}


def test_the_same_seed_makes_the_same_pictures(photo_folder):
    first, second = ([made.pixels for made in make_pictures(photo_folder, 5, 3)] for _ in range(2))
    assert all(np.array_equal(one, other) for one, other in zip(first, second, strict=True))


def test_what_is_called_wrong_is_counted_by_kind(photo_folder, monkeypatch):
    # One after the other, in the order of KINDS: colour, grey, sepia, toned, yellowed.
    verdicts = iter(["colour", "grey", "toned", "colour", "toned", "toned", "colour", "toned", "colour", "grey"])
    monkeypatch.setattr(monochrome_eval, "judge", lambda _: Verdict(next(verdicts), 0.0, 0.0))
    report = measure(photo_folder, 10, 0)
    assert report.counts == dict.fromkeys(KINDS, 2)
    assert {kind: len(names) for kind, names in report.wrong.items()} == {
        "colour": 1, "grey": 1, "sepia": 0, "toned": 2, "yellowed": 0,
    }  # fmt: skip
    assert report.error == 40.0


def test_the_table_shows_the_share_by_kind():
    report = Report({"colour": 4, "grey": 4}, {"colour": ("a.png",), "grey": ()})
    assert report.error == 12.5
    assert report.to_markdown().splitlines()[2:] == [
        "| colour | 4 | 1 | 25.00 |",
        "| grey | 4 | 0 | 0.00 |",
        "| all | 8 | 1 | 12.50 |",
    ]


def test_a_folder_without_such_photos_is_refused(photo_folder):
    with pytest.raises(TrainingError, match="no photo of the splits nowhere"):
        next(make_pictures(photo_folder, 1, 0, splits=("nowhere",)))
