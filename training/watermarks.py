"""Visible watermarks on clean photos, with the whole truth about them.

Every way of blending is one formula, per channel: degraded = (1 - alpha) * clean + mark, clipped.
`alpha` is the share of the photo's light that the mark takes away, `mark` the light that it adds.
A mark W laid on with opacity a: normal takes a and adds a W; screen takes and adds a W; multiply
takes a (1 - W) and adds nothing; additive takes nothing and adds a W.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from training.degrade import Pair
from training.jpeg import jpeg
from training.mark_assets import Assets
from training.mark_bank import PLAIN, bank_path, open_bank
from training.marks import PATTERNS, draw_logo, draw_mark, pick_angle, pick_kind

#: Gives a mark of a kind, straight RGBA (4, h, w) uint8.
Source = Callable[[str, np.random.Generator], Tensor]

#: An opacity of up to one 8-bit level is none.
_FAINTEST = 1 / 255
#: A pixel that JPEG moved by more than 2 levels is mark; levels are whole, so 2.5 parts them safely.
_MOVED = 2.5 / 255
_COVERAGE = (0.005, 0.4)
_MOST_TRIES = 6
_BLENDS = ("normal", "screen", "multiply", "additive")
#: Longest side in pixels of a CLWD logo, whose pictures are 256 x 256.
_CLWD_SIDES = (10, 256)


@dataclass(frozen=True, slots=True, kw_only=True)
class MarkedPair(Pair):
    """A batch with marks. `inputs`: image, certainty (N,), mask_in (N, 1, H, W), use_mask (N,).

    `mask` (N, 1, H, W) is 1 where a pixel belongs to a mark; `alpha` and `mark` (N, 3, H, W) are
    what the marks take and add, in [0, 1], before JPEG.
    """

    mask: Tensor
    alpha: Tensor
    mark: Tensor

    def pictures(self) -> tuple[Tensor, ...]:
        """Truth, marked picture and mask."""
        return self.clean, self.inputs["image"], self.mask


class Drawn(NamedTuple):
    """The chance in a batch of marks, as `Watermark.draw` gives it: no photo is in it yet.

    `alpha` and `mark` (N, 3, h, w) at the size before the resize by `factor`; JPEG's `quality` (N,) after and
    `earlier` (N,) before the resize, 0 for none, and whether it has 4:2:0; `brushed` (N,) whole numbers,
    see `_brushes`.
    """

    alpha: Tensor
    mark: Tensor
    quality: Tensor
    earlier: Tensor
    brushed: Tensor
    factor: float
    subsample: bool


class Planes(NamedTuple):
    """What marks do to one photo: (3, H, W) each."""

    alpha: Tensor
    mark: Tensor

    def under(self, other: Planes) -> Planes:
        """Both, `other` laid on last."""
        return Planes(1 - (1 - self.alpha) * (1 - other.alpha), (1 - other.alpha) * self.mark + other.mark)

    @property
    def covered(self) -> float:
        """The share of the pixels that belong to a mark."""
        return float(_opaque(self.alpha, self.mark).float().mean())


def blend(layer: Tensor, *, opacity: float, how: str = "normal") -> Planes:
    """What a placed mark takes and adds: `layer` is premultiplied RGBA (4, H, W) in [0, 1].

    `how` is normal, screen, multiply or additive. Where the opacity is 1/255 or less there is nothing.
    """
    layer = layer * opacity
    layer = torch.where(layer[3:] > _FAINTEST, layer, 0)
    light, share = layer[:3], layer[3:].expand(3, -1, -1)
    if how == "normal":
        return Planes(share, light)
    if how == "screen":
        return Planes(light, light)
    if how == "multiply":
        return Planes(share - light, torch.zeros_like(light))
    if how == "additive":
        return Planes(torch.zeros_like(light), light)
    raise ValueError(f"no blending is called {how!r}; there are: {', '.join(_BLENDS)}")


def place(mark: Tensor, size: tuple[int, int], *, longest: float, angle: float, centre: tuple[float, float]) -> Tensor:
    """A mark on an empty canvas: premultiplied RGBA (4, H, W) in [0, 1], of straight uint8 (4, h, w).

    `longest` is the mark's longest side on the canvas, `angle` turns it counter-clockwise by degrees
    about its `centre` (y, x), in pixels.
    """
    straight = mark.float().div(255)
    layer = torch.cat((straight[:3] * straight[3:], straight[3:]))[None]
    scale = longest / max(layer.shape[-2:])
    h, w = (max(1, round(side * scale)) for side in layer.shape[-2:])
    if (h, w) != tuple(layer.shape[-2:]):
        layer = F.interpolate(layer, (h, w), mode="bilinear", antialias=True, align_corners=False)
    height, width = size
    y, x = centre
    if angle == 0:
        # On whole pixels an upright mark stays as sharp as an editor would paste it.
        y, x = round(y - h / 2) + h / 2, round(x - w / 2) + w / 2
    cos, sin = math.cos(math.radians(angle)), math.sin(math.radians(angle))
    to_x, to_y = width - 2 * x, height - 2 * y
    theta = layer.new_tensor(
        [
            [cos * width / w, -sin * height / w, (cos * to_x - sin * to_y) / w],
            [sin * width / h, cos * height / h, (sin * to_x + cos * to_y) / h],
        ]
    )
    grid = F.affine_grid(theta[None], [1, 4, height, width], align_corners=False)
    return F.grid_sample(layer, grid, padding_mode="zeros", align_corners=False)[0].clamp(0, 1)


def random_marks(source: Source, size: tuple[int, int], rng: np.random.Generator) -> Planes:
    """One mark or pattern, at times two or three, that cover 0.5 to 40 % of a picture of `size`."""
    planes = _random_mark(source, size, rng)
    for _ in range(_MOST_TRIES):
        if _COVERAGE[0] <= planes.covered <= _COVERAGE[1]:
            break
        planes = _random_mark(source, size, rng)
    for _ in range(int(rng.choice(3, p=(0.8, 0.15, 0.05)))):
        both = planes.under(_random_mark(source, size, rng))
        planes = both if both.covered <= _COVERAGE[1] else planes
    return planes


def _random_mark(source: Source, size: tuple[int, int], rng: np.random.Generator) -> Planes:
    kind = pick_kind(rng)
    mark = _recoloured(source(kind, rng), rng)
    opacity = 1.0 if rng.random() < 0.12 else float(rng.uniform(0.15, 1))
    layer = _placed(mark, kind, size, rng)
    how = str(rng.choice(_BLENDS, p=(0.7, 0.12, 0.08, 0.1)))
    solid = mark[:3, mark[3] > 128]
    bright = float(solid.float().mean()) / 255 if solid.numel() else 0.5
    # What would not be seen is not made: black screened or added, white multiplied.
    if (how == "multiply" and bright > 0.6) or (how in ("screen", "additive") and bright < 0.4):
        how = "normal"
    return blend(layer, opacity=opacity, how=how)


def _recoloured(mark: Tensor, rng: np.random.Generator) -> Tensor:
    """Now and then with its colours swapped or mirrored, so that a bank holds more than its number."""
    if rng.random() < 0.3:
        mark = mark[[*rng.permutation(3).tolist(), 3]]
    return mark.flip(2) if rng.random() < 0.1 else mark


def _placed(mark: Tensor, kind: str, size: tuple[int, int], rng: np.random.Generator) -> Tensor:
    """Where and how large such marks are met with."""
    height, width = size
    h, w = mark.shape[-2:]
    if kind in PATTERNS:
        # Large enough to cover the picture wherever it is shifted to.
        longest = max(size) * float(rng.uniform(1.0, 1.6))
        room = [(longest - side) / 2 for side in size]
        y, x = (side / 2 + float(rng.uniform(-r, r)) for side, r in zip(size, room, strict=True))
        return place(mark, size, longest=longest, angle=0.0, centre=(y, x))
    if kind == "bar" and 2 * h * width < w * height and rng.random() < 0.8:
        longest = 1.02 * width
        thick = longest * h / w
        y = float(rng.choice((thick / 2, height - thick / 2, rng.uniform(thick / 2, height - thick / 2))))
        return place(mark, size, longest=longest, angle=0.0, centre=(y, width / 2))
    inked = max(0.02, float((mark[3] > 0).float().mean()))
    low, high = (0.15, 0.6) if kind in ("date", "signature") else (0.05, 1.2)
    # The share that it covers is drawn evenly in its logarithm; the mark's own shape says how large that makes it.
    share = math.exp(rng.uniform(math.log(_COVERAGE[0]), math.log(_COVERAGE[1])))
    longest = math.sqrt(share * height * width / inked * max(h, w) / min(h, w))
    longest = min(max(longest, 12, low * min(size)), high * max(size))
    angle = 0.0 if kind in ("date", "bar") else pick_angle(rng)
    centre = _centre(kind, _half_box(mark, longest, angle), size, rng)
    return place(mark, size, longest=longest, angle=angle, centre=centre)


def _half_box(mark: Tensor, longest: float, angle: float) -> tuple[float, float]:
    """Half the height and width that a turned mark takes up, in pixels."""
    height, width = (longest * side / max(mark.shape[-2:]) / 2 for side in mark.shape[-2:])
    cos, sin = abs(math.cos(math.radians(angle))), abs(math.sin(math.radians(angle)))
    return height * cos + width * sin, height * sin + width * cos


def _centre(
    kind: str, half: tuple[float, float], size: tuple[int, int], rng: np.random.Generator
) -> tuple[float, float]:
    """In a corner for most dates and signatures, in the middle for much text, else anywhere."""
    chance = rng.random()
    cornered = {"date": 0.6, "signature": 0.6, "logo": 0.3}.get(kind, 0.15)
    if chance < cornered:
        edge = float(rng.uniform(0.01, 0.06)) * min(size)
        low = bool(rng.random() < 0.8)
        right = bool(rng.random() < 0.7)
        y = size[0] - edge - half[0] if low else edge + half[0]
        return y, size[1] - edge - half[1] if right else edge + half[1]
    if kind in ("text", "logo") and chance < cornered + 0.3:
        return size[0] / 2, size[1] / 2
    return float(rng.uniform(0, size[0])), float(rng.uniform(0, size[1]))


def clwd_mark(logo: Tensor, size: tuple[int, int], rng: np.random.Generator) -> Planes:
    """One colour logo as CLWD lays it on (Liu et al. 2021, WDNet, arXiv:2012.07616), for 256 x 256.

    Opacity 0.3-0.7, 10-256 px, any rotation and place, wholly inside where it fits.
    """
    longest = float(rng.uniform(*_CLWD_SIDES)) * min(size) / 256
    angle = float(rng.uniform(-180, 180))
    half = _half_box(logo, longest, angle)
    ranges = [(min(r, n / 2), max(n - r, n / 2)) for r, n in zip(half, size, strict=True)]
    centre = (float(rng.uniform(*ranges[0])), float(rng.uniform(*ranges[1])))
    layer = place(logo, size, longest=longest, angle=angle, centre=centre)
    return blend(layer, opacity=float(rng.uniform(0.3, 0.7)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Watermark:
    """Marks from the bank of one split in `folder` (`mark_bank.fill_bank`), on a batch of clean crops.

    Of the pictures, `unmarked` get none, `clwd` one colour logo as CLWD has it; `resized` of the
    batches are enlarged or shrunk after the mark is on, and `stored` of the pictures (`clwd_stored` of CLWD's, which
    has none) go through JPEG, always with their clean twin. `sent` of those that are resized went through JPEG
    before, too, as pictures do that are sent on: resized, what JPEG left looks otherwise, and a finder that never
    saw that finds little. `told` of the marked come with a user's mask, coarser than the mark.
    """

    folder: Path = Path("runs/marks")
    split: str = "train"
    unmarked: float = 0.125
    clwd: float = 0.25
    resized: float = 0.4
    stored: float = 0.7
    clwd_stored: float = 0.7
    sent: float = 0.5
    told: float = 0.15

    def __call__(self, clean: Tensor, rng: torch.Generator) -> MarkedPair:
        # Many small choices for one picture after another: a host's generator, seeded from the device's.
        chance = np.random.default_rng(int(torch.randint(2**62, (), generator=rng, device=rng.device)))
        return self.lay(clean, self.draw(len(clean), (clean.shape[-2], clean.shape[-1]), chance))

    def draw(self, count: int, size: tuple[int, int], chance: np.random.Generator) -> Drawn:
        """All that is drawn by chance for `count` crops of `size`, on the CPU: a GPU would be no faster."""
        source = open_bank(bank_path(self.folder, self.split))
        factor = float(np.exp(chance.uniform(np.log(0.5), np.log(2)))) if chance.random() < self.resized else 1.0
        which = chance.random(count)
        planes = [self._marks(source, _before(size, factor), one, chance) for one in which.tolist()]
        alpha, mark = (torch.stack(part) for part in zip(*planes, strict=True))
        as_clwd = (which >= self.unmarked) & (which < self.unmarked + self.clwd)
        stored = chance.random(count) < np.where(as_clwd, self.clwd_stored, self.stored)
        quality = _qualities(stored, chance)
        brushed = torch.from_numpy(_brushes(count, self.told, chance))
        subsample = bool(chance.random() < 0.6)
        earlier = _qualities((chance.random(count) < self.sent) & (factor != 1.0), chance)
        return Drawn(alpha, mark, quality, earlier, brushed, factor=factor, subsample=subsample)

    def lay(self, clean: Tensor, drawn: Drawn) -> MarkedPair:
        """The crops that `drawn` was drawn for, (N, 3, H, W) in [0, 1], with its marks."""
        size = (clean.shape[-2], clean.shape[-1])
        photos = _room_for(clean, _before(size, drawn.factor))
        alpha, mark, quality, earlier = (x.to(clean, non_blocking=True) for x in drawn[:4])
        pair = compose(photos, alpha, mark, size=size, quality=quality, earlier=earlier, subsample=drawn.subsample)
        return _with_user_masks(pair, drawn.brushed.tolist())

    def _marks(self, source: Source, size: tuple[int, int], which: float, rng: np.random.Generator) -> Planes:
        if which < self.unmarked:
            return Planes(*torch.zeros(2, 3, *size))
        if which < self.unmarked + self.clwd:
            return clwd_mark(source(PLAIN, rng), size, rng)
        return random_marks(source, size, rng)


def _qualities(stored: np.ndarray, rng: np.random.Generator) -> Tensor:
    """JPEG's quality, 60 to 98, where a picture is `stored` (N,), else 0: (N,) float32."""
    return torch.from_numpy(np.where(stored, rng.integers(60, 99, len(stored)), 0).astype(np.float32))


def _before(size: tuple[int, int], factor: float) -> tuple[int, int]:
    """What a resize by `factor` turns into `size`."""
    return round(size[0] / factor), round(size[1] / factor)


def _room_for(clean: Tensor, size: tuple[int, int]) -> Tensor:
    """The crops at another size without a resize: their middle, or they mirrored outwards."""
    height, width = clean.shape[-2:]
    rows, columns = size
    if rows <= height and columns <= width:
        top, left = (height - rows) // 2, (width - columns) // 2
        return clean[..., top : top + rows, left : left + columns]
    down, right = rows - height, columns - width
    return F.pad(clean, (right // 2, right - right // 2, down // 2, down - down // 2), mode="reflect")


def compose(
    photos: Tensor,
    alpha: Tensor,
    mark: Tensor,
    *,
    size: tuple[int, int],
    quality: Tensor,
    earlier: Tensor | None = None,
    subsample: bool = True,
) -> MarkedPair:
    """Lay marks on photos, (N, 3, H, W) each, and do the same to both twins: resize to `size`, JPEG, 8 bit.

    `quality` (N,) is JPEG's, 0 for none; `earlier` (N,) that of a JPEG before the resize. A pixel belongs to a mark
    where its opacity is above 1/255, or where JPEG carried the mark further by more than 2 levels.
    """
    degraded = ((1 - alpha) * photos + mark).clamp(0, 1)
    twins = torch.cat((degraded, photos))
    if earlier is not None:
        twins = _stored(twins, earlier, subsample=subsample)
    twins = _stored(_resized(twins, size), quality, subsample=subsample)
    alpha, mark = _resized(alpha, size), _resized(mark, size)
    degraded, clean = twins.chunk(2)
    moved = (degraded - clean).abs().amax(dim=1, keepdim=True) > _MOVED
    mask = (_opaque(alpha, mark) | moved).to(clean.dtype)
    none = mask.new_zeros(len(mask))
    inputs = {"image": degraded, "certainty": none, "mask_in": torch.zeros_like(mask), "use_mask": none.clone()}
    return MarkedPair(inputs, clean, mask=mask, alpha=alpha, mark=mark)


def _stored(twins: Tensor, quality: Tensor, *, subsample: bool) -> Tensor:
    """Both twins, (2 N, 3, H, W), as 8-bit files: JPEG where `quality` (N,) is above 0."""
    twins = twins.mul(255).round().div(255)
    both = torch.cat((quality, quality))
    chosen = both > 0
    if bool(chosen.any()):
        twins[chosen] = jpeg(twins[chosen], both[chosen], subsample=subsample)
    return twins


def _resized(planes: Tensor, size: tuple[int, int]) -> Tensor:
    if planes.shape[-2:] == size:
        return planes
    return F.interpolate(planes, size, mode="bilinear", antialias=True, align_corners=False).clamp(0, 1)


def _opaque(alpha: Tensor, mark: Tensor) -> Tensor:
    return torch.maximum(alpha, mark).amax(dim=-3, keepdim=True) > _FAINTEST


def _brushes(count: int, share: float, rng: np.random.Generator) -> np.ndarray:
    """For each picture how coarsely a user brushed its mask, (count,) whole numbers, 0 for the most: not at all.

    Above 0 a rim of so many pixels about the mark, below it blocks of so many a side.
    """
    sides = rng.integers(1, 16, count) * rng.choice((-1, 1), count)
    return np.where(rng.random(count) < share, sides, 0)


def _with_user_masks(pair: MarkedPair, brushes: Sequence[int]) -> MarkedPair:
    """The pair, some pictures with the mask that a user would have brushed; see `_brushes`."""
    for index, brush in enumerate(brushes):
        if brush == 0:
            continue
        mask, side = pair.mask[index : index + 1], abs(brush)
        if brush > 0:
            brushed = F.max_pool2d(mask, 2 * side + 1, stride=1, padding=side)
        else:
            blocks = F.max_pool2d(mask, side, ceil_mode=True)
            brushed = blocks.repeat_interleave(side, 2).repeat_interleave(side, 3)
            brushed = brushed[..., : mask.shape[2], : mask.shape[3]]
        pair.inputs["mask_in"][index] = brushed[0]
        pair.inputs["use_mask"][index] = 1
    return pair


def mark_photo(
    photo: Tensor, assets: Assets, *, seed: int, style: str = "hard", size: tuple[int, int] | None = None
) -> MarkedPair:
    """One whole photo (3, H, W) in [0, 1] with marks drawn for it: what figures are measured on. N is 1.

    `style` "clwd" is one colour logo and nothing else; "hard" any marks, then JPEG 60-98; "sent" the same, resized by
    0.5 to 1.5, then JPEG 60-98 again. The marked photo is resized to `size` where it is given, its mark with it.
    Raises ValueError for another style.
    """
    rng = np.random.default_rng(seed)
    own = (photo.shape[1], photo.shape[2])
    earlier = 0
    if style == "clwd":
        coloured = [logo for logo in assets.logos if not logo.mono] or list(assets.logos)
        drawn = draw_logo(coloured[int(rng.integers(len(coloured)))].path, 256)
        planes, quality = clwd_mark(_as_tensor(drawn, photo), own, rng), 0
    elif style in ("hard", "sent"):

        def source(kind: str, rng: np.random.Generator) -> Tensor:
            return _as_tensor(draw_mark(assets, kind, max(own), rng), photo)

        planes, quality = random_marks(source, own, rng), int(rng.integers(60, 99))
        if style == "sent":
            earlier, quality = quality, int(rng.integers(60, 99))
            factor = math.exp(rng.uniform(math.log(0.5), math.log(1.5)))
            size = size or (round(own[0] * factor), round(own[1] * factor))
    else:
        raise ValueError(f"no style is called {style!r}; there are: clwd, hard, sent")
    alpha, mark = planes.alpha[None], planes.mark[None]
    before, after = photo.new_tensor([[float(earlier)], [float(quality)]])
    return compose(photo[None], alpha, mark, size=size or own, quality=after, earlier=before)


def _as_tensor(mark: np.ndarray, like: Tensor) -> Tensor:
    return torch.from_numpy(mark.copy()).permute(2, 0, 1).to(like.device)
