"""Measures of quality, by hand and against scikit-image."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from training.metrics import mask_f1, mask_iou, psnr, registered_psnr, rmse, ssim


def test_an_error_of_one_tenth_everywhere_is_20_db():
    clean = torch.full((1, 3, 4, 4), 0.5)
    assert psnr(clean + 0.1, clean).item() == pytest.approx(20.0, abs=1e-4)


def test_psnr_is_one_value_a_picture():
    clean = torch.zeros(2, 3, 4, 4)
    off = torch.stack([torch.full((3, 4, 4), 0.1), torch.full((3, 4, 4), 0.01)])
    assert psnr(off, clean).tolist() == pytest.approx([20.0, 40.0], abs=1e-4)


def test_equal_pictures_have_infinite_psnr_and_ssim_1():
    clean = torch.rand(1, 3, 16, 16)
    assert psnr(clean, clean).item() == math.inf
    assert ssim(clean, clean).item() == pytest.approx(1.0)


def test_psnr_of_a_large_picture_keeps_its_third_decimal():
    # float32 alone would sum three million squares of 1e-5 to about three digits.
    clean = torch.zeros(1, 3, 1000, 1000)
    assert psnr(clean + 10**-2.5, clean).item() == pytest.approx(50.0, abs=1e-4)


def test_what_a_filter_can_undo_is_no_error_of_a_registered_picture():
    clean = torch.rand(2, 3, 40, 48, generator=torch.Generator().manual_seed(0))
    shifted = clean.roll((1, -2), dims=(2, 3))
    assert psnr(shifted, clean).max() < 10
    assert registered_psnr(shifted, clean).min() > 100


def test_the_filter_of_a_registered_picture_is_that_of_least_squares():
    rng = np.random.default_rng(0)
    clean = rng.random((3, 14, 15))
    noisy = clean + rng.normal(0, 0.05, clean.shape)
    rows = [noisy[c, y : y + 5, x : x + 5].ravel() for c in range(3) for y in range(10) for x in range(11)]
    truth = clean[:, 2:-2, 2:-2].ravel()
    taps, *_ = np.linalg.lstsq(np.array(rows), truth, rcond=None)
    error = np.square(np.clip(np.array(rows) @ taps, 0, 1) - truth).mean()
    found = registered_psnr(torch.from_numpy(noisy)[None], torch.from_numpy(clean)[None])
    assert found.item() == pytest.approx(-10 * math.log10(error), abs=1e-3)


@pytest.mark.parametrize(("one", "other"), [((1, 3, 8, 8), (1, 3, 8, 9)), ((1, 3, 4, 8), (1, 3, 4, 8))])
def test_a_picture_is_registered_to_one_of_its_shape(one, other):
    with pytest.raises(ValueError, match="two pictures of one shape, 5 px or more a side"):
        registered_psnr(torch.zeros(one), torch.zeros(other))


def test_ssim_of_two_plain_pictures_is_the_luminance_term():
    # Without variance what is left is (2ab + c1) / (a^2 + b^2 + c1), here with a = 0.2, b = 0.6.
    first, second = torch.full((1, 3, 16, 16), 0.2), torch.full((1, 3, 16, 16), 0.6)
    c1 = 0.01**2
    assert ssim(first, second).item() == pytest.approx((0.24 + c1) / (0.40 + c1), abs=1e-6)


@pytest.mark.parametrize(("height", "width"), [(40, 56), (74, 150), (138, 75)])  # one block of rows, whole ones, a rest
def test_ssim_is_that_of_scikit_image(make_photo, height, width):
    from skimage.metrics import structural_similarity

    clean = make_photo(height, width) / 255
    noisy = clean + np.random.default_rng(0).normal(0, 0.1, clean.shape)
    expected = structural_similarity(
        noisy, clean, gaussian_weights=True, sigma=1.5, use_sample_covariance=False, channel_axis=2, data_range=1
    )
    ours = ssim(*(torch.from_numpy(x).permute(2, 0, 1)[None] for x in (noisy, clean)))
    assert ours.item() == pytest.approx(expected, abs=1e-6)


def test_pictures_of_different_shapes_are_refused():
    with pytest.raises(ValueError, match="different shapes"):
        psnr(torch.zeros(1, 3, 4, 4), torch.zeros(1, 3, 4, 5))
    with pytest.raises(ValueError, match="one shape, 11 px or more"):
        ssim(torch.zeros(1, 3, 16, 16), torch.zeros(1, 3, 16, 17))


def test_ssim_needs_a_picture_as_large_as_its_window():
    assert ssim(torch.zeros(1, 3, 11, 11), torch.zeros(1, 3, 11, 11)).item() == pytest.approx(1.0)
    with pytest.raises(ValueError, match="11 px or more"):
        ssim(torch.zeros(1, 3, 10, 11), torch.zeros(1, 3, 10, 11))


def test_f1_and_iou_count_the_pixels_above_one_half():
    truth = torch.zeros(2, 1, 2, 4)
    truth[0, 0, 0] = 1
    found = torch.zeros(2, 1, 2, 4)
    found[0, 0, 0, :2], found[0, 0, 1, 0] = 0.6, 0.9
    found[0, 0, 1, 1] = 0.5
    # Of 4 true pixels 2 are found, and 1 beside: F1 = 2 * 2 / (4 + 3), IoU = 2 / 5. Two empty masks agree.
    assert mask_f1(found, truth).tolist() == pytest.approx([4 / 7, 1.0])
    assert mask_iou(found, truth).tolist() == pytest.approx([2 / 5, 1.0])


def test_masks_of_different_shapes_are_refused():
    with pytest.raises(ValueError, match="different shapes"):
        mask_f1(torch.zeros(1, 1, 2, 2), torch.zeros(1, 1, 2, 3))


def test_rmse_is_on_the_255_scale_over_all_or_inside_a_mask():
    clean, restored = torch.zeros(1, 3, 2, 2), torch.zeros(1, 3, 2, 2)
    restored[:, :, 0, 0] = 0.2
    mask = torch.zeros(1, 1, 2, 2)
    mask[0, 0, 0] = 1
    # One pixel of four is off by 51 levels: 51 / 2 over all, 51 / sqrt(2) over the two inside.
    assert rmse(restored, clean).item() == pytest.approx(25.5, abs=1e-4)
    assert rmse(restored, clean, mask).item() == pytest.approx(51 / 2**0.5, abs=1e-4)
    assert rmse(restored, clean, 0 * mask).isnan().all()
