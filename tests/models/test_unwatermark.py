"""The watermark remover: what it leaves alone, the user's mask, the blend undone by lines and by gradients."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from models.poisson import gradients
from models.unwatermark import Decomposition, WatermarkRemover, _certainty

TINY = {"channels": (4, 6), "blocks": (1, 1), "edge_channels": (4, 6), "edge_blocks": (1, 1)}


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


def test_the_second_network_is_asked_only_where_there_is_a_mark(network):
    asked = []
    network.edges.register_forward_hook(lambda *_: asked.append(True))
    image = torch.rand(2, 3, 32, 32)
    mask_in = torch.zeros(2, 1, 32, 32)
    told = torch.ones(2)
    with torch.no_grad():
        restored, mask = network(image, told, mask_in, told)
        assert not asked
        assert not mask.any()
        assert torch.equal(restored, image)
        # One mark in a batch is enough.
        mask_in[1, :, 8:12, 8:12] = 1
        restored, _ = network(image, told, mask_in, told)
    assert asked
    assert torch.equal(restored[0], image[0])
    assert not torch.equal(restored[1], image[1])


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
    return network.decompose(image, *untold(image)).lines


def test_a_mark_whose_edges_are_known_goes_although_its_colour_is_not():
    clean = torch.linspace(0.2, 0.6, 32).expand(1, 3, 32, 32).clone()
    mask, bump = torch.zeros(2, 1, 1, 32, 32)
    mask[..., 8:24, 8:24] = 1
    wave = torch.sin(torch.linspace(0, math.pi, 16))
    bump[..., 8:24, 8:24] = 0.2 * wave * wave[:, None]
    alpha, colour = 0.4, torch.tensor([0.9, 0.1, 0.5]).view(1, 3, 1, 1)
    image = clean + mask * alpha * (colour - clean)
    slope = mask * (1 / (1 - alpha) - 1)
    # What would undo the mark, and a bump.
    height = clean - image - slope * (image - 0.5) + bump
    network = _that_says(slope.expand(1, 3, 32, 32), height, edges_of=mask)
    with torch.no_grad():
        found = network.decompose(image, mask, torch.ones(1))
    assert float((found.lines - clean).abs().max()) == pytest.approx(0.2, abs=0.01)
    # At the edges the photo's own gradient, 0.013, is taken for none.
    assert float((found.restored - clean).abs().max()) < 0.03


def test_lines_without_trust_draw_nothing_to_them_even_in_the_middle_of_a_large_mark():
    clean = torch.linspace(0.2, 0.6, 128).expand(1, 3, 128, 128).clone()
    mask = torch.zeros(1, 1, 128, 128)
    mask[..., 16:112, 16:112] = 1
    network = _that_says(torch.zeros_like(clean), torch.full_like(clean, 0.3), edges_of=torch.zeros_like(mask))
    with torch.no_grad():
        found = network.decompose(clean, mask, torch.ones(1))
    # No mark at all, and lines that would make everything lighter by 0.3. A trust of exp(-6) lets them by 0.2.
    assert float((found.lines - clean).abs().min()) == pytest.approx(0.3)
    assert float((found.restored - clean).abs().max()) < 0.02


def _that_says(slope: Tensor, height: Tensor, *, edges_of: Tensor) -> WatermarkRemover:
    """A network with these answers, all (1, ., H, W), no trust in lines, and edges where the mask begins or ends."""
    # Deep enough that its coarsest grid has few cells.
    network = WatermarkRemover(channels=(4,) * 5, blocks=(1,) * 5, stem=1)
    certain = torch.cat(gradients(edges_of), dim=1).abs() * 200 - 100
    trust = torch.full_like(edges_of, -100)
    heads = torch.cat((edges_of, slope, height), dim=1)
    network.body.tail = _Always(heads)  # type: ignore[assignment]
    network.edges = _Always(torch.cat((certain, trust, torch.zeros(1, 9, *edges_of.shape[2:])), dim=1))  # type: ignore[assignment]
    return network


class _Always(nn.Module):
    """The same answer to every picture."""

    multiple_of = 1

    def __init__(self, answer: Tensor) -> None:
        super().__init__()
        self.answer = answer

    def forward(self, _: Tensor) -> Tensor:
        return self.answer


def test_training_gets_the_whole_decomposition_and_serving_two_answers(network):
    image = torch.rand(1, 3, 8, 8)
    found = network.train()(image, *anyhow(image))
    assert isinstance(found, Decomposition)
    assert [part.shape[1] for part in found] == [3, 1, 1, 3, 2, 3, 3, 3, 3]
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


def test_a_deeper_second_network_sets_the_multiple():
    network = WatermarkRemover(**(TINY | {"edge_channels": (4, 4, 4), "edge_blocks": (1, 1, 1)})).eval()
    assert network.multiple_of == 8
    image = torch.rand(1, 3, 8, 16)
    assert network(image, *anyhow(image))[0].shape == image.shape
