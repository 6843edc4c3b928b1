"""The denoiser: a residual encoder-decoder that is told the noise level, or finds it."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models.autoencoder import ConvAutoencoder


class ResidualDenoiser(nn.Module):
    """Predicts the noise and subtracts it (DnCNN, Zhang et al. 2017, arXiv:1608.03981).

    Works on pixel-unshuffled colour beside a constant map of the noise level (FFDNet,
    Zhang et al. 2018, arXiv:1710.04026), with the encoder-decoder of DRUNet (Zhang et al.
    2021, arXiv:2008.13751) between. Differs from FFDNet: no batch normalisation, several
    resolutions, and a second map that says whether the level is known. Differs from DRUNet:
    unshuffled input, a quarter of the channels, biases.

    `image` (N, 3, H, W), sRGB, nominally [0, 1] and not clipped, H and W multiples of
    `multiple_of`; `sigma` (N,) is the standard deviation of white noise on the same scale, or
    negative where the noise is of unknown kind and strength. Returns the picture, same shape, not
    clamped, and the level of the noise (N, 1, H, W) that was found at each place, same scale.
    """

    def __init__(
        self,
        *,
        stem: int = 2,
        channels: Sequence[int] = (32, 64, 128, 256),
        blocks: Sequence[int] = (2, 2, 2, 2),
        activation: str = "relu",
        bias: bool = True,
        large_kernels: bool = False,
        edge_kernels: bool = False,
        upsampling: str = "transposed",
    ) -> None:
        super().__init__()
        self.stem = stem
        self.body = ConvAutoencoder(
            3 * stem**2 + 2,
            4 * stem**2,
            channels=channels,
            blocks=blocks,
            activation=activation,
            bias=bias,
            large_kernels=large_kernels,
            edge_kernels=edge_kernels,
            upsampling=upsampling,
        )

    @property
    def multiple_of(self) -> int:
        """Height and width of the input must be multiples of this."""
        return self.stem * self.body.multiple_of

    @property
    def reach(self) -> int:
        """Radius in pixels beyond which no input pixel changes an output pixel."""
        return self.stem * self.body.reach + self.stem - 1

    def fold(self) -> None:
        """Fold what was trained as sums of kernels; the answers stay."""
        self.body.fold()

    def forward(self, image: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor]:
        x = F.pixel_unshuffle(image, self.stem)
        # New zeros of x's own type, not expand(): under autocast the map must not stay float64 or float32.
        plane = torch.zeros_like(x[:, :1])
        told = sigma.to(x.dtype).view(-1, 1, 1, 1)
        known = (told >= 0).to(x.dtype)
        found = self.body(torch.cat((x, plane + told * known, plane + known), dim=1))
        noise, level = torch.split(F.pixel_shuffle(found, self.stem), [3, 1], dim=1)
        return image - noise, level
