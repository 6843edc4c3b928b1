"""What of a batch's damage needs no photo, drawn ahead by other processes: a GPU need not wait for it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from training import TrainingError
from training.degrade import DrawnAhead, Pair
from training.schedule import patch_at
from training.settings import Settings

#: Batches that each process may be ahead: enough to bridge a look at the val split.
_AHEAD = 4


class _Steps(Dataset[Any]):
    """What is drawn for each step, from `first` on; each has chance of its own, whoever draws it."""

    def __init__(self, degradation: DrawnAhead, settings: Settings, *, first: int, rank: int) -> None:
        self._degradation = degradation
        self._settings = settings
        self._first = first
        self._rank = rank

    def __len__(self) -> int:
        return max(0, self._settings.steps - self._first)

    def __getitem__(self, index: int) -> Any:
        # One size of crops, whatever part of the run is over.
        side, batch = patch_at(0.0, self._settings)
        chance = np.random.default_rng([self._settings.seed, self._first + index, self._rank])
        return self._degradation.draw(batch, (side, side), chance)


def drawn_ahead(
    degradation: object, settings: Settings, *, first: int, rank: int, pin: bool = False
) -> Callable[[Tensor], Pair] | None:
    """What makes of each step's crops its pair, from step `first` on; `settings.workers` processes draw for it.

    `pin` puts what they drew into memory from which a GPU copies by itself.

    None without workers. Raises TrainingError if the degradation draws nothing ahead, or crops change their size.
    """
    if not settings.workers:
        return None
    if not isinstance(degradation, DrawnAhead):
        raise TrainingError("--workers: nothing of this recipe's damage can be drawn ahead. Leave --workers out.")
    if len(settings.patches) != 1:
        raise TrainingError("--workers needs one size of crops: give --patches one number.")
    # What the parent has opened, the processes share; started otherwise each would open it anew.
    side, _ = patch_at(0.0, settings)
    degradation.draw(1, (side, side), np.random.default_rng(settings.seed))
    steps = _Steps(degradation, settings, first=first, rank=rank)
    loader = DataLoader(
        steps,
        batch_size=None,
        num_workers=settings.workers,
        prefetch_factor=_AHEAD,
        multiprocessing_context="fork",
        pin_memory=pin,
    )
    drawn = iter(loader)
    return lambda clean: degradation.lay(clean, next(drawn))
