"""Photos with marks, noise and lost colour, and photos that need nothing, each with the same photo without them.

What was done to a photo is not yet what it needs: see `training.trying`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from training.data import PhotoSet
from training.degrade import add_gaussian_noise
from training.jpeg import jpeg
from training.photo_noise import blur, film_grain, luma_of, sensor_noise
from training.trying import STEPS
from training.watermarks import Planes, Source, random_marks

#: END is label 0.
LABELS = ("end", *STEPS)
#: What a look holds; the planner's inputs are made to it.
CROPS, CROP, THUMBNAIL = 8, 48, 96
#: The longest side of a view: as large as the photos that are made here, in which the remover is right to the pixel.
VIEW = 448
#: Raise it with every change that makes another case of the same photos, marks and chance: all are then tried again.
VERSION = 1
#: Of 255: less noise than this is drawn again.
PLAIN_NOISE = 3.0
_STRONGEST = 55.0
_SIDES = (224, VIEW)

#: (3, H, W) in [0, 1] -> the same.
Change = Callable[[Tensor], Tensor]


class Case(NamedTuple):
    """One photo: what was done to it, in the order of STEPS by the step that is meant for it, and how it should be.

    `sigma` is the noise's deviation on the [0, 1] scale, 0 without. Both pictures are (H, W, 3) uint8; the truth has
    neither mark nor noise. Where colour was lost it lacks it too: that is all a plan can be measured by.
    """

    damages: tuple[str, ...]
    sigma: float
    picture: np.ndarray
    truth: np.ndarray

    @property
    def grey(self) -> bool:
        """Whether it lost its colour."""
        return "colorize" in self.damages


@dataclass(frozen=True, slots=True, kw_only=True)
class CaseMaker:
    """Makes cases from photos and marks. `untouched` of them need nothing, however they look."""

    photos: PhotoSet
    marks: Source
    untouched: float = 0.34
    shares: dict[str, float] = field(default_factory=lambda: dict.fromkeys(STEPS, 0.5))

    def __call__(self, rng: np.random.Generator) -> Case:
        """The next case that this chance draws."""
        chance = torch.Generator().manual_seed(int(rng.integers(2**62)))
        while True:
            base = _base(self.photos, rng, chance)
            wanted: set[str] = set()
            if rng.random() >= self.untouched:
                wanted = {step for step in STEPS if rng.random() < self.shares[step]}
            elif rng.random() < 0.25:
                base = _sketch(base) if rng.random() < 0.4 else blur(base[None], rng.uniform(0.6, 2.5))[0]
            case = self._damaged(base, wanted, rng, chance)
            if case is not None:
                return case

    def _damaged(
        self, base: Tensor, wanted: set[str], rng: np.random.Generator, chance: torch.Generator
    ) -> Case | None:
        """The case of a photo with these damages; None where one of them came out too faint to call."""
        changes: dict[str, Change] = {}
        if "unwatermark" in wanted:
            changes["unwatermark"] = _mark(random_marks(self.marks, (base.shape[1], base.shape[2]), rng))
        if "denoise" in wanted:
            changes["denoise"] = _noise(base, rng, chance)
        if "colorize" in wanted:
            changes["colorize"] = _grey(rng)
        happened = [str(name) for name in rng.permutation(sorted(changes))]
        quality = int(rng.integers(72, 99)) if rng.random() < 0.6 else 0

        def made(without: Sequence[str]) -> Tensor:
            picture = base
            for name in happened:
                if name not in without:
                    picture = changes[name](picture).clamp(0, 1)
            return _saved(picture, quality)

        sigma = 0.0
        if "denoise" in changes:
            sigma = float((made(()) - made(("denoise",))).square().mean().sqrt())
            if sigma * 255 < PLAIN_NOISE:
                return None
        damages = tuple(step for step in STEPS if step in changes)
        return Case(damages, sigma, pixels_of(made(())), pixels_of(made(("unwatermark", "denoise"))))

    def many(self, number: int, *, seed: int) -> Iterator[Case]:
        """So many cases, each from a chance of its own."""
        for index in range(number):
            yield self(np.random.default_rng([seed, index]))


def _base(photos: PhotoSet, rng: np.random.Generator, chance: torch.Generator) -> Tensor:
    """A part of a photo as a file would have it: sharp, or soft as a camera's at full size, (3, H, W) in [0, 1]."""
    index = int(torch.randint(len(photos), (), generator=chance))
    photo = photos.photo(index).float() / 255
    height, width = photo.shape[1:]
    rows, columns = (min(int(rng.integers(*_SIDES)), side) for side in (height, width))
    scale = 1.0 if rng.random() < 0.5 else float(np.exp(rng.uniform(0, np.log(4))))
    part = [max(24, round(side / scale)) for side in (rows, columns)]
    top, left = (int(rng.integers(whole - side + 1)) for whole, side in zip((height, width), part, strict=True))
    cut = photo[:, top : top + part[0], left : left + part[1]]
    if rng.random() < 0.5:
        cut = cut.flip(2)
    if scale > 1:
        cut = F.interpolate(cut[None], (rows, columns), mode="bicubic", align_corners=False)[0].clamp(0, 1)
    if rng.random() < 0.15:
        # A night shot.
        cut = cut ** float(rng.uniform(1.5, 2.5)) * float(rng.uniform(0.4, 0.9))
    return cut


def _mark(planes: Planes) -> Change:
    return lambda picture: (1 - planes.alpha) * picture + planes.mark


def _grey(rng: np.random.Generator) -> Change:
    """Luma in all channels, now and then in the tone of an old print."""
    tone = torch.ones(3, 1, 1)
    if rng.random() < 0.25:
        tone = torch.tensor([1.0, rng.uniform(0.85, 0.97), rng.uniform(0.65, 0.9)]).view(3, 1, 1).float()
    return lambda picture: luma_of(picture[None])[0] * tone


def _noise(base: Tensor, rng: np.random.Generator, chance: torch.Generator) -> Change:
    """White noise, a camera's or film's, drawn once and added to whatever is there by then."""
    kind = rng.random()
    if kind < 0.5:
        sigma = float(np.exp(rng.uniform(np.log(PLAIN_NOISE + 1), np.log(_STRONGEST)))) / 255
        field = add_gaussian_noise(torch.zeros_like(base)[None], sigma, chance)[0]
    else:
        field = (sensor_noise if kind < 0.85 else film_grain)(base[None], chance)[0]
    return lambda picture: picture + field


def _sketch(picture: Tensor) -> Tensor:
    """A grey drawing of a photo: art that nobody wants coloured."""
    luma = luma_of(picture[None])
    fine, coarse = blur(luma, 0.8), blur(luma, 1.6)
    lines = (1 - 12 * (coarse - 0.98 * fine).clamp(min=0) + 0.15 * (luma - 1)).clamp(0, 1)
    return lines[0].expand(3, -1, -1)


def _saved(picture: Tensor, quality: int) -> Tensor:
    if quality:
        return jpeg(picture[None], torch.tensor([float(quality)]))[0]
    return (picture * 255).round().clamp(0, 255) / 255


def pixels_of(picture: Tensor) -> np.ndarray:
    """(H, W, 3) uint8, of (3, H, W) in [0, 1]."""
    return (picture * 255).round().to(torch.uint8).permute(1, 2, 0).numpy()
