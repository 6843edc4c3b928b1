"""The watermark remover: what it leaves alone, the user's mask, reach, and the blend undone."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from models.unwatermark import Decomposition, WatermarkRemover, _certainty

TINY = {"channels": (4, 6), "blocks": (1, 1)}


@pytest.fixture
def network() -> WatermarkRemover:
    """Tiny, with random weights everywhere, so that its logits spread around zero."""
    torch.manual_seed(0)
    network = WatermarkRemover(**TINY)
    for parameter in network.parameters():
        nn.init.normal_(parameter, std=0.3)
    return network.eval()


def untold(image: Tensor) -> tuple[Tensor, Tensor]:
    """No user's mask: what lies in `mask_in` must not count."""
    return torch.zeros_like(image[:, :1]), torch.zeros(len(image))


def anyhow(image: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """No user's mask, and no certainty asked for."""
    return torch.zeros(len(image)), *untold(image)


def test_where_the_mask_is_zero_the_picture_comes_back_to_the_last_bit(network):
    image = torch.rand(2, 3, 32, 32)
    with torch.no_grad():
        restored, mask = network(image, *anyhow(image))
    outside = (mask == 0).expand_as(image)
    assert outside.any()
    assert not outside.all()
    assert torch.equal(restored[outside], image[outside])
    assert not torch.equal(restored, image)


def test_a_fresh_network_finds_no_mark_on_a_dark_picture():
    torch.manual_seed(0)
    network = WatermarkRemover(**TINY).eval()
    image = torch.full((1, 3, 16, 16), 0.02)
    restored, mask = network(image, *anyhow(image))
    assert not mask.any()
    assert torch.equal(restored, image)


def test_the_mask_is_a_straight_ramp_of_the_logits_from_minus_one_to_one(network):
    image = torch.rand(1, 3, 32, 32)
    found = network.decompose(image, *untold(image))
    torch.testing.assert_close(found.mask, ((found.logits + 1) / 2).clamp(0, 1))


def test_a_users_mask_takes_the_place_of_the_networks_own(network):
    image = torch.rand(2, 3, 16, 16)
    mask_in = torch.zeros(2, 1, 16, 16)
    mask_in[..., 4:8, 4:12] = 1
    with torch.no_grad():
        restored, mask = network(image, torch.zeros(2), mask_in, torch.tensor([1.0, 0.0]))
        own = network(image, *anyhow(image))
    assert torch.equal(mask[0], mask_in[0])
    assert torch.equal(restored[0][:, mask_in[0, 0] == 0], image[0][:, mask_in[0, 0] == 0])
    # The second picture's mask is not to be used: it must not matter at all.
    torch.testing.assert_close(restored[1], own[0][1], atol=1e-6, rtol=0)


def test_a_picture_in_which_no_mark_is_sure_enough_comes_back_untouched(network):
    image = torch.rand(2, 3, 32, 32)
    mask_in, use_mask = untold(image)
    with torch.no_grad():
        sure = _certainty(network.decompose(image, mask_in, use_mask).logits, network.multiple_of)
        least = sure[0, 0, 0, 0]
        # The first picture asks for exactly what there is, the second for less.
        restored, mask = network(image, torch.stack((least, least * 0)), mask_in, use_mask)
        told = network(image, torch.ones(2), mask_in + 1, torch.tensor([1.0, 0.0]))[1]
    assert not mask[0].any()
    assert torch.equal(restored[0], image[0])
    assert mask[1].any()
    # A user's mask needs no certainty.
    assert told.mean(dim=(1, 2, 3)).tolist() == [1.0, 0.0]


def test_certainty_is_the_probability_of_the_best_square():
    logits = torch.full((2, 1, 32, 32), -5.0)
    logits[0, :, 16:, :16] = 2.0
    # One pixel of 99 among 255 of -5 moves the mean to -4.59.
    logits[1, :, 4, 8] = 99.0
    wanted = torch.tensor([2.0, (99 - 5 * 255) / 256]).sigmoid().tolist()
    assert _certainty(logits, 16).flatten().tolist() == pytest.approx(wanted)


@pytest.mark.parametrize("alpha", [0.0, 0.3, 0.7])
def test_a_blend_is_undone_by_its_line(alpha):
    clean, white = torch.rand(1, 3, 8, 8), 0.8
    image = (1 - alpha) * clean + alpha * white
    slope = 1 / (1 - alpha)
    # 1e-6: float32.
    torch.testing.assert_close(_by_line(image, slope, -alpha * white * slope), clean, atol=1e-6, rtol=0)


def test_under_an_opaque_mark_the_line_is_flat():
    image = torch.rand(1, 3, 8, 8)
    torch.testing.assert_close(_by_line(image, 0.0, 0.3), torch.full_like(image, 0.3))


def _by_line(image: Tensor, slope: float, height: float) -> Tensor:
    """What a network makes of a picture that answers with slope * image + height everywhere."""
    network = WatermarkRemover(**TINY)
    area = network.stem**2
    bias = network.body.tail.bias
    assert bias is not None
    with torch.no_grad():
        bias[area : 4 * area] = slope - 1
        bias[4 * area :] = height + (slope - 1) / 2
    return network.decompose(image, *untold(image)).clean


def test_training_gets_the_whole_decomposition_and_serving_two_answers(network):
    image = torch.rand(1, 3, 8, 8)
    found = network.train()(image, *anyhow(image))
    assert isinstance(found, Decomposition)
    assert [part.shape[1] for part in found] == [3, 1, 1, 3]
    served = network.eval()(image, *anyhow(image))
    assert len(served) == 2
    torch.testing.assert_close(served[0], found.restored)


@pytest.mark.parametrize("stem", [1, 2, 4])
def test_the_output_has_the_inputs_shape_at_every_multiple(stem):
    network = WatermarkRemover(**(TINY | {"stem": stem})).eval()
    assert network.multiple_of == 2 * stem
    for rows, columns in ((1, 1), (2, 5)):
        image = torch.rand(2, 3, rows * network.multiple_of, columns * network.multiple_of)
        restored, mask = network(image, *anyhow(image))
        assert restored.shape == image.shape
        assert mask.shape == image[:, :1].shape


@pytest.mark.parametrize("stem", [1, 2])
def test_no_input_beyond_the_reach_changes_an_answer(stem):
    network = WatermarkRemover(**(TINY | {"stem": stem})).double()
    for parameter in network.parameters():
        # Small and positive: every ReLU is open, no two paths cancel, no sigmoid is flat.
        nn.init.uniform_(parameter, 0.001, 0.02)
    multiple, reach = network.multiple_of, network.reach
    middle = (reach // multiple + 2) * multiple
    image = torch.full((1, 3, 2 * middle, multiple), 0.5, dtype=torch.float64, requires_grad=True)
    mask_in, use_mask = untold(image.detach())
    found = network.decompose(image, mask_in, use_mask.double())
    radii = []
    for place in range(middle, middle + multiple):
        (found.clean[0, :, place].sum() + found.logits[0, :, place].sum()).backward(retain_graph=True)
        assert image.grad is not None
        rows = (image.grad.abs().sum(dim=(0, 1, 3)) > 0).nonzero().flatten()
        radii.append(int((rows - place).abs().max()))
        image.grad = None
    assert max(radii) <= reach
    # The sum of two radii is a little more than both stages reach together, as their grids meet.
    assert max(radii) >= 0.8 * reach


def test_a_state_dict_reloads_into_the_same_network(network):
    other = WatermarkRemover(**TINY).eval()
    other.load_state_dict(network.state_dict())
    image = torch.rand(1, 3, 8, 8)
    with torch.no_grad():
        assert torch.equal(network(image, *anyhow(image))[0], other(image, *anyhow(image))[0])


def test_the_default_network_fits_into_twelve_megabytes_of_float16():
    network = WatermarkRemover()
    assert 2 * sum(p.numel() for p in network.parameters()) < 12e6
    assert network.multiple_of == 32
