"""Where a run stands, and what follows from it: the learning rate, the size of the crops, the chance of a step."""

from __future__ import annotations

import dataclasses
import math

import torch

from training.settings import Settings


@dataclasses.dataclass(slots=True)
class Progress:
    """Where a run stands; what a checkpoint remembers beside the weights."""

    step: int = 0
    elapsed: float = 0.0  # seconds of training, over all resumptions
    best: float = -math.inf  # what best.pt was worth on the val split: dB, or a share of right answers
    norm: float = 0.0  # the gradient's length, averaged over some hundred steps

    def fraction(self, settings: Settings) -> float:
        """How much of the run is over, in [0, 1]: by steps or by minutes, whichever is further."""
        by_time = self.elapsed / (60 * settings.minutes) if settings.minutes else 0.0
        return min(1.0, max(self.step / settings.steps, by_time))

    def plausible(self, norm: float) -> bool:
        """Whether a gradient of this length is no outlier: finite and within 8 times the mean; it is then counted in.

        An outlier counts as one of the largest allowed length, so that a lasting change is soon let through.
        """
        if not math.isfinite(norm):
            return False
        limit = 8 * self.norm if self.norm else norm
        self.norm = 0.99 * self.norm + 0.01 * min(norm, limit) if self.norm else norm
        return norm <= limit


def rate_at(fraction: float, settings: Settings) -> float:
    """The learning rate's factor: a linear rise, then half a cosine down to `final_rate`."""
    if fraction < settings.warmup:
        return max(fraction / settings.warmup, 1e-3)
    done = (fraction - settings.warmup) / max(1e-9, 1 - settings.warmup)
    return settings.final_rate + (1 - settings.final_rate) * 0.5 * (1 + math.cos(math.pi * done))


def patch_at(fraction: float, settings: Settings) -> tuple[int, int]:
    """(crop side, batch size): the sides share the run equally, at equal pixels a step."""
    side = settings.patches[min(int(fraction * len(settings.patches)), len(settings.patches) - 1)]
    return side, max(1, settings.pixels // side**2)


def step_rng(seed: int, step: int, rank: int, device: torch.device) -> torch.Generator:
    """Chance of its own for each step and process, so that a resumed run draws what the whole run would."""
    return torch.Generator(device).manual_seed((seed * 1_000_003 + step) * 4_099 + rank)
