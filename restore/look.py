"""What a planner is shown of a picture of any size: crops at full size, the whole small, and smaller."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from PIL import Image as PillowImage

from restore.image import to_8_bits

#: Places along each axis where a crop may lie.
_PLACES = 6
#: Sides of the blocks whose means say how flat a crop is: over them noise is averaged away.
_BLOCK = 8
#: Along each axis, of which a pixel of the view is the mean.
_SAMPLES = 4
_SMOOTH = PillowImage.Resampling.BILINEAR
#: Means beyond these are nearly black or white: noise is clipped there.
_CLIPPED = (0.04, 0.96)


class Look(NamedTuple):
    """(K, 3, S, S), (3, T, T) and (3, H, W), uint8: RGB."""

    crops: np.ndarray
    thumbnail: np.ndarray
    view: np.ndarray


def look(pixels: np.ndarray, *, crops: int, side: int, thumbnail: int, longest: int) -> Look:
    """`crops` windows of `side` pixels, the whole as `thumbnail` x `thumbnail`, its sides squeezed, and a `view` of it.

    The view has the picture's own sides, shrunk where the longest is above `longest`.

    pixels: (H, W, 3) or (H, W), uint8 or uint16. Half of the windows are the flattest of the picture, where noise is
    plainest, the others lie spread from flat to busy. The same pixels give the same look. A picture smaller than a
    window is mirrored outwards.
    """
    plain = _plain(pixels, side)
    height, width = plain.shape[:2]
    corners = [
        (int(y), int(x))
        for y in np.unique(np.linspace(0, height - side, _PLACES).astype(int))
        for x in np.unique(np.linspace(0, width - side, _PLACES).astype(int))
    ]
    windows = [plain[y : y + side, x : x + side] for y, x in corners]
    order = np.argsort([_busyness(window) for window in windows], kind="stable")
    flattest = order[: crops - crops // 2]
    spread = order[np.linspace(0, len(order) - 1, crops // 2).round().astype(int)]
    chosen = np.resize(np.concatenate((flattest, spread)), crops)
    stack = np.stack([windows[index].transpose(2, 0, 1) for index in chosen])
    scale = min(1.0, longest / max(height, width))
    sides = max(1, round(width * scale)), max(1, round(height * scale))
    # Most of a large photo's pixels need not be read: `_SAMPLES` squared of them for each of the view are plenty.
    stride = max(1, int(1 / (_SAMPLES * scale)))
    view = PillowImage.fromarray(plain[::stride, ::stride]).resize(sides, _SMOOTH, reducing_gap=2.0)
    small = view.resize((thumbnail, thumbnail), _SMOOTH, reducing_gap=2.0)
    return Look(stack, _channels_first(small), _channels_first(view))


def _channels_first(picture: PillowImage.Image) -> np.ndarray:
    return np.ascontiguousarray(np.asarray(picture).transpose(2, 0, 1))


def _plain(pixels: np.ndarray, least: int) -> np.ndarray:
    """(H, W, 3) uint8, both sides `least` or more."""
    plain = to_8_bits(pixels)
    if plain.ndim == 2:
        plain = np.repeat(plain[..., None], 3, axis=2)
    height, width = plain.shape[:2]
    rows, columns = max(0, least - height), max(0, least - width)
    if rows or columns:
        plain = np.pad(plain, ((0, rows), (0, columns), (0, 0)), mode="symmetric")
    return np.ascontiguousarray(plain)


def _busyness(window: np.ndarray) -> float:
    """How much the means of blocks differ; of a window that is nearly black or white, more than of any other."""
    side = window.shape[0] // _BLOCK * _BLOCK
    blocks = window[:side, :side].reshape(side // _BLOCK, _BLOCK, side // _BLOCK, _BLOCK, 3).mean((1, 3)) / 255
    clipped = not _CLIPPED[0] < float(blocks.mean()) < _CLIPPED[1]
    return float(blocks.std((0, 1)).mean()) + clipped
