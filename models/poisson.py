"""From gradients back to a picture: a screened Poisson equation, solved by multigrid inside the network."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

#: Damping of Jacobi's iteration that smooths the five-point Laplacian's upper half of frequencies best.
_DAMPING = 0.8
#: Iterations before and after a coarser grid's correction, and on the coarsest grid, which few cells make.
_SMOOTHINGS, _COARSEST = 2, 10


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
    found = _relaxed(torch.zeros_like(sources[-1]), sources[-1], weights[-1], _COARSEST)
    for grid in reversed(range(grids - 1)):
        found = _cycle(_spread(found), sources[grid], weights[grid:])
    return found


def _cycle(found: Tensor, source: Tensor, weights: Sequence[Tensor]) -> Tensor:
    """A V-cycle: smooth, correct on the coarser grids, smooth."""
    if len(weights) == 1:
        return _relaxed(found, source, weights[0], _COARSEST)
    found = _relaxed(found, source, weights[0], _SMOOTHINGS)
    left = _gathered(source - _applied(found, weights[0]))
    found = found + _spread(_cycle(torch.zeros_like(left), left, weights[1:]))
    return _relaxed(found, source, weights[0], _SMOOTHINGS)


def _applied(found: Tensor, weight: Tensor) -> Tensor:
    channels = found.shape[1]
    laplacian = found.new_tensor(((0, -1, 0), (-1, 4, -1), (0, -1, 0))).expand(channels, 1, 3, 3)
    # Repeated at the end, so that there is no difference across it.
    padded = F.pad(found, (1, 1, 1, 1), mode="replicate")
    # In bfloat16 the low frequencies would drown.
    with torch.autocast(found.device.type, enabled=False):
        return F.conv2d(padded, laplacian, groups=channels) + weight * found


def _relaxed(found: Tensor, source: Tensor, weight: Tensor, times: int) -> Tensor:
    step = _DAMPING / (4 + weight)
    for _ in range(times):
        found = found + step * (source - _applied(found, weight))
    return found


def _gathered(cells: Tensor) -> Tensor:
    """Sums over squares of four."""
    return 4 * F.avg_pool2d(cells, 2)


def _spread(cells: Tensor) -> Tensor:
    return F.interpolate(cells, scale_factor=2.0, mode="bilinear", align_corners=False)
