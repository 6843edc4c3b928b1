"""The denoiser's loss and figures, by hand."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from training.degrade import NoisyPair
from training.denoising import denoising_figures, denoising_loss
from training.settings import Settings

L1 = Settings(loss="l1")


class Idle(nn.Module):
    """Gives the picture back, and remembers what it was told."""

    def __init__(self) -> None:
        super().__init__()
        self.told: list[float] = []

    def forward(self, image: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor]:
        self.told.append(float(sigma[0]))
        return image, image[:, :1]


def test_the_loss_is_the_pictures_error_and_a_small_share_of_the_levels():
    clean = torch.full((2, 3, 32, 32), 0.5)
    truth = torch.tensor([0.2, 0.1]).view(2, 1, 1, 1).expand(2, 1, 2, 2)
    pair = NoisyPair({"image": clean}, clean, level=truth)
    level = torch.tensor([0.2, 0.4]).view(2, 1, 1, 1).expand(2, 1, 32, 32)
    loss = denoising_loss((clean + 0.01, level), pair, L1)
    torch.testing.assert_close(loss, torch.tensor([0.01, 0.01 + 0.03 * 0.3]))


def test_where_the_noise_is_told_another_loss_can_count():
    clean = torch.full((2, 3, 32, 32), 0.5)
    pair = NoisyPair({"image": clean, "sigma": torch.tensor([0.1, -1.0])}, clean, level=torch.zeros(2, 1, 2, 2))
    restored = clean.clone()
    restored[..., :16] += 0.2
    loss = denoising_loss((restored, torch.zeros(2, 1, 32, 32)), pair, Settings(loss="l1", told_loss="rms"))
    # Half an 8-bit level is added in squares.
    torch.testing.assert_close(loss, torch.tensor([math.hypot(0.2 / math.sqrt(2), 0.5 / 255), 0.1]))


def test_the_level_is_held_to_the_truth_at_each_place():
    clean = torch.full((1, 3, 16, 32), 0.5)
    pair = NoisyPair({"image": clean}, clean, level=torch.tensor([[[[0.0, 0.2]]]]))
    right = torch.zeros(1, 1, 16, 32)
    right[..., 16:] = 0.2
    assert denoising_loss((clean, right), pair, L1).item() == pytest.approx(0.0, abs=1e-6)
    # The same on average is wrong by 0.1 everywhere.
    assert denoising_loss((clean, torch.full_like(right, 0.1)), pair, L1).item() == pytest.approx(0.003, abs=1e-6)


def test_figures_tell_white_noise_and_leave_photos_untold():
    network = Idle()
    figures = denoising_figures(network, torch.full((2, 3, 64, 64), 0.5))
    assert [round(255 * told) for told in network.told] == [15, 25, -255, -255, 50, -255]
    # 24,576 samples: the variance is known to 0.9 %, which is 0.04 dB; three of these.
    assert figures["psnr/25"] == pytest.approx(-20 * math.log10(25 / 255), abs=0.12)
    assert figures["psnr/25 blind"] == figures["psnr/25"]
    # The noise of one channel, 8,192 samples: three of 0.07 dB.
    assert figures["psnr/25 grey"] == pytest.approx(-20 * math.log10(25 / 255), abs=0.21)
    assert figures["psnr/25 grey"] != figures["psnr/25"]
    assert figures == denoising_figures(network, torch.full((2, 3, 64, 64), 0.5))
