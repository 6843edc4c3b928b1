"""How well digits are read: MNIST's test digits as they are, and as the picture files that users have."""

from __future__ import annotations

import argparse
import io
import json
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from types import MappingProxyType

import numpy as np
from PIL import Image

from restore import image as image_module
from restore.classifier import Classifier
from restore.engine import open_model
from restore.errors import UnreadableImage
from training.mnist import Digits, read_mnist
from training.tracking import tracked

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


@dataclass(frozen=True, slots=True, kw_only=True)
class DigitsRow:
    """One way of giving a digit: shares of all digits, and seconds for one of them."""

    given: str
    right: float
    not_found: float
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class DigitsReport:
    """All that one run measured of one model."""

    model: str
    digits: int
    rows: Sequence[DigitsRow]
    command: str

    def to_markdown(self) -> str:
        """One pipe table."""
        lines = [
            f"MNIST, {self.digits:,} test digits, read by {self.model}.",
            "",
            "| given as | right | no digit found | ms a digit |",
            "|---|---|---|---|",
        ]
        lines += [
            f"| {row.given} | {row.right:.2%} | {row.not_found:.2%} | {1000 * row.seconds:.2f} |" for row in self.rows
        ]
        return "\n".join(lines)

    def to_json(self) -> str:
        """Everything, for machines."""
        figures = {f"accuracy/{row.given}": round(100 * row.right, 3) for row in self.rows}
        published = {"published": {self.model: figures}, "markdown": self.to_markdown()}
        return json.dumps(asdict(self) | published, indent=2) + "\n"


def add_flags(parser: argparse.ArgumentParser) -> None:
    """The flags of `eval classify`."""
    parser.add_argument("--data", type=Path, required=True, metavar="FOLDER", help="the four original files of MNIST")
    parser.add_argument("--model", default="classify", metavar="NAME_OR_PATH", help="(default: the shipped model)")
    parser.add_argument("--limit", type=int, metavar="N", help="the first N test digits (default: all 10,000)")


def measure(args: argparse.Namespace, command: str) -> DigitsReport:
    """Read the test digits as 28 x 28 floats, and through a PNG file for each of `VARIANTS`."""
    classifier = open_model(args.model, kind=Classifier, device="cpu", threads=args.threads)
    digits = read_mnist(args.data, "test").part(None, args.limit)
    rows = [_as_they_are(classifier, digits)]
    for name, picture in VARIANTS.items():
        rows.append(_as_files(classifier, digits, name, picture))
        print(f"{name}: {rows[-1].right:.2%}", file=sys.stderr)
    return DigitsReport(model=classifier.spec.name, digits=len(digits), rows=rows, command=command)


def _as_they_are(classifier: Classifier, digits: Digits) -> DigitsRow:
    images = digits.images.numpy()[:, None].astype(np.float32) / 255
    started = time.perf_counter()
    scores = np.concatenate([
        classifier.run_batch({"image": part})["scores"] for part in np.array_split(images, -(-len(images) // 500))
    ])  # fmt: skip
    seconds = (time.perf_counter() - started) / len(images)
    labels = np.array([int(label) for label in classifier.spec.labels])[scores.argmax(axis=1)]
    right = float((labels == digits.labels.numpy()).mean())
    return DigitsRow(given="28 x 28 numbers", right=right, not_found=0.0, seconds=seconds)


def _as_files(classifier: Classifier, digits: Digits, name: str, picture: Picture) -> DigitsRow:
    """Each written as PNG, then read, found and told as a user's file is; one that is not found counts as wrong."""
    pairs = list(zip(digits.images.numpy(), digits.labels.tolist(), strict=True))
    right = lost = 0
    seconds = 0.0
    for index, (digit, label) in enumerate(tracked(pairs, name, len(pairs))):
        file = io.BytesIO()
        Image.fromarray(picture(digit, index)).save(file, "PNG", compress_level=1)
        started = time.perf_counter()
        try:
            right += classifier(image_module.read(file.getvalue())).label == str(label)
        except UnreadableImage:
            lost += 1
        seconds += time.perf_counter() - started
    count = len(pairs)
    return DigitsRow(given=f"PNG, {name}", right=right / count, not_found=lost / count, seconds=seconds / count)
