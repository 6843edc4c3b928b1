"""JPEG's loss in batch, on the device: 8x8 DCT, quantisation, chroma subsampling (ITU-T T.81, JFIF 1.02)."""

from __future__ import annotations

import functools
import math

import torch
from torch import Tensor
from torch.nn import functional as F

# Annex K of the standard: what libjpeg scales by the quality.
_LUMA = (
    (16, 11, 10, 16, 24, 40, 51, 61),
    (12, 12, 14, 19, 26, 58, 60, 55),
    (14, 13, 16, 24, 40, 57, 69, 56),
    (14, 17, 22, 29, 51, 87, 80, 62),
    (18, 22, 37, 56, 68, 109, 103, 77),
    (24, 35, 55, 64, 81, 104, 113, 92),
    (49, 64, 78, 87, 103, 121, 120, 101),
    (72, 92, 95, 98, 112, 100, 103, 99),
)
_CHROMA = (
    (17, 18, 24, 47, 99, 99, 99, 99),
    (18, 21, 26, 66, 99, 99, 99, 99),
    (24, 26, 56, 99, 99, 99, 99, 99),
    (47, 66, 99, 99, 99, 99, 99, 99),
    *((99,) * 8 for _ in range(4)),
)
_TO_YCC = ((0.299, 0.587, 0.114), (-0.168736, -0.331264, 0.5), (0.5, -0.418688, -0.081312))


def jpeg(image: Tensor, quality: Tensor, *, subsample: bool = True) -> Tensor:
    """The pictures as a JPEG file would give them back: (N, 3, H, W) in [0, 1], any H and W.

    `quality` (N,), 1-100 as libjpeg counts it; `subsample` is 4:2:0. The answer is clipped and
    rounded to 8 bit. No gradient passes. Differs from libjpeg by the rounding of its integer
    arithmetic alone.
    """
    height, width = image.shape[-2:]
    grid = 16 if subsample else 8
    padded = F.pad(_rounded(image) * 255, (0, -width % grid, 0, -height % grid), mode="replicate")
    to_ycc = padded.new_tensor(_TO_YCC)
    ycc = torch.einsum("ij,njhw->nihw", to_ycc, padded).round()
    luma, chroma = ycc[:, :1] - 128, ycc[:, 1:]
    if subsample:
        chroma = F.avg_pool2d(chroma, 2).round()
    luma = _quantised(luma, _scaled(_LUMA, quality)) + 128
    chroma = _quantised(chroma, _scaled(_CHROMA, quality))
    if subsample:
        # libjpeg's triangle filter is bilinear interpolation between the centres of the cells.
        chroma = F.interpolate(chroma, scale_factor=2, mode="bilinear", align_corners=False)
    rgb = torch.einsum("ij,njhw->nihw", torch.linalg.inv(to_ycc), torch.cat((luma, chroma), dim=1))
    return _rounded(rgb[..., :height, :width] / 255)


def _rounded(image: Tensor) -> Tensor:
    return (image * 255).round().clamp(0, 255) / 255


def _scaled(table: tuple[tuple[int, ...], ...], quality: Tensor) -> Tensor:
    """(N, 8, 8): the steps of the quantiser at each quality, by libjpeg's rule."""
    percent = torch.where(quality < 50, 5000 / quality, 200 - 2 * quality).floor()
    steps = (quality.new_tensor(table) * percent[:, None, None] + 50) / 100
    return steps.floor().clamp(1, 255)


def _quantised(plane: Tensor, steps: Tensor) -> Tensor:
    """(N, C, H, W), sides multiples of 8, through the quantiser of each picture, (N, 8, 8)."""
    count, channels, height, width = plane.shape
    dct = _dct().to(plane)
    blocks = plane.reshape(count, channels, height // 8, 8, width // 8, 8).transpose(3, 4)
    steps = steps[:, None, None, None]
    levels = (dct @ blocks @ dct.T / steps).round() * steps
    return (dct.T @ levels @ dct).transpose(3, 4).reshape(plane.shape).round().clamp(-128, 127)


@functools.cache
def _dct() -> Tensor:
    """The orthonormal DCT-II of 8 samples, (8, 8)."""
    k, n = torch.arange(8.0)[:, None], torch.arange(8.0)[None]
    matrix = torch.cos(math.pi / 8 * (n + 0.5) * k) / 2
    matrix[0] /= math.sqrt(2)
    return matrix
