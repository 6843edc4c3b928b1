"""How noisy a whole picture is: one number, asked once before tiling.

White noise has the same variance in every coefficient of an orthonormal transform, and a photo has next to
none in the high ones of a flat place. So: 8 x 8 patches from all over the picture, their cosine transform,
the flattest tenth of them by the low frequencies, and a robust spread of the high frequencies of these
(median of the absolute value, Donoho and Johnstone 1994). Choosing by one set of coefficients and measuring on
another keeps the choice from pulling the answer down, which is what weak-texture selection (Liu, Tanaka and
Okutomi 2013) and the smallest eigenvalues (Chen, Zhu and Heng 2015) must correct for.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]

#: A picture whose level is below this, on the [0, 1] scale, counts as clean: there is nothing to do.
CLEAN_BELOW = 1.5 / 255

SIDE = 8
SAMPLES = 16384
#: Below 16 x 16 there are fewer than 81 overlapping patches: nothing can be said.
SMALLEST = 16
FLATTEST = 0.1
FEWEST = 64
#: White with noise added and cut keeps 0.34 of the variance (1/2 - 1/(2 pi)); below this is clipped for good.
LEAST_LEFT = 0.3
#: Frequencies (sum of the two indices): below this choose the patch, from it on measure.
SPLIT = 7

_STEPS = np.arange(SIDE)
_COSINE = np.sqrt(2 / SIDE) * np.cos(np.pi * (2 * _STEPS + 1) * _STEPS[:, None] / (2 * SIDE))
_COSINE[0] /= math.sqrt(2)
_TRANSFORM: Floats = np.kron(_COSINE, _COSINE).astype(np.float32)
_FREQUENCY = (_STEPS[:, None] + _STEPS).ravel()
# Grey, red against blue, green against both: orthonormal, so white noise stays white.
_OPPONENT: Floats = (np.array([[1, 1, 1], [1, 0, -1], [1, -2, 1]]) / np.sqrt([[3], [2], [6]])).astype(np.float32)
# The median of |x| of a standard normal x.
_MEDIAN_OF_NORMAL = 0.67449


def estimate_sigma(pixels: np.ndarray) -> float:
    """Standard deviation of the noise of a whole picture, on the [0, 1] scale.

    pixels: (H, W, 3) or (H, W), uint8, uint16, or float in [0, 1], which may reach beyond. The same pixels
    give the same answer. 0.0 where nothing can be said: under 16 x 16, constant, or drawn rather than taken.
    Below CLEAN_BELOW leave the picture alone.
    """
    picture = pixels[..., None] if pixels.ndim == 2 else pixels
    if min(picture.shape[:2]) < SMALLEST:
        return 0.0
    patches = _photographic(_sample(picture))
    if len(patches) < FEWEST:
        return 0.0
    return _level(patches, _quantum(pixels))


def _quantum(pixels: np.ndarray) -> float:
    return 1 / float(np.iinfo(pixels.dtype).max) if np.issubdtype(pixels.dtype, np.integer) else 0.0


def _sample(picture: np.ndarray) -> Floats:
    """(N, 64, channels) in [0, 1]: at most about SAMPLES patches, one at a random place in each cell of a grid."""
    height, width = picture.shape[0] - SIDE + 1, picture.shape[1] - SIDE + 1
    cell = max(1.0, math.sqrt(height * width / SAMPLES))
    rows, columns = math.ceil(height / cell), math.ceil(width / cell)
    # Random within the cell: a regular grid could fall into step with JPEG blocks or with a woven texture.
    jitter = np.random.default_rng(0).random((2, rows, columns))
    top = ((np.arange(rows)[:, None] + jitter[0]) * height / rows).astype(np.intp).ravel()
    left = ((np.arange(columns) + jitter[1]) * width / columns).astype(np.intp).ravel()
    patches = picture[top[:, None, None] + _STEPS[:, None], left[:, None, None] + _STEPS]
    scale = np.float32(_quantum(picture) or 1)
    return patches.reshape(len(patches), SIDE * SIDE, -1).astype(np.float32) * scale


def _photographic(patches: Floats) -> Floats:
    """The patches that are not constant; none if most of these are drawn (text, graphics).

    Letterbox bars and blown skies are constant and say nothing. Where more than half of the neighbours are
    equal in all channels a patch is drawn: noise of 1/255 leaves 2% of them equal in colour, 27% in grey.
    """
    rows = patches.reshape(len(patches), SIDE, SIDE, -1)
    equal = (rows[:, :, 1:] == rows[:, :, :-1]).all(-1).mean((1, 2))
    constant = (patches == patches[:, :1]).all((1, 2))
    drawn = (equal > 0.5) & ~constant
    kept = patches[~constant & ~drawn]
    return kept if len(kept) >= drawn.sum() else kept[:0]


def _level(patches: Floats, quantum: float) -> float:
    means = patches.mean(1)
    coefficients = np.matmul(_TRANSFORM, patches)
    sigma = _spread(coefficients)
    # Nothing beyond [0, 1] means that the noise was cut there, which narrows it near black and white.
    if patches.min() >= 0 and patches.max() <= 1:
        for _ in range(6):
            left = _variance_left(means, sigma)
            usable = left.min(1) > LEAST_LEFT
            if usable.sum() < FEWEST:
                break
            sigma = _spread(coefficients[usable] / np.sqrt(left[usable])[:, None])
    return math.sqrt(max(sigma**2 - quantum**2 / 12, 0.0))


def _variance_left(means: Floats, sigma: float) -> Floats:
    """The share of the noise's variance that clipping to [0, 1] leaves, for patches of these clipped means."""
    if sigma < 1e-4:
        return np.ones_like(means)
    clean = np.linspace(0, 1, 129)
    low, high = -clean / sigma, (1 - clean) / sigma
    below, above = (np.array([0.5 * math.erfc(-t / math.sqrt(2)) for t in ts]) for ts in (low, -high))
    at_low, at_high = (np.exp(-(t**2) / 2) / math.sqrt(2 * math.pi) for t in (low, high))
    inside = 1 - below - above
    # Moments of a standard normal censored to [low, high].
    mean = low * below + high * above + at_low - at_high
    square = low**2 * below + high**2 * above + inside + low * at_low - high * at_high
    return np.interp(means, clean + sigma * mean, square - mean**2).astype(np.float32)


def _spread(coefficients: Floats) -> float:
    """Robust standard deviation of the high frequencies of the flattest patches, (N, 64, channels)."""
    low = (_FREQUENCY > 0) & (_FREQUENCY < SPLIT)
    texture = np.square(coefficients[:, low]).sum((1, 2))
    number = min(len(texture), max(FEWEST, int(len(texture) * FLATTEST)))
    flat = coefficients[np.argpartition(texture, number - 1)[:number]][:, _FREQUENCY >= SPLIT]
    if flat.shape[-1] == 3:
        flat = flat @ _OPPONENT.T
    deviations = np.median(np.abs(flat), axis=0) / _MEDIAN_OF_NORMAL
    return float(np.sqrt(np.mean(np.square(np.median(deviations, axis=0)))))
