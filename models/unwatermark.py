"""The watermark remover: finds the mark, sees through it where it lets light through, paints where it does not."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models.autoencoder import ConvAutoencoder

#: An opacity of which no more is undone: beyond it 8-bit rounding is multiplied by more than 10.
_OPAQUE = 0.9
#: Below the opaque by so much, what is seen through the mark counts fully.
_SOFT = 0.2
#: The mask is 0 at logits below minus this (a probability of 0.27), 1 above it, straight between.
_RAMP = 1.0
#: Whether there is a mark at all is judged over squares of so many pixels a side: of 4 to 64 the side that tells best
#: photos with marks from those without, on the val split.
_SURE_SIDE = 16
#: What a fresh network believes: a mark is seldom, and faint where it is.
_FRESH_MASK, _FRESH_MARK = -2.0, -1.5


class Decomposition(NamedTuple):
    """What the network thinks of a picture: (N, 3, H, W) where nothing else is said.

    `restored` is the answer; `mask` (N, 1, H, W) in [0, 1], where it differs from the picture;
    `logits` (N, 1, H, W), of a pixel belonging to a mark; `alpha` and `mark`, the share of light that the
    mark takes and the light that it adds: image = (1 - alpha) * clean + mark; `coarse`, what follows
    from these; `clean`, that refined, everywhere.
    """

    restored: Tensor
    mask: Tensor
    logits: Tensor
    alpha: Tensor
    mark: Tensor
    coarse: Tensor
    clean: Tensor


class WatermarkRemover(nn.Module):
    """Two encoder-decoders: the first takes mark and photo apart, the second mends the photo.

    The first predicts the mask, the opacity and the mark (WDNet, Liu et al. 2021, arXiv:2012.07616) and
    inverts the blend; the second refines the result, guided by the mask (SLBR, Liang et al. 2021,
    arXiv:2108.03581). Differs from both: opacity per channel and a mark that is already multiplied by
    it, so that screen, multiply and additive blends invert too; a mask of hard zeros. What it computes is
    local, but for one decision in serving: whether there is any mark at all.

    `image` (N, 3, H, W), sRGB in [0, 1], H and W multiples of `multiple_of`; `mask_in` (N, 1, H, W) in
    [0, 1] is a user's mask, which counts where `use_mask` (N,) is 1 and is ignored where that is 0. Without
    one, in serving, a picture comes back untouched unless somewhere the probability exceeds `certainty` (N,).
    Returns the whole `Decomposition` in training mode, else its `restored` and `mask` alone.
    """

    def __init__(
        self,
        *,
        stem: int = 2,
        channels: Sequence[int] = (32, 64, 128, 160, 224),
        blocks: Sequence[int] = (1, 2, 2, 2, 1),
        refine_channels: Sequence[int] = (32, 64, 128),
        refine_blocks: Sequence[int] = (1, 1, 2),
        notes: int = 16,
    ) -> None:
        super().__init__()
        self.stem, self.notes = stem, notes
        area = stem**2
        # Heads: logit 1, opacity 3, mark 3, painted 3; `notes` are what the first tells the second besides.
        self.finder = ConvAutoencoder(4 * area + 1, 10 * area + notes, channels=channels, blocks=blocks)
        # Image 3, coarse 3, opacity 3, probability 1.
        self.mender = ConvAutoencoder(10 * area + notes, 4 * area, channels=refine_channels, blocks=refine_blocks)
        bias = self.finder.tail.bias
        assert bias is not None
        with torch.no_grad():
            bias[:area].fill_(_FRESH_MASK)
            bias[area : 7 * area].fill_(_FRESH_MARK)
        # The second starts by changing nothing.
        nn.init.zeros_(self.mender.tail.weight)
        assert self.mender.tail.bias is not None
        nn.init.zeros_(self.mender.tail.bias)

    @property
    def multiple_of(self) -> int:
        """Height and width of the input must be multiples of this."""
        return self.stem * max(self.finder.multiple_of, self.mender.multiple_of)

    @property
    def reach(self) -> int:
        """Radius in pixels beyond which no input pixel changes an output pixel: one stage's after the other's."""
        return self.stem * (self.finder.reach + self.mender.reach) + self.stem - 1

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
        answers = self.finder(torch.cat((x, torch.zeros_like(x[:, :1]) + told), dim=1))
        heads, notes = torch.split(answers, [10 * self.stem**2, self.notes], dim=1)
        # In the picture's own type: under autocast the division below would lose the colours' last bits.
        heads = F.pixel_shuffle(heads, self.stem).to(image.dtype)
        logits, alpha, mark, painted = torch.split(heads, [1, 3, 3, 3], dim=1)
        alpha, mark = alpha.sigmoid(), mark.sigmoid()
        # Bounded, here and below: a first run grew without end after 200 steps.
        coarse = _see_through(image, alpha, mark, painted.tanh())
        probability = given + (1 - told) * logits.sigmoid()
        y = F.pixel_unshuffle(torch.cat((image, coarse, alpha, probability), dim=1), self.stem)
        change = F.pixel_shuffle(self.mender(torch.cat((y, notes.to(y.dtype)), dim=1)), self.stem).to(image.dtype)
        clean = coarse + change[:, :3].tanh()
        logits = logits + change[:, 3:]
        mask = given + (1 - told) * (logits / (2 * _RAMP) + 0.5).clamp(0, 1)
        # As a difference: where the mask is 0 the picture comes back to the last bit.
        restored = image + mask * (clean - image)
        return Decomposition(restored, mask, logits, alpha, mark, coarse, clean)


def _certainty(logits: Tensor, side: int) -> Tensor:
    """The probability of a mark where it is highest, over squares of `side`: (N, 1, H, W) -> (N, 1, 1, 1)."""
    return F.avg_pool2d(logits, side).amax(dim=(2, 3), keepdim=True).sigmoid()


def _see_through(image: Tensor, alpha: Tensor, mark: Tensor, painted: Tensor) -> Tensor:
    """The blend inverted where light comes through; where it does not, the picture plus what was painted."""
    seen = (image - mark) / (1 - alpha.clamp(max=_OPAQUE))
    weight = ((_OPAQUE - alpha) / _SOFT).clamp(0, 1)
    return weight * seen.clamp(0, 1) + (1 - weight) * (image + painted)
