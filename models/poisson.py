"""From gradients back to a picture: a screened Poisson equation, solved by multigrid inside the network."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

#: Damping of Jacobi's iteration that smooths the five-point Laplacian's upper half of frequencies best.
_DAMPING = 0.8
#: Iterations before and after a coarser grid's correction: on the finest grid, which costs most, on those between, and
#: on the coarsest, which few cells make.
_FINEST, _COARSER, _COARSEST = 2, 4, 16


def gradients(image: Tensor) -> tuple[Tensor, Tensor]:
    """Each pixel's right neighbour less itself, and its lower one: (N, C, H, W) -> two of that shape, 0 at the end."""
    right = F.pad(image[..., 1:] - image[..., :-1], (0, 1))
    below = F.pad(image[..., 1:, :] - image[..., :-1, :], (0, 0, 0, 1))
    return right, below


def solve_poisson(right: Tensor, below: Tensor, anchor: Tensor, weight: Tensor, *, grids: int) -> Tensor:
    """The picture u whose gradients are nearest to those given, held to `anchor` as much as `weight` says.

    It minimises the sum over neighbours of (gradient of u - given)^2 plus the sum of weight * (u - anchor)^2
    (Bhat et al. 2008, "Fourier Analysis of the 2D Screened Poisson Equation for Gradient Domain Problems"; Perez et
    al. 2003, "Poisson Image Editing", is its limit of a weight without end outside a mask and none inside).

    `right`, `below` and `anchor` (N, C, H, W), as `gradients` gives them; `weight` (N, 1, H, W), 0 or more, beside the
    gradients' 1. H and W are multiples of 2^(grids - 1). One full multigrid cycle (Briggs et al. 2000, "A Multigrid
    Tutorial"): not to the last digit, but every step has a gradient, and it is the same in training and in serving.
    """
    # Differences beyond the picture's end are none: each pixel gets what flows in less what flows out.
    flow = F.pad(right, (1, 0))[..., :-1] - right + F.pad(below, (0, 0, 1, 0))[..., :-1, :] - below
    sources, weights = [flow + weight * anchor], [weight]
    for _ in range(grids - 1):
        sources.append(_gathered(sources[-1]))
        weights.append(_gathered(weights[-1]))
    beside = _beside(weight)
    levels = [_Level(each, beside) for each in weights]
    found = levels[-1].relaxed(None, sources[-1], _COARSEST)
    for grid in reversed(range(grids - 1)):
        found = _cycle(_spread(found), sources[grid], levels[grid:], _COARSER if grid else _FINEST)
    return found


class _Level:
    """The equation on one grid: its diagonal (N, 1, h, w) times a cell, less its neighbours, is the source.

    Across the picture's end there is no difference: a cell there has fewer neighbours, and a smaller diagonal.
    """

    def __init__(self, weight: Tensor, beside: Tensor) -> None:
        self._beside = beside
        self._diagonal = self._neighbours(torch.ones_like(weight[:1])) + weight
        # The damping counts the missing neighbours as if they were there, equal to the cell.
        self._step = _DAMPING / (4 + weight)
        self._kept = 1 - self._step * self._diagonal

    def residual(self, found: Tensor, source: Tensor) -> Tensor:
        """What of the source `found` leaves over."""
        return source + self._neighbours(found) - self._diagonal * found

    def relaxed(self, found: Tensor | None, source: Tensor, times: int) -> Tensor:
        """`found`, 0 where it is None, after so many iterations of Jacobi's, damped."""
        if found is None:
            found, times = self._step * source, times - 1
        for _ in range(times):
            # found + step * residual, in fewer operations.
            found = self._kept * found + self._step * (source + self._neighbours(found))
        return found

    def _neighbours(self, found: Tensor) -> Tensor:
        channels = found.shape[1]
        # In bfloat16 the low frequencies would drown.
        with torch.autocast(found.device.type, enabled=False):
            return F.conv2d(found, self._beside.expand(channels, 1, 3, 3), padding=1, groups=channels)


def _beside(like: Tensor) -> Tensor:
    """The kernel that sums a cell's four neighbours, (1, 1, 3, 3), of the type of `like` and where that is.

    Made on the device: what is copied to it from the host cannot be recorded for a replay.
    """
    away = torch.arange(-1, 2, device=like.device).abs()
    return (away[:, None] + away == 1).to(like.dtype)[None, None]


def _cycle(found: Tensor | None, source: Tensor, levels: Sequence[_Level], smoothings: int) -> Tensor:
    """A V-cycle: smooth so often, correct on the coarser grids, smooth. From 0 where `found` is None."""
    if len(levels) == 1:
        return levels[0].relaxed(found, source, _COARSEST)
    found = levels[0].relaxed(found, source, smoothings)
    left = _gathered(levels[0].residual(found, source))
    found = found + _spread(_cycle(None, left, levels[1:], _COARSER))
    return levels[0].relaxed(found, source, smoothings)


def _gathered(cells: Tensor) -> Tensor:
    """Sums over squares of four."""
    return 4 * F.avg_pool2d(cells, 2)


def _spread(cells: Tensor) -> Tensor:
    return F.interpolate(cells, scale_factor=2.0, mode="bilinear", align_corners=False)
