"""A model that answers with steps: it says what a picture needs."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from restore.errors import UnsupportedModel
from restore.image import Image
from restore.look import look
from restore.model import Model
from restore.monochrome import COLOUR_FROM, has_two_levels, judge
from restore.session import Session

#: The label that ends a plan.
END = "end"
#: Of the least that is colour: what has more of it is in colour beyond doubt.
MOST_VARIETY = 2.0
#: Where a picture was shrunk by more than this, its view is not denoised.
_SHRUNK = 2


class Sight(NamedTuple):
    """What a planner is told of a picture: a look at it, (K, 3, S, S), (3, T, T) and (V, 3, H, W) uint8, and findings.

    Of the V views the first is the picture as it is, the last as it would be without its noise; where there is no
    noise to speak of they are one. `levels` (K,) float32 are the deviations in [0, 1] of the noise that the denoiser
    finds in each crop, `variety` how much of the colour no single pigment explains, from 0 to MOST_VARIETY; 1 and more
    is a colour photo.
    """

    crops: np.ndarray
    thumbnail: np.ndarray
    view: np.ndarray
    levels: np.ndarray
    variety: float


def examine(
    pixels: np.ndarray, denoiser: Model | None, *, crops: int, side: int, thumbnail: int, longest: int
) -> Sight:
    """All that a planner is told of a picture, (H, W, 3) or (H, W), uint8 or uint16; see `restore.look`.

    `denoiser` is one that finds the level of noise itself; without one there is none.
    """
    seen = look(pixels, crops=crops, side=side, thumbnail=thumbnail, longest=longest)
    views = [seen.view]
    levels = np.zeros(crops, np.float32)
    if denoiser is not None:
        found = _denoised(denoiser, seen.crops)["level"]
        levels = np.sqrt(np.square(found).mean((1, 2, 3)))
        # Noise of a larger picture is averaged away where it is shrunk.
        shows = max(pixels.shape[:2]) <= _SHRUNK * longest
        if shows and np.median(levels) >= denoiser.spec.param("sigma").nothing_below:
            cleared = _denoised(denoiser, seen.view[None])["restored"][0]
            views.append(np.rint(cleared.clip(0, 1) * 255).astype(np.uint8))
    variety = judge(np.ascontiguousarray(seen.view.transpose(1, 2, 0))).variety / COLOUR_FROM
    return Sight(seen.crops, seen.thumbnail, np.stack(views), levels, min(variety, MOST_VARIETY))


def _denoised(denoiser: Model, pictures: np.ndarray) -> dict[str, np.ndarray]:
    """Its answers on pictures (N, 3, H, W) uint8 whose noise it is to find."""
    unknown = np.full(len(pictures), denoiser.spec.param("sigma").unknown, np.float32)
    return denoiser.run_batch({"image": pictures / np.float32(255), "sigma": unknown})


class Planner(Model):
    """A model that answers with steps: it looks at a picture and says what it needs, one after the other.

    `denoiser` says how much noise there is: the one whose step it plans.
    """

    def __init__(self, session: Session, denoiser: Model | None) -> None:
        super().__init__(session)
        self._denoiser = denoiser
        shapes = {tensor.name: tensor.shape for tensor in self.spec.tensors}
        if shapes.keys() != {*Sight._fields, "taken"} or self.spec.working_size is None:
            raise UnsupportedModel(
                f"{self.spec.name} is a planner of another version of Restore. Use the one that is shipped, "
                "or train and export it again."
            )
        self._crops, self._side, self._thumbnail, self._longest_plan = (
            int(shapes[name][axis]) for name, axis in (("crops", 1), ("crops", 3), ("thumbnail", 2), ("taken", 1))
        )
        self._longest = self.spec.working_size

    def __call__(self, image: Image) -> tuple[tuple[str, float | None], ...]:
        """The whole plan from one look: names of steps, and for denoise the noise's deviation in [0, 1]."""
        names, sigmas = self._plan(image, ())
        steps = zip(names, sigmas, strict=True)
        most = 1.0 if self._denoiser is None else self._denoiser.spec.param("sigma").max
        # Each dot of a scan in black and white without grey looks like noise; no denoiser touches it.
        without = {"denoise"} if "denoise" in names and has_two_levels(image.pixels) else set()
        return tuple(
            (name, min(sigma, most) if name == "denoise" else None)
            for name, sigma in itertools.takewhile(lambda step: step[0] != END, steps)
            if name not in without
        )

    def still_wants(self, image: Image, before: Sequence[str], step: str) -> bool:
        """Whether, of the picture as it now is and after the steps `before`, it would still take this one."""
        names, _ = self._plan(image, before)
        return names[len(before)] == step

    def _plan(self, image: Image, before: Sequence[str]) -> tuple[list[str], list[float]]:
        """A name for each place of the longest plan, first those `before`, and the deviation that goes with it."""
        sight = examine(
            image.pixels, self._denoiser,
            crops=self._crops, side=self._side, thumbnail=self._thumbnail, longest=self._longest,
        )  # fmt: skip
        labels = self.spec.labels
        taken = np.full((1, self._longest_plan), len(labels), np.int64)
        taken[0, : len(before)] = [labels.index(name) for name in before]
        pictures = {name: getattr(sight, name)[None] / np.float32(255) for name in ("crops", "thumbnail", "view")}
        found = {"levels": sight.levels[None], "variety": np.array([sight.variety], np.float32)}
        answers = self._session.run({**pictures, **found, "taken": taken})
        return [labels[number] for number in answers["steps"][0]], answers["sigma"][0].tolist()
