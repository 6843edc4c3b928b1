"""The colorizer: luma and, where there are any, hints and a palette in, chroma out. And CIELAB in torch."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models.autoencoder import ConvAutoencoder

#: The chroma that counts as 1 in hints and inside the networks.
FULL_CHROMA = 110.0
#: Numbers in a palette: a histogram over a 9 x 9 grid of a* and b*, and the mean chroma.
PALETTE_SIZE = 9 * 9 + 1
#: Width of a bin of a* and of b*, as in Zhang et al. 2016.
BIN = 10.0

# Linear sRGB to XYZ over the white's, D65: each row adds up to 1, so that greys have a* = b* = 0.
_RELATIVE_OF_RGB = (
    (0.43388735, 0.37622401, 0.18988864),
    (0.21263901, 0.71516868, 0.07219231),
    (0.01775004, 0.10944762, 0.87280234),
)
_DELTA = 6 / 29


def to_lab(image: Tensor) -> Tensor:
    """CIELAB of sRGB: (N, 3, H, W), nominally [0, 1] -> same shape, L* 0-100, a*, b*."""
    x, y, z = (_root(_relative(image, row)) for row in _RELATIVE_OF_RGB)
    return torch.cat((116 * y - 16, 500 * (x - y), 200 * (y - z)), dim=1)


def lightness(image: Tensor) -> Tensor:
    """L* (0-100) of sRGB: (N, 3, H, W), nominally [0, 1] -> (N, 1, H, W)."""
    return 116 * _root(_relative(image, _RELATIVE_OF_RGB[1])) - 16


def _relative(image: Tensor, row: tuple[float, float, float]) -> Tensor:
    curved = ((image.clamp(min=0) + 0.055) / 1.055) ** 2.4
    linear = torch.where(image <= 0.04045, image / 12.92, curved)
    return row[0] * linear[:, :1] + row[1] * linear[:, 1:2] + row[2] * linear[:, 2:]


def _root(relative: Tensor) -> Tensor:
    # The clamp keeps the root's slope, infinite at zero, out of the gradient of the straight branch.
    curved = relative.clamp(min=_DELTA**3) ** (1 / 3)
    return torch.where(relative > _DELTA**3, curved, relative / (3 * _DELTA**2) + 4 / 29)


def bin_centres() -> Tensor:
    """(Q, 2): a* and b* of the middle of each bin of BIN x BIN that holds a colour of sRGB, at any L*."""
    # Finer steps find no further bin.
    steps = torch.linspace(0, 1, 49)
    cube = torch.cartesian_prod(steps, steps, steps).T.reshape(1, 3, -1, 1)
    ab = to_lab(cube)[0, 1:, :, 0].T
    cells: Tensor = (ab / BIN).round().unique(dim=0)  # type: ignore[no-untyped-call]
    return cells * BIN


class GlobalBlock(nn.Module):
    """Self-attention and a two-layer network at each place, each added to its input (ViT, arXiv:2010.11929).

    (N, C, H, W) -> same shape; every place sees all others. Starts as the identity.
    """

    def __init__(self, channels: int, *, heads: int = 4) -> None:
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(channels), nn.LayerNorm(channels)
        self.query_key_value = nn.Linear(channels, 3 * channels)
        self.join = nn.Linear(channels, channels)
        self.expand = nn.Linear(channels, 2 * channels)
        self.project = nn.Linear(2 * channels, channels)
        for last in (self.join, self.project):
            nn.init.zeros_(last.weight)
            nn.init.zeros_(last.bias)

    def forward(self, x: Tensor) -> Tensor:
        height, width = x.shape[-2:]
        tokens = x.flatten(2).transpose(1, 2)
        split = self.query_key_value(self.norm1(tokens)).unflatten(2, (3, self.heads, -1))
        query, key, value = split.permute(2, 0, 3, 1, 4).unbind(0)
        seen = F.scaled_dot_product_attention(query, key, value).transpose(1, 2).flatten(2)
        tokens = tokens + self.join(seen)
        tokens = tokens + self.project(F.relu(self.expand(self.norm2(tokens))))
        places: Tensor = tokens.transpose(1, 2).unflatten(2, (height, width))
        return places


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


class Colorizer(nn.Module):
    """Guesses the chroma of a picture from its luma, led by hints and a palette (Zhang et al. 2017, arXiv:1705.02999).

    Differs from the paper: the residual encoder-decoder of the denoiser with self-attention at its lowest level, the
    palette in the first layer, and one of two `head`s: "regression", which gives at each place a colour and how much
    of the hints' instead of it, or "classification" over bins of a* and b* with the annealed mean (Zhang et al. 2016,
    arXiv:1603.08511).

    `image` (N, 3, H, W), sRGB in [0, 1], of which only L* is used; `hints` (N, 3, H, W): a*/110 and b*/110 where the
    third plane is 1, zeros elsewhere; `palette` (N, palette_size), which counts where `use_palette` (N,) is 1.
    H and W are multiples of `multiple_of`. Returns `ab` (N, 2, H, W), CIELAB; while a classification is in training,
    the scores of `raw`, which its loss needs.
    """

    #: It needs the whole picture: attention has no radius.
    reach = None

    bins: Tensor

    def __init__(
        self,
        *,
        head: str = "regression",
        stem: int = 2,
        channels: Sequence[int] = (48, 96, 160, 256),
        blocks: Sequence[int] = (1, 2, 2, 1),
        attention: int = 2,
        palette_size: int = PALETTE_SIZE,
        palette_features: int = 16,
        temperature: float = 0.38,
    ) -> None:
        super().__init__()
        if head not in {"regression", "classification"}:
            raise ValueError(f"head must be regression or classification, not {head!r}")
        self.head = head
        self.stem = stem
        self.temperature = temperature
        centres = bin_centres() if head == "classification" else torch.zeros(0, 2)
        # Made from code alone, so no checkpoint needs to hold it.
        self.register_buffer("bins", centres, persistent=False)
        self.palette = nn.Sequential(nn.Linear(palette_size, 64), nn.ReLU(), nn.Linear(64, palette_features))
        # Luma, three planes of hints and the height in the picture; the hints carried everywhere; then the palette's
        # features and whether it counts.
        self.spread = HintSpread(stem)
        features = 5 * stem**2 + HintSpread.features + palette_features + 1
        self.body = ConvAutoencoder(features, len(centres) or 3 * stem**2, channels=channels, blocks=blocks)
        self.body.bottom = nn.Sequential(self.body.bottom, *(GlobalBlock(channels[-1]) for _ in range(attention)))
        # A start near grey for both heads: what is not known yet should not be coloured.
        nn.init.zeros_(self.body.tail.weight)
        nn.init.zeros_(self.body.tail.bias)  # type: ignore[arg-type]
        if len(centres):
            # About how photos spread around grey, with a deviation of 20.
            self.body.tail.bias.data -= centres.square().sum(1) / (2 * 20**2)  # type: ignore[union-attr]

    @property
    def multiple_of(self) -> int:
        """Height and width of the inputs must be multiples of this."""
        return self.stem * self.body.multiple_of

    def forward(self, image: Tensor, hints: Tensor, palette: Tensor, use_palette: Tensor) -> Tensor:
        found = self.raw(image, hints, palette, use_palette)
        if self.head == "regression":
            return self._blended(found, image, hints)
        return found if self.training else self.expected(found)

    def _blended(self, found: Tensor, image: Tensor, hints: Tensor) -> Tensor:
        """a* and b*, (N, 2, H, W): the guess, the first two planes of `found`, and the hints', the third says where."""
        spread = self.spread(lightness(image) / 100, hints)
        carried, near = spread[:, :2], spread[:, 4:5]
        # A start at which hints rule where they are near; how far they reach is learned.
        told = F.interpolate(
            torch.cat((carried, 6 * near - 3), dim=1),
            scale_factor=float(self.stem),
            mode="bilinear",
            align_corners=False,
        )
        share = torch.sigmoid(found[:, 2:].to(told.dtype) + told[:, 2:])
        return FULL_CHROMA * torch.lerp(torch.tanh(found[:, :2].to(told.dtype)), told[:, :2], share)

    def raw(self, image: Tensor, hints: Tensor, palette: Tensor, use_palette: Tensor) -> Tensor:
        """What the head gives: (N, 3, H, W), see `_blended`, or (N, Q, H / stem, W / stem) scores of the bins.

        Scores are for the loss; `forward` turns either into a* and b*.
        """
        luma = lightness(image) / 100
        # The sky is above: from -1 at the top to 1 at the bottom. A running sum, because its size may be free.
        down = torch.ones_like(luma).cumsum(dim=2)
        down = 2 * (down - 0.5) / down[:, :, -1:] - 1
        hints = hints.to(luma.dtype)
        x = F.pixel_unshuffle(torch.cat((luma, hints, down), dim=1), self.stem)
        use = use_palette.to(x.dtype).view(-1, 1)
        palette = palette.to(x.dtype).clamp(min=0)
        # A histogram's shares add up to 1; more than that is none, and must not shake the network.
        palette = palette / palette.sum(dim=1, keepdim=True).clamp(min=2)
        # The root makes rare colours count beside the greys that fill most pictures.
        told = torch.cat((self.palette((2 * palette).sqrt()) * use, use), dim=1)
        planes = torch.zeros_like(x[:, :1]) + told[:, :, None, None].to(x.dtype)
        found: Tensor = self.body(torch.cat((x, self.spread(luma, hints), planes), dim=1))
        return found if self.head == "classification" else F.pixel_shuffle(found, self.stem)

    def expected(self, scores: Tensor) -> Tensor:
        """a* and b*, (N, 2, H, W), from scores of the bins: their annealed mean, between mode and mean."""
        shares = torch.softmax(scores / self.temperature, dim=1)
        ab = torch.einsum("nqhw,qc->nchw", shares, self.bins.to(shares.dtype))
        return F.interpolate(ab, scale_factor=float(self.stem), mode="bilinear", align_corners=False)


def shares_of(ab: Tensor, bins: Tensor, *, sigma: float = 5.0) -> Tensor:
    """What the scores should say: the share of each bin near a colour, Gaussian in its distance, summing to 1.

    ab: (N, 2, H, W); bins: (Q, 2). Returns (N, Q, H, W). Zhang et al. 2016 keep the five nearest bins only.
    """
    # The squared distance less ab's own square, which softmax would take away again.
    near = torch.einsum("nchw,qc->nqhw", ab, bins) - bins.square().sum(1).view(1, -1, 1, 1) / 2
    return torch.softmax(near / sigma**2, dim=1)
