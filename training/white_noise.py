"""The noise that denoisers are measured on: the same in every row of every table."""

from __future__ import annotations

import numpy as np


def add_noise(clean: np.ndarray, *, seed: int, index: int, sigma_255: int) -> np.ndarray:
    """(H, W, 3) float32 in [0, 1] plus colour Gaussian noise; not clipped.

    It is standard normal float32 of `numpy.random.default_rng([seed, index, sigma_255])`, times sigma.
    """
    rng = np.random.default_rng([seed, index, sigma_255])
    noise = rng.standard_normal(clean.shape, dtype=np.float32)
    noisy: np.ndarray = clean + np.float32(sigma_255 / 255) * noise
    return noisy
