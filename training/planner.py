"""Training of the planner: from damaged photos and the steps that mend them, teacher-forced."""

from __future__ import annotations

import time
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from models.planner import Planner
from restore.look import Look
from training.loop import Ema
from training.optimizers import Optimizers
from training.planner_photos import LABELS, Case, CaseMaker
from training.report import Report
from training.runs import Run
from training.schedule import rate_at
from training.settings import Settings

RECIPE = "plan-fast"
#: Cases that are remembered, those that one step makes anew, and those that one step learns from.
POOL, FRESH, BATCH = 4_000, 6, 36
#: Cases that are looked at to choose the checkpoint.
VALIDATION = 150
#: A step that is not needed does more harm than one that is left out.
_CAUTION = 2.0
_SIGMA_SHARE = 0.5
_FLOOR = 1 / 255
#: The most steps that a plan has.
LONGEST = 3


class Lesson(NamedTuple):
    """N cases as the network takes them, T steps each at the most, and the looks that they share."""

    crops: Tensor  # (L, K, 3, S, S) uint8
    thumbnail: Tensor  # (L, 3, T, T) uint8
    looked: Tensor  # (N, T) int64: which look each step is told from
    labels: Tensor  # (N, T) int64, END from the first END on
    known: Tensor  # (N, T) bool, up to the first END
    sigma: Tensor  # (N,)


def lesson(cases: list[Case], from_first: np.ndarray) -> Lesson:
    """The batch of some cases; where `from_first` (N,) is true every step is told from the first look alone."""
    longest = max(len(case.steps) for case in cases) + 1
    looks: list[Look] = []
    looked, labels = [], []
    for case, first in zip(cases, from_first, strict=True):
        start = len(looks)
        looks += case.looks[:1] if first else case.looks
        looked.append([start + (0 if first else min(at, len(case.steps))) for at in range(longest)])
        labels.append([LABELS.index(step) for step in case.steps] + [0] * (longest - len(case.steps)))
    lengths = torch.tensor([len(case.steps) for case in cases])
    return Lesson(
        torch.from_numpy(np.stack([each.crops for each in looks])),
        torch.from_numpy(np.stack([each.thumbnail for each in looks])),
        torch.tensor(looked),
        torch.tensor(labels),
        torch.arange(longest) <= lengths[:, None],
        torch.tensor([case.sigma for case in cases]),
    )


def planning_loss(network: Planner, batch: Lesson) -> Tensor:
    """Mean error of the steps, told those before (teacher forcing), and of the noise's deviation in octaves."""
    count, longest = batch.labels.shape
    seen = network.look(batch.crops.float().div_(255), batch.thumbnail.float().div_(255))
    previous = torch.full((count,), len(LABELS))
    state = seen.new_zeros(count, network.features)
    weights = torch.ones(len(LABELS))
    weights[0] = _CAUTION
    loss = seen.new_zeros(())
    for at in range(longest):
        scores, sigma, state = network.step(seen[batch.looked[:, at]], previous, state)
        known, label = batch.known[:, at], batch.labels[:, at]
        wrong = F.cross_entropy(scores, label, weights, reduction="none")
        octaves = torch.log2(sigma + _FLOOR) - torch.log2(batch.sigma + _FLOOR)
        error = F.smooth_l1_loss(octaves, torch.zeros_like(octaves), reduction="none")
        noisy = label == LABELS.index("denoise")
        loss = loss + ((wrong + _SIGMA_SHARE * error * noisy) * known).sum()
        previous = label
    mean: Tensor = loss / batch.known.sum()
    return mean


@torch.no_grad()
def plans(network: Planner, cases: list[Case]) -> list[tuple[tuple[str, ...], float]]:
    """The steps that the network plans from the first look, greedily, and the deviation that it found."""
    found: list[tuple[tuple[str, ...], float]] = []
    for start in range(0, len(cases), BATCH):
        batch = lesson(cases[start : start + BATCH], np.ones(len(cases[start : start + BATCH]), bool))
        seen = network.look(batch.crops.float() / 255, batch.thumbnail.float() / 255)
        state = seen.new_zeros(len(seen), network.features)
        previous = torch.full((len(seen),), len(LABELS))
        rows: list[list[str]] = [[] for _ in range(len(seen))]
        deviations = [0.0] * len(seen)
        ended = [False] * len(seen)
        for _ in range(LONGEST + 1):
            scores, sigma, state = network.step(seen, previous, state)
            previous = scores.argmax(dim=1)
            for row, label in enumerate(previous.tolist()):
                ended[row] = ended[row] or label == 0 or LABELS[label] in rows[row]
                if not ended[row]:
                    rows[row].append(LABELS[label])
                    if LABELS[label] == "denoise":
                        deviations[row] = float(sigma[row])
        found += [(tuple(steps), deviation) for steps, deviation in zip(rows, deviations, strict=True)]
    return found


def figures(network: Planner, cases: list[Case]) -> dict[str, float]:
    """In percent: plans that are right to the last step, and photos that need nothing and get something."""
    planned = plans(network, cases)
    pairs = list(zip(planned, cases, strict=True))
    clean = [steps for (steps, _), case in pairs if not case.steps]
    levels = [abs(found - case.sigma) * 255 for (steps, found), case in pairs if "denoise" in steps and case.sigma]
    return {
        "exact": 100 * float(np.mean([steps == case.steps for (steps, _), case in pairs])),
        "harm": 100 * float(np.mean([bool(steps) for steps in clean])) if clean else 0.0,
        "sigma": float(np.mean(levels)) if levels else 0.0,
    }


def train_planner(cases: CaseMaker, held_out: CaseMaker, run: Path, *, settings: Settings) -> Path:
    """Train on the CPU, or take up `run/last.pt`; returns the path of the best checkpoint.

    Each step makes some new cases and learns from those and from remembered ones. `run/best.pt` holds the averaged
    weights with the highest share of right plans less the share of harm on `held_out`.
    """
    torch.manual_seed(settings.seed)
    network = Planner()
    state = Run(RECIPE, {}, run, settings, network, Optimizers(network, settings), Ema(network, settings.ema))
    resumed = state.resume(torch.device("cpu"), with_other_settings=True)
    progress = state.progress
    report = Report(run, settings, quiet=False)
    report.say(f"{RECIPE}, {len(cases.photos)} photos, {sum(p.numel() for p in network.parameters())} parameters")
    if resumed:
        report.say(f"resumed {run / 'last.pt'} at step {progress.step}")
    # What is remembered of a case is what was looked at: its pictures would take gigabytes.
    val = [case._replace(pictures=()) for case in held_out.many(VALIDATION, seed=settings.seed + 1)]
    pool: list[Case] = []
    started = time.monotonic() - progress.elapsed
    saved = time.monotonic()
    try:
        while (fraction := progress.fraction(settings)) < 1.0:
            rng = np.random.default_rng([settings.seed, progress.step])
            pool += [cases(rng)._replace(pictures=()) for _ in range(FRESH)]
            del pool[:-POOL]
            chosen = [pool[index] for index in rng.integers(len(pool), size=BATCH)]
            loss = planning_loss(network, lesson(chosen, rng.random(BATCH) < 0.6))
            torch.autograd.backward(loss)
            torch.nn.utils.clip_grad_norm_(network.parameters(), settings.clip)
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


def _look(state: Run, val: list[Case], report: Report) -> None:
    """Validate, and keep the weights if they are the best so far."""
    network = Planner()
    network.load_state_dict(state.ema.weights)
    found = figures(network.eval(), val)
    report.figures(state.progress, found)
    if found["exact"] - found["harm"] > state.progress.best:
        state.progress.best = found["exact"] - found["harm"]
        state.save("best.pt")
