"""Is a picture black-and-white, whatever its tint? A measured rule for grey, toned and yellowed prints.

In a print of one pigment the chroma is a curve over the luma, and paper that yellows adds what changes slowly from
place to place. Both are fitted; a colour photo is one where much is left, in the fine and in the coarse, in amount and
in hue. Thresholds were set on the train and val splits of the project's photos, made grey, sepia, toned and yellowed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from restore.color import shrink, to_lab

#: Longest side that is looked at: JPEG's noise in chroma is averaged away, what has a colour of its own is not.
SIDE = 128
#: Chroma that 95 % of a grey picture's pixels stay under; the faintest toning that is seen has twice as much.
GREY_BELOW = 1.5
#: Variety from which on a picture is in colour. On 4,000 pictures made from train and val photos 0.4 % were called
#: wrong; any threshold from 4.5 to 5 gives 0.5 % or less.
COLOUR_FROM = 4.75

_KNOTS = 11
_BLOCK = 4
_ROUNDS = 4
_PART = 512
#: Added to what is measured before its logarithm: less than this is rounding.
_FLOOR = 0.5

_Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Verdict:
    """What kind of picture it is, and the figures that say so."""

    kind: Literal["colour", "grey", "toned"]
    chroma: float
    """Median chroma, CIELAB."""
    variety: float
    """Chroma that one pigment on unevenly aged paper does not explain; COLOUR_FROM and more is colour."""

    @property
    def is_monochrome(self) -> bool:
        return self.kind != "colour"


def has_two_levels(pixels: np.ndarray) -> bool:
    """Whether a picture, of any shape and type, is drawn in two levels, as a scan without grey is."""
    low, high = pixels.min(), pixels.max()
    return bool(((pixels == low) | (pixels == high)).all())


def judge(pixels: np.ndarray) -> Verdict:
    """The verdict on a picture: (H, W, 3) or (H, W), uint8, uint16 or float in [0, 1].

    Grey is without any tint; toned is sepia, cyanotype, yellowed or the like, also in two tones. The same pixels
    give the same verdict.
    """
    if pixels.ndim == 2:
        return Verdict("grey", 0.0, 0.0)
    lab = _reduced_lab(pixels)
    ab = lab[..., 1:].reshape(-1, 2)
    chroma = np.hypot(ab[:, 0], ab[:, 1])
    median = float(np.median(chroma))
    if np.quantile(chroma, 0.95) < GREY_BELOW:
        return Verdict("grey", median, 0.0)
    variety = _variety(lab, ab, median)
    return Verdict("colour" if variety >= COLOUR_FROM else "toned", median, variety)


def _reduced_lab(pixels: np.ndarray) -> _Array:
    height, width = pixels.shape[:2]
    scale = min(1.0, SIDE / max(height, width))
    top = np.iinfo(pixels.dtype).max if np.issubdtype(pixels.dtype, np.integer) else 1
    small = shrink(pixels, max(1, round(height * scale)), max(1, round(width * scale)))
    return to_lab(small / np.float32(top)).astype(np.float64)


def _variety(lab: _Array, ab: _Array, median: float) -> float:
    """Geometric mean of four remainders: of single pixels and of blocks, as a whole and across the tone's own hue.

    A print's errors lie along its hue (clipped lights, stains); a few strong colours show in the highest percents.
    """
    left = _unexplained(_basis(lab), ab)
    tone = ab - left
    # Below a chroma of 2 the tone has no hue to speak of.
    hue = tone / np.maximum(np.hypot(tone[:, 0], tone[:, 1]), 2)[:, None]
    across = left[:, 0] * hue[:, 1] - left[:, 1] * hue[:, 0]
    size = lab.shape[:2]
    coarse, coarse_across = _blocks(left, size), _blocks(across[:, None], size)
    measured = (
        np.quantile(np.hypot(left[:, 0], left[:, 1]), 0.99),
        np.quantile(np.hypot(coarse[:, 0], coarse[:, 1]), 0.98),
        np.quantile(np.abs(across), 0.99),
        np.quantile(np.abs(coarse_across), 0.98),
    )
    # A strong tone leaves a little more than a faint one.
    return float(np.exp(np.mean(np.log(np.array(measured) + _FLOOR)) - 0.1 * np.log(median + _FLOOR)))


def _basis(lab: _Array) -> _Array:
    """(pixels, functions): hats over L*, a surface of second order over the place, and its tilt with the luma."""
    height, width = lab.shape[:2]
    luma = lab[..., 0].ravel()
    y, x = (axis.ravel() for axis in np.meshgrid(_axis(height), _axis(width), indexing="ij"))
    step = 100 / (_KNOTS - 1)
    hats = [np.clip(1 - np.abs(luma / step - knot), 0, 1) for knot in range(_KNOTS)]
    tilt = luma / 50 - 1
    return np.stack([*hats, x, y, x * x, x * y, y * y, tilt * x, tilt * y], axis=1)


def _axis(size: int) -> _Array:
    return np.linspace(-1, 1, size) if size > 1 else np.zeros(1)


def _unexplained(basis: _Array, ab: _Array) -> _Array:
    """What is left of the chroma after a robust fit: least squares, again with far pixels counted less."""
    weight = np.ones(len(ab))
    # So small that it matters only to a hat over a luma that the picture lacks.
    ridge = np.eye(basis.shape[1]) * (1e-3 * len(ab) / basis.shape[1])
    left = ab
    for _ in range(_ROUNDS):
        weighted = basis * weight[:, None]
        fitted = np.linalg.solve(_product(weighted, basis) + ridge, _product(weighted, ab))
        left = ab - np.einsum("pf,fc->pc", basis, fitted)
        distance = np.hypot(left[:, 0], left[:, 1])
        weight = 1 / np.maximum(distance / max(float(np.median(distance)), 0.3), 1)
    return left


def _product(a: _Array, b: _Array) -> _Array:
    """The transpose of `a` times `b`, both (pixels, ...), in parts so small that BLAS keeps to one thread.

    With more it waits for cores that onnxruntime's threads hold: the verdict then takes ten times as long.
    """
    parts = [a[at : at + _PART].T @ b[at : at + _PART] for at in range(0, len(a), _PART)]
    product: _Array = np.sum(parts, axis=0)
    return product


def _blocks(values: _Array, size: tuple[int, int]) -> _Array:
    """Means over blocks of 4 x 4, less where the picture is smaller: (pixels, C) -> (blocks, C)."""
    block = min(_BLOCK, *size)
    height, width = (side // block for side in size)
    picture = values.reshape(*size, -1)[: height * block, : width * block]
    means: _Array = picture.reshape(height, block, width, block, -1).mean((1, 3)).reshape(height * width, -1)
    return means
