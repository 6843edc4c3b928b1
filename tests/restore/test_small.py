"""At which size a network that needs the whole picture looks at it."""

import numpy as np
import pytest
from PIL import Image as PillowImage

from restore.small import Small, is_soft

SHARP = np.random.default_rng(0).integers(0, 256, (60, 80, 3)).astype(np.uint8)

BLOTCHES = np.random.default_rng(1).integers(80, 176, (15, 20, 3)).astype(np.uint8)


def enlarged(pixels: np.ndarray, factor: int) -> np.ndarray:
    height, width = pixels.shape[:2]
    return np.asarray(PillowImage.fromarray(pixels).resize((factor * width, factor * height), PillowImage.BICUBIC))


def lettered(pixels: np.ndarray) -> np.ndarray:
    """A line of fine strokes over half a per cent of it."""
    height, width = pixels.shape[:2]
    pixels = pixels.copy()
    pixels[-height // 10 : -height // 20, width // 4 : width // 2 : 4] = 255
    return pixels


@pytest.mark.parametrize(
    ("pixels", "soft"),
    [
        (SHARP, False),
        (enlarged(SHARP, 2), False),
        (enlarged(BLOTCHES, 6), True),
        (enlarged(BLOTCHES, 32)[..., 0], True),
        (lettered(enlarged(BLOTCHES, 32)), False),
        (np.zeros((1, 50, 3), np.uint8), False),
    ],
)
def test_soft_is_what_half_the_size_could_show(pixels, soft):
    assert is_soft(pixels.astype(np.float32) / 255) is soft


@pytest.mark.parametrize(
    ("pixels", "shape"),
    [
        (enlarged(BLOTCHES, 32), (24, 32, 3)),
        (lettered(enlarged(BLOTCHES, 32)), (90, 120, 3)),
        (enlarged(BLOTCHES, 32)[..., 1], (24, 32)),
        (SHARP, None),
    ],
)
def test_a_picture_is_looked_at_at_its_working_size_and_smaller_where_it_is_soft(pixels, shape):
    small = Small.of(pixels, None, working_size=120, soft_size=32)
    assert (small and small.pixels.shape) == shape


def test_16_bits_are_as_soft_as_8():
    deep = enlarged(BLOTCHES, 32).astype(np.uint16) * 257
    small = Small.of(deep, np.zeros(deep.shape[:2], bool), working_size=120, soft_size=32)
    assert small.pixels.shape == (24, 32, 3)
    assert small.mask.shape == (24, 32)
    assert 0 < small.pixels.max() <= 1


def test_without_a_soft_size_every_picture_is_looked_at_at_the_working_size():
    assert Small.of(enlarged(BLOTCHES, 32), None, working_size=120).pixels.shape == (90, 120, 3)
