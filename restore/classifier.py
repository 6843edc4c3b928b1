"""A model that answers with a label: it reads a digit in a picture."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from restore.contract import to_tensor
from restore.digits import as_mnist
from restore.image import Image
from restore.model import Model


class Reading(NamedTuple):
    """What a classifier reads: the likeliest label, the probability of each, and the picture as the network saw it.

    `seen` is (28, 28) float32 in [0, 1], ink bright.
    """

    label: str
    probabilities: Mapping[str, float]
    seen: np.ndarray

    @property
    def probability(self) -> float:
        """Of the likeliest label."""
        return self.probabilities[self.label]


class Classifier(Model):
    """A model that answers with a label: a digit that is found in a picture, in any colours, and read."""

    def __call__(self, image: Image) -> Reading:
        """Raises UnreadableImage where no digit is found. What is transparent counts as paper."""
        seen = as_mnist(_on_paper(image))
        scores = self._session.run({"image": seen[None, None]})["scores"][0]
        chances = {label: float(score) for label, score in zip(self.spec.labels, scores, strict=True)}
        return Reading(max(chances, key=lambda label: chances[label]), chances, seen)


def _on_paper(image: Image) -> np.ndarray:
    """The pixels, and behind transparent ones white, or black where what is drawn is bright."""
    if image.alpha is None:
        return image.pixels
    colours = to_tensor(image.pixels)[0].transpose(1, 2, 0)
    share = to_tensor(image.alpha)[0].transpose(1, 2, 0)
    drawn = float((colours * share).sum() / max(float(share.sum()), 1e-6))
    paper = np.float32(0.0 if drawn > 0.5 else 1.0)
    mixed: np.ndarray = paper + share * (colours - paper)
    return mixed
