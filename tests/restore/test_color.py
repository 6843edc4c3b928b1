"""Colour: the standard's numbers, luma that stays, hue that stays, edges that stay."""

from __future__ import annotations

import numpy as np
import pytest

from restore import color

#: sRGB 8-bit and its CIELAB (D65), from the definitions of IEC 61966-2-1 and CIE 15: Y of red is 0.2126, so its L*
#: is 116 * 0.2126 ** (1/3) - 16 = 53.24, and so on; a* and b* as widely published to two decimals.
KNOWN = [
    ((255, 255, 255), (100.00, 0.00, 0.00)),
    ((0, 0, 0), (0.00, 0.00, 0.00)),
    ((255, 0, 0), (53.24, 80.09, 67.20)),
    ((0, 255, 0), (87.73, -86.18, 83.18)),
    ((0, 0, 255), (32.30, 79.19, -107.86)),
    ((119, 119, 119), (50.03, 0.00, 0.00)),
]


def noise(shape: tuple[int, ...], low: float, high: float, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(low, high, shape).astype(np.float32)


# 0.03: published values rest on matrices rounded to four decimals.
@pytest.mark.parametrize(("rgb", "lab"), KNOWN)
def test_known_colours_have_their_published_lab(rgb, lab):
    found = color.to_lab(np.array([[rgb]], np.uint8))
    np.testing.assert_allclose(found[0, 0], lab, atol=0.03)


def test_lab_is_that_of_scikit_image():
    from skimage.color import rgb2lab

    picture = noise((16, 16, 3), 0, 1)
    # 0.05: it takes the standard's rounded matrix and another third decimal of white.
    np.testing.assert_allclose(color.to_lab(picture), rgb2lab(picture), atol=0.05)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_greys_have_no_colour(dtype):
    levels = np.linspace(0, np.iinfo(dtype).max, 256).astype(dtype)
    grey = np.repeat(levels[None, :, None], 3, axis=2)
    # 2e-4: float32 rounding, times the 500 in a*.
    assert np.abs(color.to_lab(grey)[..., 1:]).max() < 2e-4


def test_to_lab_and_back_is_the_same_picture():
    picture = noise((32, 32, 3), 0, 1)
    np.testing.assert_allclose(color.from_lab(color.to_lab(picture)), picture, atol=2e-5)


def test_linear_light_of_the_standard():
    # Half of white in code is 0.2140 in light; at 0.04045 the two branches meet.
    np.testing.assert_allclose(
        color.srgb_to_linear(np.array([0.5, 0.04045, -0.1])), [0.21404, 0.0031308, -0.1 / 12.92], atol=1e-5
    )
    np.testing.assert_allclose(color.linear_to_srgb(np.array([0.21404, 0.0031308])), [0.5, 0.04045], atol=1e-5)


def test_luma_is_the_l_of_lab_for_colour_and_grey_at_any_depth():
    picture = np.random.default_rng(0).integers(0, 256, (70, 9, 3), np.uint8)
    expected = color.to_lab(picture)[..., 0]
    np.testing.assert_allclose(color.luma_of(picture), expected, atol=1e-4)
    np.testing.assert_allclose(color.luma_of(picture.astype(np.uint16) * 257), expected, atol=1e-4)
    np.testing.assert_allclose(color.luma_of(picture / np.float32(255)), expected, atol=1e-4)
    np.testing.assert_allclose(color.luma_of(picture[..., 0]), color.to_lab(picture[..., 0])[..., 0], atol=1e-4)


def test_colours_in_gamut_stay_as_they_are():
    lab = color.to_lab(noise((32, 32, 3), 0, 1))
    assert np.array_equal(color.into_gamut(lab), lab)


def test_colours_out_of_gamut_come_in_at_their_luma_and_hue():
    lab = noise((64, 64, 3), -130, 130)
    lab[..., 0] = noise((64, 64), 1, 99, seed=1)
    pulled = color.into_gamut(lab)
    # What fits stays as it is: nothing of it is outside any more.
    assert np.array_equal(color.into_gamut(pulled), pulled)
    assert np.array_equal(pulled[..., 0], lab[..., 0])
    # The same direction from grey: the cross product is zero, the dot product is not negative.
    cross = pulled[..., 1] * lab[..., 2] - pulled[..., 2] * lab[..., 1]
    np.testing.assert_allclose(cross, 0, atol=5e-3)
    assert ((pulled[..., 1:] * lab[..., 1:]).sum(-1) >= 0).all()


def test_colours_are_pulled_in_no_further_than_to_the_gamuts_edge():
    # sRGB's red is on the edge; twice its chroma at its luma comes back to it. 0.15: 2^-11 of the chroma of 209.
    red = color.to_lab(np.array([[[255, 0, 0]]], np.uint8))
    pulled = color.into_gamut(red * [1, 2, 2])
    np.testing.assert_allclose(pulled, red, atol=0.15)


def test_white_and_black_take_no_colour():
    lab = np.array([[[100, 40, -20], [0, 40, -20], [130, 40, -20]]], np.float32)
    pulled = color.into_gamut(lab)
    np.testing.assert_allclose(pulled[..., 0], [[100, 0, 100]])
    # A third of a level at black, which counts as in gamut, is a chroma of one.
    assert np.abs(pulled[..., 1:]).max() < 1


# Half a level is at most 0.22 of L* at 8 bits and 0.001 at 16; what counts as in gamut adds 0.1 near black.
@pytest.mark.parametrize(("dtype", "error"), [(np.uint8, 0.35), (np.uint16, 0.15), (np.float32, 0.15)])
def test_the_luma_of_the_result_is_the_luma_fed_in(dtype, error):
    luma, ab = noise((80, 90), 0, 100), noise((80, 90, 2), -60, 60, seed=1)
    pixels = color.join(luma, ab, dtype)
    assert pixels.dtype == dtype
    assert np.abs(color.luma_of(pixels) - luma).max() < error


def test_the_chroma_of_the_result_is_the_chroma_fed_in():
    luma, ab = noise((16, 16), 40, 70), noise((16, 16, 2), -20, 20, seed=1)
    lab = color.to_lab(color.join(luma, ab, np.uint16))
    np.testing.assert_allclose(lab[..., 1:], ab, atol=0.01)


def test_grey_chroma_gives_back_a_grey_picture():
    grey = np.arange(256, dtype=np.uint8).reshape(16, 16)
    pixels = color.join(color.luma_of(grey), np.zeros((16, 16, 2), np.float32), np.uint8)
    assert np.array_equal(pixels, np.repeat(grey[..., None], 3, axis=2))


def upsampled(ab: np.ndarray, small: np.ndarray, luma: np.ndarray) -> np.ndarray:
    """The chroma at full size, all at once."""
    return np.stack(color._Chroma.fit(ab, small).at(luma, 0, len(luma)), axis=-1)


@pytest.mark.parametrize("rows", [1, 7, 64, 1000])
def test_colouring_in_strips_is_upsampling_and_joining(rows, monkeypatch):
    monkeypatch.setattr(color, "ROWS", rows)
    ab, luma = noise((13, 17, 2), -50, 50), noise((101, 140), 0, 100)
    small = color.shrink(luma, 13, 17)
    whole = color.join(luma, upsampled(ab, small, luma), np.uint16)
    assert np.array_equal(color.colour_in(luma, ab, small, np.uint16), whole)


def test_one_colour_stays_one_colour():
    ab = np.broadcast_to(np.float32([12, -7]), (8, 9, 2))
    luma = noise((50, 60), 0, 100)
    full = upsampled(ab, color.shrink(luma, 8, 9), luma)
    np.testing.assert_allclose(full, np.broadcast_to(np.float32([12, -7]), (50, 60, 2)), atol=1e-4)


def test_chroma_of_the_lumas_own_size_is_kept():
    ab, luma = noise((20, 30, 2), -50, 50), noise((20, 30), 0, 100)
    np.testing.assert_allclose(upsampled(ab, luma, luma), ab, atol=1e-4)


def test_colour_ends_where_the_luma_ends():
    # A dark red half beside a light blue one; the border lies inside a small pixel, at column 38 of 8 x 8 blocks.
    luma = np.full((64, 80), 30, np.float32)
    luma[:, 38:] = 80
    truth = np.where(luma[..., None] < 50, np.float32([40, 30]), np.float32([-10, -30]))
    small, ab = color.shrink(luma, 8, 10), color.shrink(truth, 8, 10)
    error = np.abs(upsampled(ab, small, luma) - truth).mean()
    flat = np.abs(upsampled(ab, np.zeros_like(small), np.zeros_like(luma)) - truth).mean()
    assert error < flat / 2


def test_a_speck_of_dust_is_no_new_colour():
    luma = np.full((64, 64), 50, np.float32)
    luma[:, 32:] = 60
    ab = color.shrink(np.where(luma[..., None] < 55, np.float32([20, 0]), np.float32([0, 20])), 8, 8)
    small = color.shrink(luma, 8, 8)
    luma[30, 34] = 100
    full = upsampled(ab, small, luma)
    assert full.min() > -20
    assert full.max() < 40


def test_shrinking_takes_the_mean_of_the_area():
    # Five pixels to two: each covers two and a half.
    line = np.array([[0, 10, 20, 30, 40]], np.uint8)
    np.testing.assert_allclose(color.shrink(line, 1, 2), [[(0 + 10 + 10) / 2.5, (10 + 30 + 40) / 2.5]])


def test_shrinking_keeps_the_mean_and_the_channels():
    picture = np.random.default_rng(0).integers(0, 65536, (151, 97, 3), np.uint16)
    small = color.shrink(picture, 31, 20)
    assert small.shape == (31, 20, 3)
    np.testing.assert_allclose(small.mean((0, 1)), picture.mean((0, 1)), rtol=1e-5)


def test_shrinking_cannot_enlarge():
    with pytest.raises(ValueError, match="cannot shrink 4 px to 5 px along axis 1"):
        color.shrink(np.zeros((4, 4)), 4, 5)


def test_the_palette_of_one_colour_by_hand():
    # 110 / 16 of chroma has the root 1/4: one node from the middle of nine. Zero is the middle.
    palette = color.palette_of(np.broadcast_to(np.float32([110 / 16, 0]), (3, 4, 2)))
    expected = np.zeros(82)
    expected[5 * 9 + 4], expected[81] = 1, 1 / 16
    np.testing.assert_allclose(palette, expected, atol=1e-5)


def test_a_palettes_histogram_sums_to_one_whatever_the_colours():
    palette = color.palette_of(noise((20, 30, 2), -140, 140))
    assert palette.shape == (color.PALETTE_SIZE,)
    assert palette[:-1].sum() == pytest.approx(1, abs=1e-5)
    assert (palette >= 0).all()
