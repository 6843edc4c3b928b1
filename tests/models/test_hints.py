"""Hints over a picture: the grid that the network looks at, and the attention that its answer is made with."""

from __future__ import annotations

import torch
from torch import Tensor

from models.hints import HintAttention, HintSpread

FLAT = torch.full((1, 1, 16, 16), 0.5)


def planes(places: dict[tuple[int, int], float]) -> Tensor:
    """Hints with these a*/110 at these of 16 x 16 places: (1, 3, 16, 16)."""
    hints = torch.zeros(1, 3, 16, 16)
    for (row, column), a in places.items():
        hints[0, :, row, column] = torch.tensor([a, 0.0, 1.0])
    return hints


def two_tones() -> Tensor:
    """Dark on the left, bright on the right."""
    luma = torch.full((1, 1, 16, 16), 0.2)
    luma[..., 8:] = 0.9
    return luma


def spread(places: dict[tuple[int, int], float], luma: Tensor) -> Tensor:
    """What HintSpread makes of hints, each place one pixel."""
    return HintSpread(1)(luma, planes(places))[0]


def test_one_hint_colours_what_is_near_and_says_how_near_it_is():
    found = spread({(3, 3): 0.4}, FLAT)
    torch.testing.assert_close(found[0, :10, :10], torch.full((10, 10), 0.4), atol=5e-3, rtol=0)
    # By the widest Gaussian a place is the nearer the fewer pixels lie between.
    assert found[4, 3, 3] > found[4, 3, 6] > found[4, 15, 15] > 0


def test_between_two_hints_the_nearer_rules():
    found = spread({(3, 3): 0.4, (12, 12): -0.4}, FLAT)
    assert found[0, 4, 3] > 0.3
    assert found[0, 11, 12] < -0.3


def test_of_two_hints_that_of_the_same_luma_rules():
    found = spread({(8, 6): 0.4, (8, 11): -0.4}, two_tones())
    # Column 8 is nearer to the first hint, but as bright as the second.
    assert found[0, 8, 8] < -0.3


def test_without_hints_nothing_is_spread():
    assert not spread({}, torch.rand(1, 1, 16, 16)).any()


def fresh(*, alike: float = 0.0, corrections: int = HintAttention.CORRECTIONS) -> HintAttention:
    """Attention that is not trained, but that features which are alike add `alike` to a score."""
    attention = HintAttention(1, 1, width=1)
    attention.CORRECTIONS = corrections
    with torch.no_grad():
        attention.query.weight[: attention.heads] = alike
        attention.key.weight.fill_(1.0)
        attention.key.bias.zero_()
    return attention


@torch.no_grad()
def asked(
    places: dict[tuple[int, int], float],
    luma: Tensor = FLAT,
    *,
    attention: HintAttention | None = None,
    features: Tensor | None = None,
) -> Tensor:
    """What is answered, (6, 16, 16), where the guess is 0.1 all over."""
    features = torch.zeros(1, 1, 16, 16) if features is None else features
    return (attention or fresh())(features, luma, planes(places), torch.full((1, 2, 16, 16), 0.1))[0]


def test_one_hint_is_told_to_all_places_and_the_less_the_farther():
    found = asked({(3, 3): 0.4})
    told, left = found[0], found[4]
    # What is not told is left to the slot for no hint; 0.3 %: what the slot takes at the hint itself is made up for.
    torch.testing.assert_close(told / 0.4 + left, torch.ones(16, 16), atol=3e-3, rtol=0)
    assert 0 < left[3, 3] < 0.01
    assert left[3, 3] < left[3, 8] < left[15, 15]


def test_the_guess_at_a_hint_is_carried_as_its_colour_is():
    found = asked({(3, 3): 0.4})
    torch.testing.assert_close(found[2] / 0.1, found[0] / 0.4)


def test_between_two_hints_the_nearer_is_listened_to():
    found = asked({(3, 3): 0.4, (12, 12): -0.4})
    assert found[0, 4, 3] > 0.3
    assert found[0, 11, 12] < -0.3


def test_of_two_hints_that_of_the_same_luma_is_listened_to():
    # Column 8 is nearer to the first hint, but as bright as the second.
    assert asked({(8, 6): 0.4, (8, 11): -0.4}, two_tones())[0, 8, 8] < -0.3


def test_of_two_hints_that_with_like_features_is_listened_to():
    things = torch.ones(1, 1, 16, 16)
    things[..., 8:] = -1
    hints = {(8, 6): 0.4, (8, 11): -0.4}
    assert asked(hints, features=things)[0, 8, 8] > -0.1
    assert asked(hints, features=things, attention=fresh(alike=4.0))[0, 8, 8] < -0.3


def test_a_hint_gets_its_own_colour_though_others_crowd_around_it():
    around = {(row, column): -0.2 for row in (6, 8, 10) for column in (6, 8, 10)}
    plain, corrected = (asked(around | {(8, 8): 0.2}, attention=fresh(corrections=n))[0, 8, 8] for n in (0, 2))
    assert corrected > plain + 0.05


def test_without_hints_all_is_left_to_the_guess():
    found = asked({}, torch.rand(1, 1, 16, 16))
    assert not found[:4].any()
    assert torch.equal(found[4], torch.ones(16, 16))


def test_of_too_many_hints_those_that_are_heard_lie_all_over():
    everywhere = {(row, column): 0.3 for row in range(16) for column in range(16)}
    assert len(everywhere) > HintAttention.MOST
    chosen = HintAttention(1, 1)._chosen(torch.ones(1, 256, 1))[0]
    assert len(chosen.unique()) == HintAttention.MOST
    # Each quarter of the picture's rows has a quarter of those chosen, 32, or nearly.
    assert (torch.bincount(chosen // 64, minlength=4) - 32).abs().max() <= 4
    torch.testing.assert_close(asked(everywhere)[0], torch.full((16, 16), 0.3), atol=0.01, rtol=0)


def test_attention_can_be_learned_from_the_first_step():
    attention = HintAttention(4, 2)
    found = attention(
        torch.rand(2, 4, 8, 8),
        torch.rand(2, 1, 16, 16),
        planes({(3, 3): 0.4}).repeat(2, 1, 1, 1),
        torch.rand(2, 2, 16, 16),
    )
    found.square().sum().backward()
    gradients = {name: p.grad for name, p in attention.named_parameters() if not name.startswith("key")}
    assert all(gradient is not None and gradient.isfinite().all() and gradient.any() for gradient in gradients.values())
