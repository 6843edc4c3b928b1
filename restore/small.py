"""A picture at a network's working size, and its answer back at the picture's own size: a pure matter of arrays."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from restore.color import ROWS, enlarge_rows, shrink
from restore.contract import to_tensor

#: A picture is soft where shrinking it to half and back moves all but this share of its pixels by less than that, on
#: the [0, 1] scale. Between marks that were drawn on 4-megapixel photos of the split val and photos that were enlarged
#: with their marks to 6 megapixels, this parts those that are better looked at large from the others (docs/decisions).
_SHARP_SHARE, _MOVED = 0.001, 22 / 255

Keep = Callable[[tuple[slice, slice], dict[str, np.ndarray]], None]


@dataclass(slots=True, eq=False)
class Small:
    """A picture too large for a network that needs the whole of it.

    The network runs on `pixels`, (h, w, 3) float32 in [0, 1], and gives its answer to `take`. What comes back at full
    size is the source plus the enlarged difference, so that detail that the small picture cannot hold stays.
    """

    full: np.ndarray
    full_mask: np.ndarray | None
    pixels: np.ndarray
    mask: np.ndarray | None
    _planes: dict[str, np.ndarray] = field(default_factory=dict)

    @classmethod
    def of(
        cls, full: np.ndarray, mask: np.ndarray | None, *, working_size: int, soft_size: int | None = None
    ) -> Small | None:
        """The picture, (H, W, 3) or (H, W), integers or floats, and a `mask` (H, W) bool, as a network looks at it.

        Its longest side is at most `working_size`, and at most `soft_size` for one that `is_soft` at that. None where
        the picture is no larger than that.
        """
        pixels = _at_most(full, working_size)
        if soft_size and max(pixels.shape[:2]) > soft_size and is_soft(pixels):
            pixels = _at_most(pixels, soft_size)
        height, width = pixels.shape[:2]
        if (height, width) == full.shape[:2]:
            return None
        # A small pixel of which any part is marked must be told, or the mark's rim would stay.
        told = None if mask is None else shrink(mask.astype(np.uint8), height, width) > 0
        return cls(full, mask, pixels, told)

    def take(self, core: tuple[slice, slice], answers: dict[str, np.ndarray]) -> None:
        """Take up the network's answer on a part of the small picture."""
        change = answers["restored"] - to_tensor(self.pixels[core])
        for name, answer in {**answers, "restored": change}.items():
            whole = self._planes.setdefault(name, np.empty((answer.shape[1], *self.pixels.shape[:2]), np.float32))
            whole[:, core[0], core[1]] = answer[0]

    def enlarge_into(self, keep: Keep, progress: Callable[[float], None] | None = None) -> None:
        """Give the answer at full size to `keep`, strip by strip: only a strip of it is ever held."""
        height, width = self.full.shape[:2]
        for top in range(0, height, ROWS):
            rows = slice(top, min(top + ROWS, height))
            core = (rows, slice(0, width))
            answers = {
                name: np.stack([enlarge_rows(plane, rows, (height, width)) for plane in planes])[None]
                for name, planes in self._planes.items()
            }
            answers["restored"] = np.clip(answers["restored"] + to_tensor(self.full[core]), 0, 1)
            if self.full_mask is not None:
                answers["mask"] = self.full_mask[core][None, None].astype(np.float32)
            keep(core, answers)
            if progress:
                progress(rows.stop / height)


def is_soft(pixels: np.ndarray) -> bool:
    """Whether a picture, (H, W, 3) or (H, W) float32 in [0, 1], shows nothing that half its size could not show.

    So it is with one that was enlarged: a network that learnt from sharp pictures finds little in it at full size.
    """
    height, width = pixels.shape[:2]
    if min(height, width) < 2:
        return False
    half = shrink(pixels, height // 2, width // 2)
    planes = zip(np.atleast_3d(pixels).transpose(2, 0, 1), np.atleast_3d(half).transpose(2, 0, 1), strict=True)
    moved = [np.abs(plane - enlarge_rows(small, slice(0, height), (height, width))) for plane, small in planes]
    return float(np.quantile(np.max(moved, axis=0), 1 - _SHARP_SHARE)) < _MOVED


def _at_most(full: np.ndarray, longest: int) -> np.ndarray:
    """The picture as float32, integers in [0, 1], shrunk so that its longest side is no longer than `longest`."""
    scale = min(1.0, longest / max(full.shape[:2]))
    height, width = (max(1, round(side * scale)) for side in full.shape[:2])
    small = shrink(full, height, width)
    if np.issubdtype(full.dtype, np.integer):
        small /= np.float32(np.iinfo(full.dtype).max)
    return small
