"""Palettes that stand for those of all training photos: their medoids, from which candidates are drawn."""

from __future__ import annotations

import json

import numpy as np

from restore import color
from restore.chroma import palette_distance
from training.data import PhotoSet

_ROUNDS = 20


def palettes_of(photos: PhotoSet) -> np.ndarray:
    """The palette of each photo in colour, (N, PALETTE_SIZE); greys have none worth the name and are left out."""
    found = []
    for index in range(len(photos)):
        # Every third pixel: a palette is a mean.
        pixels = photos.photo(index)[:, ::3, ::3].permute(1, 2, 0).cpu().numpy()
        found.append(color.palette_of(color.to_lab(np.ascontiguousarray(pixels))[..., 1:]))
    palettes = np.stack(found)
    return palettes[palettes[:, -1] * color.FULL_CHROMA >= 5]


def choose(palettes: np.ndarray, number: int) -> np.ndarray:
    """`number` of the palettes, (K, PALETTE_SIZE), such that each palette is near to one of them (k-medoids).

    They begin as far from each other as can be, each the one farthest from those before it.
    """
    distances = np.stack([palette_distance(palette, palettes) for palette in palettes])
    chosen = [int(distances.sum(axis=1).argmin())]
    while len(chosen) < min(number, len(palettes)):
        chosen.append(int(distances[chosen].min(axis=0).argmax()))
    medoids = np.array(chosen)
    for _ in range(_ROUNDS):
        nearest = distances[medoids].argmin(axis=0)
        groups = [np.flatnonzero(nearest == group) for group in range(len(medoids))]
        moved = np.array([group[distances[np.ix_(group, group)].sum(axis=1).argmin()] for group in groups])
        if np.array_equal(moved, medoids):
            break
        medoids = moved
    chosen_palettes: np.ndarray = palettes[medoids]
    return chosen_palettes


def to_json(palettes: np.ndarray) -> str:
    """As `restore.chroma.palettes` reads them: for each palette its places that are not empty, times 10,000."""
    whole = np.rint(palettes * 10_000).astype(int)
    rows = [{str(place): int(palette[place]) for place in np.flatnonzero(palette)} for palette in whole]
    return "[\n" + ",\n".join(json.dumps(row, separators=(",", ":")) for row in rows) + "\n]\n"
