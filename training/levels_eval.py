"""How well the level of the noise is found, and whether the darkest and brightest parts keep their mean.

White noise as `training.white_noise` adds it, at levels over the whole range, on photos whose flat half and
textured half are told apart by their gradients; and photos with noise of their own, where the true level
is the root mean square of what the mean of many shots differs in.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from restore import image as image_module
from restore.contract import to_tensor
from restore.engine import Restorer
from restore.image import Image
from training import TrainingError
from training.white_noise import add_noise

#: Levels at which white noise is sought, 0-255 scale.
LEVELS = (1, 2, 3, 5, 8, 12, 17, 25, 35, 50, 62, 75)
#: Blocks whose mean is beyond one of these count as dark or bright.
DARK, BRIGHT = 16.0, 239.0
_BLOCK = 8

#: (H, W, 3) float32, noisy, to the level that was found, 0-255 scale.
Finder = Callable[[np.ndarray], float]


@dataclass(frozen=True, slots=True, kw_only=True)
class LevelRow:
    """A method's mean absolute error in sigma, of 255: on flat and textured photos, and on real noise; None without."""

    method: str
    flat: float | None
    textured: float | None
    real: float | None


class Extremes(NamedTuple):
    """Signed mean error in levels over all blocks that are dark, and over all that are bright; None without any."""

    dark: float | None
    bright: float | None


def measure_levels(
    pictures: Sequence[Image], pairs: Sequence[tuple[Path, Path]], restorers: dict[str, Restorer], *, seed: int
) -> list[LevelRow]:
    """One row a model and one for the wavelet estimator, over `LEVELS` and over pairs of noisy photo and truth."""
    finders: dict[str, Finder] = {"wavelets (Donoho & Johnstone 1994)": wavelet_level}
    finders |= {name: _finder(restorer) for name, restorer in restorers.items()}
    floats = [to_tensor(picture.pixels)[0].transpose(1, 2, 0) for picture in pictures]
    flatness = [float(np.abs(np.diff(clean, axis=1)).mean()) for clean in floats]
    middle = float(np.median(flatness))
    errors: dict[str, dict[bool, list[float]]] = {name: {True: [], False: []} for name in finders}
    for index, clean in enumerate(floats):
        for level in LEVELS:
            noisy = add_noise(clean, seed=seed, index=index, sigma_255=level)
            for name, find in finders.items():
                errors[name][flatness[index] <= middle].append(abs(find(noisy) - level))
    real: dict[str, list[float]] = {name: [] for name in finders}
    for paths in pairs:
        noisy, truth = (to_tensor(image_module.read(path).pixels)[0].transpose(1, 2, 0) for path in paths)
        true_level = 255 * float(np.sqrt(np.mean((noisy - truth) ** 2)))
        for name, find in finders.items():
            real[name].append(abs(find(noisy) - true_level))
    return [
        LevelRow(
            method=name,
            flat=_mean(errors[name][True]),
            textured=_mean(errors[name][False]),
            real=_mean(real[name]),
        )
        for name in finders
    ]


def wavelet_level(noisy: np.ndarray) -> float:
    """The median absolute deviation of the finest wavelets (scikit-image). Raises TrainingError without its package."""
    try:
        from skimage.restoration import estimate_sigma
    except ImportError:
        raise TrainingError("--levels needs scikit-image: pip install scikit-image PyWavelets") from None
    return 255 * float(estimate_sigma(noisy, average_sigmas=True, channel_axis=-1))  # type: ignore[no-untyped-call]


def _finder(restorer: Restorer) -> Finder:
    def find(noisy: np.ndarray) -> float:
        return 255 * float(np.sqrt(np.mean(restorer.run_array(noisy)["level"] ** 2)))

    return find


def extremes(clean: np.ndarray, restored: np.ndarray) -> tuple[list[float], list[float]]:
    """The signed error of each dark and of each bright block of 8 x 8, in levels.

    Both (H, W, 3) float, [0, 1]; `restored` as the network gives it. A block counts by the mean of its truth.
    """
    height, width = (side // _BLOCK * _BLOCK for side in clean.shape[:2])

    def blocks(picture: np.ndarray) -> np.ndarray:
        cut = picture[:height, :width].reshape(height // _BLOCK, _BLOCK, width // _BLOCK, _BLOCK, 3)
        means: np.ndarray = 255 * cut.mean(axis=(1, 3, 4), dtype=np.float64).ravel()
        return means

    truth = blocks(clean)
    error = blocks(restored) - truth
    return error[truth < DARK].tolist(), error[truth > BRIGHT].tolist()


def measure_extremes(pictures: Sequence[Image], restorer: Restorer, *, seed: int, sigma_255: int = 25) -> Extremes:
    """The mean signed error over all dark and over all bright blocks of the pictures, told the noise, unclipped."""
    dark: list[float] = []
    bright: list[float] = []
    for index, picture in enumerate(pictures):
        clean = to_tensor(picture.pixels)[0].transpose(1, 2, 0)
        noisy = add_noise(clean, seed=seed, index=index, sigma_255=sigma_255)
        found = extremes(clean, restorer.run_array(noisy, sigma=sigma_255 / 255)["restored"])
        dark += found[0]
        bright += found[1]
    return Extremes(_mean(dark), _mean(bright))


def _mean(errors: Sequence[float]) -> float | None:
    """None of nothing, which JSON can say; it knows no nan."""
    return float(np.mean(errors)) if errors else None


def levels_markdown(rows: Sequence[LevelRow], extremes_by_model: dict[str, Extremes]) -> list[str]:
    """Two pipe tables."""
    lines = [
        "",
        f"Mean error of the level that was found, of 255; white noise of {LEVELS[0]} to {LEVELS[-1]}, and real noise.",
        "",
        "| method | flat half | textured half | real noise |",
        "|---|---|---|---|",
        *(
            f"| {row.method} | {' | '.join('-' if e is None else f'{e:.2f}' for e in errors)} |"
            for row in rows
            for errors in [(row.flat, row.textured, row.real)]
        ),
    ]
    if extremes_by_model:
        lines += [
            "",
            f"Signed error at sigma 25, unclipped, over all blocks darker than {DARK:g} and brighter than {BRIGHT:g}.",
            "",
            "| method | dark | bright |",
            "|---|---|---|",
            *(
                f"| {name} | {' | '.join('-' if e is None else f'{e:+.2f}' for e in found)} |"
                for name, found in extremes_by_model.items()
            ),
        ]
    return lines
