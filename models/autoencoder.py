"""The convolutional encoder-decoder that every restoration network stands on."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from models.blocks import ResidualBlock, down, up


class ConvAutoencoder(nn.Module):
    """A residual U-Net of plain 3x3 convolutions (Ronneberger et al. 2015, DRUNet: Zhang et al. 2021).

    (N, in_channels, H, W) -> (N, out_channels, H, W), with H and W multiples of `multiple_of`.
    Skips are added, not concatenated. Nothing is global, so `reach` is finite and tiles are exact.

    `channels` holds the feature count of each level, finest first; `blocks` the residual blocks
    of each level, in the encoder and again in the decoder (the deepest level has them once).
    """

    def __init__(self, in_channels: int, out_channels: int, *, channels: Sequence[int], blocks: Sequence[int]) -> None:
        super().__init__()
        if len(channels) != len(blocks) or len(channels) < 2:
            raise ValueError(f"channels {channels} and blocks {blocks} must be two lists of equal length, 2 or more")
        self.channels = tuple(channels)
        self.blocks = tuple(blocks)
        levels = len(channels)
        self.head = nn.Conv2d(in_channels, channels[0], 3, padding=1)
        self.encoder = nn.ModuleList(_stack(channels[i], blocks[i]) for i in range(levels - 1))
        self.downs = nn.ModuleList(down(channels[i], channels[i + 1]) for i in range(levels - 1))
        self.bottom = _stack(channels[-1], blocks[-1])
        self.ups = nn.ModuleList(up(channels[i + 1], channels[i]) for i in range(levels - 1))
        self.decoder = nn.ModuleList(_stack(channels[i], blocks[i]) for i in range(levels - 1))
        self.tail = nn.Conv2d(channels[0], out_channels, 3, padding=1)

    @property
    def multiple_of(self) -> int:
        """Height and width of the input must be multiples of this."""
        return int(2 ** (len(self.channels) - 1))

    @property
    def reach(self) -> int:
        """Radius in input pixels beyond which no input changes an output: the least that holds everywhere.

        It depends on where an output lies on the grid of the strides, so each place is tried.
        """
        spans = ((at, *self._seen_by(at)) for at in range(self.multiple_of))
        return max(max(at - first, last - at) for at, first, last in spans)

    def _seen_by(self, at: int) -> tuple[int, int]:
        """First and last input, along one axis, that output `at` depends on: an interval followed backwards.

        The skips need no look: the way through the deeper levels sees all that they see.
        """
        low, high = at - 1, at + 1  # tail
        for count in self.blocks[:-1]:
            low, high = (low - ResidualBlock.reach * count) // 2, (high + ResidualBlock.reach * count) // 2
        low, high = low - ResidualBlock.reach * self.blocks[-1], high + ResidualBlock.reach * self.blocks[-1]
        for count in reversed(self.blocks[:-1]):
            low, high = 2 * low - ResidualBlock.reach * count, 2 * high + 1 + ResidualBlock.reach * count
        return low - 1, high + 1  # head

    def forward(self, x: Tensor) -> Tensor:
        x = self.head(x)
        skips = []
        for stack, shrink in zip(self.encoder, self.downs, strict=True):
            x = stack(x)
            skips.append(x)
            x = shrink(x)
        x = self.bottom(x)
        for stack, grow, skip in zip(reversed(self.decoder), reversed(self.ups), reversed(skips), strict=True):
            x = stack(grow(x) + skip)
        out: Tensor = self.tail(x)
        return out


def _stack(channels: int, count: int) -> nn.Sequential:
    return nn.Sequential(*(ResidualBlock(channels) for _ in range(count)))
