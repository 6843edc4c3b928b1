"""Measures of colour, as published: how far two colours are apart for the eye, and how colourful a picture is."""

from __future__ import annotations

import numpy as np


def ciede2000(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """CIEDE2000 colour difference (CIE 142-2001) after Sharma et al. 2005 (doi:10.1002/col.20070), float64.

    Both (..., 3) CIELAB, of shapes that broadcast; kL = kC = kH = 1. Returns (...,), symmetric, 0 for equal colours.
    """
    (luma_1, a_1, b_1), (luma_2, a_2, b_2) = (np.moveaxis(np.asarray(x, np.float64), -1, 0) for x in (first, second))
    stretch = 1 + 0.5 * (1 - _saturating((np.hypot(a_1, b_1) + np.hypot(a_2, b_2)) / 2))
    a_1, a_2 = stretch * a_1, stretch * a_2
    chroma_1, chroma_2 = np.hypot(a_1, b_1), np.hypot(a_2, b_2)
    hue_1, hue_2 = np.degrees(np.arctan2(b_1, a_1)) % 360, np.degrees(np.arctan2(b_2, a_2)) % 360
    grey = chroma_1 * chroma_2 == 0
    turn = np.where(grey, 0, (hue_2 - hue_1 + 180) % 360 - 180)
    # Exactly opposite hues: equation 10 keeps +180 for the larger second hue, and the remainder above gives -180.
    turn = np.where((turn == -180) & (hue_2 > hue_1), 180, turn)

    delta_luma, delta_chroma = luma_2 - luma_1, chroma_2 - chroma_1
    delta_hue = 2 * np.sqrt(chroma_1 * chroma_2) * np.sin(np.radians(turn / 2))
    luma, chroma = (luma_1 + luma_2) / 2, (chroma_1 + chroma_2) / 2
    hue = np.where(grey, hue_1 + hue_2, _mean_hue(hue_1, hue_2))

    t = 1 - 0.17 * _cos(hue - 30) + 0.24 * _cos(2 * hue) + 0.32 * _cos(3 * hue + 6) - 0.20 * _cos(4 * hue - 63)
    by_luma = delta_luma / (1 + 0.015 * (luma - 50) ** 2 / np.sqrt(20 + (luma - 50) ** 2))
    by_chroma = delta_chroma / (1 + 0.045 * chroma)
    by_hue = delta_hue / (1 + 0.015 * chroma * t)
    twist = np.radians(60 * np.exp(-(((hue - 275) / 25) ** 2)))
    rotation = -2 * _saturating(chroma) * np.sin(twist)
    squared = by_luma**2 + by_chroma**2 + by_hue**2 + rotation * by_chroma * by_hue
    difference: np.ndarray = np.sqrt(np.maximum(squared, 0))
    return difference


def colourfulness(srgb: np.ndarray) -> float:
    """How colourful a picture looks (Hasler and Suesstrunk 2003, doi:10.1117/12.477378): 0 for grey, about 110 most.

    (H, W, 3) sRGB: integers over their whole range, floats over [0, 1]; the measure is on the 0-255 scale.
    """
    top = np.iinfo(srgb.dtype).max if np.issubdtype(srgb.dtype, np.integer) else 1
    red, green, blue = np.moveaxis(srgb.astype(np.float64) * (255 / top), -1, 0)
    red_green, yellow_blue = red - green, (red + green) / 2 - blue
    spread = np.hypot(red_green.std(), yellow_blue.std())
    return float(spread + 0.3 * np.hypot(red_green.mean(), yellow_blue.mean()))


def _saturating(chroma: np.ndarray) -> np.ndarray:
    """From 0 for grey to 1 for strong colours, half way at a chroma of about 22."""
    root: np.ndarray = np.sqrt(chroma**7 / (chroma**7 + 25.0**7))
    return root


def _mean_hue(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Degrees half way between two hues in [0, 360), on the shorter side."""
    total = first + second
    far = np.abs(first - second) > 180
    mean: np.ndarray = np.where(far, np.where(total < 360, total + 360, total - 360), total) / 2
    return mean


def _cos(degrees: np.ndarray) -> np.ndarray:
    cosine: np.ndarray = np.cos(np.radians(degrees))
    return cosine
