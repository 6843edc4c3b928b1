"""The colorizer: shapes, what it listens to, what it starts from, that it can learn; and CIELAB in torch."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from models.colorizer import PALETTE_SIZE, Colorizer, GlobalBlock, bin_centres, lightness, shares_of, to_lab

TINY = {"channels": (8, 8, 8), "blocks": (1, 1, 1), "attention": 1}
HEADS = ["regression", "classification"]


def make(head: str = "regression") -> Colorizer:
    """A tiny network with nothing left at zero, so that every input can matter."""
    torch.manual_seed(0)
    network = Colorizer(head=head, **TINY)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    return network.eval()


def inputs(count: int = 1, height: int = 16, width: int = 24) -> dict[str, Tensor]:
    rng = torch.Generator().manual_seed(0)
    return {
        "image": torch.rand(count, 3, height, width, generator=rng),
        "hints": torch.zeros(count, 3, height, width),
        "palette": torch.full((count, PALETTE_SIZE), 1 / 81),
        "use_palette": torch.zeros(count),
    }


@pytest.mark.parametrize(
    ("rgb", "lab"), [((1, 0, 0), (53.24, 80.09, 67.20)), ((0, 0, 1), (32.30, 79.19, -107.86)), ((1, 1, 1), (100, 0, 0))]
)
def test_known_colours_have_their_published_lab(rgb, lab):
    # 0.03: published values rest on matrices rounded to four decimals.
    found = to_lab(torch.tensor(rgb, dtype=torch.float32).view(1, 3, 1, 1)).flatten()
    torch.testing.assert_close(found, torch.tensor(lab, dtype=torch.float32), atol=0.03, rtol=0)


def test_lightness_is_the_l_of_lab():
    image = torch.rand(2, 3, 8, 8)
    assert torch.equal(lightness(image), to_lab(image)[:, :1])


def test_lab_has_a_gradient_at_black():
    black = torch.zeros(1, 3, 1, 1, requires_grad=True)
    to_lab(black).sum().backward()
    assert black.grad is not None
    assert black.grad.isfinite().all()


@pytest.mark.parametrize("head", HEADS)
def test_two_planes_come_out_at_every_multiple(head):
    network = Colorizer(head=head, **TINY).eval()
    assert network.multiple_of == 8
    for height, width in ((8, 8), (16, 40)):
        assert network(**inputs(2, height, width)).shape == (2, 2, height, width)


@pytest.mark.parametrize("head", HEADS)
def test_chroma_stays_within_what_lab_holds(head):
    network = make(head)
    with torch.no_grad():
        network.body.tail.weight.mul_(1000)
        assert network(**inputs()).abs().max() <= 110


@pytest.mark.parametrize("head", HEADS)
def test_it_starts_near_grey(head):
    assert Colorizer(head=head, **TINY).eval()(**inputs()).abs().max() < 2


def test_only_the_luma_of_the_picture_counts():
    network, given = make(), inputs()
    grey = to_lab(given["image"])[:, :1]
    root = (grey + 16) / 116
    relative = torch.where(root > 6 / 29, root**3, (root - 4 / 29) * 3 * (6 / 29) ** 2)
    encoded = torch.where(relative <= 0.0031308, relative * 12.92, relative ** (1 / 2.4) * 1.055 - 0.055)
    same = given | {"image": encoded.repeat(1, 3, 1, 1)}
    # 1e-3 of 110: the rounding of going to L* and back.
    torch.testing.assert_close(network(**given), network(**same), atol=1e-3, rtol=0)


def test_a_hint_is_seen_everywhere():
    network, given = make(), inputs(1, 64, 64)
    hints = given["hints"].clone()
    hints[:, :, 2, 2] = torch.tensor([0.5, 0.2, 1.0])
    changed = network(**given) != network(**(given | {"hints": hints}))
    assert changed[0, :, -8:, -8:].any()


def test_a_palette_counts_only_where_it_is_used():
    network, given = make(), inputs()
    other = given | {"palette": torch.rand(1, PALETTE_SIZE)}
    assert torch.equal(network(**given), network(**other))
    used = {"use_palette": torch.ones(1)}
    assert not torch.equal(network(**(given | used)), network(**(other | used)))


def test_each_picture_of_a_batch_is_coloured_alone():
    network, given = make(), inputs(2)
    with torch.no_grad():
        alone = torch.cat([network(**{name: tensor[i : i + 1] for name, tensor in given.items()}) for i in range(2)])
        # 1e-3 of 110: another batch size may take another convolution algorithm.
        torch.testing.assert_close(network(**given), alone, atol=1e-3, rtol=0)


def test_a_global_block_starts_as_the_identity():
    x = torch.randn(1, 8, 3, 5)
    assert torch.equal(GlobalBlock(8)(x), x)


def test_bins_hold_grey_and_the_corners_of_the_gamut_and_no_other_colours():
    bins = {tuple(centre) for centre in bin_centres().int().tolist()}
    # Red, green and blue have a*, b* of (80, 67), (-86, 83) and (79, -108).
    assert {(0, 0), (80, 70), (-90, 80), (80, -110)} <= bins
    assert (-100, 100) not in bins
    assert (100, 0) not in bins


def test_the_shares_of_a_bins_centre_fall_as_a_gaussian():
    bins = torch.tensor([[0.0, 0.0], [10.0, 0.0], [0.0, 20.0]])
    shares = shares_of(torch.zeros(1, 2, 1, 1), bins)
    # Distances of 0, 10 and 20 at a sigma of 5: exp(0), exp(-2), exp(-8).
    expected = torch.tensor([0.0, -2.0, -8.0]).softmax(0).view(1, 3, 1, 1)
    torch.testing.assert_close(shares, expected)


def test_the_annealed_mean_of_one_sure_bin_is_its_centre():
    network = Colorizer(head="classification", **TINY)
    scores = torch.zeros(1, len(network.bins), 2, 2)
    scores[:, 7] = 100
    assert torch.allclose(network.expected(scores), network.bins[7].view(1, 2, 1, 1).expand(1, 2, 4, 4))


def test_a_classification_in_training_answers_with_a_score_for_each_bin_at_the_stems_resolution():
    network = make("classification").train()
    assert network(**inputs()).shape == (1, len(network.bins), 8, 12)


def test_a_fresh_network_takes_the_hints_where_they_are_near():
    given = inputs(1, 32, 32)
    given["image"] = torch.full((1, 3, 32, 32), 0.5)
    given["hints"][:, :, 4:10, 4:10] = torch.tensor([0.3, -0.2, 1.0]).view(1, 3, 1, 1)
    found = Colorizer(**TINY)(**given)
    # 0.3 and -0.2 of 110, but for what sigmoid(3) leaves to the guess, which is grey: 5 %.
    torch.testing.assert_close(found[0, :, 7, 7], torch.tensor([33.0, -22.0]), atol=2.0, rtol=0)


@pytest.mark.parametrize(("guessed", "answered"), [(0.0, 0.0), (6.5, 3.25), (13.0, 13.0), (14.3, 15.73), (50.0, 60.0)])
def test_a_faint_guess_is_made_fainter_and_a_plain_one_plainer_but_not_in_training(guessed, answered):
    network = Colorizer(**TINY)
    planes = torch.tensor([math.atanh(guessed / 110), 0.0, -20.0])  # a*, b*, and no trust in hints
    with torch.no_grad():
        network.body.tail.bias.copy_(planes.repeat_interleave(network.stem**2))
        # 13 is the chroma that stays; below it a guess shrinks in proportion, above it grows by at most 1.2.
        for mode, expected in ((True, guessed), (False, answered)):
            found = network.train(mode)(**inputs())
            torch.testing.assert_close(found[:, 0], torch.full_like(found[:, 0], expected), atol=1e-3, rtol=0)
            assert not found[:, 1].any()


def test_without_hints_the_guess_stands_alone():
    network, given = make(), inputs()
    with torch.no_grad():
        before = network(**given)
        for parameter in network.ask.parameters():
            parameter.add_(1.0)
        # 1e-4 of 110: the slot for no hint counts 1 whatever else is asked.
        torch.testing.assert_close(network(**given), before, atol=1e-4, rtol=0)


@pytest.mark.parametrize("head", HEADS)
def test_one_batch_can_be_learned_by_heart(head):
    torch.manual_seed(0)
    network = Colorizer(head=head, channels=(12, 12), blocks=(1, 1), attention=0)
    given = inputs(1, 8, 8)
    given["image"] = torch.linspace(0, 1, 8).view(1, 1, 1, 8).expand(1, 3, 8, 8)
    left = torch.arange(8) < 4
    truth = torch.where(
        left, torch.tensor([40.0, 30.0]).view(1, 2, 1, 1), torch.tensor([-20.0, -10.0]).view(1, 2, 1, 1)
    )
    truth = truth.expand(1, 2, 8, 8)
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-2)
    for _ in range(100):
        optimizer.zero_grad()
        found = network(**given)
        if head == "classification":
            loss = -(shares_of(truth[..., ::2, ::2], network.bins) * found.log_softmax(1)).sum(1).mean()
        else:
            loss = (found - truth).square().mean() / 110**2
        loss.backward()
        optimizer.step()
    # Outside training a regression makes what it guesses plainer or fainter.
    network.train(head == "regression")
    # The inner columns: between the two colours the coarser scores are interpolated.
    error = (network(**given) - truth)[..., [0, 1, 2, 5, 6, 7]].abs().mean()
    assert error < 3


def test_a_state_dict_reloads_into_the_same_network():
    first, second = make("classification"), Colorizer(head="classification", **TINY).eval()
    second.load_state_dict(first.state_dict())
    with torch.no_grad():
        assert torch.equal(first(**inputs()), second(**inputs()))


@pytest.mark.parametrize("head", HEADS)
def test_the_default_network_fits_into_12_megabytes_of_halves(head):
    assert 2 * sum(p.numel() for p in Colorizer(head=head).parameters()) <= 12e6


def test_an_unknown_head_is_refused():
    with pytest.raises(ValueError, match="must be regression or classification, not 'gan'"):
        Colorizer(head="gan")
