"""Losses per sample, so that a sample's weight can scale them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor

#: Where Charbonnier turns from square to straight, in [0, 1]: half an 8-bit level would blunt faint noise.
_CHARBONNIER_EPSILON = 1e-3
#: Half an 8-bit level, squared: a picture that needs nothing must not outweigh all others, and a root has a slope at 0.
_FLOOR = (0.5 / 255) ** 2
#: In dB: it gives a gradient of the other losses' size, beside which the parts of a sum keep their shares.
_PSNR_UNIT = 500


def l1(restored: Tensor, clean: Tensor) -> Tensor:
    """Mean absolute error: two (N, C, H, W) -> (N,)."""
    return (restored - clean).abs().mean(dim=(1, 2, 3))


def charbonnier(restored: Tensor, clean: Tensor) -> Tensor:
    """Smooth L1 (Charbonnier et al. 1994, doi:10.1109/ICIP.1994.413553): two (N, C, H, W) -> (N,)."""
    return torch.sqrt((restored - clean).square() + _CHARBONNIER_EPSILON**2).mean(dim=(1, 2, 3))


def mse(restored: Tensor, clean: Tensor) -> Tensor:
    """Mean squared error: two (N, C, H, W) -> (N,)."""
    return (restored - clean).square().mean(dim=(1, 2, 3))


def rms(restored: Tensor, clean: Tensor) -> Tensor:
    """Root of the mean squared error, half an 8-bit level at the least: two (N, C, H, W) -> (N,).

    It is what PSNR is made of, and as large as `l1`.
    """
    return torch.sqrt(mse(restored, clean) + _FLOOR)


def negative_psnr(restored: Tensor, clean: Tensor) -> Tensor:
    """PSNR with its sign turned (NAFNet, Chen et al. 2022, arXiv:2204.04676), in 500 dB: two (N, C, H, W) -> (N,).

    A decibel counts alike at every strength of the noise; above about 54 dB there is nothing more to gain.
    """
    return torch.log10(mse(restored, clean) + _FLOOR) * (10 / _PSNR_UNIT)


LossName = Literal["l1", "charbonnier", "mse", "rms", "psnr"]
LOSSES: dict[LossName, Callable[[Tensor, Tensor], Tensor]] = {
    "l1": l1,
    "charbonnier": charbonnier,
    "mse": mse,
    "rms": rms,
    "psnr": negative_psnr,
}
