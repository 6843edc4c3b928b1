"""The engine: what it refuses, what it keeps, and that nobody can see where tiles met."""

from __future__ import annotations

import threading

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import ImageCms

from restore.engine import open_model
from restore.errors import BadOption, ModelNotFound
from restore.image import Image

SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


@pytest.fixture(scope="module")
def denoiser(tiny_denoiser):
    """A real network of the denoiser's kind, small and with random weights, exported."""
    return open_model(tiny_denoiser, device="cpu")


@settings(deadline=None, max_examples=40)
@given(
    height=st.integers(1, 150),
    width=st.integers(1, 150),
    tile=st.integers(1, 160),
    sigma=st.floats(0, 75 / 255),
    seed=st.integers(0, 9),
)
def test_tiles_leave_no_seam(denoiser, height, width, tile, sigma, seed):
    noisy = np.random.default_rng(seed).normal(0.5, 0.4, (height, width, 3)).astype(np.float32)
    whole = denoiser.run_array(noisy, tile=None, sigma=sigma)["restored"]
    tiled = denoiser.run_array(noisy, tile=tile, sigma=sigma)["restored"]
    # The bar. Convolutions of different sizes may add in another order, so the last bits can differ.
    np.testing.assert_allclose(tiled, whole, rtol=0, atol=1e-5)


@settings(deadline=None, max_examples=20)
# Its reach of 23 is a halo of 24, and a tile is three of these at least.
@given(height=st.integers(1, 200), width=st.integers(1, 200), tile=st.integers(72, 210), grey=st.booleans())
def test_tiles_leave_no_level_of_difference(denoiser, height, width, tile, grey):
    shape = (height, width) if grey else (height, width, 3)
    image = Image(np.random.default_rng(height).integers(0, 256, shape, np.uint8))
    whole = denoiser(image, tile=None, sigma=0.1).image.pixels
    tiled = denoiser(image, tile=tile, sigma=0.1).image.pixels
    np.testing.assert_array_equal(tiled, whole)


def test_eight_looks_do_not_tell_a_picture_from_its_mirror_image(denoiser):
    pixels = np.random.default_rng(0).integers(0, 256, (21, 34, 3), np.uint8)
    answer = denoiser(Image(pixels), sigma=0.1, self_ensemble=8).image.pixels
    for turn in (np.fliplr, np.flipud, lambda x: x.swapaxes(0, 1)):
        other = denoiser(Image(turn(pixels)), sigma=0.1, self_ensemble=8).image.pixels
        np.testing.assert_allclose(other.astype(int), turn(answer), atol=1)
    once = denoiser(Image(pixels), sigma=0.1).image.pixels
    assert not np.array_equal(once, answer)


def test_tiles_leave_no_level_of_difference_where_it_looks_often(denoiser):
    image = Image(np.random.default_rng(1).integers(0, 256, (90, 130, 3), np.uint8))
    whole = denoiser(image, sigma=0.1, self_ensemble=4).image.pixels
    np.testing.assert_array_equal(denoiser(image, tile=72, sigma=0.1, self_ensemble=4).image.pixels, whole)


def test_a_number_of_looks_that_cannot_be_is_refused(denoiser):
    with pytest.raises(BadOption, match="--self-ensemble 3: use 1, 2, 4 or 8"):
        denoiser(Image(np.zeros((20, 30, 3), np.uint8)), self_ensemble=3)


def test_all_that_is_not_pixels_comes_from_the_source(denoiser):
    alpha = np.arange(48, dtype=np.uint16).reshape(6, 8)
    image = Image(np.full((6, 8, 3), 30000, np.uint16), alpha=alpha, icc=SRGB, exif=b"exif", dpi=(300.0, 300.0))
    restored = denoiser(image, sigma=0.2).image
    assert restored.pixels.dtype == np.uint16
    assert restored.pixels.shape == (6, 8, 3)
    assert restored.alpha is alpha
    assert (restored.icc, restored.exif, restored.dpi) == (SRGB, b"exif", (300.0, 300.0))


def test_grey_stays_grey(denoiser):
    image = Image(np.random.default_rng(0).integers(0, 256, (20, 31), np.uint8))
    assert denoiser(image, sigma=0.2).image.pixels.shape == (20, 31)


@pytest.fixture
def smooth(smoother):
    """The model whose answers can be worked out by hand."""
    return open_model(smoother / "denoise-fast.onnx", device="cpu")


def test_a_clean_picture_comes_back_as_the_same_object(smooth):
    image = Image(np.full((64, 64, 3), 99, np.uint8))
    done = smooth(image)
    assert done.image is image
    assert not done.changed(image)
    assert done.found == {"sigma": 0.0}


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_a_scan_of_two_levels_has_no_noise(smooth, dtype):
    dots = np.random.default_rng(0).integers(0, 2, (40, 50)).astype(dtype) * np.iinfo(dtype).max
    scan = Image(dots)
    assert not smooth(scan).changed(scan)
    assert smooth(scan).found == {"sigma": 0.0}
    # Told a level, it does as told; and with a third level it is a picture as any.
    assert smooth(scan, sigma=0.1).changed(scan)
    dots[20, 20] = 90
    assert smooth(Image(dots)).found["sigma"] > 0


def test_what_is_no_image_is_told_where_to_get_one(smooth):
    with pytest.raises(
        TypeError, match=r"str where an Image is needed: restore.read\(path\), or restore.Image\(pixels\)"
    ):
        smooth("night.jpg")


def test_the_noise_that_the_network_finds_is_said(smooth):
    noise = np.random.default_rng(0).normal(0, 25, (200, 200, 3))
    image = Image(np.clip(128 + noise, 0, 255).astype(np.uint8))
    done = smooth(image)
    assert done.changed(image)
    # 120,000 independent values: a standard error of 0.05.
    assert done.found["sigma"] * 255 == pytest.approx(25, abs=0.3)


def test_what_is_found_is_no_more_than_what_may_be_told(smooth):
    # Of deviation 121 of 255, where the network knows noise up to 75.
    pixels = np.random.default_rng(0).choice(np.array([0, 128, 255], np.uint8), (60, 60, 3), p=[0.45, 0.1, 0.45])
    found = smooth(Image(pixels)).found["sigma"]
    assert found == smooth.spec.param("sigma").max
    smooth(Image(pixels), sigma=found)


@pytest.mark.parametrize("tile", [64, 100])
def test_what_is_found_does_not_depend_on_the_tiles(smooth, tile):
    image = Image(np.random.default_rng(0).integers(0, 256, (150, 170, 3), np.uint8))
    whole, tiled = smooth(image, tile=None).found, smooth(image, tile=tile).found
    assert tiled["sigma"] == pytest.approx(whole["sigma"], rel=1e-6)


@pytest.mark.parametrize("frame", [0, 128, 255], ids=["black", "grey", "white"])
def test_a_frame_does_not_hide_the_noise_in_it(smooth, frame):
    noise = np.clip(128 + np.random.default_rng(0).normal(0, 10, (96, 96, 3)), 0, 255).astype(np.uint8)
    framed = np.full((288, 288, 3), frame, np.uint8)
    framed[96:192, 96:192] = noise
    done = smooth(Image(framed))
    # Over the whole canvas it would be a third. The rim of the noise counts too, where black meets noise or white.
    assert done.found["sigma"] >= smooth(Image(noise)).found["sigma"] * 0.95
    assert done.changed(Image(framed))


def test_what_is_transparent_does_not_hide_the_noise_beside_it(smooth):
    pixels = np.clip(128 + np.random.default_rng(0).normal(0, 10, (96, 288, 3)), 0, 255).astype(np.uint8)
    alpha = np.zeros((96, 288), np.uint8)
    alpha[:, 96:192] = 255
    # Hidden pixels may hold anything, as what an editor had cut away.
    pixels[:, :96] //= 64
    found = smooth(Image(pixels, alpha)).found["sigma"]
    alone = smooth(Image(pixels[:, 96:192])).found["sigma"]
    # A little more: the rims, where it looks at what is hidden.
    assert alone * 0.99 <= found <= alone * 1.2


def test_a_picture_of_one_colour_has_no_noise(smooth):
    image = Image(np.full((40, 50, 3), 99, np.uint8))
    done = smooth(image)
    assert done.found == {"sigma": 0.0}
    assert not done.changed(image)


def test_told_that_there_is_no_noise_nothing_is_done(denoiser):
    image = Image(np.random.default_rng(0).integers(0, 256, (20, 30, 3), np.uint8))
    done = denoiser(image, sigma=0.0)
    assert not done.changed(image)
    assert done.found == {}


@pytest.mark.parametrize(
    ("options", "message"),
    [({"strength": 5.0}, "strength"), ({"mask": np.ones((3, 3))}, "mask"), ({"tile": 0}, "tile")],
)
def test_wrong_options_are_refused_for_a_picture_of_two_levels_too(smooth, options, message):
    with pytest.raises(BadOption, match=message):
        smooth(Image(np.zeros((4, 4, 3), np.uint8)), **options)


def test_a_tile_that_is_nearly_all_halo_is_refused(denoiser):
    with pytest.raises(BadOption, match=r"--tile 64 is too small: denoise-fast looks 23 .* Use 72 or more"):
        denoiser(Image(np.zeros((4, 4, 3), np.uint8)), sigma=0.1, tile=64)


def test_a_level_that_was_told_is_not_found(smooth):
    assert smooth(Image(np.full((8, 8, 3), 99, np.uint8)), sigma=0.1).found == {}


def test_strength_takes_luma_and_chroma_strength_takes_colour(smooth):
    # Mid-tones, so that nothing is clipped.
    pixels = np.random.default_rng(0).integers(20_000, 45_000, (20, 30, 3), np.uint16)
    image, luma = Image(pixels), np.array([0.299, 0.587, 0.114])
    full, half_luma, half_colour = (
        smooth(image, sigma=0.2, **options).image.pixels.astype(float)
        for options in ({}, {"strength": 0.5}, {"chroma_strength": 0.5})
    )
    # One level of 65,535 for the rounding of each side.
    np.testing.assert_allclose(half_luma @ luma, (full @ luma + pixels @ luma) / 2, atol=1.5)
    np.testing.assert_allclose(half_colour @ luma, full @ luma, atol=1.5)
    colour, kept = full - (full @ luma)[..., None], pixels - (pixels @ luma)[..., None]
    np.testing.assert_allclose(half_colour - (half_colour @ luma)[..., None], (colour + kept) / 2, atol=1.5)


def test_no_strength_at_all_leaves_every_pixel(smooth):
    image = Image(np.random.default_rng(0).integers(0, 256, (20, 30, 3), np.uint8))
    done = smooth(image, sigma=0.2, strength=0.0, chroma_strength=0.0)
    # The very same object, so that a file is copied and not encoded again.
    assert done.image is image


@pytest.mark.parametrize("option", [{"strength": 1.5}, {"chroma_strength": -0.1}])
def test_a_strength_that_is_no_share_is_refused(smooth, option):
    with pytest.raises(BadOption, match=r"strength .* is not a share\. Use 0"):
        smooth(Image(np.zeros((4, 4, 3), np.uint8)), sigma=0.1, **option)


def test_progress_rises_to_one(denoiser):
    shares = []
    denoiser(Image(np.zeros((300, 200, 3), np.uint8)), tile=100, sigma=0.1, progress=shares.append)
    assert len(shares) > 1
    assert shares == sorted(shares)
    assert shares[-1] == pytest.approx(1)


def test_threads_may_share_a_restorer(denoiser):
    pictures = [np.random.default_rng(i).random((40 + i, 50, 3)).astype(np.float32) for i in range(8)]
    expected = [denoiser.run_array(p, sigma=0.1)["restored"] for p in pictures]
    answers = [None] * len(pictures)

    def work(index):
        answers[index] = denoiser.run_array(pictures[index], sigma=0.1)["restored"]

    threads = [threading.Thread(target=work, args=(i,)) for i in range(len(pictures))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for answer, wanted in zip(answers, expected, strict=True):
        np.testing.assert_array_equal(answer, wanted)


def test_an_unknown_parameter_is_refused_by_name(denoiser):
    with pytest.raises(BadOption, match="no parameter 'speed'; it has: sigma"):
        denoiser(Image(np.zeros((4, 4, 3), np.uint8)), speed=1.0)


def test_a_sigma_beyond_the_trained_range_is_refused(denoiser):
    with pytest.raises(BadOption, match=r"sigma 0.352941 is not in denoise-fast's range, 0 to 0.2941 \(25 of 255 is"):
        denoiser(Image(np.zeros((4, 4, 3), np.uint8)), sigma=90 / 255)


def test_a_tile_of_nothing_is_refused(denoiser):
    with pytest.raises(BadOption, match="--tile 0"):
        denoiser(Image(np.zeros((4, 4, 3), np.uint8)), sigma=0.1, tile=0)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(ModelNotFound, match=r"none\.onnx: no such model file"):
        open_model(tmp_path / "none.onnx")
