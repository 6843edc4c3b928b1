"""The pieces that the encoder-decoders are built from, and the reach of each."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

_ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "relu": lambda: nn.ReLU(inplace=True),
    "leaky": lambda: nn.LeakyReLU(0.1, inplace=True),
    "silu": lambda: nn.SiLU(inplace=True),
}


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions around an activation, added to the input (EDSR, Lim et al. 2017, arXiv:1707.02921).

    (N, C, H, W) -> same shape. Without batch normalisation: its statistics would tie a pixel
    to the whole batch, and it costs accuracy at a known noise level. `activation` is relu, leaky or silu.
    """

    #: Pixels, at the block's own resolution, by which an output looks past its position.
    reach = 2

    def __init__(self, channels: int, *, activation: str = "relu", bias: bool = True) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1, bias=bias)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=bias)
        self.act = _ACTIVATIONS[activation]()
        # Each block starts as the identity, so a deep stack trains from the first step
        # without a warm-up that a short run could not afford (Fixup, Zhang et al. 2019).
        nn.init.kaiming_normal_(self.conv1.weight, nonlinearity="relu")
        nn.init.zeros_(self.conv2.weight)
        for conv in (self.conv1, self.conv2):
            if conv.bias is not None:
                nn.init.zeros_(conv.bias)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.conv2(self.act(self.conv1(x)))
        return x + y


class LargeKernelBlock(nn.Module):
    """A 7x7 depthwise convolution and two 1x1 around an activation (ConvNeXt, Liu et al. 2022, arXiv:2201.03545).

    (N, C, H, W) -> same shape. Differs from the paper: no layer normalisation, expansion by 2.
    """

    #: As in `ResidualBlock`.
    reach = 3

    def __init__(self, channels: int, *, activation: str = "relu", bias: bool = True) -> None:
        super().__init__()
        self.spatial = nn.Conv2d(channels, channels, 7, padding=3, groups=channels, bias=bias)
        self.expand = nn.Conv2d(channels, 2 * channels, 1, bias=bias)
        self.act = _ACTIVATIONS[activation]()
        self.project = nn.Conv2d(2 * channels, channels, 1, bias=bias)
        nn.init.zeros_(self.project.weight)
        if self.project.bias is not None:
            nn.init.zeros_(self.project.bias)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.project(self.act(self.expand(self.spatial(x))))
        return x + y


class EdgeKernel(nn.Module):
    """A 3x3 kernel as the sum of itself, a 1x1 kernel and three scaled edge filters (ECB, Zhang et al. 2021).

    A parametrisation for torch.nn.utils.parametrize: (K, C, 3, 3) -> same shape; removing it
    folds the sum into a plain convolution.
    """

    filters: Tensor

    def __init__(self, kernel: Tensor) -> None:
        super().__init__()
        self.point = nn.Parameter(torch.zeros_like(kernel[:, :, :1, :1]))
        self.scales = nn.Parameter(torch.zeros(3, *kernel.shape[:2], 1))
        sobel = torch.tensor([[1.0, 0.0, -1.0], [2.0, 0.0, -2.0], [1.0, 0.0, -1.0]]) / 4
        laplace = torch.tensor([[0.0, 1.0, 0.0], [1.0, -4.0, 1.0], [0.0, 1.0, 0.0]]) / 4
        self.register_buffer("filters", torch.stack((sobel, sobel.T, laplace))[:, None], persistent=False)

    def forward(self, kernel: Tensor) -> Tensor:
        return kernel + F.pad(self.point, (1, 1, 1, 1)) + (self.scales[..., None] * self.filters[:, None]).sum(dim=0)


def down(in_channels: int, out_channels: int, *, bias: bool = True) -> nn.Conv2d:
    """Halve the resolution with a strided 2x2 convolution: (N, C, H, W) -> (N, C', H/2, W/2)."""
    return nn.Conv2d(in_channels, out_channels, 2, stride=2, bias=bias)


def up(in_channels: int, out_channels: int, *, bias: bool = True) -> nn.ConvTranspose2d:
    """Double the resolution with a 2x2 transposed convolution: (N, C, H, W) -> (N, C', 2H, 2W).

    Kernel equals stride, so no output sums an uneven number of taps: no checkerboard
    (Odena et al. 2016, doi:10.23915/distill.00003).
    """
    return nn.ConvTranspose2d(in_channels, out_channels, 2, stride=2, bias=bias)


class NearestUp(nn.Conv2d):
    """Double the resolution: a 1x1 convolution, then each value four times: (N, C, H, W) -> (N, C', 2H, 2W).

    onnxruntime repeats values in its blocked layout; a transposed convolution, or a shuffle, leaves it,
    which took a fifth of the denoiser's time on a CPU. No checkerboard either.
    """

    def __init__(self, in_channels: int, out_channels: int, *, bias: bool = True) -> None:
        super().__init__(in_channels, out_channels, 1, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        return F.interpolate(super().forward(x), scale_factor=2.0, mode="nearest")


#: Ways to double the resolution, by the name that networks take.
UPSAMPLINGS: dict[str, Callable[..., nn.Module]] = {"transposed": up, "nearest": NearestUp}
