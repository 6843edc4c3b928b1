"""Measures of quality, as published."""

from __future__ import annotations

import torch
from torch import Tensor

#: Pixels that SSIM blurs in one product: of 32 to 256 as fast as any.
_BLOCK = 64


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


def registered_psnr(restored: Tensor, clean: Tensor, *, radius: int = 2) -> Tensor:
    """PSNR in dB after the best linear filter, one value per picture: two (N, C, H, W) in [0, 1] -> (N,).

    The filter has 2 radius + 1 taps a side, is one for all channels of a picture, and brings the answer nearest to
    the truth (least squares; the outermost `radius` pixels are left out). Where the truth is the mean of many shots,
    it takes out that they lay a part of a pixel apart, which no denoiser can know. It blurs noise, too: to be read
    beside the PSNR itself. Raises ValueError if the shapes differ or a side is too short.
    """
    taps = 2 * radius + 1
    if restored.shape != clean.shape or min(clean.shape[-2:]) < taps:
        shapes = f"{tuple(restored.shape)} and {tuple(clean.shape)}"
        raise ValueError(f"need two pictures of one shape, {taps} px or more a side: {shapes}")
    inner = slice(radius, -radius)
    found = []
    for picture, truth in zip(restored.double(), clean.double(), strict=True):
        windows = picture.unfold(1, taps, 1).unfold(2, taps, 1).reshape(-1, taps**2)
        target = truth[:, inner, inner].reshape(-1, 1)
        # Flat pictures leave the filter open: the slightest preference for small taps decides.
        normal = windows.T @ windows + 1e-9 * len(windows) * torch.eye(taps**2).to(windows)
        filtered = windows @ torch.linalg.solve(normal, windows.T @ target)
        found.append(-10 * torch.log10((filtered.clamp(0, 1) - target).square().mean()))
    return torch.stack(found)


#: Side in pixels of the window that SSIM looks through.
SSIM_SIDE = 11


def ssim(restored: Tensor, clean: Tensor) -> Tensor:
    """Structural similarity (Wang et al. 2004, doi:10.1109/TIP.2003.819861), mean over channels.

    Both (N, C, H, W), float, [0, 1], sides 11 or more. Gaussian window of 11 x 11 and sigma 1.5,
    K1 = 0.01, K2 = 0.03, borders left out, population statistics. Returns (N,) in [-1, 1].
    Raises ValueError for other shapes.
    """
    if restored.shape != clean.shape or min(clean.shape[-2:]) < SSIM_SIDE:
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
    at = torch.arange(SSIM_SIDE, dtype=x.dtype, device=x.device) - SSIM_SIDE // 2
    window = torch.exp(-(at**2) / (2 * 1.5**2))
    window = window / window.sum()
    across = _blur_rows(x, window)
    return _blur_rows(across.transpose(-1, -2), window).transpose(-1, -2)


def _blur_rows(x: Tensor, window: Tensor) -> Tensor:
    """(..., W) -> (..., W - 10).

    As products with band matrices, since torch convolves planes of float64 slowly on a CPU; in blocks, since such a
    matrix is nearly all zeros where it is large.
    """
    left = x.shape[-1] - 10
    block = min(left, _BLOCK)
    whole = left // block * block
    blurred = (x[..., : whole + 10].unfold(-1, block + 10, block) @ _band(window, block + 10).T).flatten(-2)
    if whole == left:
        return blurred
    return torch.cat((blurred, x[..., whole:] @ _band(window, x.shape[-1] - whole).T), dim=-1)


def _band(window: Tensor, side: int) -> Tensor:
    """(side - 10, side): each row the window, one place further."""
    band = window.new_zeros(side - 10, side)
    for place, weight in enumerate(window):
        band.diagonal(place).fill_(float(weight))
    return band


def mask_f1(found: Tensor, truth: Tensor) -> Tensor:
    """F1 (Dice) of masks at 0.5, one value per picture: two (N, 1, H, W) in [0, 1] -> (N,).

    Two empty masks agree wholly: 1.
    """
    both, either = _overlap(found, truth)
    # both + either is the sum of the two areas.
    return torch.where(either > 0, 2 * both / (both + either).clamp(min=1), 1.0)


def mask_iou(found: Tensor, truth: Tensor) -> Tensor:
    """Intersection over union of masks at 0.5, as `mask_f1`."""
    both, either = _overlap(found, truth)
    return torch.where(either > 0, both / either.clamp(min=1), 1.0)


def _overlap(found: Tensor, truth: Tensor) -> tuple[Tensor, Tensor]:
    """Pixels in both masks and in either, (N,) float64 each. Raises ValueError if the shapes differ."""
    if found.shape != truth.shape:
        raise ValueError(f"masks of different shapes: {tuple(found.shape)} and {tuple(truth.shape)}")
    a, b = found > 0.5, truth > 0.5
    return (a & b).double().sum(dim=(1, 2, 3)), (a | b).double().sum(dim=(1, 2, 3))


def rmse(restored: Tensor, clean: Tensor, mask: Tensor | None = None) -> Tensor:
    """Root of the mean squared error on the 0-255 scale, one value per picture: two (N, C, H, W) in [0, 1] -> (N,).

    With a `mask` (N, 1, H, W) of 0 and 1 the mean is over its pixels alone, and nan where it is empty.
    """
    error = (restored.double() - clean.double()).square()
    if mask is None:
        return 255 * error.mean(dim=(1, 2, 3)).sqrt()
    area = mask.double().sum(dim=(1, 2, 3)) * error.shape[1]
    return 255 * ((error * mask).sum(dim=(1, 2, 3)) / area).sqrt()
