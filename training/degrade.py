"""What damages a clean photo: batched, on the training device, with the chance passed in."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class Pair:
    """A batch to learn from.

    `inputs` are the network's, by the names that they have in the ONNX file (`image` first);
    `clean` (N, 3, H, W) in [0, 1] is the truth; `weight`, (N,) or a scalar, scales each sample's
    loss.
    """

    inputs: dict[str, Tensor]
    clean: Tensor
    weight: Tensor = field(default_factory=lambda: torch.ones(()))

    def pictures(self) -> tuple[Tensor, ...]:
        """What a person would look at, (N, 3 or 1, H, W) each in about [0, 1]: the truth, then what is damaged."""
        return self.clean, self.inputs["image"]


@dataclass(frozen=True, slots=True)
class NoisyPair(Pair):
    """A pair whose damage is noise: `level` (N, 1, h, w), on the [0, 1] scale, is how strong it is at each place.

    Each cell is a window of the picture. What JPEG did after the noise is not counted.
    """

    level: Tensor = field(default_factory=lambda: torch.zeros(()))


class Degradation(Protocol):
    """Anything that makes a pair of a clean batch: (N, 3, H, W) float in [0, 1], on any device."""

    def __call__(self, clean: Tensor, rng: torch.Generator) -> Pair: ...


@runtime_checkable
class DrawnAhead(Protocol):
    """A degradation whose chance can be drawn before its photos are there, on a host's core, and laid on them later."""

    def draw(self, count: int, size: tuple[int, int], chance: np.random.Generator) -> Any:
        """What becomes of `count` crops of `size`: tensors on the CPU, in a tuple."""

    def lay(self, clean: Tensor, drawn: Any) -> Pair:
        """The pair of these crops, on their device."""


@dataclass(frozen=True, slots=True)
class GaussianNoise:
    """White Gaussian noise of one level a picture, not clipped; the level is an input `sigma` (N,).

    Sigma is uniform in [`low`, `high`], on the [0, 1] scale.
    """

    low: float = 0.0
    high: float = 75 / 255

    def __call__(self, clean: Tensor, rng: torch.Generator) -> Pair:
        count = clean.shape[0]
        sigma = torch.rand(count, device=clean.device, generator=rng) * (self.high - self.low) + self.low
        degraded = add_gaussian_noise(clean, sigma, rng)
        return Pair({"image": degraded, "sigma": sigma}, clean, evened_weight(sigma))


def evened_weight(sigma: Tensor) -> Tensor:
    """A sample's weight, so that faint noise is not drowned by strong; `sigma` (N,) on the [0, 1] scale.

    It is the inverse of the error that a trained network leaves at this level, which grows with the
    root of sigma (measured on a first run: 33.1 / 30.5 / 27.3 dB at 15 / 25 / 50 is an exponent of 0.56).
    """
    # The floor keeps a sample without noise, where the error is almost nothing, from ruling the batch.
    return (sigma * 255 + 5).rsqrt() * 5


def add_gaussian_noise(clean: Tensor, sigma: Tensor | float, rng: torch.Generator) -> Tensor:
    """(N, C, H, W) plus independent normal noise of `sigma`, (N,) or one number, [0, 1] scale; not clipped."""
    level = torch.as_tensor(sigma, dtype=clean.dtype, device=clean.device).reshape(-1, 1, 1, 1)
    noise = torch.randn(clean.shape, device=clean.device, generator=rng, dtype=clean.dtype)
    return clean + level * noise
