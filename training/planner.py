"""Training of the planner: on what trying says that photos need, and on its own roll-outs."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from models.planner import Planner
from restore import store
from restore.model import Model
from restore.planner import Sight, examine
from restore.steps import Tool
from training.graphs import padded
from training.loop import pick_precision
from training.planner_photos import CROP, CROPS, LABELS, THUMBNAIL, VIEW
from training.recipes import find_recipe
from training.report import Report
from training.runs import Run
from training.schedule import rate_at
from training.settings import Settings
from training.tried_cases import TriedCase
from training.trying import STEPS, Order
from training.walks import NONE, Gallery, Lesson, Walk, lesson, mirrored, walk_of
from training.weights import start_from

RECIPE = "plan-fast"
#: Walks that one step learns from, and how many of them are the planner's own, once there are such.
BATCH, OWN = 36, 9
#: Shares of the run after which the planner walks through all cases itself.
ROLL_OUTS = (0.3, 0.55, 0.8)
#: What END may be given in serving: taken is what plans most photos of the val split rightly, of those that give a step
#: to at most so many percent of the photos that need none.
_CAUTIONS = (0.0, 0.5, 1.0, 1.5, 2.0, 2.25, 2.5, 3.0)
_MOST_HARM = 2.0
_FROM_FIRST = 0.6
#: In dB, see `trying.wanted`. Drawn anew for each walk, so that a gain of nearly the margin is learnt as doubtful.
_MARGINS = (0.05, 0.07, 0.1, 0.14, 0.2)
_SIGMA_SHARE = 0.5
_FLOOR = 1 / 255
_CPU = torch.device("cpu")

#: A plan and the noise's deviation that it names, 0 without.
Planned = tuple[Order, float]


def planning_loss(network: Planner, batch: Lesson, precision: torch.dtype = torch.float32) -> Tensor:
    """Mean error of the steps, told those before, and of the noise's deviation in octaves.

    `precision` is that of the convolutions.
    """
    with torch.autocast("cpu", precision, enabled=precision != torch.float32):
        seen = _seen(network, batch.crops, batch.thumbnail, batch.traits)
    state = seen.new_zeros(len(batch.labels), network.features)
    loss = seen.new_zeros(())
    for at in range(batch.labels.shape[1]):
        scores, sigma, state = network.step(seen[batch.looked[:, at]], batch.previous[:, at], state)
        known, label = batch.known[:, at], batch.labels[:, at]
        wrong = F.cross_entropy(scores, label, reduction="none")
        octaves = torch.log2(sigma + _FLOOR) - torch.log2(batch.sigma + _FLOOR)
        error = F.smooth_l1_loss(octaves, torch.zeros_like(octaves), reduction="none")
        # Where trying asks for denoise though no noise was added, nobody knows its level.
        noisy = (label == LABELS.index("denoise")) & (batch.sigma > 0)
        loss = loss + ((wrong + _SIGMA_SHARE * error * noisy) * known).sum()
    mean: Tensor = loss / batch.known.sum()
    return mean


def _seen(network: Planner, crops: Tensor, thumbnail: Tensor, traits: Tensor) -> Tensor:
    """What is seen in bytes."""
    return network.look(crops.float() / 255, thumbnail.float() / 255, traits).float()


def sight_by(denoiser: Model | None) -> Callable[[np.ndarray], Sight]:
    """Gives what the planner is told of a picture (H, W, 3) uint8, with the levels that this denoiser finds."""
    return partial(examine, denoiser=denoiser, crops=CROPS, side=CROP, thumbnail=THUMBNAIL, longest=VIEW)


def traits_of(network: Planner, precision: torch.dtype = torch.float32) -> Callable[[Sight], Tensor]:
    """Gives a network's traits (C,) of what is told of a picture, its views padded as the export pads them.

    `precision` is that of the convolutions.
    """

    @torch.no_grad()
    def traits(sight: Sight) -> Tensor:
        view = torch.from_numpy(padded(sight.view, network.multiple_of))[None].float() / 255
        with torch.autocast("cpu", precision, enabled=precision != torch.float32):
            found = network.traits(view, torch.from_numpy(sight.levels)[None], torch.tensor([sight.variety]))
        return found[0].float()

    return traits


@torch.no_grad()
def _seen_in(network: Planner, gallery: Gallery, rows: Sequence[int]) -> Tensor:
    parts = []
    for start in range(0, len(rows), BATCH):
        some = rows[start : start + BATCH]
        crops, thumbnails = (
            torch.from_numpy(np.stack([kept[row] for row in some])) for kept in (gallery.crops, gallery.thumbnails)
        )
        parts.append(_seen(network, crops, thumbnails, torch.stack([gallery.traits[row] for row in some])))
    return torch.cat(parts)


@torch.no_grad()
def decode(network: Planner, seen: Tensor) -> list[Planned]:
    """The steps that the network, in serving mode, plans from one look each, greedily; none is taken twice."""
    chosen, _, sigmas = network.decode(seen, torch.full((len(seen), len(STEPS)), NONE))
    found = []
    for labels, deviations in zip(chosen.tolist(), sigmas.tolist(), strict=True):
        steps = {LABELS[label]: sigma for label, sigma in zip(labels, deviations, strict=True) if label}
        found.append((tuple(steps), steps.get("denoise", 0.0)))
    return found


@torch.no_grad()
def roll_outs(network: Planner, gallery: Gallery) -> list[Walk]:
    """The network's own way through each case: it looks again at what each step that it chose made of the picture."""
    number = len(gallery.cases)
    state = torch.zeros(number, network.features)
    taken: list[Order] = [()] * number
    going = list(range(number))
    for _ in STEPS:
        seen = _seen_in(network, gallery, [gallery.row(index, taken[index]) for index in going])
        before = torch.tensor([LABELS.index(taken[i][-1]) if taken[i] else NONE for i in going])
        scores, _, state[going] = network.step(seen, before, state[going])
        for index, row in zip(going, scores, strict=True):
            chances = dict(zip(LABELS, row.tolist(), strict=True))
            taken[index] += (max(chances.keys() - set(taken[index]), key=chances.__getitem__),)
        going = [index for index in going if taken[index][-1] != LABELS[0]]
        if not going:
            break
    return [walk_of(gallery.cases, i, tuple(s for s in steps if s != LABELS[0])) for i, steps in enumerate(taken)]


def figures(planned: Sequence[Planned], cases: Sequence[TriedCase]) -> dict[str, float]:
    """In percent: plans that are right to the last step, and photos that need nothing and get something."""
    pairs = list(zip(planned, cases, strict=True))
    clean = [steps for (steps, _), case in pairs if not case.damages]
    levels = [abs(found - case.sigma) * 255 for (steps, found), case in pairs if "denoise" in steps and case.sigma]
    return {
        "exact": 100 * float(np.mean([steps == case.steps for (steps, _), case in pairs])),
        "harm": 100 * float(np.mean([bool(steps) for steps in clean])) if clean else 0.0,
        "sigma": float(np.mean(levels)) if levels else 0.0,
    }


def new_planner(start: Path | None = None) -> Planner:
    """A network with the finder of the installed watermark remover as its eye for marks.

    With `start`, an earlier planner's checkpoint or exported file, its weights are taken from there, and what sees
    noise stays as it is: noise looks as it did, whatever the labels mean. A thousand tried photos are too few to learn
    it from; docs/decisions say what that costs. Raises TrainingError for a file that does not fit.
    """
    network = Planner()
    if start:
        start_from(start, network)
        network.keep_eye_for_noise()
    remover = find_recipe("unwatermark").build()
    start_from(store.find("unwatermark"), remover)
    network.finder.load_state_dict(remover.get_submodule("body").state_dict())
    return network


def train_planner(
    cases: Sequence[TriedCase],
    held_out: Sequence[TriedCase],
    tools: Mapping[str, Tool],
    run: Path,
    *,
    settings: Settings,
    network: Planner,
    denoiser: Model | None,
) -> Path:
    """Train `network` on the CPU, or take up `run/last.pt`; returns the path of the best checkpoint.

    `tools` carry out what the planner chooses, and `denoiser` says how much noise there is. `run/best.pt` holds the
    averaged weights and the caution with the highest share of right plans on `held_out`, of those with little harm.
    """
    state = Run(RECIPE, {}, run, settings, network)
    resumed = state.resume(_CPU)
    # Features last: on a CPU twice as fast for so few of them.
    network.to(memory_format=torch.channels_last)
    progress = state.progress
    report = Report(run, settings, quiet=False)
    trained = sum(p.numel() for p in network.parameters() if p.requires_grad)
    report.say(f"{RECIPE}, {len(cases)} cases, {trained} parameters to train")
    if resumed:
        report.say(f"resumed {run / 'last.pt'} at step {progress.step}")
    precision = pick_precision(settings, _CPU)

    sight = sight_by(denoiser)
    gallery, val = (Gallery(some, tools, sight, traits_of(network, precision)) for some in (cases, held_out))
    told = [[walk_of(cases, index, case.steps, m) for m in _MARGINS] for index, case in enumerate(cases)]
    own: list[Walk] = []
    due = list(ROLL_OUTS)
    started = time.monotonic() - progress.elapsed
    saved = time.monotonic()
    try:
        while (fraction := progress.fraction(settings)) < 1.0:
            if due and fraction >= due[0]:
                own = [walk for walk in roll_outs(_averaged(state), gallery) if walk.taken != cases[walk.case].steps]
                due = [share for share in due if share > fraction]
                report.say(f"step {progress.step}: {len(own)} own ways that differ")
            rng = np.random.default_rng([settings.seed, progress.step])
            count = min(OWN, len(own))
            drawn = rng.integers((len(told), len(_MARGINS)), size=(BATCH - count, 2))
            chosen = [told[index][margin] for index, margin in drawn]
            chosen += [own[index] for index in rng.integers(len(own), size=count)] if own else []
            batch = mirrored(lesson(chosen, gallery, rng.random(BATCH) < _FROM_FIRST), rng)
            loss = planning_loss(network, batch, precision)
            torch.autograd.backward(loss)
            torch.nn.utils.clip_grad_norm_(network.parameters(), settings.clip or math.inf)
            state.optimizers.set_rate(rate_at(fraction, settings))
            state.optimizers.step()
            state.ema.update(network, progress.step)
            progress.step += 1
            progress.elapsed = time.monotonic() - started
            report.step(progress, loss)
            if progress.fraction(settings) >= 1.0 or progress.step % settings.validate_every == 0:
                _look(state, val, report)
            if time.monotonic() - saved > 60 * settings.save_every:
                state.save_last()
                saved = time.monotonic()
        state.save_last()
    finally:
        report.close()
    return run / "best.pt"


def _averaged(state: Run) -> Planner:
    network = Planner()
    network.load_state_dict(state.ema.weights)
    return network.eval().to(memory_format=torch.channels_last)


def _look(state: Run, val: Gallery, report: Report) -> None:
    """Validate, and keep the weights if they are the best so far, with the caution that suits them."""
    network = _averaged(state)
    seen = _seen_in(network, val, [val.row(index, ()) for index in range(len(val.cases))])
    tried: list[tuple[float, float, dict[str, float]]] = []
    for caution in _CAUTIONS:
        network.caution.fill_(caution)
        found = figures(decode(network, seen), val.cases)
        # Too much harm is worse than any plan left out.
        tried.append((found["exact"] - 100 * (found["harm"] > _MOST_HARM), caution, found))
    worth, caution, found = max(tried, key=lambda entry: entry[:2])
    for weights in (state.ema.weights, state.network.state_dict()):
        weights["caution"].fill_(caution)
    report.figures(state.progress, found | {"caution": caution})
    if worth > state.progress.best:
        state.progress.best = worth
        state.save_best()
