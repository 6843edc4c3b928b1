"""The pieces that the encoder-decoders are built from, and the reach of each."""

from __future__ import annotations

from torch import Tensor, nn


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions around a ReLU, added to the input (EDSR, Lim et al. 2017, arXiv:1707.02921).

    (N, C, H, W) -> same shape. Without batch normalisation: its statistics would tie a pixel
    to the whole batch, and it costs accuracy at a known noise level.
    """

    #: Pixels, at the block's own resolution, by which an output looks past its position.
    reach = 2

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)
        self.act = nn.ReLU(inplace=True)
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


def down(in_channels: int, out_channels: int) -> nn.Conv2d:
    """Halve the resolution with a strided 2x2 convolution: (N, C, H, W) -> (N, C', H/2, W/2)."""
    return nn.Conv2d(in_channels, out_channels, 2, stride=2)


def up(in_channels: int, out_channels: int) -> nn.ConvTranspose2d:
    """Double the resolution with a 2x2 transposed convolution: (N, C, H, W) -> (N, C', 2H, 2W).

    Kernel equals stride, so no output sums an uneven number of taps: no checkerboard
    (Odena et al. 2016, doi:10.23915/distill.00003).
    """
    return nn.ConvTranspose2d(in_channels, out_channels, 2, stride=2)
