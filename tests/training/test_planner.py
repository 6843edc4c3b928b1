"""The planner learns from tried photos and from its own ways through them; what it learns is exported and measured."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from models.planner import Planner
from restore.engine import Restored, open_model
from restore.image import Image
from restore.planner import Planner as OpenedPlanner
from training import planner
from training.__main__ import main
from training.data import PhotoSet
from training.export import export_checkpoint
from training.planner import (
    decode,
    figures,
    new_planner,
    planning_loss,
    roll_outs,
    sight_by,
    train_planner,
    traits_of,
)
from training.planner_photos import LABELS, PLAIN_NOISE, STEPS, Case, CaseMaker
from training.settings import PLANNER
from training.tried_cases import TriedCase
from training.trying import try_out
from training.walks import NONE, Gallery, lesson, mirrored, walk_of

U, D, C = "unwatermark", "denoise", "colorize"
#: Numbers that are told of a picture.
TOLD = Planner().count


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
def made(maker) -> list[Case]:
    return list(maker.many(40, seed=0))


def smoother(image: Image) -> Restored:
    """A denoiser: the mean over 3 x 3 pixels where there is noise at all."""
    pixels = image.pixels.astype(float)
    padded = np.pad(pixels, ((1, 1), (1, 1), (0, 0)), mode="edge")
    rows, columns = pixels.shape[:2]
    mean = sum(padded[y : y + rows, x : x + columns] for y in range(3) for x in range(3)) / 9
    return Restored(Image(np.rint(mean).astype(np.uint8)), {})


def brighter(image: Image) -> Restored:
    """A colorizer: more red."""
    return Restored(Image(np.minimum(image.pixels, 215) + np.array([40, 0, 0], np.uint8)), {})


#: The remover finds nothing.
TOOLS = {U: lambda image: Restored(image, {}), D: smoother, C: brighter}


@pytest.fixture(scope="module")
def tried(make_photo) -> list[TriedCase]:
    """Soft photos, noisy or not, grey or not."""
    rng, found = np.random.default_rng(0), []
    for number in range(12):
        damages = ((), (D,), (D, C))[number % 3]
        truth = np.kron(rng.integers(60, 200, (4, 4, 3)), np.ones((60, 60, 1))).astype(np.uint8)
        if C in damages:
            truth[:] = truth[..., :1]
        noise = rng.normal(0, 20, truth.shape) if damages else 0
        picture = np.clip(truth + noise, 0, 255).astype(np.uint8)
        found.append(TriedCase(damages, 20 / 255 if damages else 0.0, try_out(picture, truth, TOOLS)))
    return found


@pytest.fixture(scope="module")
def gallery(tried) -> Gallery:
    return Gallery(tried, TOOLS, sight_by(None), lambda sight: torch.zeros(TOLD))


def test_the_same_seed_makes_the_same_case(maker, made):
    again = next(iter(maker.many(1, seed=0)))
    assert again.damages == made[0].damages
    np.testing.assert_array_equal(again.picture, made[0].picture)


def test_every_set_of_damages_and_none_at_all_comes_up(made):
    assert () in {case.damages for case in made}
    assert len({case.damages for case in made}) >= 6
    for case in made:
        assert list(case.damages) == [step for step in STEPS if step in case.damages]


def test_the_truth_lacks_mark_and_noise_and_the_colour_that_was_lost(made):
    for case in made:
        assert case.picture.shape == case.truth.shape
        assert np.array_equal(case.picture, case.truth) == (not {U, D} & set(case.damages))
        if case.grey:
            # Grey or toned: one luma, three factors, JPEG aside.
            truth = case.truth.astype(float)
            ratios = truth / np.maximum(truth.mean(axis=2, keepdims=True), 12)
            assert ratios.std(axis=(0, 1)).mean() < 0.2


def test_noise_is_plain_or_absent(made):
    noisy = [case for case in made if D in case.damages]
    assert noisy
    for case in noisy:
        assert case.sigma * 255 >= PLAIN_NOISE
        if U not in case.damages:
            rest = np.sqrt(np.square(case.picture / 255 - case.truth / 255).mean())
            assert rest == pytest.approx(case.sigma, rel=1e-3)
    assert all(case.sigma == 0 for case in made if D not in case.damages)


def test_a_walk_is_labelled_from_where_it_stands(tried):
    index = next(i for i, case in enumerate(tried) if case.steps == (D, C))
    assert walk_of(tried, index, (D, C)).labels == tuple(map(LABELS.index, (D, C, "end")))
    # Colour first: what was needed before it still is.
    assert walk_of(tried, index, (C,)).labels == tuple(map(LABELS.index, (D, D)))
    clean = next(i for i, case in enumerate(tried) if not case.damages)
    assert walk_of(tried, clean, (D,)).labels == (0, 0)


def test_what_was_not_tried_is_carried_out_once(tried, gallery):
    index = next(i for i, case in enumerate(tried) if case.steps == (D, C))
    coloured = gallery.picture(index, (D, C))
    np.testing.assert_array_equal(coloured, brighter(Image(gallery.picture(index, (D,)))).image.pixels)
    assert gallery.picture(index, (D, C)) is coloured


def test_a_look_is_kept_and_shared_by_steps_that_change_nothing(tried, gallery):
    index = next(i for i, case in enumerate(tried) if case.steps == (D, C))
    assert gallery.row(index, ()) == gallery.row(index, ())
    # The remover finds nothing in these photos.
    assert gallery.row(index, (U,)) == gallery.row(index, ())
    assert gallery.row(index, (D,)) != gallery.row(index, ())


def test_a_lesson_shares_the_looks(tried, gallery):
    three = [
        walk_of(tried, i, tried[i].steps)
        for i in (next(i for i, case in enumerate(tried) if case.steps == steps) for steps in ((), (D,), (D, C)))
    ]
    batch = lesson(three, gallery, np.array([False, False, True]))
    # One look of the first, two of the second, the first alone of the third.
    assert len(batch.crops) == len(batch.thumbnail) == len(batch.traits) == 1 + 2 + 1
    assert batch.looked.tolist() == [[0, 0, 0], [1, 2, 2], [3, 3, 3]]
    assert batch.known.tolist() == [[True, False, False], [True, True, False], [True, True, True]]
    assert batch.previous[2].tolist() == [NONE, LABELS.index(D), LABELS.index(C)]
    assert batch.labels[2].tolist() == [LABELS.index(D), LABELS.index(C), 0]


def test_mirrored_pictures_are_the_same_pictures(tried, gallery):
    batch = lesson([walk_of(tried, 0, ())], gallery, np.array([True]))
    found = [mirrored(batch, np.random.default_rng(seed)).crops for seed in range(8)]
    assert any(not torch.equal(crops, batch.crops) for crops in found)
    for crops in found:
        assert torch.equal(crops.flatten().sort().values, batch.crops.flatten().sort().values)


def test_what_lies_behind_the_end_does_not_count(tried, gallery):
    network = Planner()
    network.dropout.p = 0
    batch = lesson([walk_of(tried, i, tried[i].steps) for i in range(6)], gallery, np.zeros(6, bool))
    other = batch._replace(labels=batch.labels.masked_fill(~batch.known, 3))
    torch.testing.assert_close(planning_loss(network, other), planning_loss(network, batch))


class Headstrong(Planner):
    """Says denoise, then colorize, then END, whatever it sees."""

    def step(self, seen, previous, state):
        after = {NONE: D, LABELS.index(D): C}
        labels = torch.tensor([LABELS.index(after.get(p, "end")) for p in previous.tolist()])
        return torch.eye(len(LABELS))[labels], torch.full((len(seen),), 0.1), state


def test_a_roll_out_takes_what_the_network_chose_and_labels_what_should_have_come(tried, gallery):
    ways = roll_outs(Headstrong().eval(), gallery)
    assert {way.taken for way in ways} == {(D, C)}
    for way in ways:
        if tried[way.case].steps == (D, C):
            assert way.labels == tuple(map(LABELS.index, (D, C, "end")))
        if not tried[way.case].damages:
            assert way.labels == (0, 0, 0)


def test_a_plan_names_no_step_twice():
    class Stubborn(Planner):
        def step(self, seen, previous, state):
            return torch.tensor([[0.1, 0.2, 0.4, 0.3]]).expand(len(seen), -1), torch.ones(len(seen)), state

    assert decode(Stubborn().eval(), torch.zeros(2, 1))[1][0] == (D, C, U)


def test_figures_count_exact_plans_and_harm(tried):
    few = [case for case in tried if case.steps == (D,)][:2] + [case for case in tried if not case.damages][:2]
    right = [(case.steps, case.sigma) for case in few]
    assert figures(right, few) == {"exact": 100.0, "harm": 0.0, "sigma": 0.0}
    right[3] = ((D,), 0.1)
    assert figures(right, few)["exact"] == 75.0
    assert figures(right, few)["harm"] == 50.0


@pytest.fixture(scope="module")
def checkpoint(tried, tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(planner, "BATCH", 6)
        patch.setattr(planner, "OWN", 2)
        settings = dataclasses.replace(PLANNER, steps=4, minutes=0.0, validate_every=2)
        run = tmp_path_factory.mktemp("run")
        return train_planner(tried, tried[:6], TOOLS, run, settings=settings, network=Planner(), denoiser=None)


def test_training_writes_a_checkpoint_rolls_out_and_goes_on(tried, checkpoint):
    assert torch.load(checkpoint.parent / "last.pt", weights_only=True)["progress"]["step"] == 4
    assert "own ways" in (checkpoint.parent / "log.txt").read_text("utf-8")
    longer = dataclasses.replace(PLANNER, steps=5, minutes=0.0, validate_every=2)
    assert train_planner(
        tried[:8], tried[:6], TOOLS, checkpoint.parent, settings=longer, network=Planner(), denoiser=None
    )
    assert torch.load(checkpoint.parent / "last.pt", weights_only=True)["progress"]["step"] == 5


def test_without_a_limit_on_the_gradient_it_learns_too(tried, tmp_path, monkeypatch):
    monkeypatch.setattr(planner, "BATCH", 6)
    settings = dataclasses.replace(PLANNER, steps=1, minutes=0.0, clip=0.0)
    network = Planner()
    before = network.scores.weight.clone()
    train_planner(tried[:8], tried[:6], TOOLS, tmp_path, settings=settings, network=network, denoiser=None)
    assert not torch.equal(network.scores.weight, before)


@pytest.mark.parametrize("exported", [False, True])
def test_a_planner_can_start_from_an_earlier_one_but_its_eye_is_the_installed_remover(checkpoint, tmp_path, exported):
    old = torch.load(checkpoint, weights_only=True)["ema"]
    start = export_checkpoint(checkpoint, tmp_path) if exported else checkpoint
    fresh, started = new_planner().state_dict(), new_planner(start).state_dict()
    for name, weights in started.items():
        expected = fresh[name] if name.startswith("finder.") else old[name]
        # An exported file stores matrices as float16.
        stored = expected.half().float() if exported and expected.ndim > 1 and "finder" not in name else expected
        assert torch.equal(weights, stored), name
    assert not torch.equal(old["finder.head.weight"], fresh["finder.head.weight"])


def test_the_exported_planner_plans_as_torch_does(checkpoint, tried, tmp_path):
    assert main(["export", "plan", str(checkpoint), "--out", str(tmp_path)]) == 0
    opened = open_model(tmp_path / "plan-fast.onnx", kind=OpenedPlanner, device="cpu")
    assert opened.spec.labels == LABELS
    network = Planner().eval()
    weights = torch.load(checkpoint, weights_only=True)["ema"]
    network.load_state_dict({name: w.half().float() if w.ndim > 1 else w for name, w in weights.items()})
    few = tried[:8]
    gallery = Gallery(few, TOOLS, sight_by(open_model("denoise", device="cpu")), traits_of(network))
    seen = planner._seen_in(network, gallery, [gallery.row(index, ()) for index in range(len(few))])
    for case, (steps, sigma) in zip(few, decode(network, seen), strict=True):
        planned = opened(Image(case.trial.pictures[()]))
        assert tuple(name for name, _ in planned) == steps
        if D in steps:
            assert dict(planned)[D] == pytest.approx(sigma, abs=1e-4)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("train plan --tried {tmp}", "no tried photos here."),
        ("try --data {tmp} --number 0", "--number must be 1 or more."),
        ("eval plan --data {tmp} --number 0", "--number must be 1 or more."),
    ],
)
def test_what_a_user_gets_wrong_is_one_sentence(words, message, tmp_path, capsys, smoother, monkeypatch):
    monkeypatch.setenv("RESTORE_MODELS", str(smoother))
    assert main(words.format(tmp=tmp_path).split()) == 2
    assert message in capsys.readouterr().err
