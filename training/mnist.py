"""MNIST from its four original files, and distortions of its digits on the device."""

from __future__ import annotations

import gzip
import hashlib
import math
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from training import TrainingError

_FILES = {"train": "train", "test": "t10k"}
#: How an IDX file begins: two zeros, 8 for unsigned bytes, the number of axes.
_MAGIC = {1: 0x0801, 3: 0x0803}
#: The elastic field is drawn on so many points a side and smoothly joined: as wide as Simard's blur of 4 pixels.
_ELASTIC_POINTS = 5


@dataclass(frozen=True, slots=True)
class Digits:
    """Digits (N, 28, 28) uint8, ink bright, and what they say (N,) int64, 0 to 9."""

    images: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)

    def part(self, start: int | None, stop: int | None) -> Digits:
        """The digits from `start` to before `stop`, as a slice takes them."""
        return Digits(self.images[start:stop], self.labels[start:stop])

    def to(self, device: torch.device) -> Digits:
        """The same on another device."""
        return Digits(self.images.to(device), self.labels.to(device))


def read_mnist(folder: Path, split: Literal["train", "test"]) -> Digits:
    """The 60,000 digits to learn from or the 10,000 to measure with, in the files' order.

    A file that is named in `folder/MD5SUMS` must have that sum. Raises TrainingError for a file that
    is missing or broken.
    """
    sums = _read_sums(folder / "MD5SUMS")
    images = _read_idx(folder / f"{_FILES[split]}-images-idx3-ubyte.gz", axes=3, sums=sums)
    labels = _read_idx(folder / f"{_FILES[split]}-labels-idx1-ubyte.gz", axes=1, sums=sums)
    if images.shape != (len(labels), 28, 28):
        raise TrainingError(
            f"{folder}: {len(labels)} labels for pictures of {tuple(images.shape)}, where {len(labels)} of 28 x 28 "
            "are needed. Take all files from one place."
        )
    if len(labels) and labels.max() > 9:
        raise TrainingError(f"{folder}: a label says {labels.max()}, where 0 to 9 are known")
    return Digits(torch.from_numpy(images), torch.from_numpy(labels.astype(np.int64)))


def _read_sums(path: Path) -> dict[str, str]:
    if not path.is_file():
        return {}
    rows = (line.split() for line in path.read_text("utf-8").splitlines())
    return {row[1].removeprefix("*"): row[0].lower() for row in rows if len(row) == 2}


def _read_idx(path: Path, *, axes: int, sums: dict[str, str]) -> np.ndarray:
    """The bytes of a gzipped IDX file, in the shape that its header says."""
    try:
        packed = path.read_bytes()
    except FileNotFoundError:
        raise TrainingError(f"{path}: no such file. The folder must hold the four original files of MNIST.") from None
    found = hashlib.md5(packed, usedforsecurity=False).hexdigest()
    if sums.get(path.name, found) != found:
        raise TrainingError(f"{path}: its MD5 sum is {found}, not {sums[path.name]} as in MD5SUMS. Download it again.")
    try:
        content = gzip.decompress(packed)
        magic, *shape = struct.unpack_from(f">{1 + axes}I", content)
    except (OSError, EOFError, zlib.error, struct.error):
        raise TrainingError(f"{path}: not a whole gzip file of IDX data. Download it again.") from None
    values = np.frombuffer(content, np.uint8, offset=4 + 4 * axes)
    if magic != _MAGIC[axes] or values.size != math.prod(shape):
        raise TrainingError(
            f"{path}: {values.size} values under the header {magic:#06x} {shape}, which do not fit. Download it again."
        )
    return values.reshape(shape).copy()


@dataclass(frozen=True, slots=True, kw_only=True)
class Distortion:
    """How far digits are bent, at the most (`elastic`: the standard deviation); lengths in pixels of 28 x 28."""

    degrees: float = 12.0
    scale: float = 0.12
    shear: float = 0.2
    shift: float = 1.5
    elastic: float = 0.8
    thickness: float = 0.5

    def __call__(self, digits: Tensor, rng: torch.Generator) -> Tensor:
        """Digits (N, 1, H, W) in [0, 1], each distorted by chance of its own: same shape and range.

        Affine and elastic (LeCun et al. 1998; Simard et al. 2003, doi:10.1109/ICDAR.2003.1227801), then
        thinner or thicker strokes, as other pens and other thresholds make them.
        """
        count, _, height, width = digits.shape
        grid = F.affine_grid(self._affine(count, rng, height), [count, 1, height, width], align_corners=False)
        bends = torch.randn(count, 2, _ELASTIC_POINTS, _ELASTIC_POINTS, generator=rng, device=rng.device)
        field = F.interpolate(bends, (height, width), mode="bicubic", align_corners=True)
        grid = grid + field.permute(0, 2, 3, 1) * (2 * self.elastic / height)
        bent = F.grid_sample(digits, grid, mode="bilinear", padding_mode="zeros", align_corners=False)
        return self._weighed(bent, rng)

    def _affine(self, count: int, rng: torch.Generator, height: int) -> Tensor:
        """(count, 2, 3): where each output place looks, in units of half a side."""
        chance = torch.rand(6, count, generator=rng, device=rng.device) * 2 - 1
        angle = chance[0] * math.radians(self.degrees)
        grow_y, grow_x = torch.exp(chance[1:3] * self.scale)
        shear = chance[3] * self.shear
        cos, sin = torch.cos(angle), torch.sin(angle)
        shift_y, shift_x = chance[4:] * (2 * self.shift / height)
        rows = (
            torch.stack((cos * grow_x, (cos * shear - sin) * grow_y, shift_x), dim=1),
            torch.stack((sin * grow_x, (sin * shear + cos) * grow_y, shift_y), dim=1),
        )
        return torch.stack(rows, dim=1)

    def _weighed(self, digits: Tensor, rng: torch.Generator) -> Tensor:
        """Each digit mixed with its largest or smallest neighbours along the axes."""
        chance = (torch.rand(len(digits), 1, 1, 1, generator=rng, device=rng.device) * 2 - 1) * self.thickness
        thick = _widened(digits)
        thin = -_widened(-digits)
        return torch.where(chance > 0, digits.lerp(thick, chance.abs()), digits.lerp(thin, chance.abs()))


def _widened(digits: Tensor) -> Tensor:
    down = F.max_pool2d(digits, (3, 1), stride=1, padding=(1, 0))
    return torch.maximum(down, F.max_pool2d(digits, (1, 3), stride=1, padding=(0, 1)))
