"""The evaluation of colorizers: what is measured, on what, and what must be beaten."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as PillowImage

from restore import color
from restore.chroma import Hint
from training import TrainingError
from training.__main__ import main
from training.colorize_eval import Photo, bilateral, draw, mean_colour, read_photos


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Two test photos, one red and one red and blue, and one of training; all 64 x 96."""
    folder = tmp_path_factory.mktemp("photos")
    (folder / "small").mkdir()
    red = np.full((64, 96, 3), (180, 90, 90), np.uint8)
    both = red.copy()
    both[:, 48:] = (60, 60, 160)
    lines = ["file\tsplit"]
    for name, pixels, split in (("a", red, "test"), ("b", both, "test"), ("c", red, "train")):
        PillowImage.fromarray(pixels).save(folder / "small" / f"{name}.png")
        lines.append(f"small/{name}.png\t{split}")
    (folder / "SOURCES.tsv").write_text("\n".join(lines) + "\n", "utf-8")
    return folder


def test_a_table_and_its_figures_come_out(folder, painter, tmp_path, capsys):
    model = str(painter / "colorize-fast.onnx")
    words = ["eval", "colorize", "--data", str(folder), "--model", model, "--hints", "0", "5", "--threads", "1"]
    assert main([*words, "--out", str(tmp_path / "r.json"), "--sheet", str(tmp_path / "s.png")]) == 0
    table = capsys.readouterr().out
    assert "2 photos of" in table
    plain = json.loads((tmp_path / "r.json").read_text())
    rows = plain["rows"]
    assert rows["grey as it is"]["colourfulness"] == 0
    mean = next(row for name, row in rows.items() if name.startswith("mean colour of the training photos ("))
    # It is the one red photo's colour, and nearer to the other than grey.
    assert mean["psnr"] > rows["grey as it is"]["psnr"]
    assert rows["joint bilateral, 5 hints"]["psnr"] > 30
    figures = plain["published"]["colorize-fast"]
    assert set(figures) == {"psnr/automatic", "psnr/5 hints", "psnr/the truth's palette", "nearer"}
    assert figures["psnr/5 hints"] == pytest.approx(rows["colorize-fast, 5 hints"]["psnr"], abs=1e-3)
    # Five columns of two photos.
    assert PillowImage.open(tmp_path / "s.png").height > 224


def test_the_same_seed_gives_the_same_hints_and_more_are_the_fewer_and_others(folder):
    photo = next(read_photos(folder, "test"))
    many = draw(photo, 8, np.random.default_rng([0, 1]))
    assert many == draw(photo, 8, np.random.default_rng([0, 1]))
    assert {hint.rgb for hint in many} == {(180, 90, 90)}
    assert all(0 <= hint.x < 96 and 0 <= hint.y < 64 for hint in many)


def test_the_grey_of_a_photo_has_its_luma(folder):
    photo = next(read_photos(folder, "test"))
    assert photo.grey.shape == (64, 96)
    # Half of an 8-bit level at this luma.
    assert np.abs(photo.luma - photo.lab[..., 0]).max() < 0.25


def test_the_bilateral_filter_gives_each_side_its_own_hint(folder):
    _, photo = read_photos(folder, "test")
    made = bilateral(96)(photo, [Hint(10, 30, (180, 90, 90)), Hint(80, 30, (60, 60, 160))])
    lab = color.to_lab(made)
    np.testing.assert_allclose(lab[:, 5:43], photo.lab[:, 5:43], atol=1.5)
    np.testing.assert_allclose(lab[:, 53:90], photo.lab[:, 53:90], atol=1.5)


def test_without_hints_the_bilateral_filter_leaves_grey(folder):
    photo = next(read_photos(folder, "test"))
    np.testing.assert_array_equal(bilateral(96)(photo, []), np.repeat(photo.grey[..., None], 3, axis=2))


def test_the_mean_colour_is_that_of_training_photos(folder):
    a, b = mean_colour(folder)
    lab = Photo.of("red", np.full((4, 4, 3), (180, 90, 90), np.uint8)).lab[0, 0]
    assert (a, b) == pytest.approx((lab[1], lab[2]), abs=0.01)


def test_a_split_without_photos_is_refused(folder):
    with pytest.raises(TrainingError, match="no photo of the split 'val'"):
        next(read_photos(folder, "val"))
