"""Colour for a black-and-white picture: a network's guess at a small size, the user's hints, joined to the full luma.

Here is all that is not the network: hints and palettes as its inputs, what is done so that a hint is kept, and the
way back to full size. `restore.colorizer` runs it.
"""

from __future__ import annotations

import functools
import json
import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.resources import files

import numpy as np

from restore import color
from restore.color import FULL_CHROMA, PALETTE_SIZE, Floats
from restore.errors import BadOption
from restore.image import Image

#: Strength: how much of the guessed chroma is used, from none to this many times.
MOST_STRENGTH = 1.5


@dataclass(frozen=True, slots=True)
class _Carried:
    """How far what is left to a hint's colour is carried: shares of the longer side, and L*.

    Among several hints the nearest rules, the more so the higher `rule`; `fade` is the power to which nearness scales.
    """

    reach: float
    luma_reach: float
    rule: float
    fade: float
    most_hints: int


#: First over the thing, then so that each hint is met at its own place.
_PASSES = (_Carried(0.2, 6.0, 2.0, 0.5, 256), _Carried(0.03, 12.0, 4.0, 1.0, 100_000))
#: CIE94 from which on two versions are plainly different; in CIEDE2000 it is about 5.
PLAIN_DIFFERENCE = 6.0
#: A hints picture is transparent where it says nothing; opacity from here on, in [0, 1], counts.
_OPAQUE = 0.5

#: A network's inputs by the contract's names -> its outputs.
Run = Callable[[dict[str, np.ndarray]], dict[str, np.ndarray]]


@dataclass(frozen=True, slots=True)
class Hint:
    """The colour that a thing should have: at a pixel, counted from the left and the top of the upright picture.

    Of `rgb`, sRGB 0-255, only a* and b* count: how bright the thing is, the picture says.
    """

    x: int
    y: int
    rgb: tuple[int, int, int]

    @classmethod
    def parse(cls, text: str) -> Hint:
        """A hint as a user writes it, `410,220=#7b2d26`. Raises BadOption for any other text."""
        found = re.fullmatch(r"\s*(\d+)\s*,\s*(\d+)\s*=\s*#?([0-9a-fA-F]{6}|[0-9a-fA-F]{3})\s*", text)
        if not found:
            raise BadOption(f"--hint {text} is not X,Y=#rrggbb, as in --hint 410,220=#7b2d26")
        digits = found[3] if len(found[3]) == 6 else "".join(2 * digit for digit in found[3])
        red, green, blue = bytes.fromhex(digits)
        return cls(int(found[1]), int(found[2]), (red, green, blue))


@dataclass(frozen=True, slots=True, eq=False)
class Guess:
    """Chroma at the working size, and the luma that it belongs to: (h, w, 2) a* b*, and (h, w) L*."""

    ab: Floats
    luma: Floats


def working_shape(height: int, width: int, longest: int) -> tuple[int, int]:
    """Height and width of the picture that a network sees: shrunk to `longest`, never enlarged."""
    scale = min(1.0, longest / max(height, width))
    return max(1, round(height * scale)), max(1, round(width * scale))


def check_hints(hints: Sequence[Hint], height: int, width: int) -> None:
    """Raise BadOption for a hint that lies outside a picture of this size."""
    for hint in hints:
        if not (0 <= hint.x < width and 0 <= hint.y < height):
            raise BadOption(
                f"the hint at {hint.x},{hint.y} lies outside the picture of {width} x {height} pixels. "
                f"Count from the left and the top: 0,0 to {width - 1},{height - 1}."
            )


def hints_in(dots: Image, height: int, width: int, *, longest: int) -> list[Hint]:
    """The hints in a transparent picture with coloured dots or strokes, laid over one of height x width.

    One for each place of the working size that is painted, with its mean colour. Raises BadOption if the sizes
    differ, nothing is transparent, or nothing is painted.
    """
    if (dots.height, dots.width) != (height, width):
        raise BadOption(
            f"the hints are {dots.width} x {dots.height} pixels and the picture {width} x {height}. "
            "Paint them on a layer of the picture's own size."
        )
    if dots.alpha is None:
        raise BadOption("the hints have no transparency: paint dots on a transparent layer and save it as PNG.")
    top = np.iinfo(dots.alpha.dtype).max
    painted = dots.alpha >= _OPAQUE * top
    if not painted.any():
        raise BadOption("the hints are empty: nothing opaque is painted on the layer.")
    rows, columns = np.nonzero(painted)
    small = working_shape(height, width, longest)
    cell = (rows * small[0] // height) * small[1] + columns * small[1] // width
    cells, of_pixel, counts = np.unique(cell, return_inverse=True, return_counts=True)
    colours = dots.pixels[rows, columns].reshape(len(rows), -1) * (255 / top)
    values = [
        np.bincount(of_pixel, plane) / counts for plane in (rows, columns, *np.broadcast_to(colours, (len(rows), 3)).T)
    ]
    return [
        Hint(int(x), int(y), (round(red), round(green), round(blue)))
        for _, y, x, red, green, blue in zip(cells, *values, strict=True)
    ]


def palette_from(image: Image, *, longest: int) -> Floats:
    """The palette of a photo in colour, (PALETTE_SIZE,), as `restore.color.palette_of` gives it."""
    small = color.shrink(image.pixels, *working_shape(image.height, image.width, longest))
    lab = color.to_lab(small / np.float32(np.iinfo(image.pixels.dtype).max))
    return color.palette_of(lab[..., 1:])


@functools.cache
def palettes() -> Floats:
    """Palettes of photos, as unlike each other as photos are: (K, PALETTE_SIZE), made by `python -m training palettes`.

    Stored as whole numbers, of which a histogram's add up to about 10,000.
    """
    stored = json.loads(files("restore").joinpath("palettes.json").read_text("utf-8"))
    found = np.zeros((len(stored), PALETTE_SIZE), np.float32)
    for row, palette in zip(found, stored, strict=True):
        for place, value in palette.items():
            row[int(place)] = value / 10_000
    return found


def palette_distance(palette: np.ndarray, others: np.ndarray) -> Floats:
    """How unlike palettes are, (K,): Hellinger's distance of the histograms, and the difference of the mean chroma."""
    roots = np.sqrt(np.maximum(others[:, :-1], 0)) - np.sqrt(np.maximum(palette[:-1], 0))
    distance: Floats = np.hypot(np.linalg.norm(roots, axis=1), 4 * (others[:, -1] - palette[-1]))
    return distance


def difference(first: Guess, second: Guess) -> float:
    """Mean colour difference CIE94 (CIE 116-1995) of two guesses for one luma."""
    one, other = (np.hypot(guess.ab[..., 0], guess.ab[..., 1]) for guess in (first, second))
    by_chroma = one - other
    by_hue = np.maximum(np.square(first.ab - second.ab).sum(axis=-1) - by_chroma**2, 0)
    mean = np.sqrt(one * other)
    return float(np.sqrt(np.square(by_chroma / (1 + 0.045 * mean)) + by_hue / np.square(1 + 0.015 * mean)).mean())


def guess(
    run: Run,
    luma: Floats,
    *,
    longest: int,
    hints: Sequence[Hint] = (),
    palette: np.ndarray | None = None,
    strength: float = 1.0,
) -> Guess:
    """The network's chroma for a picture's full-size L*, (H, W), with the hints kept.

    `strength` scales what the network guessed, not what a hint says.
    """
    height, width = luma.shape
    small = color.shrink(luma, *working_shape(height, width, longest)).clip(0, 100)
    places, colours = _on_grid(hints, (height, width), small)
    grey = color.from_lab(np.stack([small, np.zeros_like(small), np.zeros_like(small)], axis=-1)).clip(0, 1)
    planes = np.zeros((1, 3, *small.shape), np.float32)
    planes[0, :2, places[:, 0], places[:, 1]] = colours / FULL_CHROMA
    planes[0, 2, places[:, 0], places[:, 1]] = 1
    told = np.zeros((1, PALETTE_SIZE), np.float32) if palette is None else np.asarray(palette, np.float32)[None]
    answers = run(
        {
            "image": np.ascontiguousarray(grey.transpose(2, 0, 1)[None]),
            "hints": planes,
            "palette": told,
            "use_palette": np.array([palette is not None], np.float32),
        }
    )
    ab = np.ascontiguousarray(answers["ab"][0].transpose(1, 2, 0)) * np.float32(strength)
    for carried in _PASSES:
        ab += _left_over(ab, small, places, colours, carried)
    return Guess(np.clip(ab, -FULL_CHROMA, FULL_CHROMA), small)


def _on_grid(hints: Sequence[Hint], size: tuple[int, int], small: Floats) -> tuple[np.ndarray, Floats]:
    """Where hints lie at the working size, (K, 2) rows and columns, each once, and their a* b*, (K, 2), in gamut."""
    if not hints:
        return np.zeros((0, 2), np.intp), np.zeros((0, 2), np.float32)
    at = np.array([(hint.y * small.shape[0] // size[0], hint.x * small.shape[1] // size[1]) for hint in hints])
    lab = color.to_lab(np.array([hint.rgb for hint in hints], np.uint8)[None])[0]
    # Of two hints at one place the later one counts: it is the user's second thought.
    last = {tuple(place): index for index, place in enumerate(at.tolist())}
    kept = sorted(last.values())
    places = at[kept]
    lab = lab[kept]
    lab[:, 0] = small[places[:, 0], places[:, 1]]
    return places, color.into_gamut(lab[None])[0, :, 1:]


def _left_over(ab: Floats, luma: Floats, places: np.ndarray, colours: Floats, carried: _Carried) -> Floats:
    """What to add so that hints' colours are met, carried to what is near them and of like luma: (h, w, 2)."""
    height, width = luma.shape
    sigma = carried.reach * max(height, width)
    radius = math.ceil(3 * sigma)
    nearest = np.zeros((height, width, 1), np.float32)
    total = np.zeros((height, width, 1), np.float32)
    change = np.zeros((height, width, 2), np.float32)
    every = -(-len(places) // carried.most_hints) or 1
    for (row, column), colour in zip(places[::every], colours[::every], strict=True):
        window = np.s_[max(0, row - radius) : row + radius + 1, max(0, column - radius) : column + radius + 1]
        down = np.arange(window[0].start, min(window[0].stop, height))[:, None] - row
        across = np.arange(window[1].start, min(window[1].stop, width)) - column
        far = (down**2 + across**2) / sigma**2 + np.square((luma[window] - luma[row, column]) / carried.luma_reach)
        near = np.exp(-far / 2, dtype=np.float32)[..., None]
        ruling = near**carried.rule
        change[window] += ruling * (colour - ab[row, column])
        total[window] += ruling
        np.maximum(nearest[window], near, out=nearest[window])
    change *= nearest**carried.fade
    # Where nothing reaches, 0 / 0 is not asked for.
    change /= np.maximum(total, 1e-12)
    return change
