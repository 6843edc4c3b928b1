"""The planner's cases are damaged as their labels say, are learnt from, and what it learns is exported and measured."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from models.planner import Planner
from restore.engine import Planner as OpenedPlanner
from restore.engine import open_model
from restore.image import Image
from training import planner
from training.__main__ import main
from training.data import PhotoSet
from training.planner import figures, lesson, planning_loss, plans, train_planner
from training.planner_eval import f1
from training.planner_photos import LABELS, PLAIN_NOISE, STEPS, Case, CaseMaker, pixels_of
from training.settings import PLANNER


def letters(kind: str, rng: np.random.Generator) -> torch.Tensor:
    """A made-up mark: (4, 20, 60) uint8, two bars of white."""
    mark = torch.zeros(4, 20, 60, dtype=torch.uint8)
    mark[:, 4:16, 6:24] = 255
    mark[:, 4:16, 36:54] = 255
    return mark


@pytest.fixture(scope="module")
def maker(make_photo) -> CaseMaker:
    photos = [make_photo(260, 300, seed) for seed in range(4)]
    return CaseMaker(photos=PhotoSet([f"{n}.png" for n in range(4)], photos, device=torch.device("cpu")), marks=letters)


@pytest.fixture(scope="module")
def cases(maker) -> list[Case]:
    return list(maker.many(60, seed=0))


def test_the_same_seed_makes_the_same_case(maker, cases):
    again = next(iter(maker.many(1, seed=0)))
    assert again.steps == cases[0].steps
    assert torch.equal(again.pictures[0], cases[0].pictures[0])


def test_every_set_of_steps_and_none_at_all_comes_up_in_the_fixed_order(cases):
    assert () in {case.steps for case in cases}
    assert len({case.steps for case in cases}) >= 6
    for case in cases:
        assert list(case.steps) == [step for step in STEPS if step in case.steps]


def test_there_is_a_look_before_each_step_and_before_the_end(cases):
    for case in cases:
        assert len(case.looks) == len(case.pictures) == len(case.steps) + 1


def test_what_a_step_undoes_is_gone_from_the_next_picture(cases):
    for case in cases:
        for number, step in enumerate(case.steps):
            before, after = case.pictures[number], case.pictures[number + 1]
            assert not torch.equal(before, after), step
            if step == "colorize":
                # Grey or toned: one luma, three factors. In colour afterwards, JPEG aside.
                ratios = (before / before.mean(dim=0).clamp(min=0.05)).flatten(1)
                assert ratios.std(dim=1).mean() < 0.2
                assert (after - after.mean(dim=0)).abs().mean() > (before - before.mean(dim=0)).abs().mean()


def test_noise_is_plain_or_absent(cases):
    noisy = [case for case in cases if "denoise" in case.steps]
    assert noisy
    for case in noisy:
        assert case.sigma * 255 >= PLAIN_NOISE
        at = case.steps.index("denoise")
        rest = (case.pictures[at] - case.pictures[at + 1]).square().mean().sqrt()
        # A mark that is taken off before it hides some noise, and grey averages it: between a third and more.
        assert rest > case.sigma / 3
    assert all(case.sigma == 0 for case in cases if "denoise" not in case.steps)


def test_a_lesson_shares_the_looks(cases):
    three = [next(case for case in cases if len(case.steps) == count) for count in (0, 1, 2)]
    batch = lesson(three, np.array([False, False, True]))
    # One look of the first, two of the second, the first alone of the third.
    assert len(batch.crops) == 1 + 2 + 1
    assert batch.looked.tolist() == [[0, 0, 0], [1, 2, 2], [3, 3, 3]]
    assert batch.known.tolist() == [[True, False, False], [True, True, False], [True, True, True]]
    assert batch.labels[0].tolist() == [0, 0, 0]
    assert batch.labels[1].tolist() == [LABELS.index(three[1].steps[0]), 0, 0]


def test_what_lies_behind_the_end_does_not_count(cases):
    network = Planner()
    batch = lesson(cases[:6], np.zeros(6, bool))
    other = batch._replace(labels=batch.labels.masked_fill(~batch.known, 3))
    torch.testing.assert_close(planning_loss(network, other), planning_loss(network, batch))


def test_figures_count_exact_plans_and_harm(cases, monkeypatch):
    few = [case for case in cases if len(case.steps) == 1][:2] + [case for case in cases if not case.steps][:2]
    right = [(case.steps, case.sigma) for case in few]
    monkeypatch.setattr(planner, "plans", lambda network, cases: right)
    assert figures(Planner(), few) == {"exact": 100.0, "harm": 0.0, "sigma": 0.0}
    right[3] = (("denoise",), 0.1)
    assert figures(Planner(), few)["exact"] == 75.0
    assert figures(Planner(), few)["harm"] == 50.0


@pytest.fixture(scope="module", autouse=True)
def few_to_validate():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(planner, "VALIDATION", 12)
        yield


@pytest.fixture(scope="module")
def checkpoint(maker, tmp_path_factory):
    settings = dataclasses.replace(PLANNER, steps=4, minutes=0.0, validate_every=2)
    return train_planner(maker, maker, tmp_path_factory.mktemp("run"), settings=settings)


def test_training_writes_a_checkpoint_and_goes_on(maker, checkpoint):
    assert torch.load(checkpoint.parent / "last.pt", weights_only=True)["progress"]["step"] == 4
    longer = dataclasses.replace(PLANNER, steps=5, minutes=0.0, validate_every=2)
    assert train_planner(maker, maker, checkpoint.parent, settings=longer) == checkpoint
    assert torch.load(checkpoint.parent / "last.pt", weights_only=True)["progress"]["step"] == 5


def test_the_exported_planner_plans_as_torch_does(checkpoint, cases, tmp_path):
    assert main(["export", "plan", str(checkpoint), "--out", str(tmp_path)]) == 0
    opened = open_model(tmp_path / "plan-fast.onnx", kind=OpenedPlanner, device="cpu")
    assert opened.spec.labels == LABELS
    network = Planner().eval()
    weights = torch.load(checkpoint, weights_only=True)["ema"]
    network.load_state_dict({name: w.half().float() if w.ndim > 1 else w for name, w in weights.items()})
    few = cases[:8]
    for case, (steps, sigma) in zip(few, plans(network, few), strict=True):
        planned = opened(Image(pixels_of(case.pictures[0])))
        assert tuple(name for name, _ in planned) == steps
        if "denoise" in steps:
            assert dict(planned)["denoise"] == pytest.approx(sigma, abs=1e-4)


def test_f1_of_two_sets_of_steps():
    assert f1(set(), set()) == 1
    assert f1({"denoise"}, set()) == 0
    # One of two found, nothing too much: 2 * 1 / (1 + 2).
    assert f1({"denoise"}, {"denoise", "colorize"}) == pytest.approx(2 / 3)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("train plan --data {tmp}", "no shard here."),
        ("eval plan --data {tmp} --number 0", "--number must be 1 or more."),
    ],
)
def test_what_a_user_gets_wrong_is_one_sentence(words, message, tmp_path, capsys, smoother, monkeypatch):
    monkeypatch.setenv("RESTORE_MODELS", str(smoother))
    assert main(words.format(tmp=tmp_path).split()) == 2
    assert message in capsys.readouterr().err
