"""The colorizer: luma and, where there are any, hints and a palette in, chroma out. And CIELAB in torch."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models.autoencoder import ConvAutoencoder
from models.hints import HintAttention, HintSpread

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


class Colorizer(nn.Module):
    """Guesses the chroma of a picture from its luma, led by hints and a palette (Zhang et al. 2017, arXiv:1705.02999).

    Differs from the paper: the residual encoder-decoder of the denoiser with self-attention at its lowest level, the
    palette in the first layer, and one of two `head`s: "regression", which guesses a colour at each place and asks the
    hints for theirs (`HintAttention`), or "classification" over bins of a* and b* with the annealed mean (Zhang et al.
    2016, arXiv:1603.08511).

    `image` (N, 3, H, W), sRGB in [0, 1], of which only L* is used; `hints` (N, 3, H, W): a*/110 and b*/110 where the
    third plane is 1, zeros elsewhere; `palette` (N, palette_size), which counts where `use_palette` (N,) is 1.
    H and W are multiples of `multiple_of`. Returns `ab` (N, 2, H, W), CIELAB; while a classification is in training,
    scores of the bins, (N, Q, H / stem, W / stem), which its loss needs.
    """

    #: It needs the whole picture: attention has no radius.
    reach = None
    #: Chroma from which on a guess is taken for sure, and by how much it may grow for it; see docs/decisions/0003.
    PLAIN, PLAINER = 13.0, 1.2

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
        if head == "regression":
            self.ask = HintAttention(channels[0], stem)
        else:
            # About how photos spread around grey, with a deviation of 20.
            self.body.tail.bias.data -= centres.square().sum(1) / (2 * 20**2)  # type: ignore[union-attr]

    @property
    def multiple_of(self) -> int:
        """Height and width of the inputs must be multiples of this."""
        return self.stem * self.body.multiple_of

    def forward(self, image: Tensor, hints: Tensor, palette: Tensor, use_palette: Tensor) -> Tensor:
        luma, hints = lightness(image) / 100, hints.to(image.dtype)
        spread = self.spread(luma, hints)
        features = self._features(luma, hints, spread, palette, use_palette)
        found = self.body.tail(features)
        if self.head == "regression":
            near = spread[:, 4:5]
            return self._blended(F.pixel_shuffle(found, self.stem), features, luma, hints, near)
        return found if self.training else self.expected(found)

    def _blended(self, found: Tensor, features: Tensor, luma: Tensor, hints: Tensor, near: Tensor) -> Tensor:
        """a* and b*, (N, 2, H, W): the guess, the first two planes of `found`, and the hints', the third says where."""
        found, trust = torch.split(found.to(luma.dtype), [2, 1], dim=1)
        # Where hints would be trusted, the guess is held back.
        guess = torch.tanh(found) * torch.sigmoid(3 - trust)
        if not self.training:
            guess = self._decided(guess)
        # A start at which hints rule where they are near; how far they reach is learned.
        carried = torch.cat((self.ask(features, luma, hints, guess), 6 * near - 3), dim=1)
        carried = F.interpolate(carried, scale_factor=float(self.stem), mode="bilinear", align_corners=False)
        told, echo, left, detail, near = torch.split(carried, [2, 2, 1, 1, 1], dim=1)
        # What the guess says of differences between a place and the hints' own is detail that no hint has.
        told = told + left * guess + detail * ((1 - left) * guess - echo)
        return FULL_CHROMA * torch.lerp(guess, told, torch.sigmoid(trust + near)).clamp(-1, 1)

    def _decided(self, guess: Tensor) -> Tensor:
        """The guess, (N, 2, H, W) over FULL_CHROMA, with what is faint made fainter and what is plain made plainer.

        Trained by Huber's loss it is between the mean and the median of what a thing's colour may be: a faint colour
        stands for doubt, which the eye takes for dirt rather than for grey.
        """
        chroma = FULL_CHROMA * guess.square().sum(dim=1, keepdim=True).sqrt()
        return guess * (chroma / self.PLAIN).clamp(max=self.PLAINER)

    def _features(self, luma: Tensor, hints: Tensor, spread: Tensor, palette: Tensor, use_palette: Tensor) -> Tensor:
        """What the last layer reads: (N, channels[0], H / stem, W / stem)."""
        # The sky is above: from -1 at the top to 1 at the bottom. A running sum, because its size may be free.
        down = torch.ones_like(luma).cumsum(dim=2)
        down = 2 * (down - 0.5) / down[:, :, -1:] - 1
        x = F.pixel_unshuffle(torch.cat((luma, hints, down), dim=1), self.stem)
        use = use_palette.to(x.dtype).view(-1, 1)
        palette = palette.to(x.dtype).clamp(min=0)
        # A histogram's shares add up to 1; more than that is none, and must not shake the network.
        palette = palette / palette.sum(dim=1, keepdim=True).clamp(min=2)
        # The root makes rare colours count beside the greys that fill most pictures.
        told = torch.cat((self.palette((2 * palette).sqrt()) * use, use), dim=1)
        planes = torch.zeros_like(x[:, :1]) + told[:, :, None, None].to(x.dtype)
        return self.body.features(torch.cat((x, spread, planes), dim=1))

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
