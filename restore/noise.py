"""How noisy a whole picture is: one number, asked once before tiling.

White noise has the same variance in every coefficient of an orthonormal transform, and a photo has next to
none in the high frequencies of its colour differences: detail is mostly grey. So: patches from all over the
picture, the cosine transform of red - blue and green - magenta, the flattest tenth of the patches by their low
frequencies, and a robust spread of the high ones (median of the absolute value, Donoho and Johnstone 1994).
Choosing by one set of coefficients and measuring on another keeps the choice from pulling the answer down,
which weak-texture selection (Liu, Tanaka and Okutomi 2013) and small eigenvalues (Chen, Zhu and Heng 2015)
have to correct for.

Cameras and JPEG smooth colour, so the same is asked of the picture at half size: noise that is stronger there
is not white, and then that level counts, with some help from the grey.

Measured, of 255: CBSD68 clean 0.11 on average, 0.54 at most; with white noise of 5 to 75, mean error 0.03 to 0.34
(cut to 8 bits 0.04 to 0.78). Not met: the real camera noise of PolyU (RMS 4.2, smoothed and JPEG) is given 0.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]

#: A picture whose level is below this, on the [0, 1] scale, counts as clean: there is nothing to do.
CLEAN_BELOW = 1.5 / 255

SIDE = 8
WINDOW = 2 * SIDE
MIDDLE = slice(SIDE // 2, SIDE // 2 + SIDE)
SAMPLES = 12000
#: Below 24 x 24 there are fewer than 81 overlapping windows: nothing can be said.
SMALLEST = 24
FEWEST = 64
#: Frequencies (sum of the two indices): below this choose the patch, from it on measure.
SPLIT = 7
#: Half-size colour, on the [0, 1] scale, above which grey is asked too: 23 clean photos at half size reach 2.0 / 255.
BELIEVE_GREY = 2.5 / 255
#: Half size needs this many pixels; in a crop of 64 x 64 every place may be textured.
ENOUGH = 256 * 256
#: How much of the growth from quiet to less quiet patches is taken off.
TEXTURE = 0.5
#: Noise cut at white or black leaves half of a window's pixels there (two standard errors more: 0.56 of 256),
#: and 1/2 - 1/(2 pi) of its variance. A window with more is blown: it does not say how noisy the rest is.
BLOWN = 0.57
LEAST_LEFT = 0.34

_STEPS = np.arange(SIDE)
_COSINE = np.sqrt(2 / SIDE) * np.cos(np.pi * (2 * _STEPS + 1) * _STEPS[:, None] / (2 * SIDE))
_COSINE[0] /= math.sqrt(2)
_HIGH: Floats = np.kron(_COSINE, _COSINE)[(_STEPS[:, None] + _STEPS).ravel() >= SPLIT].astype(np.float32)
# Grey, red against blue, green against both: orthonormal, so white noise stays white.
_OPPONENT: Floats = (np.array([[1, 1, 1], [1, 0, -1], [1, -2, 1]]) / np.sqrt([[3], [2], [6]])).astype(np.float32)
# The standard normal's distribution function, as a table.
_NORMAL = np.linspace(-4, 4, 321)
_PROBABILITY = np.array([0.5 * math.erfc(-z / math.sqrt(2)) for z in _NORMAL])
# The median of |x| of a standard normal x.
_MEDIAN_OF_NORMAL = 0.67449


def estimate_sigma(pixels: np.ndarray) -> float:
    """Standard deviation of the noise of a whole picture, on the [0, 1] scale.

    pixels: (H, W, 3) or (H, W), uint8, uint16, or float in [0, 1], which may reach beyond. The same pixels
    give the same answer. 0.0 where nothing can be said: under 24 x 24, or constant. Below CLEAN_BELOW leave
    the picture alone.
    """
    picture = _without_bars(pixels[..., None] if pixels.ndim == 2 else pixels)
    if min(picture.shape[:2]) < SMALLEST:
        return 0.0
    windows = _sample(picture)
    if bool((windows == windows[..., :1]).all()):
        windows = windows[..., :1]
    if _is_drawn(windows):
        return 0.0
    scale = 1 / _whole(pixels)
    rounding = scale**2 / 12 if scale < 1 else 0.0
    with_half = picture.shape[0] * picture.shape[1] >= ENOUGH
    return math.sqrt(max(_level(windows, scale, with_half=with_half) ** 2 - rounding, 0.0))


def _whole(pixels: np.ndarray) -> int:
    return int(np.iinfo(pixels.dtype).max) if np.issubdtype(pixels.dtype, np.integer) else 1


def _sample(picture: np.ndarray) -> np.ndarray:
    """(N, 16, 16, channels): at most about SAMPLES windows, one at a random place in each cell of a grid."""
    height, width = picture.shape[0] - WINDOW + 1, picture.shape[1] - WINDOW + 1
    cell = max(1.0, math.sqrt(height * width / SAMPLES))
    rows, columns = math.ceil(height / cell), math.ceil(width / cell)
    # Random within the cell: a regular grid could fall into step with JPEG blocks or with a woven texture.
    jitter = np.random.default_rng(0).random((2, rows, columns))
    top = ((np.arange(rows)[:, None] + jitter[0]) * height / rows).astype(np.intp).ravel()
    left = ((np.arange(columns) + jitter[1]) * width / columns).astype(np.intp).ravel()
    across = np.arange(WINDOW)
    windows: np.ndarray = picture[top[:, None, None] + across[:, None], left[:, None, None] + across]
    return windows


def _without_bars(picture: np.ndarray) -> np.ndarray:
    """The picture less the rows and columns at its edges that hold one colour each: they would pass for quiet."""
    for axis in (0, 1):
        lines = picture.swapaxes(0, axis)
        first, last = 0, len(lines)
        while first < last and (lines[first] == lines[first, 0]).all():
            first += 1
        while last > first and (lines[last - 1] == lines[last - 1, 0]).all():
            last -= 1
        picture = lines[first:last].swapaxes(0, axis)
        if picture.size == 0:
            break
    return picture


def _is_drawn(windows: np.ndarray) -> bool:
    """Whether in most windows most neighbours are equal: text, graphics, or smooth beyond doubt.

    Noise of 2/255 in 8 bits leaves 0.3% of the neighbours equal in colour and 14% in grey; cut at white, 7% and 41%.
    """
    equal = (windows[:, :, 1:] == windows[:, :, :-1]).all(3).mean((1, 2))
    return float(np.median(equal)) > 0.5


def _level(windows: np.ndarray, scale: float, *, with_half: bool) -> float:
    fine = _vectors(windows[:, MIDDLE, MIDDLE] * np.float32(scale))
    # Twice the mean of four: white noise keeps its level.
    four: np.ndarray = windows[:, ::2, ::2].astype(np.float32)
    for down, right in ((0, 1), (1, 0), (1, 1)):
        four += windows[:, down::2, right::2]
    coarse = _vectors(four * np.float32(scale / 2)) if with_half else None
    # Anything beyond [0, 1] means that the noise was not cut there, which narrows it near black and white.
    if float(windows.min()) < 0 or float(windows.max()) * scale > 1:
        return _combine(fine, coarse)
    below, above = (windows == 0).mean((1, 2)), (windows == _whole(windows)).mean((1, 2))
    usable = _least_cut((below + above).max(1))
    if usable.sum() < FEWEST:
        return 0.0
    left: Floats = np.sqrt(_variance_left(below[usable], above[usable]))[..., None].astype(np.float32)
    return _combine(fine[usable] / left, None if coarse is None else coarse[usable] / left)


def _least_cut(ends: np.ndarray) -> NDArray[np.bool_]:
    """Windows with few of their pixels at black or white: the strictest bound that a quarter of them meets."""
    for bound in (0.05, 0.2, BLOWN):
        usable: NDArray[np.bool_] = ends <= bound
        if usable.mean() >= 0.25:
            return usable
    return usable if usable.mean() >= 0.05 else np.zeros_like(usable)


def _vectors(patches: Floats) -> Floats:
    """(N, 8, 8, channels) as (N, channels, 64)."""
    vectors: Floats = np.ascontiguousarray(patches.reshape(len(patches), SIDE * SIDE, -1).swapaxes(1, 2), np.float32)
    return vectors


def _variance_left(below: np.ndarray, above: np.ndarray) -> Floats:
    """The share of the noise's variance that the cut at 0 and 1 leaves, from the shares of pixels at each end.

    These shares say where the cuts are in units of sigma; the rest is the variance of a censored normal.
    """
    low, high = np.interp(below, _PROBABILITY, _NORMAL), np.interp(1 - above, _PROBABILITY, _NORMAL)
    at_low, at_high = (np.exp(-(t**2) / 2) / math.sqrt(2 * math.pi) for t in (low, high))
    mean = low * below + high * above + at_low - at_high
    square = low**2 * below + high**2 * above + (1 - below - above) + low * at_low - high * at_high
    return np.asarray(np.clip(square - mean**2, LEAST_LEFT, 1), np.float32)


def _combine(fine: Floats, coarse: Floats | None) -> float:
    """One level from patches at full and, where there are enough, at half size, both (N, channels, 64)."""
    if fine.shape[1] == 1:
        return _quiet(fine)
    colours = _OPPONENT @ fine
    # Text in colour is noisy in most patches, yet its quietest are silent.
    white = min(_typical(colours[:, 1:]), 1.15 * _quiet(colours[:, 1:]))
    if coarse is None:
        return white
    # A simulated camera's JPEG (quality 92, 4:2:0) left a twentieth of the colour noise at full size. None: print.
    rough = min(_quiet(_OPPONENT[1:] @ coarse), 12 * white)
    if rough <= 1.25 * white:
        return white
    # JPEG keeps less of the colour noise than of the grey. Only colour beyond any clean photo's makes grey believed.
    rough = max(rough, min(_quiet(colours[:, :1]), 4 * (rough - BELIEVE_GREY)))
    return white + min(4 * (rough / white - 1.25), 1) * (rough - white)


def _typical(patches: Floats) -> float:
    """Robust standard deviation of the high frequencies of the flattest tenth, for (N, channels, 64)."""
    high = patches @ _HIGH.T
    # By Parseval, what the mean and the high frequencies leave.
    low = np.square(patches - patches.mean(2, keepdims=True)).sum((1, 2)) - np.square(high).sum((1, 2))
    number = min(len(low), max(FEWEST, len(low) // 10))
    flattest = np.abs(high[np.argpartition(low, number - 1)[:number]])
    return float(np.median(np.median(flattest, axis=0))) / _MEDIAN_OF_NORMAL


def _quiet(patches: Floats) -> float:
    """The level that explains the quietest of the patches (N, channels, 64), less what texture adds to it.

    Noise alone makes the 1st and the 10th percentile of the energy, each over its expected value, equal.
    """
    high = patches @ _HIGH.T
    energy = np.square(high).mean(2)
    # Percentiles of chi-square over its k degrees of freedom, by Wilson and Hilferty.
    share = 2 / (9 * high.shape[2])
    first, tenth = (
        float(np.quantile(energy, part, axis=0).mean()) / (1 - share + normal * math.sqrt(share)) ** 3
        for part, normal in ((0.01, -2.3263), (0.1, -1.2816))
    )
    return math.sqrt(max(first - TEXTURE * max(tenth - first, 0.0), 0.0))
