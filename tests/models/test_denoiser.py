"""The denoiser: shapes, reach, what it starts from, and that it can learn."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models import build, names
from models.blocks import NearestUp, ResidualBlock
from models.denoiser import ResidualDenoiser

TINY = {"channels": (4, 4, 4), "blocks": (1, 1, 1)}


def seen_radius(network: ResidualDenoiser) -> int:
    """Largest vertical distance between an output and an input that changes it, over all places on the grid.

    Weights and inputs are made positive, so every ReLU is open and no two paths cancel. One column
    of tiles is enough: height and width are treated alike.
    """
    network = network.double()
    for parameter in network.parameters():
        nn.init.uniform_(parameter, 0.1, 1.0)
    multiple = network.multiple_of
    middle = (network.reach // multiple + 1) * multiple
    image = torch.ones(multiple, 3, 2 * middle + multiple, multiple, dtype=torch.float64, requires_grad=True)
    restored = sum(network(image, torch.ones(multiple, dtype=torch.float64)))
    places = torch.arange(multiple)
    restored[places, :, middle + places].sum().backward()
    assert image.grad is not None
    touched = image.grad.abs().sum(dim=(1, 3)) > 0
    radii = [(rows.nonzero().flatten() - middle - place).abs().max() for place, rows in enumerate(touched)]
    return int(torch.stack(radii).max())


@pytest.mark.parametrize("stem", [1, 2, 4])
def test_reach_is_the_radius_that_the_gradient_finds(stem):
    network = ResidualDenoiser(stem=stem, **TINY)
    assert seen_radius(network) == network.reach


def test_repeating_values_sees_as_far_as_a_transposed_convolution():
    network = ResidualDenoiser(**TINY, upsampling="nearest")
    assert seen_radius(network) == network.reach == ResidualDenoiser(**TINY).reach


def test_each_value_is_repeated_four_times_after_its_convolution():
    up = NearestUp(1, 1, bias=False)
    nn.init.constant_(up.weight, 2.0)
    doubled = up(torch.tensor([[[[1.0, 3.0]]]]))
    assert doubled.tolist() == [[[[2.0, 2.0, 6.0, 6.0], [2.0, 2.0, 6.0, 6.0]]]]


def test_reach_counts_large_kernels_at_the_bottom():
    network = ResidualDenoiser(**TINY, large_kernels=True)
    assert seen_radius(network) == network.reach


def test_kernels_that_were_trained_as_sums_fold_into_plain_ones():
    torch.manual_seed(0)
    network = ResidualDenoiser(**TINY, edge_kernels=True)
    for parameter in network.parameters():
        nn.init.normal_(parameter, std=0.1)
    plain = ResidualDenoiser(**TINY)
    image, sigma = torch.rand(1, 3, 16, 16), torch.tensor([0.1])
    with torch.no_grad():
        before = network(image, sigma)
        network.fold()
        after = network(image, sigma)
    # 1e-6: the sums are made in another order.
    torch.testing.assert_close(after, before, atol=1e-6, rtol=1e-5)
    assert network.state_dict().keys() == plain.state_dict().keys()


def test_without_biases_an_answer_scales_with_its_picture():
    torch.manual_seed(0)
    network = ResidualDenoiser(**TINY, bias=False)
    image = torch.rand(1, 3, 16, 16)
    # The plane that says "known" does not scale, so the level is left unknown (Mohan et al. 2020).
    once, twice = (network(scale * image, torch.tensor([-1.0]))[0] for scale in (1, 2))
    torch.testing.assert_close(twice, 2 * once, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("blocks", [(2, 1), (0, 3, 1), (1, 2, 0)])
def test_reach_holds_for_uneven_levels(blocks):
    network = ResidualDenoiser(stem=2, channels=(2,) * len(blocks), blocks=blocks)
    assert seen_radius(network) == network.reach


def test_the_default_network_reaches_195_px():
    # The reach does not depend on the feature counts: one a level makes the gradient cheap.
    thin = ResidualDenoiser(channels=(1, 1, 1, 1), blocks=(2, 2, 2, 2))
    assert seen_radius(thin) == thin.reach == ResidualDenoiser().reach == 195


@pytest.mark.parametrize("stem", [1, 2, 4])
def test_the_output_has_the_inputs_shape_at_every_multiple(stem):
    network = ResidualDenoiser(stem=stem, **TINY)
    assert network.multiple_of == stem * 4
    for rows, columns in ((1, 1), (2, 5)):
        image = torch.rand(2, 3, rows * network.multiple_of, columns * network.multiple_of)
        restored, level = network(image, torch.tensor([0.1, 0.2]))
        assert restored.shape == image.shape
        assert level.shape == (2, 1, *image.shape[2:])


def test_every_block_starts_as_the_identity():
    block = ResidualBlock(8)
    x = torch.randn(1, 8, 4, 4)
    assert torch.equal(block(x), x)


def test_the_noise_level_changes_the_answer():
    torch.manual_seed(0)
    network = ResidualDenoiser(**TINY)
    image = torch.rand(1, 3, 8, 8)
    answers = [network(image, torch.tensor([sigma]))[0] for sigma in (0.0, 0.2)]
    assert not torch.equal(*answers)


def test_an_unknown_level_is_not_the_level_zero_and_its_number_does_not_matter():
    torch.manual_seed(0)
    network = ResidualDenoiser(**TINY)
    image = torch.rand(1, 3, 8, 8)
    zero, unknown, other = (network(image, torch.tensor([sigma]))[0] for sigma in (0.0, -1.0, -7.0))
    assert not torch.equal(zero, unknown)
    assert torch.equal(unknown, other)


def test_each_picture_of_a_batch_has_its_own_noise_level():
    torch.manual_seed(0)
    network = ResidualDenoiser(**TINY)
    image, sigma = torch.rand(2, 3, 16, 8), torch.tensor([0.05, 0.25])
    with torch.no_grad():
        alone = torch.cat([network(image[i : i + 1], sigma[i : i + 1])[0] for i in range(2)])
        # 1e-6: another batch size may take another convolution algorithm, with another order of sums.
        torch.testing.assert_close(network(image, sigma)[0], alone, atol=1e-6, rtol=0)


def test_one_batch_can_be_learned_by_heart():
    torch.manual_seed(0)
    network = ResidualDenoiser(channels=(16, 16), blocks=(1, 1))
    clean = F.interpolate(torch.rand(2, 3, 4, 4), size=16, mode="bilinear")
    noisy, sigma = clean + 0.2 * torch.randn_like(clean), torch.full((2,), 0.2)
    optimizer = torch.optim.Adam(network.parameters(), lr=5e-3)

    def error() -> Tensor:
        return F.mse_loss(network(noisy, sigma)[0], clean)

    assert error() > 0.02  # the noise has a variance of 0.04
    for _ in range(200):
        optimizer.zero_grad()
        error().backward()
        optimizer.step()
    assert error() < 1e-3


def test_a_state_dict_reloads_into_the_same_network():
    torch.manual_seed(0)
    first, second = build("denoiser", **TINY), build("denoiser", **TINY)
    second.load_state_dict(first.state_dict())
    image, sigma = torch.rand(1, 3, 8, 8), torch.tensor([0.1])
    with torch.no_grad():
        assert all(map(torch.equal, first(image, sigma), second(image, sigma)))


def test_levels_and_blocks_must_be_equally_many():
    with pytest.raises(ValueError, match="two lists of equal length"):
        ResidualDenoiser(channels=(4, 4), blocks=(1,))


def test_an_unknown_network_is_refused_with_the_names_that_there_are():
    assert "denoiser" in names()
    with pytest.raises(ValueError, match=rf"no network is called 'unet'; there are: {', '.join(names())}"):
        build("unet")
