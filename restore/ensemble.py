"""Geometric self-ensemble: several looks at one picture, mirrored and turned, and the mean of what they answer.

Lim et al. 2017, EDSR, arXiv:1707.02921. What a network gets wrong in one of them it seldom gets wrong alike in all; it
takes as many times as long.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from restore.color import ROWS
from restore.contract import to_tensor
from restore.errors import BadOption
from restore.small import Keep

#: How many looks there can be.
COUNTS = (1, 2, 4, 8)
#: A mark is one where this share of the looks finds any, and is wholly taken off where the mean of their masks, times
#: the second, is 1: of a quarter to a half, and of 1 to 2, what serves logos and lettering best on the split val.
_FINDING, _SURER = 0.25, 1.5

Progress = Callable[[float], None]
#: Looks at a picture and a mask for it (H, W), gives all parts of its answer to a `Keep`, and says how far it is.
Look = Callable[[np.ndarray, np.ndarray | None, Keep, Progress | None], None]


class _Symmetry(NamedTuple):
    """One of a rectangle's: rows and columns change places, then the first axis and the second are mirrored."""

    swapped: bool
    flipped: tuple[int, ...]

    def of(self, planes: np.ndarray, *, first: int = 0) -> np.ndarray:
        """A view of an array whose rows and columns are the axes `first` and the next."""
        turned = planes.swapaxes(first, first + 1) if self.swapped else planes
        return np.flip(turned, tuple(first + axis for axis in self.flipped))


#: As it is, turned by 180 degrees, mirrored; and the same with rows and columns swapped: N looks are the first N.
_SYMMETRIES = tuple(_Symmetry(swapped, flipped) for swapped in (False, True) for flipped in ((), (0, 1), (1,), (0,)))


def check_count(count: int) -> None:
    """Raise BadOption for a number of looks that cannot be."""
    if count not in COUNTS:
        raise BadOption(f"--self-ensemble {count}: use {', '.join(map(str, COUNTS[:-1]))} or {COUNTS[-1]}.")


def look_often(
    look: Look, pixels: np.ndarray, mask: np.ndarray | None, keep: Keep, *, count: int, progress: Progress | None = None
) -> None:
    """Give `keep` the mean of what `look` answers to a picture, (H, W, 3) or (H, W), in `count` (COUNTS) orientations.

    Where the answers hold a `mask` and `restored`, the mean is that of the looks that found something, if it is a
    quarter of all looks at least, else the picture as it is: a mark that is half taken off would be a ghost. Several
    looks hold the answer at the picture's size, 4 bytes a number.
    """
    if count == 1:
        look(pixels, mask, keep, progress)
        return
    height, width = pixels.shape[:2]
    sums: dict[str, np.ndarray] = {}
    finding = 0
    for number, symmetry in enumerate(_SYMMETRIES[:count]):
        found = False

        def add(core: tuple[slice, slice], answers: dict[str, np.ndarray], symmetry: _Symmetry = symmetry) -> None:
            nonlocal found
            for name, answer in answers.items():
                whole = sums.setdefault(name, np.zeros((answer.shape[1], height, width), np.float32))
                symmetry.of(whole, first=1)[:, core[0], core[1]] += answer[0]
            found |= "mask" not in answers or bool(answers["mask"].any())

        told = None if mask is None else symmetry.of(mask)
        look(symmetry.of(pixels), told, add, part_of(progress, number / count, (number + 1) / count))
        finding += found
    for top in range(0, height, ROWS):
        core = (slice(top, min(top + ROWS, height)), slice(0, width))
        means = {name: (whole[:, core[0]] / np.float32(count))[None] for name, whole in sums.items()}
        if "mask" in means:
            share = finding / count if finding >= _FINDING * count else math.inf
            means = _surer(to_tensor(pixels[core]), means["restored"], means["mask"], np.float32(share))
        keep(core, means)


def _surer(source: np.ndarray, restored: np.ndarray, mask: np.ndarray, share: np.float32) -> dict[str, np.ndarray]:
    """The answer of the looks that found something, `share` of all, from the means over all: (1, C, h, w) each.

    Looks that found nothing changed nothing, so that the means are the others' doing.
    """
    surer = np.minimum(mask / share * np.float32(_SURER), 1)
    # Where no look has a mask nothing is changed.
    gain = np.divide(surer, mask, out=np.zeros_like(mask), where=mask > 0)
    return {"restored": source + gain * (restored - source), "mask": surer}


def part_of(progress: Progress | None, start: float, end: float) -> Progress | None:
    """What tells `progress` of a part of the work, which goes from `start` to `end` of the whole."""
    return (lambda share: progress(start + (end - start) * share)) if progress else None
