"""A user's hints carried over the picture: by a grid for the network to look at, by attention into its answer."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class HintSpread(nn.Module):
    """Hints carried to every place: to near ones rather than far, along equal luma rather than across edges.

    A bilateral grid (Chen et al. 2007, doi:10.1145/1276377.1276506) over places and luma, blurred by Gaussians of
    `SIGMAS` (shares of the longer side) at once, the wider the less it counts, and divided by how much there was.

    luma (N, 1, H, W) in [0, 1] and hints (N, 3, H, W), sides multiples of `cell`; returns (N, 2 + 3, H / cell,
    W / cell), at the places of a picture shrunk by `cell`: a*/110 and b*/110, then how near a hint is by each
    Gaussian, in [0, 1).
    """

    SIGMAS = (0.025, 0.08, 0.25)
    #: How much each Gaussian counts: less by far, so that the wider ones fill only what the narrower ones leave.
    _SHARES = (1.0, 2e-2, 5e-4)
    #: Luma of the grid, and how far a hint reaches along it; a little reaches everywhere.
    _LEVELS, _LUMA_SIGMA, _LEAK = 8, 0.06, 0.02

    #: What it returns at each place.
    features = 2 + len(SIGMAS)

    mixing: Tensor

    def __init__(self, cell: int) -> None:
        super().__init__()
        self.cell = cell
        step = torch.linspace(0, 1, self._LEVELS)
        mixing = torch.exp(-((step[:, None] - step) ** 2) / (2 * self._LUMA_SIGMA**2)) + self._LEAK
        # Rounded as an exported file stores it, so that this is what it computes with.
        self.register_buffer("mixing", mixing.half().float(), persistent=False)

    def forward(self, luma: Tensor, hints: Tensor) -> Tensor:
        hats = self._hats(luma)
        present = hints[:, 2:].clamp(0, 1)
        known = torch.cat((hints[:, :2] * present, present), dim=1)
        # (N, levels, 3, h, w): sums over the cells. Half a million places of one colour would still fit float32.
        grid = torch.stack([F.avg_pool2d(hats * known[:, i : i + 1], self.cell) for i in range(3)], dim=2)
        grid = torch.einsum("lk,nkchw->nlchw", self.mixing, grid * self.cell**2)
        height, width = grid.shape[-2:]
        wanted = self._hats(F.avg_pool2d(luma, self.cell))[:, :, None]
        total, near = torch.zeros_like(grid[:, 0]), []
        for sigma, share in zip(self.SIGMAS, self._SHARES, strict=True):
            rows, columns = (self._blur(hats, length, max(height, width), sigma) for length in (height, width))
            reached = (wanted * (rows @ grid @ columns)).sum(dim=1)
            total = total + share * reached
            near.append(1 - torch.exp(-reached[:, 2:]))
        return torch.cat((total[:, :2] / (total[:, 2:] + 1e-7), *near), dim=1)

    def _hats(self, luma: Tensor) -> Tensor:
        """How much a luma belongs to each level: (N, 1, H, W) -> (N, levels, H, W), summing to 1."""
        level = torch.arange(self._LEVELS, dtype=luma.dtype, device=luma.device).view(1, -1, 1, 1)
        return (1 - (luma.clamp(0, 1) * (self._LEVELS - 1) - level).abs()).clamp(min=0)

    @staticmethod
    def _blur(like: Tensor, length: int, longest: int, sigma: float) -> Tensor:
        """(length, length): a Gaussian of `sigma` times `longest` about each place."""
        at = torch.arange(length, dtype=like.dtype, device=like.device)
        return torch.exp(-(((at[:, None] - at) / (sigma * longest)) ** 2) / 2)


class _Heard(NamedTuple):
    """The hints that are listened to, K of them: (N, K, ...).

    `known` is each one's row, column, luma, hint and guess, 7 in all; `keys` speak for all heads; `present` is 0 where
    the list is longer than there are hints.
    """

    known: Tensor
    keys: Tensor
    present: Tensor


class HintAttention(nn.Module):
    """Each place asks the hints for its colour: attention (Vaswani et al. 2017, arXiv:1706.03762) to nothing else.

    A head's scores are -distance / reach - difference of luma / luma reach, as a joint bilateral filter's but straight,
    not squared, plus query times key from the network's features, which start at nothing. How far a head reaches falls
    as hints get more, and each place may change it. One slot beside the hints stands for none of them. What a hint's
    own place does not get of its colour is carried after it, `CORRECTIONS` times (twicing, Tukey 1977).

    `features` (N, C, h, w), and at `cell` times their size luma (N, 1, H, W) in [0, 1], hints (N, 3, H, W), and what
    the network guesses, (N, 2, H, W). Returns (N, 2 + 2 + 1 + 1, h, w): the hints' a*/110 and b*/110, the guess at the
    hints carried alike, the share of the slot, 1 where there is no hint (what is carried adds up to less), and how
    much detail of the guess to add, in [0, 1].
    """

    #: Cells with hints that are listened to; of more, so many evenly picked.
    MOST = 128
    CORRECTIONS = 2
    #: Of each head at first: shares of the longer side, and luma.
    _REACHES, _LUMA_REACHES = (0.06, 0.12, 0.25), (0.06, 0.08, 0.16)
    #: Those hold for so many hints; twice as many divide the reach by 2 to the power of `crowd`.
    _USUAL, _CROWD = 10.0, 0.3
    #: The slot's score at first: as that of a hint which is six times the reach away.
    _NONE = -6.0
    #: How much detail is taken at first: a tenth, as a logit.
    _DETAIL = -2.0
    #: In shares of the longer side: no score survives it, and with no hint at all the slot takes everything.
    _AWAY = 1e4
    #: A prime above the cells of a picture of 224 x 224, and a step that scatters them.
    _PRIME, _STEP = 4099, 1583

    def __init__(self, channels: int, cell: int, *, width: int = 16) -> None:
        super().__init__()
        self.cell = cell
        self.heads = heads = len(self._REACHES)
        self.width = width
        # Queries, keys; four numbers a head: its reach, its luma reach, its slot, how much the head counts; the detail.
        self.query = nn.Conv2d(channels, heads * (width + 4) + 1, 1)
        self.key = nn.Conv2d(channels, heads * width, 1)
        nn.init.zeros_(self.query.weight)
        nn.init.zeros_(self.query.bias)  # type: ignore[arg-type]
        # (1, heads, 1, 1): what has more than one axis is rounded alike in torch and in an exported file.
        self.reach = nn.Parameter(torch.tensor(self._REACHES).log().view(1, -1, 1, 1))
        self.luma_reach = nn.Parameter(torch.tensor(self._LUMA_REACHES).log().view(1, -1, 1, 1))
        self.crowd = nn.Parameter(torch.full((1, heads, 1, 1), self._CROWD))
        self.none = nn.Parameter(torch.full((1, heads, 1, 1), self._NONE))

    def forward(self, features: Tensor, luma: Tensor, hints: Tensor, guess: Tensor) -> Tensor:
        height, width = features.shape[-2:]
        where = self._places(luma)
        # (N, h * w, ...): the places that ask, and what each knows.
        asking, detail = torch.split(self.query(features), [self.heads * (self.width + 4), 1], dim=1)
        asking = asking.flatten(2).transpose(1, 2)
        at = F.avg_pool2d(torch.cat((where, luma), dim=1), self.cell).flatten(2).transpose(1, 2)
        known, present = self._known(where, luma, hints, guess)
        chosen = self._chosen(present)
        keys = self.key(features).flatten(2).transpose(1, 2)
        heard = _Heard(*(self._take(x, chosen) for x in (known, keys, present)))
        value = heard.known[:, None, :, 3:]
        carried = value
        among = self._shares(self._take(asking, chosen), heard.known[..., :3], heard)[..., :-1]
        for _ in range(self.CORRECTIONS):
            carried = carried + (value - among @ carried) * heard.present[:, None]
        found = self._shares(asking, at, heard) @ _with_slot(carried)
        heads = asking[..., -self.heads :].transpose(1, 2).softmax(dim=1)[..., None].to(value.dtype)
        places = torch.unflatten((heads * found).sum(dim=1).transpose(1, 2), 2, (height, width))
        return torch.cat((places, torch.sigmoid(detail + self._DETAIL).to(places.dtype)), dim=1)

    @staticmethod
    def _places(luma: Tensor) -> Tensor:
        """Rows and columns in shares of the longer side: (N, 2, H, W)."""
        ones = torch.ones_like(luma)
        down, across = ones.cumsum(dim=2), ones.cumsum(dim=3)
        longest = torch.maximum(down[:, :, -1:, -1:], across[:, :, -1:, -1:])
        return torch.cat((down, across), dim=1) / longest

    def _known(self, where: Tensor, luma: Tensor, hints: Tensor, guess: Tensor) -> tuple[Tensor, Tensor]:
        """For each cell the mean place, luma, hint and guess of its hints, (N, cells, 7), and whether it has one."""
        share = hints[:, 2:].clamp(0, 1)
        sums = F.avg_pool2d(
            torch.cat((where, luma, hints[:, :2], guess, torch.ones_like(luma)), dim=1) * share, self.cell
        )
        sums = sums.flatten(2).transpose(1, 2)
        return sums[..., :-1] / sums[..., -1:].clamp(min=1e-6), (sums[..., -1:] > 0).to(luma.dtype)

    def _chosen(self, present: Tensor) -> Tensor:
        """The cells to listen to, (N, MOST): all with a hint, or some that lie scattered; others fill the list up."""
        cells = F.pad(present[..., 0], (0, self.MOST))
        order = (torch.ones_like(cells[:1]).long().cumsum(dim=1) * self._STEP) % self._PRIME
        return (cells * self._PRIME + order).topk(self.MOST, dim=1).indices

    def _take(self, x: Tensor, chosen: Tensor) -> Tensor:
        """Rows of (N, cells, C): (N, MOST, C), zeros for those beyond the picture."""
        return F.pad(x, (0, 0, 0, self.MOST)).gather(1, chosen[..., None].expand(-1, -1, x.shape[2]))

    def _shares(self, asking: Tensor, at: Tensor, heard: _Heard) -> Tensor:
        """What each hint counts for each place, the slot for none last: (N, heads, places, K + 1), sums of 1."""
        query, reach, luma_reach, none, _ = (
            torch.unflatten(x, 2, (self.heads, -1)).transpose(1, 2)
            for x in torch.split(asking, [self.heads * self.width] + 4 * [self.heads], dim=2)
        )
        keys = torch.unflatten(heard.keys, 2, (self.heads, self.width)).transpose(1, 2)
        query = torch.cat((query * self.width**-0.5, none + self.none.to(none.dtype)), dim=3)
        scores = (query @ _with_slot(keys).transpose(2, 3)).to(at.dtype)
        apart = (at[:, :, None] - heard.known[:, None, :, :3]).permute(3, 0, 1, 2)
        # Not below a fifth of a pixel: a root's slope at nothing is infinite. What is no hint lies far away.
        distance = (apart[0].square() + apart[1].square()).clamp(min=1e-6).sqrt() + self._AWAY * (
            1 - heard.present.transpose(1, 2)
        )
        number = heard.present.sum(dim=1)[:, None, None].clamp(min=1)
        crowded = self.crowd * (number / self._USUAL).log()
        for far, slope in (
            (distance, torch.tanh(reach).to(at.dtype) + crowded - self.reach),
            (apart[2].abs(), torch.tanh(luma_reach).to(at.dtype) - self.luma_reach),
        ):
            scores = torch.addcmul(scores, F.pad(far, (0, 1))[:, None], -slope.exp())
        return scores.softmax(dim=3)


def _with_slot(hints: Tensor) -> Tensor:
    """(N, heads, K, C) -> (N, heads, K + 1, C + 1): after the hints the slot for none, a number that only it has, 1."""
    corner = torch.ones_like(hints[:, :, :1, :1])
    return F.pad(hints, (0, 1, 0, 1)) + F.pad(corner, (hints.shape[3], 0, hints.shape[2], 0))
