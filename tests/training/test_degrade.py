"""What damages a photo: repeatable, of the promised size, and never clipped."""

from __future__ import annotations

import math

import pytest
import torch

from training.degrade import GaussianNoise, Pair, add_gaussian_noise


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_the_same_rng_makes_the_same_pair():
    clean = torch.rand(3, 3, 8, 8, generator=rng())
    first, second = GaussianNoise()(clean, rng(7)), GaussianNoise()(clean, rng(7))
    assert torch.equal(first.inputs["image"], second.inputs["image"])
    assert torch.equal(first.inputs["sigma"], second.inputs["sigma"])
    assert not torch.equal(first.inputs["image"], GaussianNoise()(clean, rng(8)).inputs["image"])


def test_the_truth_of_a_pair_is_the_clean_batch():
    clean = torch.rand(3, 3, 8, 8)
    assert torch.equal(GaussianNoise()(clean, rng()).clean, clean)


@pytest.mark.parametrize("sigma", [5 / 255, 25 / 255, 75 / 255])
def test_noise_has_mean_zero_and_the_variance_asked_for(sigma):
    clean = torch.full((4, 3, 128, 128), 0.5)
    noise = (add_gaussian_noise(clean, sigma, rng()) - clean).double()
    count = noise.numel()
    # Three standard errors: sigma / sqrt(n) for the mean, sigma^2 * sqrt(2 / n) for the variance.
    assert abs(noise.mean()) < 3 * sigma / math.sqrt(count)
    assert abs(noise.var() - sigma**2) < 3 * sigma**2 * math.sqrt(2 / count)


def test_noise_is_independent_between_pixels_channels_and_pictures():
    noise = add_gaussian_noise(torch.zeros(2, 3, 64, 64), 1.0, rng())
    for one, other in (
        (noise[..., 1:], noise[..., :-1]),
        (noise[..., 1:, :], noise[..., :-1, :]),
        (noise[:, 1:], noise[:, :-1]),
        (noise[1:], noise[:-1]),
    ):
        products = (one * other).double()
        assert abs(products.mean()) < 4 / math.sqrt(products.numel())


def test_noise_is_not_clipped():
    noisy = add_gaussian_noise(torch.tensor([0.0, 1.0]).view(2, 1, 1, 1).expand(2, 3, 16, 16), 0.2, rng())
    assert noisy.min() < 0
    assert noisy.max() > 1


def test_each_picture_gets_its_own_level():
    clean = torch.zeros(2, 3, 64, 64)
    noisy = add_gaussian_noise(clean, torch.tensor([0.0, 0.5]), rng())
    assert torch.equal(noisy[0], clean[0])
    assert noisy[1].std() == pytest.approx(0.5, rel=0.05)


def test_sigma_is_uniform_in_the_range_and_tells_the_truth():
    pair = GaussianNoise(low=0.1, high=0.3)(torch.zeros(4096, 1, 2, 2), rng())
    sigma = pair.inputs["sigma"]
    assert sigma.shape == (4096,)
    assert sigma.min() >= 0.1
    assert sigma.max() <= 0.3
    # A uniform variable of width 0.2 has a standard deviation of 0.2 / sqrt(12).
    assert abs(sigma.mean() - 0.2) < 3 * 0.2 / math.sqrt(12 * 4096)
    measured = pair.inputs["image"].square().mean()
    assert measured == pytest.approx(float(sigma.square().mean()), rel=0.1)


def test_faint_noise_weighs_more_as_the_root_of_its_level():
    pair = GaussianNoise(low=20 / 255, high=20 / 255)(torch.zeros(1, 3, 2, 2), rng())
    strong = GaussianNoise(low=75 / 255, high=75 / 255)(torch.zeros(1, 3, 2, 2), rng())
    assert pair.weight.item() == pytest.approx(5 / math.sqrt(20 + 5))  # exactly 1
    assert strong.weight.item() == pytest.approx(5 / math.sqrt(75 + 5))


def test_a_pair_without_weights_counts_each_sample_once():
    clean = torch.zeros(2, 3, 2, 2)
    assert torch.equal(torch.ones(2) * Pair({"image": clean}, clean).weight, torch.ones(2))
