"""Layers that a mark is drawn with: premultiplied float32 (H, W, 4) in [0, 1], and ink, (H, W) in [0, 1]."""

from __future__ import annotations

import colorsys
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageFilter

Array = npt.NDArray[Any]


def fill(ink: Array, colour: Array) -> Array:
    """Premultiplied RGBA of an ink (h, w) in one colour, (3,) or (h, w, 3)."""
    return np.concatenate((ink[..., None] * colour, ink[..., None]), axis=2).astype(np.float32)


def over(above: Array, below: Array) -> Array:
    """One layer laid over another."""
    both: Array = above + (1 - above[..., 3:]) * below
    return both


def blur(ink: Array, radius: float) -> Array:
    """Gaussian blur; `radius` is its standard deviation in pixels."""
    image = Image.fromarray(np.rint(ink * 255).astype(np.uint8))
    blurred: Array = np.asarray(image.filter(ImageFilter.GaussianBlur(radius)), np.float32) / 255
    return blurred


def grow(ink: Array, radius: float) -> Array:
    """The ink and a rim of about `radius` pixels around it, with round corners."""
    grown: Array = np.clip(blur(ink, radius) * 4, 0, 1)
    return grown


def shift(ink: Array, down: int, right: int) -> Array:
    """Moved without coming in again at the other side: the margin is wider than any shift."""
    return np.roll(ink, (down, right), axis=(0, 1))


def put(canvas: Array, piece: Array, top: int, left: int) -> None:
    """Lay a piece over the canvas in place; what sticks out is cut."""
    y0, x0 = max(0, top), max(0, left)
    y1, x1 = min(canvas.shape[0], top + piece.shape[0]), min(canvas.shape[1], left + piece.shape[1])
    if y0 < y1 and x0 < x1:
        canvas[y0:y1, x0:x1] = over(piece[y0 - top : y1 - top, x0 - left : x1 - left], canvas[y0:y1, x0:x1])


def turned(canvas: Array, angle: float, side: int) -> Array:
    """The middle `side` x `side` of a canvas turned by `angle` degrees."""
    if angle:
        # Premultiplied, so that Pillow may treat the four channels alike.
        image = Image.fromarray(np.rint(canvas * 255).astype(np.uint8), "RGBA")
        canvas = np.asarray(image.rotate(angle, Image.Resampling.BICUBIC), np.float32) / 255
    start = (canvas.shape[0] - side) // 2
    return canvas[start : start + side, start : start + side].copy()


def tight(layer: Array) -> Array:
    """Cut to what is not wholly transparent."""
    seen = layer[..., 3] > 1 / 255
    rows, columns = np.flatnonzero(seen.any(axis=1)), np.flatnonzero(seen.any(axis=0))
    if not len(rows):
        return layer
    return layer[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]


def straight(layer: Array) -> Array:
    """The layer as uint8 with its colour not multiplied by the opacity, as files have it."""
    alpha = layer[..., 3:]
    colour = np.where(alpha > 0, layer[..., :3] / np.maximum(alpha, 1e-6), 0)
    levels: Array = np.rint(np.clip(np.concatenate((colour, alpha), axis=2), 0, 1) * 255).astype(np.uint8)
    return levels


def random_colour(rng: np.random.Generator) -> Array:
    """A mark's colour, (3,): mostly near white, often grey or black, else saturated."""
    chance = rng.random()
    for share, low, high in ((0.45, 0.85, 1.0), (0.57, 0.0, 0.15), (0.7, 0.2, 0.8)):
        if chance < share:
            return np.full(3, rng.uniform(low, high), np.float32)
    return np.array(colorsys.hsv_to_rgb(rng.random(), rng.uniform(0.3, 1), rng.uniform(0.4, 1)), np.float32)


def dress(ink: Array, rng: np.random.Generator, *, line: float | None = None) -> Array:
    """An ink in colour: plain, gradient, outlined, hollow or embossed, with or without a shadow.

    `line` is the height of one line of writing, from which widths follow.
    """
    unit = max(1, round((line or min(ink.shape)) * rng.uniform(0.02, 0.06)))
    ink = np.pad(ink, 4 * unit + 2)
    colour = random_colour(rng)
    chance = rng.random()
    if chance < 0.5:
        layer = fill(ink, colour)
    elif chance < 0.62:
        ramp = np.linspace(0, 1, ink.shape[int(rng.integers(2))], dtype=np.float32)
        across = ramp[None, :, None] if len(ramp) == ink.shape[1] else ramp[:, None, None]
        layer = fill(ink, colour * (1 - across) + random_colour(rng) * across)
    elif chance < 0.78:
        edge = np.full(3, 0.0 if colour.mean() > 0.5 else 1.0, np.float32) if rng.random() < 0.7 else random_colour(rng)
        layer = over(fill(ink, colour), fill(grow(ink, unit), edge))
    elif chance < 0.88:
        layer = fill(np.clip(grow(ink, max(1, unit / 2)) - ink, 0, 1), colour)
        layer = over(layer, fill(ink * rng.uniform(0, 0.4), colour))
    else:
        light, dark = np.clip(ink - shift(ink, unit, unit), 0, 1), np.clip(ink - shift(ink, -unit, -unit), 0, 1)
        body = fill(ink * rng.uniform(0.1, 0.5), np.full(3, 0.6, np.float32))
        layer = over(fill(light, np.ones(3)), over(fill(dark, np.zeros(3)), body))
    if rng.random() < 0.25:
        cast = blur(shift(layer[..., 3], 2 * unit, 2 * unit), unit * rng.uniform(0.3, 1))
        layer = over(layer, fill(cast * rng.uniform(0.3, 0.8), np.zeros(3, np.float32)))
    return layer
