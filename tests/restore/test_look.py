"""What a planner is shown: crops at full size, a thumbnail and a view, the same for the same pixels."""

from __future__ import annotations

import time

import numpy as np
import pytest

from restore.look import look

SHAPE = {"crops": 8, "side": 48, "thumbnail": 96, "longest": 200}


@pytest.mark.parametrize("shape", [(300, 400, 3), (48, 48), (5, 200, 3), (1, 1)])
def test_any_picture_gives_a_look_of_the_same_size(shape):
    pixels = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    crops, thumbnail, view = look(pixels, **SHAPE)
    assert (crops.shape, crops.dtype) == ((8, 3, 48, 48), np.uint8)
    assert (thumbnail.shape, thumbnail.dtype) == ((3, 96, 96), np.uint8)
    assert (view.ndim, view.dtype) == (3, np.uint8)
    for one, other in zip(look(pixels, **SHAPE), (crops, thumbnail, view), strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_view_keeps_a_small_picture_and_shrinks_a_large_one(make_photo):
    small = make_photo(150, 200)
    np.testing.assert_array_equal(look(small, **SHAPE).view.transpose(1, 2, 0), small)
    assert look(make_photo(600, 400), **SHAPE).view.shape == (3, 200, 133)
    # Nineteen pixels in a row for each of the view: most of them are not read, and the means are still the photo's.
    rows = np.linspace(30, 220, 2400)
    large = np.repeat(np.repeat(rows[:, None, None], 3800, axis=1), 3, axis=2).astype(np.uint8)
    view = look(large, **SHAPE).view
    assert view.shape == (3, 126, 200)
    centres = (np.arange(126) + 0.5) * 2400 / 126 - 0.5
    np.testing.assert_allclose(view[0, :, 7], np.interp(centres, np.arange(2400), rows), atol=1.5)


def test_crops_are_pixels_at_their_full_size(make_photo):
    photo = make_photo(300, 400)
    for crop in look(photo, **SHAPE).crops:
        window = crop.transpose(1, 2, 0)
        # Its corner is found in the photo, and the rest of it there too.
        places = np.argwhere((photo[:253, :353] == window[0, 0]).all(axis=2))
        assert any(np.array_equal(photo[y : y + 48, x : x + 48], window) for y, x in places)


def test_half_of_the_crops_are_the_flattest():
    # Flat on the left, a checkered board of 16 pixels on the right.
    pixels = np.full((320, 640, 3), 128, np.uint8)
    y, x = np.mgrid[:320, :320]
    pixels[:, 320:] = np.where((y // 16 + x // 16) % 2, 40, 220)[..., None]
    crops, *_ = look(pixels, **SHAPE)
    assert (crops[:4] == 128).all()
    # The last of the spread ones is the busiest.
    assert crops[7].std() > 50


def test_black_and_white_parts_are_not_taken_for_flat():
    pixels = np.full((320, 640, 3), 255, np.uint8)
    pixels[:, 320:] = np.random.default_rng(0).normal(120, 10, (320, 320, 3)).clip(0, 255)
    crops, *_ = look(pixels, **SHAPE)
    assert (crops[:4].reshape(4, -1).mean(axis=1) < 200).all()


def test_sixteen_bits_and_grey_look_like_eight_bits_and_colour(make_photo):
    grey = make_photo(100, 120)[..., 0]
    for other in (grey.astype(np.uint16) * 257, np.repeat(grey[..., None], 3, axis=2)):
        np.testing.assert_array_equal(look(other, **SHAPE).crops, look(grey, **SHAPE).crops)
        np.testing.assert_array_equal(look(other, **SHAPE).thumbnail, look(grey, **SHAPE).thumbnail)


def test_a_large_photo_is_looked_at_in_a_moment():
    pixels = np.zeros((3000, 4000, 3), np.uint8)
    started = time.process_time()
    look(pixels, **SHAPE)
    # Of CPU time, since a busy machine says little of a user's: the whole look may take 150 ms with its network.
    assert time.process_time() - started < 0.15
