"""The watermark remover: finds the mark, sees through it where it lets light through, paints where it does not."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models.autoencoder import ConvAutoencoder
from models.poisson import gradients, solve_poisson

#: The mask is 0 at logits below minus this (a probability of 0.27), 1 above it, straight between.
_RAMP = 1.0
#: Whether there is a mark at all is judged over squares of so many pixels a side: of 4 to 64 the side that tells best
#: photos with marks from those without, on the val split.
_SURE_SIDE = 8
#: What a fresh network believes of a pixel, as a logit: that it belongs to no mark.
_FRESH_MASK = -2.0
#: How much a fresh network trusts the lines beside the gradients, as a logarithm: of 0.003 to 0.1 the best with the
#: lines of a network that was taught without gradients.
_FRESH_TRUST = -4.0
#: By how much the gradients, summed over the colours, must differ for one unit of logit: some levels; and the most
#: that they say, so that the network can say otherwise.
_STEEP, _MOST_SAID = 4 / 255, 3.0
#: Slopes below this are an opaque mark's, and no contrast to be brought back; and the most that the second network
#: changes of the first one's, as a logarithm.
_LEAST_SLOPE, _MOST_CLEARED = 0.3, 2.0
#: How much a pixel outside the mask is held to the picture, beside the gradients' 1: of 0.03 to 30 what one multigrid
#: cycle gets furthest with, and what forgives best a mask that ends a little too early.
_OUTSIDE = 0.1
#: The largest logarithm of how much a pixel under the mark is held to its line, and of its inverse: so far that neither
#: of them binds. (At 6 nearly every pixel stood at the end, held to lines that were not to be trusted.)
_MOST_HELD = 10.0

#: To the right and below, as `models.poisson.gradients` gives them.
_Gradients = tuple[Tensor, Tensor]


class Decomposition(NamedTuple):
    """What the network thinks of a picture: (N, 3, H, W) where nothing else is said.

    `restored` is the answer; `mask` (N, 1, H, W) in [0, 1], where it differs from the picture;
    `logits` (N, 1, H, W), of a pixel belonging to a mark; `lines`, what each pixel's line makes of it;
    `edges` (N, 2, H, W), logits of the mark's own edge lying to the right of a pixel, and below; `clearing`, the
    logarithm of what the mark divided the photo's contrast by; `right` and `below`, the photo's gradients under the
    mark; `clean`, the photo that lines and gradients together make.
    """

    restored: Tensor
    mask: Tensor
    logits: Tensor
    lines: Tensor
    edges: Tensor
    clearing: Tensor
    right: Tensor
    below: Tensor
    clean: Tensor


class _Found(NamedTuple):
    """What the first network answers: its features (N, C, H / stem, W / stem), and of a `Decomposition`."""

    seen: Tensor
    logits: Tensor
    slope: Tensor
    lines: Tensor
    mask: Tensor


class WatermarkRemover(nn.Module):
    """An encoder-decoder that says where a mark is, and by which line each colour under it becomes the photo's again.

    A mark of colour W laid on with opacity a makes J = (1 - a) I + a W of a photo I; solved for I that is a
    straight line, I = J / (1 - a) - a W / (1 - a) (WDNet, Liu et al. 2021, arXiv:2012.07616, predicts a and W and
    divides). Here the line's slope and height are predicted, per pixel and channel, so that nothing is
    divided by a small number, screen, multiply and additive blends are lines too, and an opaque mark is the line of
    slope 0, whose height is painted in. The mask has hard zeros.

    Heights are hard to tell, gradients are not: where W is the same at two neighbours, the photo's gradient is the
    picture's times the slope, and at the mark's own edges none at all is a fair guess. So the edges are predicted too,
    and a screened Poisson equation (`models.poisson`) makes of the gradients, of the photo around the mark and,
    as much as the network trusts them, of the lines the photo under the mark. docs/decisions say what each brought.

    `image` (N, 3, H, W), sRGB in [0, 1], H and W multiples of `multiple_of`; `mask_in` (N, 1, H, W) in
    [0, 1] is a user's mask, which counts where `use_mask` (N,) is 1 and is ignored where that is 0. Without
    one, in serving, a picture comes back untouched unless somewhere the probability exceeds `certainty` (N,).
    Returns the whole `Decomposition` in training mode, else its `restored` and `mask` alone.
    """

    #: It needs the whole picture: what lies around a mark tells what is under all of it.
    reach = None

    def __init__(
        self,
        *,
        stem: int = 2,
        channels: Sequence[int] = (48, 96, 128, 160, 192),
        blocks: Sequence[int] = (2, 2, 1, 1, 2),
        edge_channels: Sequence[int] = (24, 64, 96, 128),
        edge_blocks: Sequence[int] = (1, 1, 1, 2),
    ) -> None:
        super().__init__()
        self.stem = stem
        area = stem**2
        # Heads: logit 1, slope 3, height 3.
        self.body = ConvAutoencoder(4 * area + 1, 7 * area, channels=channels, blocks=blocks)
        # It sees what the finder saw, and picture, lines and mask beside each other. Edges to the right and below 2,
        # trust in the lines 1, clearing 3, what else the gradients are 6.
        self.edges = ConvAutoencoder(channels[0] + 7 * area, 12 * area, channels=edge_channels, blocks=edge_blocks)
        # It starts by changing nothing.
        for last in (self.body.tail, self.edges.tail):
            assert last.bias is not None
            nn.init.zeros_(last.weight)
            nn.init.zeros_(last.bias)
        with torch.no_grad():
            self.body.tail.bias[:area].fill_(_FRESH_MASK)  # type: ignore[index]
            self.edges.tail.bias[2 * area : 3 * area].fill_(_FRESH_TRUST)  # type: ignore[index]

    @property
    def multiple_of(self) -> int:
        """Height and width of the input must be multiples of this."""
        return self.stem * max(self.body.multiple_of, self.edges.multiple_of)

    def forward(self, image: Tensor, certainty: Tensor, mask_in: Tensor, use_mask: Tensor) -> tuple[Tensor, ...]:
        if self.training:
            return self.decompose(image, mask_in, use_mask)
        found = self._find(image, mask_in, use_mask)
        told = use_mask.to(image.dtype).view(-1, 1, 1, 1)
        sure = _certainty(found.logits, min(_SURE_SIDE, self.multiple_of)) > certainty.view(-1, 1, 1, 1)
        mask = found.mask * torch.maximum(told, sure.to(image.dtype))

        def restored(image: Tensor, mask: Tensor, *found: Tensor) -> Tensor:
            # As a difference: where the mask is 0 the picture comes back to the last bit.
            return image + mask * self._change(image, _Found(*found))[0]

        return _where_any(mask, restored, (image, mask, *found)), mask

    def decompose(self, image: Tensor, mask_in: Tensor, use_mask: Tensor) -> Decomposition:
        """All that the network makes of a picture."""
        found = self._find(image, mask_in, use_mask)
        change, edges, clearing, right, below = self._change(image, found)
        return Decomposition(
            image + found.mask * change, found.mask, found.logits, found.lines, edges, clearing, right, below,
            image + change,
        )  # fmt: skip

    def _find(self, image: Tensor, mask_in: Tensor, use_mask: Tensor) -> _Found:
        """The first network."""
        told = use_mask.to(image.dtype).view(-1, 1, 1, 1)
        given = mask_in * told
        x = F.pixel_unshuffle(torch.cat((image, given), dim=1), self.stem)
        seen = self.body.features(torch.cat((x, torch.zeros_like(x[:, :1]) + told), dim=1))
        # In the picture's own type: under autocast the colours would lose their last bits.
        heads = F.pixel_shuffle(self.body.tail(seen).to(image.dtype), self.stem)
        logits, slope, height = torch.split(heads, [1, 3, 3], dim=1)
        # Slope and height count from the line that changes nothing, and about mid-grey, where they pull least at
        # each other.
        lines = image + slope * (image - 0.5) + height
        mask = given + (1 - told) * (logits / (2 * _RAMP) + 0.5).clamp(0, 1)
        return _Found(seen, logits, slope, lines, mask)

    def _change(self, image: Tensor, found: _Found) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """What is to be added to a picture under its mask, and `edges`, `clearing`, `right`, `below`: see above."""
        own = gradients(image)
        edges, trust, clearing, right, below = self._look_for_edges(image, found, own)
        # Where a mark is, is not to be learnt from what makes the photo under it smooth.
        marked = found.mask.detach()
        held = marked * trust
        weight = (1 - marked) * _OUTSIDE + held
        change = solve_poisson(
            # Between two pixels the mark is where it is at either; beyond the picture's end is none.
            torch.maximum(marked, F.pad(marked[..., 1:], (0, 1))) * (right - own[0]),
            torch.maximum(marked, F.pad(marked[..., 1:, :], (0, 0, 0, 1))) * (below - own[1]),
            # Outside the mask nothing changes: an anchor of 0.
            held / weight * (found.lines - image),
            weight,
            grids=int(math.log2(self.multiple_of)) + 1,
        )
        return change, edges, clearing, right, below

    def _look_for_edges(
        self, image: Tensor, found: _Found, own: _Gradients
    ) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """The second network: `edges`, how much a line counts, `clearing`, `right` and `below` of a `Decomposition`.

        `own` are the picture's gradients.
        """
        made = torch.cat((image, found.lines, found.mask), dim=1)
        seen = torch.cat((found.seen, F.pixel_unshuffle(made, self.stem).to(found.seen.dtype)), dim=1)
        fields = F.pixel_shuffle(self.edges(seen).to(made.dtype), self.stem)
        edges, trust, more_cleared, more = torch.split(fields, [2, 1, 3, 6], dim=1)
        cleared = _MOST_CLEARED * torch.tanh(more_cleared / _MOST_CLEARED)
        clearing = torch.log((1 + found.slope).clamp(min=_LEAST_SLOPE)) + cleared
        through = [clearing.exp() * gradient for gradient in own]
        steeper = [_steeper(*both) for both in zip(through, gradients(found.lines), strict=True)]
        edges = edges + torch.cat(steeper, dim=1)
        right, below = (
            gradient * (-edge).sigmoid() + extra
            for gradient, edge, extra in zip(through, edges.chunk(2, dim=1), more.chunk(2, dim=1), strict=True)
        )
        return edges, (_MOST_HELD * torch.tanh(trust / _MOST_HELD)).exp(), clearing, right, below


def _where_any(mask: Tensor, change: Callable[..., Tensor], parts: tuple[Tensor, ...]) -> Tensor:
    """`change(*parts)`, or the first of them where a mask is 0 all over: a third of the work is for marks alone."""
    if torch.compiler.is_exporting():
        # Which way is taken depends on the picture: a condition of the graph's own.
        answer: Tensor = torch.cond((mask > 0).any(), change, lambda image, *_: image.clone(), parts)
        return answer
    return change(*parts) if bool((mask > 0).any()) else parts[0]


def _steeper(through: Tensor, of_lines: Tensor) -> Tensor:
    """What the gradients themselves say of an edge, a logit (N, 1, H, W), of two (N, 3, H, W).

    A mark's edges are steep in the picture, and less so in the lines, which have taken most of them away.
    """
    steeper = through.abs().sum(dim=1, keepdim=True) - of_lines.abs().sum(dim=1, keepdim=True)
    return _MOST_SAID * torch.tanh(steeper / (_MOST_SAID * _STEEP)) - 1


def _certainty(logits: Tensor, side: int) -> Tensor:
    """The probability of a mark where it is highest, over squares of `side`: (N, 1, H, W) -> (N, 1, 1, 1)."""
    return F.avg_pool2d(logits, side).amax(dim=(2, 3), keepdim=True).sigmoid()
