"""LeNet-5 on MNIST: training, the one reading of the test digits, and the same digits as picture files."""

from __future__ import annotations

import dataclasses
import io
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from models.lenet import LeNet
from restore import digits as digits_module
from restore import image as image_module
from restore.errors import UnreadableImage
from training import TrainingError
from training.loop import Ema
from training.mnist import Digits, Distortion, read_mnist
from training.optimizers import Optimizers
from training.report import Report
from training.schedule import Progress, rate_at, step_rng
from training.settings import Settings
from training.weights import load_checkpoint

RECIPE = "digits"
#: Of the 60,000, the last so many choose the checkpoint and are never learnt from.
VALIDATION = 5_000
_EVALUATION_BATCH = 1_000


@dataclasses.dataclass(slots=True)
class _Run:
    """All that training changes, and how it is written down: each file whole or not at all."""

    folder: Path
    settings: Settings
    network: LeNet
    optimizers: Optimizers
    ema: Ema
    progress: Progress = dataclasses.field(default_factory=Progress)

    def save(self, name: str, **state: object) -> None:
        about = {
            "recipe": RECIPE,
            "hparams": {},
            "settings": dataclasses.asdict(self.settings),
            "progress": dataclasses.asdict(self.progress),
            "ema": self.ema.weights,
        }
        self.folder.mkdir(parents=True, exist_ok=True)
        partial = (self.folder / name).with_suffix(".partial")
        torch.save(about | state, partial)
        partial.replace(self.folder / name)

    def save_last(self) -> None:
        self.save("last.pt", network=self.network.state_dict(), optimizers=self.optimizers.state_dict())

    def resume(self, device: torch.device) -> bool:
        """Take up `last.pt` where there is one. Raises TrainingError if it was trained otherwise."""
        path = self.folder / "last.pt"
        if not path.is_file():
            return False
        state = load_checkpoint(path, device)
        if state["recipe"] != RECIPE or state["settings"] != dataclasses.asdict(self.settings):
            raise TrainingError(f"{path}: a run with other settings. Give the same, or take another --run folder.")
        self.network.load_state_dict(state["network"])
        self.optimizers.load_state_dict(state["optimizers"])
        self.ema.weights = state["ema"]
        self.progress = Progress(**state["progress"])
        return True


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
    state = _Run(run, settings, network, Optimizers(network, settings), Ema(network, settings.ema))
    resumed = state.resume(device)
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
                state.save("best.pt")
            state.save_last()
    finally:
        report.close()
    return run / "best.pt"


def _learn_epoch(state: _Run, digits: Digits, distortion: Distortion, report: Report) -> None:
    """Every digit once, in an order of its own; what is left of the last batch waits for the next epoch."""
    settings, progress = state.settings, state.progress
    batch, device = settings.pixels // 28**2, digits.labels.device
    started = time.monotonic() - progress.elapsed
    # Steps count from 0, so a negative one is chance that no step draws.
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


def load_lenet(checkpoint: Path) -> LeNet:
    """The averaged network of a checkpoint, on the CPU. Raises TrainingError if it is not one of `train_digits`."""
    state: dict[str, Any] = load_checkpoint(checkpoint, torch.device("cpu"))
    if state["recipe"] != RECIPE:
        raise TrainingError(f"{checkpoint}: a checkpoint of {state['recipe']}, not of {RECIPE}")
    network = LeNet()
    network.load_state_dict(state["ema"])
    return network.eval()


def evaluate(checkpoint: Path, data: Path) -> float:
    """The share of MNIST's 10,000 test digits that a checkpoint reads right: to be asked once, at the end."""
    return measure(load_lenet(checkpoint), read_mnist(data, "test"))


#: Paper and ink that are told apart by brightness, by hue alone, or by both; ink darker and ink brighter.
_COLOURS = (
    ((250, 240, 170), (20, 30, 120)),
    ((180, 220, 250), (60, 20, 20)),
    ((150, 60, 60), (250, 250, 240)),
    ((120, 180, 120), (200, 90, 120)),
)
_BORDER = 6
Picture = Callable[[np.ndarray, int], np.ndarray]


def _on_coloured_paper(digit: np.ndarray, index: int) -> np.ndarray:
    paper, ink = np.array(_COLOURS[index % len(_COLOURS)], np.float32)
    mixed: np.ndarray = np.rint(paper + (ink - paper) * (digit[..., None] / np.float32(255)))
    return mixed.astype(np.uint8)


def _scaled(picture: np.ndarray, factor: float) -> np.ndarray:
    height, width = (round(side * factor) for side in picture.shape[:2])
    larger: np.ndarray = np.asarray(Image.fromarray(picture).resize((width, height), Image.Resampling.BICUBIC))
    return larger


def _with_border(picture: np.ndarray) -> np.ndarray:
    sides = [(_BORDER, _BORDER)] * 2 + [(0, 0)] * (picture.ndim - 2)
    return np.pad(picture, sides, constant_values=128)


#: A test digit (28, 28) uint8 and its number -> the picture that is written as PNG.
VARIANTS: Mapping[str, Picture] = MappingProxyType({
    "plain": lambda digit, _: digit,
    "inverted": lambda digit, _: 255 - digit,
    "coloured paper": _on_coloured_paper,
    "scaled by 1.5": lambda digit, _: _scaled(digit, 1.5),
    "scaled by 4": lambda digit, _: _scaled(digit, 4),
    "grey border": lambda digit, _: _with_border(digit),
    "inverted, grey border": lambda digit, _: _with_border(255 - digit),
    "coloured paper, scaled by 4, grey border": lambda digit, index: _with_border(
        _scaled(_on_coloured_paper(digit, index), 4)
    ),
})  # fmt: skip


def evaluate_files(network: LeNet, digits: Digits, *, variants: Mapping[str, Picture] = VARIANTS) -> dict[str, float]:
    """The share of the digits that is read right from PNG files, for each way of making a picture of them.

    Each is written as PNG, read as a user's file is, and found by `restore.digits.as_mnist`; one that is not
    found counts as wrong.
    """
    shares = {}
    for name, picture in variants.items():
        found = [_through_png(picture(digit, index)) for index, digit in enumerate(digits.images.numpy())]
        shares[name] = _share_right(network, found, digits.labels)
    return shares


def _through_png(picture: np.ndarray) -> np.ndarray | None:
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "PNG")
    try:
        return digits_module.as_mnist(image_module.read(file.getvalue()).pixels)
    except UnreadableImage:
        return None


@torch.no_grad()
def _share_right(network: LeNet, found: list[np.ndarray | None], labels: Tensor) -> float:
    nothing = np.zeros((28, 28), np.float32)
    stack = torch.from_numpy(np.stack([nothing if digit is None else digit for digit in found]))[:, None]
    read = torch.cat([network(part).argmax(dim=1) for part in torch.split(stack, _EVALUATION_BATCH)])
    was_found = torch.tensor([digit is not None for digit in found])
    return float(((read == labels) & was_found).double().mean())
