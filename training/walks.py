"""Ways through damaged photos: the steps that were taken, and at each what trying says should come next.

Some follow what trying says. Others are the planner's own: what it chose is carried out by the shipped restorers, and
it learns what should have come from there (DAgger, Ross et al. 2011, arXiv:1011.0686).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from restore.image import Image
from restore.planner import Sight
from restore.steps import Tool
from training.planner_photos import LABELS
from training.tried_cases import TriedCase
from training.trying import MARGIN, Order

#: In `previous`: no step was taken yet.
NONE = len(LABELS)


class Walk(NamedTuple):
    """Steps `taken` in a case, by its index, and the label (an index into LABELS) before each and behind the last."""

    case: int
    taken: Order
    labels: tuple[int, ...]


def walk_of(cases: Sequence[TriedCase], index: int, taken: Order, margin: float = MARGIN) -> Walk:
    """These steps in a case, each with what trying says in its place; see `wanted`."""
    rest = [cases[index].after(taken[:done], margin) for done in range(len(taken) + 1)]
    return Walk(index, taken, tuple(LABELS.index(steps[0]) if steps else 0 for steps in rest))


class Gallery:
    """What cases become by steps, and a look at each: made when first asked for, then kept."""

    def __init__(
        self,
        cases: Sequence[TriedCase],
        tools: Mapping[str, Tool],
        sight: Callable[[np.ndarray], Sight],
        traits: Callable[[Sight], Tensor],
    ) -> None:
        """`sight` is what a planner is told of a picture, `traits` (C,) what its network makes of that."""
        self.cases = cases
        self._tools = tools
        self._sight = sight
        self._traits = traits
        self._pictures = [dict(case.trial.pictures) for case in cases]
        self._rows: dict[tuple[int, int], int] = {}
        self.crops: list[np.ndarray] = []
        self.thumbnails: list[np.ndarray] = []
        self.traits: list[Tensor] = []

    def picture(self, index: int, taken: Order) -> np.ndarray:
        """A case after these steps, (H, W, 3) uint8; what was not tried before is carried out now."""
        made = self._pictures[index]
        if taken not in made:
            before = self.picture(index, taken[:-1])
            tool = self._tools.get(taken[-1])
            after = tool(Image(before)).image.pixels if tool else before
            made[taken] = np.dstack([after] * 3) if after.ndim == 2 else after
        return made[taken]

    def row(self, index: int, taken: Order) -> int:
        """Where the look at a case after these steps lies in `crops`, `thumbnails` and `traits`."""
        picture = self.picture(index, taken)
        # Where a step changed nothing the picture is the same object.
        key = index, id(picture)
        if key not in self._rows:
            self._rows[key] = len(self.crops)
            sight = self._sight(picture)
            self.crops.append(sight.crops)
            self.thumbnails.append(sight.thumbnail)
            self.traits.append(self._traits(sight))
        return self._rows[key]


class Lesson(NamedTuple):
    """N walks as the network takes them, T places each at the most, and the looks that they share."""

    crops: Tensor  # (L, K, 3, S, S) uint8
    thumbnail: Tensor  # (L, 3, T, T) uint8
    traits: Tensor  # (L, C), as `Planner.traits` gives them
    looked: Tensor  # (N, T) int64: which look each place is told from
    previous: Tensor  # (N, T) int64: the step before, NONE at first
    labels: Tensor  # (N, T) int64
    known: Tensor  # (N, T) bool: up to the walk's end
    sigma: Tensor  # (N,): 0 without noise


def lesson(walks: Sequence[Walk], gallery: Gallery, from_first: np.ndarray) -> Lesson:
    """The batch of some walks; where `from_first` (N,) is true every step is told from the first look alone."""
    longest = max(len(walk.labels) for walk in walks)
    rows: dict[int, int] = {}
    looked, previous, labels = [], [], []
    for walk, first in zip(walks, from_first, strict=True):
        places = [gallery.row(walk.case, () if first else walk.taken[:at]) for at in range(len(walk.labels))]
        filled = places + places[-1:] * (longest - len(places))
        looked.append([rows.setdefault(row, len(rows)) for row in filled])
        rest = [0] * (longest - len(walk.labels))
        previous.append([NONE, *map(LABELS.index, walk.taken), *rest])
        labels.append([*walk.labels, *rest])
    lengths = torch.tensor([len(walk.labels) for walk in walks])
    return Lesson(
        torch.from_numpy(np.stack([gallery.crops[row] for row in rows])),
        torch.from_numpy(np.stack([gallery.thumbnails[row] for row in rows])),
        torch.stack([gallery.traits[row] for row in rows]),
        torch.tensor(looked),
        torch.tensor(previous),
        torch.tensor(labels),
        torch.arange(longest) < lengths[:, None],
        torch.tensor([gallery.cases[walk.case].sigma for walk in walks]),
    )


def mirrored(batch: Lesson, rng: np.random.Generator) -> Lesson:
    """The batch with all its pictures mirrored along either axis, or not, and turned, or not."""
    crops, thumbnail = batch.crops, batch.thumbnail
    for axis in (-1, -2):
        if rng.random() < 0.5:
            crops, thumbnail = crops.flip(axis), thumbnail.flip(axis)
    if rng.random() < 0.5:
        crops, thumbnail = crops.transpose(-1, -2), thumbnail.transpose(-1, -2)
    return batch._replace(crops=crops.contiguous(), thumbnail=thumbnail.contiguous())
