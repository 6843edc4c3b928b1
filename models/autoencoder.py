"""The convolutional encoder-decoder that every restoration network stands on."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from models.blocks import UPSAMPLINGS, EdgeKernel, LargeKernelBlock, ResidualBlock, down, up


class ConvAutoencoder(nn.Module):
    """A residual U-Net of plain 3x3 convolutions (Ronneberger et al. 2015, DRUNet: Zhang et al. 2021).

    (N, in_channels, H, W) -> (N, out_channels, H, W), with H and W multiples of `multiple_of`.
    Skips are added, not concatenated. Nothing is global, so `reach` is finite and tiles are exact.

    `channels` holds the feature count of each level, finest first; `blocks` the residual blocks
    of each level, in the encoder and again in the decoder (the deepest level has them once).
    `upsampling` is transposed or nearest, `activation` as the blocks take it.
    `large_kernels` puts 7x7 depthwise blocks into the deepest level, `edge_kernels` trains each
    3x3 kernel there and above as a sum that `fold` turns into one; docs/decisions say what each brings.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        channels: Sequence[int],
        blocks: Sequence[int],
        activation: str = "relu",
        bias: bool = True,
        large_kernels: bool = False,
        edge_kernels: bool = False,
        upsampling: str = "transposed",
    ) -> None:
        super().__init__()
        if len(channels) != len(blocks) or len(channels) < 2:
            raise ValueError(f"channels {channels} and blocks {blocks} must be two lists of equal length, 2 or more")
        self.channels = tuple(channels)
        self.blocks = tuple(blocks)
        levels = len(channels)

        def stack(level: int, block: type[ResidualBlock | LargeKernelBlock] = ResidualBlock) -> nn.Sequential:
            made = (block(channels[level], activation=activation, bias=bias) for _ in range(blocks[level]))
            return nn.Sequential(*made)

        deepest = LargeKernelBlock if large_kernels else ResidualBlock
        self._deepest_reach = deepest.reach
        self.head = nn.Conv2d(in_channels, channels[0], 3, padding=1, bias=bias)
        self.encoder = nn.ModuleList(stack(i) for i in range(levels - 1))
        self.downs = nn.ModuleList(down(channels[i], channels[i + 1], bias=bias) for i in range(levels - 1))
        self.bottom = stack(levels - 1, deepest)
        grow = UPSAMPLINGS[upsampling]
        self.ups = nn.ModuleList(grow(channels[i + 1], channels[i], bias=bias) for i in range(levels - 1))
        self.decoder = nn.ModuleList(stack(i) for i in range(levels - 1))
        self.tail = nn.Conv2d(channels[0], out_channels, 3, padding=1, bias=bias)
        if edge_kernels:
            for block in [m for m in self.modules() if isinstance(m, ResidualBlock)]:
                for conv in (block.conv1, block.conv2):
                    parametrize.register_parametrization(conv, "weight", EdgeKernel(conv.weight))

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
        low, high = low - self._deepest_reach * self.blocks[-1], high + self._deepest_reach * self.blocks[-1]
        for count in reversed(self.blocks[:-1]):
            low, high = 2 * low - ResidualBlock.reach * count, 2 * high + 1 + ResidualBlock.reach * count
        return low - 1, high + 1  # head

    def fold(self) -> None:
        """Turn every kernel that was trained as a sum into a plain one; the answers stay."""
        for module in self.modules():
            if parametrize.is_parametrized(module, "weight"):
                parametrize.remove_parametrizations(module, "weight")

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.tail(self.features(x))
        return out

    def features(self, x: Tensor) -> Tensor:
        """What the last layer is given: (N, in_channels, H, W) -> (N, channels[0], H, W)."""
        x = self.head(x)
        skips = []
        for stack, shrink in zip(self.encoder, self.downs, strict=True):
            x = stack(x)
            skips.append(x)
            x = shrink(x)
        x = self.bottom(x)
        for stack, grow, skip in zip(reversed(self.decoder), reversed(self.ups), reversed(skips), strict=True):
            x = stack(grow(x) + skip)
        return x


class BottleneckAutoencoder(nn.Module):
    """Reproduces a picture from a small code alone (Theis et al. 2017, arXiv:1703.00395): no skips past it.

    `image` (N, 3, H, W) in [0, 1], H and W multiples of `multiple_of` -> the picture, same shape, not clamped, and
    its code (N, code, H / multiple_of, W / multiple_of): whole numbers from -`levels` to `levels`. `channels` and
    `blocks` are those of `ConvAutoencoder`, on pixels unshuffled by 2. Differs from the paper: the code is bounded
    by tanh in place of a learnt model of its frequencies, so that any compressor can pack it.
    """

    _stem = 2

    def __init__(self, *, channels: Sequence[int], blocks: Sequence[int], code: int, levels: int) -> None:
        super().__init__()
        if len(channels) != len(blocks):
            raise ValueError(f"channels {channels} and blocks {blocks} must be two lists of equal length")
        self.levels = levels
        self.blocks = tuple(blocks)
        pixels, last = 3 * self._stem**2, len(channels) - 1
        encoder: list[nn.Module] = [nn.PixelUnshuffle(self._stem), nn.Conv2d(pixels, channels[0], 3, padding=1)]
        decoder: list[nn.Module] = [nn.PixelShuffle(self._stem), nn.Conv2d(channels[0], pixels, 3, padding=1)]
        for level, (width, count) in enumerate(zip(channels, blocks, strict=True)):
            encoder += [ResidualBlock(width) for _ in range(count)]
            decoder += [ResidualBlock(width) for _ in range(count)]
            if level < last:
                encoder.append(down(width, channels[level + 1]))
                decoder.append(up(channels[level + 1], width))
        encoder.append(nn.Conv2d(channels[last], code, 3, padding=1))
        decoder.append(nn.Conv2d(code, channels[last], 3, padding=1))
        self.encoder = nn.Sequential(*encoder)
        self.decoder = nn.Sequential(*reversed(decoder))

    @property
    def multiple_of(self) -> int:
        """Pixels along each axis for one place of the code."""
        return int(self._stem * 2 ** (len(self.blocks) - 1))

    @property
    def reach(self) -> int:
        """Radius in pixels beyond which no input changes an output: the least that holds everywhere."""
        spans = ((at, *self._seen_by(at)) for at in range(self.multiple_of))
        return max(max(at - first, last - at) for at, first, last in spans)

    def _seen_by(self, at: int) -> tuple[int, int]:
        """First and last input, along one axis, that output `at` depends on."""
        low, high = at // self._stem - 1, at // self._stem + 1
        for level, count in enumerate(self.blocks):
            low, high = low - ResidualBlock.reach * count, high + ResidualBlock.reach * count
            if level < len(self.blocks) - 1:
                low, high = low // 2, high // 2
        # Two 3x3 convolutions, one on each side of the code.
        low, high = low - 2, high + 2
        for level, count in reversed(list(enumerate(self.blocks))):
            if level < len(self.blocks) - 1:
                low, high = 2 * low, 2 * high + 1
            low, high = low - ResidualBlock.reach * count, high + ResidualBlock.reach * count
        return self._stem * (low - 1), self._stem * (high + 2) - 1

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        exact = self.levels * torch.tanh(self.encoder(image))
        code = torch.round(exact)
        if self.training:
            # Rounding has no slope; the gradient passes as if it were not there.
            code = exact + (code - exact).detach()
        return self.decoder(code), code
