"""LeNet-5 on MNIST: training, on distorted digits. How good it is, `training.digits_eval` measures."""

from __future__ import annotations

import time
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from models.lenet import LeNet
from training import TrainingError
from training.mnist import Digits, Distortion, read_mnist
from training.report import Report
from training.runs import Ema, Run
from training.schedule import rate_at, step_rng
from training.settings import Settings

RECIPE = "classify-fast"
#: Of the 60,000, the last so many choose the checkpoint and are never learnt from.
VALIDATION = 5_000
_EVALUATION_BATCH = 1_000


def train_digits(
    data: Path,
    run: Path,
    *,
    epochs: int = 60,
    seed: int = 0,
    device: torch.device | None = None,
    batch: int = 128,
    learning_rate: float = 2e-3,
    distortion: Distortion | None = None,
) -> Path:
    """Train LeNet-5 on the MNIST files in `data`, or take up `run/last.pt`; returns the path of the best checkpoint.

    Learns from distorted digits with AdamW on a cosine schedule. `run/best.pt` holds the averaged weights of the
    epoch with the highest accuracy on the `VALIDATION` split, the later of two equals; the test digits are not read.
    Each epoch is saved, so a stopped run goes on at its last whole epoch, as if it had not been stopped.
    Raises TrainingError for what a user can mend.
    """
    if epochs < 1 or batch < 1:
        raise TrainingError(f"--epochs {epochs} and --batch {batch} must both be 1 or more.")
    device = device or torch.device("cpu")
    known = read_mnist(data, "train").to(device)
    held_out = min(VALIDATION, len(known) // 2)
    learnt, val = known.part(None, -held_out), known.part(-held_out, None)
    a_epoch = max(1, len(learnt) // batch)
    settings = Settings(
        steps=epochs * a_epoch, pixels=batch * 28 * 28, patches=(28,), optimizer="adamw", warmup=0.02,
        learning_rate=learning_rate, weight_decay=1e-4, final_rate=1e-3, clip=0.0, seed=seed, validate_every=a_epoch,
    )  # fmt: skip
    torch.manual_seed(seed)
    network = LeNet().to(device)
    state = Run(RECIPE, {}, run, settings, network)
    resumed = state.resume(device, same_settings=True)
    report = Report(run, settings, quiet=False)
    report.say(f"{RECIPE} on {device}, {len(learnt)} digits to learn from, {len(val)} to choose with, seed {seed}")
    if resumed:
        report.say(f"resumed {run / 'last.pt'} at step {state.progress.step}")
    try:
        while state.progress.step < settings.steps:
            _learn_epoch(state, learnt, distortion or Distortion(), report)
            accuracy = measure(_averaged(state.ema), val)
            report.figures(state.progress, {"accuracy": 100 * accuracy})
            if accuracy >= state.progress.best:
                state.progress.best = accuracy
                state.save_best()
            state.save_last()
    finally:
        report.close()
    return run / "best.pt"


def _learn_epoch(state: Run, digits: Digits, distortion: Distortion, report: Report) -> None:
    """Every digit once, in an order of its own; what is left of the last batch waits for the next epoch."""
    settings, progress = state.settings, state.progress
    batch, device = settings.pixels // 28**2, digits.labels.device
    started = time.monotonic() - progress.elapsed
    # Steps draw with rank 0: rank 1 is chance that none of them has.
    order = torch.randperm(len(digits), generator=step_rng(settings.seed + 1, progress.step, 1, device), device=device)
    for chosen in torch.split(order[: settings.validate_every * batch], batch):
        rng = step_rng(settings.seed, progress.step, 0, device)
        image = distortion(_floats(digits.images[chosen]), rng)
        loss = F.cross_entropy(state.network(image), digits.labels[chosen])
        torch.autograd.backward(loss)
        state.optimizers.set_rate(rate_at(progress.step / settings.steps, settings))
        state.optimizers.step()
        state.ema.update(state.network, progress.step)
        progress.step += 1
        progress.elapsed = time.monotonic() - started
        report.step(progress, loss)


def _floats(images: Tensor) -> Tensor:
    """(N, 28, 28) uint8 as a network's (N, 1, 28, 28) float32 in [0, 1]."""
    return images[:, None].float().div_(255)


def _averaged(ema: Ema) -> LeNet:
    network = LeNet().to(next(iter(ema.weights.values())).device)
    network.load_state_dict(ema.weights)
    return network.eval()


@torch.no_grad()
def measure(network: LeNet, digits: Digits) -> float:
    """The share of the digits that the network reads right."""
    parts = zip(
        torch.split(digits.images, _EVALUATION_BATCH), torch.split(digits.labels, _EVALUATION_BATCH), strict=True
    )
    right = sum(int((network(_floats(images)).argmax(dim=1) == labels).sum()) for images, labels in parts)
    return right / len(digits)
