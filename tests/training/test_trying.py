"""What a photo needs is found by trying: the shortest order of restorers within 0.1 dB of the best."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
import torch

from restore import store
from restore.engine import Restored
from restore.image import Image
from training import TrainingError, tried_cases
from training.data import PhotoSet
from training.planner_photos import Case
from training.tried_cases import fill, load, restorers, sources
from training.trying import ORDERS, tools_to_try, try_out, wanted

U, D, C = "unwatermark", "denoise", "colorize"


def scores(nothing: float, u: float, d: float, ud: float, du: float) -> dict[tuple[str, ...], float]:
    return dict(zip(ORDERS, (nothing, u, d, ud, du), strict=True))


def test_the_orders_are_all_there_are_the_one_to_prefer_first():
    assert ORDERS == ((), (U,), (D,), (U, D), (D, U))


@pytest.mark.parametrize(
    ("reached", "steps"),
    [
        ((30.0, 30.0, 30.0, 30.0, 30.0), ()),
        # 0.09 dB more is not worth a step, 0.2 is.
        ((30.0, 30.0, 30.09, 30.09, 30.09), ()),
        ((30.0, 30.0, 30.2, 30.2, 30.2), (D,)),
        ((20.0, 25.0, 20.0, 25.05, 20.0), (U,)),
        ((20.0, 25.0, 20.0, 26.0, 21.0), (U, D)),
        # Where both orders are as good the fixed one is taken, else the better.
        ((20.0, 20.0, 22.0, 24.0, 24.05), (U, D)),
        ((20.0, 20.0, 22.0, 22.0, 24.0), (D, U)),
        # Either alone is as good: the first in the order of the steps.
        ((20.0, 24.0, 24.05, 24.0, 24.0), (U,)),
        # A restorer that harms is not asked for.
        ((37.6, 22.7, 37.2, 22.6, 22.5), ()),
    ],
)
def test_the_shortest_within_a_tenth_of_the_best_is_wanted(reached, steps):
    assert wanted(scores(*reached), grey=False) == steps
    assert wanted(scores(*reached), grey=True) == (*steps, C)


def test_another_margin_asks_for_more_or_for_less():
    reached = scores(20.0, 20.0, 20.08, 20.15, 20.0)
    assert [wanted(reached, grey=False, margin=m) for m in (0.05, 0.1, 0.2)] == [(U, D), (D,), ()]


def test_what_is_wanted_depends_on_what_was_done():
    reached = scores(20.0, 25.0, 22.0, 26.0, 21.0)
    assert wanted(reached, (U,), grey=True) == (D, C)
    # After denoise the mark is better left where it is.
    assert wanted(reached, (D,), grey=True) == (C,)
    assert wanted(reached, (D, U), grey=False) == ()
    # Colour too early does not change what is right for the rest.
    assert wanted(reached, (C,), grey=True) == (U, D)
    assert wanted(reached, (C, U), grey=True) == (D,)
    assert wanted(reached, (U, D, C), grey=True) == ()


def test_a_photo_without_mark_and_noise_needs_neither_whatever_was_done_to_it():
    assert wanted({(): 60.0}, grey=False) == ()
    assert wanted({(): 60.0}, (D,), grey=False) == ()


def lighter(by: int, calls: list[str]):
    def tool(image: Image) -> Restored:
        calls.append(str(by))
        return Restored(Image(image.pixels + np.uint8(by)) if by else image, {})

    return tool


def test_every_order_is_carried_out_on_what_the_one_before_made():
    truth = np.full((4, 4, 3), 120, np.uint8)
    calls: list[str] = []
    trial = try_out(truth - 12, truth, {U: lighter(10, calls), D: lighter(2, calls)})
    assert {order: int(picture[0, 0, 0]) for order, picture in trial.pictures.items()} == {
        (): 108, (U,): 118, (D,): 110, (U, D): 120, (D, U): 120,
    }  # fmt: skip
    # 20 log10(255 / 12), and equal pictures count as 60.
    assert trial.scores[()] == pytest.approx(26.55, abs=0.01)
    assert trial.scores[(U, D)] == 60


def test_where_a_restorer_found_nothing_the_next_one_is_not_asked_twice():
    truth = np.full((4, 4, 3), 120, np.uint8)
    calls: list[str] = []
    trial = try_out(truth - 2, truth, {U: lighter(0, calls), D: lighter(2, calls)})
    assert trial.pictures[(U, D)] is trial.pictures[(D,)]
    assert trial.pictures[(U,)] is trial.pictures[()]
    # The remover on the photo and on what the denoiser made, the denoiser once.
    assert sorted(calls) == ["0", "0", "2"]


def test_a_photo_that_is_as_it_should_be_is_tried_only_where_that_is_asked_for():
    truth = np.full((4, 4, 3), 120, np.uint8)
    tools = {U: lighter(1, []), D: lighter(2, [])}
    assert set(try_out(truth, truth, tools).scores) == {()}
    assert set(try_out(truth, truth, tools, all_orders=True).scores) == set(ORDERS)


def test_without_a_restorer_nothing_is_tried():
    with pytest.raises(TrainingError, match="no model for unwatermark is installed"):
        tools_to_try({D: lighter(1, [])})


@pytest.fixture
def maker():
    calls: list[int] = []

    def make(rng: np.random.Generator) -> Case:
        calls.append(1)
        truth = rng.integers(0, 200, (9, 12, 3), np.uint8)
        return Case((U, C), 0.0, truth + np.uint8(10), truth)

    make.calls = calls
    return make


#: What `sources` says of the maker.
FROM = {"photos": "a", "marks": "b", "maker": "1"}
TOOLS = {U: lambda image: Restored(Image(image.pixels - np.uint8(10)), {}), D: lambda image: Restored(image, {})}


def test_tried_photos_come_back_from_disk_as_they_were(maker, tmp_path):
    assert [path.name for path in fill(maker, lambda: TOOLS, tmp_path, number=51, seed=3, made_from=FROM)] == [
        "000000.npz",
        "000050.npz",
    ]
    cases = load(tmp_path)
    assert len(cases) == 51
    first = cases[0]
    picture = maker(np.random.default_rng([3, 0])).picture
    assert first.damages == (U, C)
    assert first.steps == (U, C)
    np.testing.assert_array_equal(first.trial.pictures[()], picture)
    np.testing.assert_array_equal(first.trial.pictures[(U,)], picture - np.uint8(10))
    # Pictures that were one still are: the denoiser did nothing.
    assert first.trial.pictures[(D,)] is first.trial.pictures[()]
    assert first.trial.pictures[(D, U)] is not None


def test_photos_that_were_tried_before_are_kept(maker, tmp_path):
    list(fill(maker, lambda: TOOLS, tmp_path, number=60, seed=3, made_from=FROM))
    made = len(maker.calls)
    # The second file gets the ten photos more.
    list(fill(maker, lambda: TOOLS, tmp_path, number=70, seed=3, made_from=FROM))
    assert len(maker.calls) == made + 20


@pytest.mark.parametrize("changed", FROM)
def test_cases_of_other_photos_marks_or_another_maker_are_made_again(maker, tmp_path, changed):
    list(fill(maker, lambda: TOOLS, tmp_path, number=10, seed=3, made_from=FROM))
    list(fill(maker, lambda: TOOLS, tmp_path, number=10, seed=3, made_from=FROM | {changed: "other"}))
    assert len(maker.calls) == 20


def test_of_fewer_photos_than_before_the_rest_are_not_read(maker, tmp_path):
    list(fill(maker, lambda: TOOLS, tmp_path, number=120, seed=3, made_from=FROM))
    list(fill(maker, lambda: TOOLS, tmp_path, number=50, seed=3, made_from=FROM))
    assert len(load(tmp_path)) == 50
    # Nothing was made for it.
    assert len(maker.calls) == 120


def test_sources_tell_photos_and_marks_apart(tmp_path):
    def told(names, side, marks):
        (tmp_path / "bank.tar").write_bytes(marks)
        photos = PhotoSet(names, [np.zeros((side, 8, 3), np.uint8)] * len(names), device=torch.device("cpu"))
        return sources(photos, tmp_path / "bank.tar")

    first = told(["a", "b"], 8, b"marks")
    assert told(["a", "b"], 8, b"marks") == first
    assert told(["a", "c"], 8, b"marks")["photos"] != first["photos"]
    assert told(["a", "b"], 9, b"marks")["photos"] != first["photos"]
    assert told(["a", "b"], 8, b"others")["marks"] != first["marks"]


def test_several_processes_make_the_same_files(maker, tmp_path):
    for workers in (1, 2):
        folder = tmp_path / str(workers)
        names = [
            path.name
            for path in fill(maker, lambda: TOOLS, folder, number=120, seed=3, made_from=FROM, workers=workers)
        ]
        assert names == ["000000.npz", "000050.npz", "000100.npz"]
    # The two made none of theirs in this process.
    assert len(maker.calls) == 120
    for one, other in zip(load(tmp_path / "1"), load(tmp_path / "2"), strict=True):
        assert one.trial.scores == other.trial.scores
        np.testing.assert_array_equal(one.trial.pictures[(U,)], other.trial.pictures[(U,)])


def test_a_missing_restorer_is_said_by_a_process_too(maker, tmp_path):
    with pytest.raises(TrainingError, match="no model for denoise is installed"):
        list(fill(maker, lambda: {U: TOOLS[U]}, tmp_path, number=60, seed=3, made_from=FROM, workers=2))
    assert not list(tmp_path.glob("*.npz"))


def test_once_other_restorers_are_installed_old_trials_count_no_more(maker, tmp_path, monkeypatch):
    list(fill(maker, lambda: TOOLS, tmp_path, number=50, seed=3, made_from=FROM))
    monkeypatch.setattr(tried_cases, "restorers", lambda: {"denoise-fast": "another"})
    with pytest.raises(TrainingError, match="other restorers than the installed ones were tried"):
        load(tmp_path)
    list(fill(maker, lambda: TOOLS, tmp_path, number=50, seed=3, made_from=FROM))
    assert len(maker.calls) == 100
    assert len(load(tmp_path)) == 50


def test_restorers_are_told_apart_by_what_they_compute_and_the_colorizer_is_none(monkeypatch, tiny_denoiser, tmp_path):
    def entry(task: str) -> store.Entry:
        return store.Entry(f"{task}-fast", tmp_path / "tried.onnx", task, "fast", "", 1, {})

    monkeypatch.setattr(store, "entries", lambda: [entry(task) for task in ("classify", C, D, U)])
    model = onnx.load(tiny_denoiser)
    onnx.save(model, tmp_path / "tried.onnx")
    before = restorers()
    assert before.keys() == {"denoise-fast", "unwatermark-fast"}
    model.metadata_props.add(key="card", value="# for people to read")
    onnx.save(model, tmp_path / "tried.onnx")
    assert restorers() == before
    model.graph.initializer[0].raw_data = bytes(len(model.graph.initializer[0].raw_data))
    onnx.save(model, tmp_path / "tried.onnx")
    assert restorers()["denoise-fast"] != before["denoise-fast"]
