"""Measures of quality, as published."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def psnr(restored: Tensor, clean: Tensor) -> Tensor:
    """Peak signal-to-noise ratio in dB, one value per picture.

    Both (N, C, H, W), float, [0, 1]. Returns (N,); equal pictures give inf.
    Raises ValueError if the shapes differ.
    """
    if restored.shape != clean.shape:
        raise ValueError(f"pictures of different shapes: {tuple(restored.shape)} and {tuple(clean.shape)}")
    # Squared error summed in float64: at 50 dB float32 sums over a megapixel lose the third decimal.
    error = (restored.double() - clean.double()).square().mean(dim=(1, 2, 3))
    return -10 * torch.log10(error)


def ssim(restored: Tensor, clean: Tensor) -> Tensor:
    """Structural similarity (Wang et al. 2004, doi:10.1109/TIP.2003.819861), mean over channels.

    Both (N, C, H, W), float, [0, 1], sides 11 or more. Gaussian window of 11 x 11 and sigma 1.5,
    K1 = 0.01, K2 = 0.03, borders left out, population statistics. Returns (N,) in [-1, 1].
    Raises ValueError for other shapes.
    """
    if restored.shape != clean.shape or min(clean.shape[-2:]) < 11:
        raise ValueError(
            f"need two pictures of one shape, 11 px or more a side: {tuple(restored.shape)} and {tuple(clean.shape)}"
        )
    x, y = restored.double(), clean.double()
    mean_x, mean_y = _blur(x), _blur(y)
    var_x = _blur(x * x) - mean_x**2
    var_y = _blur(y * y) - mean_y**2
    covariance = _blur(x * y) - mean_x * mean_y
    c1, c2 = 0.01**2, 0.03**2
    luminance = (2 * mean_x * mean_y + c1) / (mean_x**2 + mean_y**2 + c1)
    structure = (2 * covariance + c2) / (var_x + var_y + c2)
    return (luminance * structure).mean(dim=(1, 2, 3))


def _blur(x: Tensor) -> Tensor:
    at = torch.arange(11, dtype=x.dtype, device=x.device) - 5
    window = torch.exp(-(at**2) / (2 * 1.5**2))
    window = window / window.sum()
    planes = x.reshape(-1, 1, *x.shape[-2:])
    planes = F.conv2d(F.conv2d(planes, window.view(1, 1, -1, 1)), window.view(1, 1, 1, -1))
    return planes.reshape(*x.shape[:2], *planes.shape[-2:])
