"""Is it black-and-white? Prints of one pigment, aged as they may be, against colours that are few or faint."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from restore.monochrome import COLOUR_FROM, judge

HEIGHT, WIDTH = 192, 256


def grey_plane() -> np.ndarray:
    """(H, W) in [0, 1]: hills of light, hard-edged shapes and a little grain."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH] / 64
    plane = 0.5 + 0.25 * np.sin(2 * x + y) * np.cos(1.5 * y)
    plane = np.where((y - 1.5) ** 2 + (x - 2) ** 2 < 0.5, 0.15 + 0.1 * x, plane)
    return np.clip(plane + rng.normal(0, 0.02, plane.shape), 0, 1)


def sepia() -> np.ndarray:
    return grey_plane()[..., None] ** [0.7, 1.0, 1.5]


def yellowed() -> np.ndarray:
    """More yellow towards the right edge, and a stain in one corner."""
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH] / HEIGHT
    amount = 0.3 + 0.5 * x**2 + 0.3 / (1 + np.exp((np.hypot(y - 0.1, x - 0.1) - 0.3) * 15))
    return grey_plane()[..., None] * np.exp(-amount[..., None] * [0.03, 0.1, 0.4])


def cyanotype() -> np.ndarray:
    plane = grey_plane()[..., None]
    return (1 - plane) * [0.03, 0.10, 0.28] + plane * [0.92, 0.96, 0.97]


def two_tones() -> np.ndarray:
    """Blue shadows and yellow lights."""
    plane = grey_plane()[..., None]
    return (1 - plane) * [0.05, 0.08, 0.2] + plane * [1.0, 0.95, 0.8]


def to_8_bit(picture: np.ndarray) -> np.ndarray:
    return np.rint(np.clip(picture, 0, 1) * 255).astype(np.uint8)


def through_jpeg(picture: np.ndarray, quality: int) -> np.ndarray:
    buffer = io.BytesIO()
    Image.fromarray(to_8_bit(picture)).save(buffer, "JPEG", quality=quality, subsampling="4:2:0")
    return np.asarray(Image.open(buffer))


def test_one_channel_is_grey():
    assert judge(np.zeros((5, 5), np.uint8)).kind == "grey"


@pytest.mark.parametrize("quality", [60, 95])
def test_grey_in_three_channels_is_grey(quality):
    picture = np.repeat(grey_plane()[..., None], 3, axis=2)
    assert judge(through_jpeg(picture, quality)).kind == "grey"


@pytest.mark.parametrize("quality", [60, 75, 95])
@pytest.mark.parametrize("make", [sepia, yellowed, cyanotype, two_tones])
def test_prints_of_one_pigment_are_toned(make, quality):
    verdict = judge(through_jpeg(make(), quality))
    assert verdict.kind == "toned"
    assert verdict.is_monochrome


def test_a_scanners_colour_noise_makes_no_colour():
    noisy = sepia() + np.random.default_rng(1).normal(0, 4 / 255, (HEIGHT, WIDTH, 3))
    assert judge(to_8_bit(noisy)).kind == "toned"


def test_a_photo_of_many_colours_is_in_colour(make_photo):
    verdict = judge(make_photo(HEIGHT, WIDTH))
    assert verdict.kind == "colour"
    assert not verdict.is_monochrome


def test_a_grey_scene_with_one_red_coat_is_in_colour():
    # The coat is 30 x 40 of 192 x 256 pixels: 2.4 %.
    picture = np.repeat(grey_plane()[..., None], 3, axis=2)
    picture[100:130, 60:100] = [0.7, 0.15, 0.2]
    assert judge(through_jpeg(picture, 80)).kind == "colour"


def test_faint_colours_of_several_hues_are_colour():
    # Fog: chroma of about 10, of which half of the picture is greenish and half of it pinkish, in no order.
    hues = np.random.default_rng(2).random((12, 16)).repeat(16, axis=0).repeat(16, axis=1) > 0.5
    tint = np.where(hues[..., None], [-0.04, 0.02, 0.0], [0.05, -0.02, 0.02])
    assert judge(through_jpeg(0.3 + 0.5 * grey_plane()[..., None] + tint, 85)).kind == "colour"


@pytest.mark.parametrize(("dtype", "top"), [(np.uint16, 65535), (np.float32, 1)])
def test_the_depth_changes_nothing(dtype, top):
    shallow = to_8_bit(sepia())
    deep = (shallow / 255 * top).round(6 if top == 1 else 0).astype(dtype)
    first, second = judge(shallow), judge(deep)
    assert first.kind == second.kind
    assert first.variety == pytest.approx(second.variety, rel=1e-2)


@pytest.mark.parametrize("shape", [(1, 1), (1, 300), (3, 2), (700, 5)])
def test_pictures_of_any_size_are_judged(shape):
    assert judge(np.full((*shape, 3), [200, 180, 120], np.uint8)).kind == "toned"


def test_what_is_measured_says_why():
    verdict = judge(to_8_bit(sepia()))
    # a* and b* of the middle tone, 0.5 ** (0.7, 1, 1.5) in sRGB: chroma of about 28.
    assert 20 < verdict.chroma < 36
    assert verdict.variety < COLOUR_FROM
