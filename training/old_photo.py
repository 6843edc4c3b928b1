"""Old black-and-white photos made of colour photos: aged luma, hints and a palette in, the clean chroma as truth."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.nn import functional as F

from models.colorizer import FULL_CHROMA, PALETTE_SIZE, lightness, to_lab
from training.degrade import Pair
from training.jpeg import jpeg

#: Sides of the square patches that carry a hint: each odd number up to the last.
HINT_SIDES = (1, 3)
_NODES = math.isqrt(PALETTE_SIZE - 1)
# What plates and films saw of linear red, green and blue: panchromatic, orthochromatic, and blue alone.
_FILMS = ((0.25, 0.60, 0.15), (0.03, 0.50, 0.47), (0.00, 0.10, 0.90))
_SCRATCHES = 5


@dataclass(frozen=True, slots=True)
class ColourPair(Pair):
    """A pair whose truth is chroma: `photo` is what it was made of, (N, 3, H, W)."""

    photo: Tensor = field(default_factory=lambda: torch.zeros(()))

    def pictures(self) -> tuple[Tensor, ...]:
        """The photo, the grey that the network sees, and where it is given hints."""
        hints = self.inputs["hints"]
        return self.photo, self.inputs["image"], (self.inputs["image"] * (1 - hints[:, 2:]) + self.photo * hints[:, 2:])


@dataclass(frozen=True, slots=True)
class OldPhoto:
    """A pair for the colorizer: `image`, `hints`, `palette`, `use_palette` as its forward names them.

    `clean` of the pair is the truth in a* and b*, (N, 2, H, W). `aged`, `hinted` and `told` are the shares of pictures
    that are aged (the others are just grey), that have hints, and whose palette is told. The number of hints is
    log-uniform from 1 to `most_hints`: mostly few, now and then very many.
    """

    aged: float = 0.65
    hinted: float = 0.6
    told: float = 0.5
    most_hints: int = 128

    def __call__(self, clean: Tensor, rng: torch.Generator) -> ColourPair:
        count = clean.shape[0]
        ab = to_lab(clean)[:, 1:]
        image = torch.where(_chance(self.aged, clean, rng), age(clean, rng), grey_of(clean))
        number = torch.exp(_uniform(0, math.log(self.most_hints + 1), clean, rng)).long()
        number = torch.where(_chance(self.hinted, clean, rng), number, 0).view(count)
        use_palette = _chance(self.told, clean, rng).view(count).to(clean.dtype)
        inputs = {
            "image": image.repeat(1, 3, 1, 1),
            "hints": draw_hints(ab, number, rng),
            "palette": palette_of(ab) * use_palette[:, None],
            "use_palette": use_palette,
        }
        return ColourPair(inputs, ab, photo=clean)


def grey_of(clean: Tensor) -> Tensor:
    """The grey of equal L*: (N, 3, H, W) sRGB -> (N, 1, H, W) sRGB."""
    root = (lightness(clean) + 16) / 116
    relative = torch.where(root > 6 / 29, root**3, (root - 4 / 29) * 3 * (6 / 29) ** 2)
    return _encoded(relative)


def age(clean: Tensor, rng: torch.Generator) -> Tensor:
    """The photo as an old print gives it back, scanned: (N, 3, H, W) in [0, 1] -> (N, 1, H, W) in [0, 1].

    In the order of its life: film, lens, grain, print, fading, dirt, and the scan's JPEG; each at random, some never.
    """
    plane = _exposed(clean, rng)
    plane = _blurred(plane, _uniform(0.3, 1.8, plane, rng) * _chance(0.4, plane, rng))
    plane = plane * (1 - _uniform(0, 0.6, plane, rng) * _chance(0.4, plane, rng) * _from_centre(plane))
    plane = _grained(plane, rng)
    plane = _faded(plane, rng)
    plane = _on_paper(plane, rng)
    plane = _dusty(_scratched(plane, rng), rng).clamp(0, 1)
    quality = _uniform(40, 98, plane, rng).view(-1).round()
    scanned = jpeg(plane.expand(-1, 3, -1, -1), quality, subsample=False)[:, :1]
    return torch.where(_chance(0.6, plane, rng), scanned, plane)


def draw_hints(ab: Tensor, number: Tensor, rng: torch.Generator) -> Tensor:
    """Patches of the truth's mean colour at random places: (N, 3, H, W), a*/110, b*/110 and 1 where there is a hint.

    ab: (N, 2, H, W); number: (N,) hints a picture. Each patch is a square of one of HINT_SIDES, cut at the edges;
    where two lie over each other their colours are averaged.
    """
    count, _, height, width = ab.shape
    most = max(1, int(number.max()))
    chance = torch.rand(3, count, most, device=ab.device, generator=rng)
    half = (chance[0] * len(HINT_SIDES)).long().clamp(max=len(HINT_SIDES) - 1)
    # A window of the largest side about each hint, (N, hints, pixels), of which the hint's own square counts.
    at = torch.arange(HINT_SIDES[-1] ** 2, device=ab.device)
    down, across = at // HINT_SIDES[-1] - HINT_SIDES[-1] // 2, at % HINT_SIDES[-1] - HINT_SIDES[-1] // 2
    row, column = ((chance[1] * height).long()[..., None] + down, (chance[2] * width).long()[..., None] + across)
    inside = (torch.maximum(down.abs(), across.abs()) <= half[..., None]) & (row >= 0) & (row < height)
    inside &= (column >= 0) & (column < width) & (torch.arange(most, device=ab.device)[:, None] < number.view(-1, 1, 1))
    place = (row.clamp(0, height - 1) * width + column.clamp(0, width - 1)).flatten(1)
    counts = inside.to(ab.dtype)
    found = ab.flatten(2).gather(2, place[:, None].expand(-1, 2, -1)).view(count, 2, most, -1) * counts[:, None]
    mean = found.sum(dim=3, keepdim=True) / counts.sum(dim=2)[:, None, :, None].clamp(min=1)
    patches = torch.cat((mean * counts[:, None], counts[:, None]), dim=1).flatten(2)
    painted = ab.new_zeros(count, 3, height * width).scatter_add(2, place[:, None].expand(-1, 3, -1), patches)
    present = (painted[:, 2:] > 0).to(ab.dtype)
    hints = torch.cat((painted[:, :2] / painted[:, 2:].clamp(min=1) / FULL_CHROMA, present), dim=1)
    return hints.view(count, 3, height, width)


def palette_of(ab: Tensor) -> Tensor:
    """`restore.color.palette_of` in batch and on the device: (N, 2, H, W) -> (N, PALETTE_SIZE)."""
    flat = ab.flatten(2)
    root = flat.sign() * (flat.abs() / FULL_CHROMA).clamp(max=1).sqrt()
    at = (root + 1) * ((_NODES - 1) / 2)
    low = at.long().clamp(max=_NODES - 2)
    part = at - low
    histogram = ab.new_zeros(len(ab), _NODES**2)
    for down in (0, 1):
        for right in (0, 1):
            weight = (1 - down - part[:, 0]).abs() * (1 - right - part[:, 1]).abs()
            histogram.scatter_add_(1, (low[:, 0] + down) * _NODES + low[:, 1] + right, weight)
    saturation = torch.linalg.vector_norm(flat, dim=1).mean(dim=1, keepdim=True) / FULL_CHROMA
    return torch.cat((histogram / flat.shape[2], saturation), dim=1)


def _exposed(clean: Tensor, rng: torch.Generator) -> Tensor:
    """Through a film's response to colours, then its curve from light to density: (N, 3, H, W) -> (N, 1, H, W)."""
    linear = torch.where(clean <= 0.04045, clean / 12.92, ((clean.clamp(min=0) + 0.055) / 1.055) ** 2.4)
    # Mostly one film, with a little of the others.
    share = torch.rand(len(clean), len(_FILMS), device=clean.device, generator=rng) ** 3 + 1e-3
    weights = (share / share.sum(dim=1, keepdim=True)) @ clean.new_tensor(_FILMS)
    plane = _encoded(torch.einsum("nchw,nc->nhw", linear, weights)[:, None]).clamp(0, 1)
    steepness = _uniform(0.75, 1.7, clean, rng)
    exposure = torch.exp(_uniform(-0.6, 0.6, clean, rng))
    bright, dark = (plane * exposure) ** steepness, (1 - plane) ** steepness
    return bright / (bright + dark).clamp(min=1e-6)


def _encoded(linear: Tensor) -> Tensor:
    return torch.where(linear <= 0.0031308, linear * 12.92, linear.clamp(min=0.0031308) ** (1 / 2.4) * 1.055 - 0.055)


def _grained(plane: Tensor, rng: torch.Generator) -> Tensor:
    """Silver grain: noise of a random size, strongest in the middle tones."""
    noise = torch.randn(plane.shape, device=plane.device, dtype=plane.dtype, generator=rng)
    noise = _blurred(noise, _uniform(0, 1, plane, rng))
    noise = noise / noise.std(dim=(1, 2, 3), keepdim=True).clamp(min=1e-6)
    # Squared: at a working size of 256 to 384 px most of the grain has been averaged away.
    level = 0.1 * _uniform(0, 1, plane, rng) ** 2
    return plane + level * (0.3 + 2.8 * (plane * (1 - plane)).clamp(min=0)) * noise


def _faded(plane: Tensor, rng: torch.Generator) -> Tensor:
    """Greyer blacks and duller whites, more of it here than there."""
    black = _uniform(0, 0.3, plane, rng) * _chance(0.6, plane, rng)
    white = 1 - _uniform(0, 0.35, plane, rng) * _chance(0.6, plane, rng)
    uneven = _uniform(0, 0.25, plane, rng) * _chance(0.4, plane, rng) * _clouds(plane, 3, rng)
    return (black + (white - black) * plane) * (1 + uneven)


def _on_paper(plane: Tensor, rng: torch.Generator) -> Tensor:
    """The paper's own structure: fibres of a few pixels, lighter and darker."""
    height, width = plane.shape[-2:]
    structure = torch.randn(len(plane), 1, -(-height // 3), -(-width // 3), device=plane.device, generator=rng)
    fibres = F.interpolate(structure.to(plane.dtype), size=(height, width), mode="bilinear")
    return plane * (1 + _uniform(0, 0.06, plane, rng) * _chance(0.3, plane, rng) * fibres)


def _scratched(plane: Tensor, rng: torch.Generator) -> Tensor:
    """Up to five long thin lines a picture, light or dark, mostly along the film's way."""
    height, width = plane.shape[-2:]
    y = torch.linspace(-1, 1, height, device=plane.device, dtype=plane.dtype).view(1, 1, -1, 1)
    x = torch.linspace(-1, 1, width, device=plane.device, dtype=plane.dtype).view(1, 1, 1, -1)
    damaged = _chance(0.35, plane, rng)
    for _ in range(_SCRATCHES):
        angle = _uniform(-1, 1, plane, rng) ** 3 * (math.pi / 2)
        offset, bend = _uniform(-1, 1, plane, rng), _uniform(-0.1, 0.1, plane, rng)
        distance = (x * angle.cos() + y * angle.sin() - offset + bend * y * y).abs() * (width / 2)
        thickness = _uniform(0.4, 1.6, plane, rng)
        there = damaged & _chance(0.5, plane, rng)
        opacity = (1 - (distance - thickness).clamp(0, 1)) * _uniform(0.2, 0.9, plane, rng) * there
        plane = torch.lerp(plane, _chance(0.7, plane, rng).to(plane.dtype), opacity)
    return plane


def _dusty(plane: Tensor, rng: torch.Generator) -> Tensor:
    """Specks of one to three pixels, light in one picture and dark in the next."""
    share = 10 ** _uniform(-5, -2.7, plane, rng) * _chance(0.5, plane, rng)
    specks = (torch.rand(plane.shape, device=plane.device, generator=rng) < share).to(plane.dtype)
    wide = torch.maximum(specks, 0.8 * F.max_pool2d(specks, 3, stride=1, padding=1))
    specks = torch.where(_chance(0.5, plane, rng), wide, specks)
    return torch.lerp(plane, _chance(0.6, plane, rng).to(plane.dtype), specks)


def _blurred(plane: Tensor, sigma: Tensor) -> Tensor:
    """A Gaussian of each picture's own `sigma`, (N, 1, 1, 1), 0 to 2 px; 0 leaves it as it is."""
    at = torch.arange(-5, 6, device=plane.device, dtype=plane.dtype)
    kernel = torch.exp(-(at**2) / (2 * sigma.view(-1, 1).clamp(min=1e-2) ** 2))
    kernel = (kernel / kernel.sum(dim=1, keepdim=True))[:, None]
    padded = F.pad(plane.transpose(0, 1), (5, 5, 5, 5), mode="replicate")
    blurred = F.conv2d(
        F.conv2d(padded, kernel[:, :, :, None], groups=len(plane)), kernel[:, :, None], groups=len(plane)
    )
    return blurred.transpose(0, 1)


def _clouds(plane: Tensor, cells: int, rng: torch.Generator) -> Tensor:
    """Smooth random values in about [-1, 1], without detail smaller than the picture over `cells`."""
    coarse = torch.rand(len(plane), 1, cells, cells, device=plane.device, generator=rng) * 2 - 1
    return F.interpolate(coarse.to(plane.dtype), size=plane.shape[-2:], mode="bicubic", align_corners=True)


def _from_centre(plane: Tensor) -> Tensor:
    """The squared distance from the centre, 0 there and 1 in the corners: (1, 1, H, W)."""
    y, x = (torch.linspace(-1, 1, side, device=plane.device, dtype=plane.dtype) for side in plane.shape[-2:])
    return ((y[:, None] ** 2 + x**2) / 2)[None, None]


def _uniform(low: float, high: float, like: Tensor, rng: torch.Generator) -> Tensor:
    """One number a picture: (N, 1, 1, 1)."""
    return torch.rand(len(like), 1, 1, 1, device=like.device, dtype=like.dtype, generator=rng) * (high - low) + low


def _chance(share: float, like: Tensor, rng: torch.Generator) -> Tensor:
    """True with this chance for each picture: (N, 1, 1, 1)."""
    return _uniform(0, 1, like, rng) < share
