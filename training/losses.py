"""Losses per sample, so that a sample's weight can scale them."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

#: Where Charbonnier turns from square to straight, in [0, 1]: half an 8-bit level would blunt faint noise.
_CHARBONNIER_EPSILON = 1e-3


def l1(restored: Tensor, clean: Tensor) -> Tensor:
    """Mean absolute error: two (N, C, H, W) -> (N,)."""
    return (restored - clean).abs().mean(dim=(1, 2, 3))


def charbonnier(restored: Tensor, clean: Tensor) -> Tensor:
    """Smooth L1 (Charbonnier et al. 1994, doi:10.1109/ICIP.1994.413553): two (N, C, H, W) -> (N,)."""
    return torch.sqrt((restored - clean).square() + _CHARBONNIER_EPSILON**2).mean(dim=(1, 2, 3))


def mse(restored: Tensor, clean: Tensor) -> Tensor:
    """Mean squared error: two (N, C, H, W) -> (N,)."""
    return (restored - clean).square().mean(dim=(1, 2, 3))


LOSSES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {"l1": l1, "charbonnier": charbonnier, "mse": mse}
