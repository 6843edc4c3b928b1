"""Losses, by hand."""

from __future__ import annotations

import math

import pytest
import torch

from training.losses import LOSSES, charbonnier, l1, mse, negative_psnr

CLEAN = torch.zeros(2, 3, 2, 2)
#: The first picture is right, the second is off by 0.5 everywhere.
RESTORED = torch.stack([torch.zeros(3, 2, 2), torch.full((3, 2, 2), -0.5)])


def test_l1_is_the_mean_absolute_error_of_each_picture():
    assert l1(RESTORED, CLEAN).tolist() == [0.0, 0.5]


def test_mse_is_the_mean_squared_error_of_each_picture():
    assert mse(RESTORED, CLEAN).tolist() == [0.0, 0.25]


def test_charbonnier_is_l1_but_round_at_zero():
    right, wrong = charbonnier(RESTORED, CLEAN).tolist()
    assert right == pytest.approx(1e-3)
    assert wrong == pytest.approx(math.sqrt(0.25 + 1e-6))


@pytest.mark.parametrize("name", LOSSES)
def test_every_loss_has_one_value_a_picture_and_a_finite_gradient_at_zero(name):
    restored = CLEAN.clone().requires_grad_()
    losses = LOSSES[name](restored, CLEAN)
    assert losses.shape == (2,)
    losses.sum().backward()
    assert torch.isfinite(restored.grad).all()


def test_the_decibels_are_those_of_psnr_and_end_where_no_eye_sees_more():
    ten_levels = CLEAN + 10 / 255
    psnr = 20 * math.log10(255 / 10)
    assert negative_psnr(ten_levels, CLEAN).tolist() == pytest.approx([-psnr / 500] * len(CLEAN), abs=1e-4)
    assert float(negative_psnr(CLEAN, CLEAN)[0]) == pytest.approx(-20 * math.log10(255 / 0.5) / 500, abs=1e-5)
