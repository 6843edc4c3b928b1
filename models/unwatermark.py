"""The watermark remover: finds the mark, sees through it where it lets light through, paints where it does not."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models.autoencoder import ConvAutoencoder

#: The mask is 0 at logits below minus this (a probability of 0.27), 1 above it, straight between.
_RAMP = 1.0
#: Whether there is a mark at all is judged over squares of so many pixels a side: of 4 to 64 the side that tells best
#: photos with marks from those without, on the val split.
_SURE_SIDE = 16
#: What a fresh network believes of a pixel, as a logit: that it belongs to no mark.
_FRESH_MASK = -2.0


class Decomposition(NamedTuple):
    """What the network thinks of a picture: (N, 3, H, W) where nothing else is said.

    `restored` is the answer; `mask` (N, 1, H, W) in [0, 1], where it differs from the picture;
    `logits` (N, 1, H, W), of a pixel belonging to a mark; `clean`, the photo without the mark if there were one
    everywhere.
    """

    restored: Tensor
    mask: Tensor
    logits: Tensor
    clean: Tensor


class WatermarkRemover(nn.Module):
    """An encoder-decoder that says where a mark is, and by which line each colour under it becomes the photo's again.

    A mark of colour W laid on with opacity a makes J = (1 - a) I + a W of a photo I; solved for I that is a
    straight line, I = J / (1 - a) - a W / (1 - a) (WDNet, Liu et al. 2021, arXiv:2012.07616, predicts a and W and
    divides). Here the line's slope and height are predicted, per pixel and channel, so that nothing is
    divided by a small number, screen, multiply and additive blends are lines too, and an opaque mark is the line of
    slope 0, whose height is painted in. docs/decisions say what that brought. The mask has hard zeros. What it
    computes is local, but for one decision in serving: whether there is any mark at all.

    `image` (N, 3, H, W), sRGB in [0, 1], H and W multiples of `multiple_of`; `mask_in` (N, 1, H, W) in
    [0, 1] is a user's mask, which counts where `use_mask` (N,) is 1 and is ignored where that is 0. Without
    one, in serving, a picture comes back untouched unless somewhere the probability exceeds `certainty` (N,).
    Returns the whole `Decomposition` in training mode, else its `restored` and `mask` alone.
    """

    def __init__(
        self,
        *,
        stem: int = 2,
        channels: Sequence[int] = (48, 96, 128, 160, 192),
        blocks: Sequence[int] = (1, 1, 1, 1, 2),
    ) -> None:
        super().__init__()
        self.stem = stem
        area = stem**2
        # Heads: logit 1, slope 3, height 3.
        self.body = ConvAutoencoder(4 * area + 1, 7 * area, channels=channels, blocks=blocks)
        # It starts by changing nothing.
        nn.init.zeros_(self.body.tail.weight)
        assert self.body.tail.bias is not None
        nn.init.zeros_(self.body.tail.bias)
        with torch.no_grad():
            self.body.tail.bias[:area].fill_(_FRESH_MASK)

    @property
    def multiple_of(self) -> int:
        """Height and width of the input must be multiples of this."""
        return self.stem * self.body.multiple_of

    @property
    def reach(self) -> int:
        """Radius in pixels beyond which no input pixel changes an output pixel."""
        return self.stem * self.body.reach + self.stem - 1

    def forward(self, image: Tensor, certainty: Tensor, mask_in: Tensor, use_mask: Tensor) -> tuple[Tensor, ...]:
        found = self.decompose(image, mask_in, use_mask)
        if self.training:
            return found
        told = use_mask.to(image.dtype).view(-1, 1, 1, 1)
        sure = _certainty(found.logits, min(_SURE_SIDE, self.multiple_of)) > certainty.view(-1, 1, 1, 1)
        mask = found.mask * torch.maximum(told, sure.to(image.dtype))
        return image + mask * (found.clean - image), mask

    def decompose(self, image: Tensor, mask_in: Tensor, use_mask: Tensor) -> Decomposition:
        """All that the network makes of a picture."""
        told = use_mask.to(image.dtype).view(-1, 1, 1, 1)
        given = mask_in * told
        x = F.pixel_unshuffle(torch.cat((image, given), dim=1), self.stem)
        heads = self.body(torch.cat((x, torch.zeros_like(x[:, :1]) + told), dim=1))
        # In the picture's own type: under autocast the colours would lose their last bits.
        heads = F.pixel_shuffle(heads, self.stem).to(image.dtype)
        logits, slope, height = torch.split(heads, [1, 3, 3], dim=1)
        # Slope and height count from the line that changes nothing, and about mid-grey, where they pull least at
        # each other.
        clean = image + slope * (image - 0.5) + height
        mask = given + (1 - told) * (logits / (2 * _RAMP) + 0.5).clamp(0, 1)
        # As a difference: where the mask is 0 the picture comes back to the last bit.
        restored = image + mask * (clean - image)
        return Decomposition(restored, mask, logits, clean)


def _certainty(logits: Tensor, side: int) -> Tensor:
    """The probability of a mark where it is highest, over squares of `side`: (N, 1, H, W) -> (N, 1, 1, 1)."""
    return F.avg_pool2d(logits, side).amax(dim=(2, 3), keepdim=True).sigmoid()
