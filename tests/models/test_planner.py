"""The planner's network: shapes, what it may know, and that it can learn a plan and a level."""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn import functional as F

from models.planner import FEATURES, Planner
from models.unwatermark import WatermarkRemover

NONE = 4


@pytest.fixture
def network() -> Planner:
    torch.manual_seed(0)
    return Planner().eval()


def told(count: int = 3) -> tuple[torch.Tensor, ...]:
    rng = torch.Generator().manual_seed(1)
    shapes = (count, 8, 3, 48, 48), (count, 3, 96, 96), (count, 2, 3, 64, 96), (count, 8), (count,)
    return tuple(torch.rand(shape, generator=rng) for shape in shapes)


def seen(network: Planner, count: int = 3) -> torch.Tensor:
    crops, thumbnail, *rest = told(count)
    return network.look(crops, thumbnail, network.traits(*rest))


def begin(count: int = 3) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.full((count,), NONE), torch.zeros(count, FEATURES)


def undecided(count: int = 3) -> torch.Tensor:
    return torch.full((count, 3), NONE)


def test_a_step_gives_probabilities_a_level_and_the_next_state(network):
    scores, sigma, state = network.step(seen(network), *begin())
    assert scores.shape == (3, 4)
    torch.testing.assert_close(scores.sum(dim=1), torch.ones(3))
    assert sigma.shape == (3,)
    assert ((sigma > 0) & (sigma <= 1)).all()
    assert state.shape == (3, FEATURES)


def test_the_order_of_the_crops_does_not_matter(network):
    crops, thumbnail, view, levels, variety = told()
    order = torch.tensor([3, 1, 0, 2, 7, 6, 5, 4])
    first = network(crops, thumbnail, view, levels, variety, undecided())
    second = network(crops[:, order], thumbnail, view, levels[:, order], variety, undecided())
    for one, other in zip(first, second, strict=True):
        torch.testing.assert_close(one, other)


def test_the_step_before_and_the_state_are_heard(network):
    looked = seen(network)
    first = network.step(looked, *begin())
    other_step = network.step(looked, torch.zeros(3, dtype=torch.int64), torch.zeros(3, FEATURES))
    other_state = network.step(looked, torch.full((3,), NONE), torch.ones(3, FEATURES))
    assert not torch.allclose(first[0], other_step[0])
    assert not torch.allclose(first[0], other_state[0])


def test_a_plan_is_the_likeliest_step_after_each_other_and_goes_on_from_what_was_taken(network):
    looked = seen(network)
    steps, scores, sigma = network.decode(looked, undecided())
    assert steps.shape == sigma.shape == (3, 3)
    first, first_sigma, state = network.step(looked, *begin())
    torch.testing.assert_close(scores[:, 0], first)
    torch.testing.assert_close(sigma[:, 0], first_sigma)
    assert torch.equal(steps[:, 0], first.argmax(dim=1))
    taken = torch.tensor([[1, NONE, NONE], [2, 1, NONE], [3, NONE, NONE]])
    told, told_scores, _ = network.decode(looked, taken)
    assert torch.equal(told[taken < NONE], taken[taken < NONE])
    torch.testing.assert_close(told_scores[:, 1], network.step(looked, taken[:, 0], state)[0])


def test_no_step_is_planned_twice_and_an_ended_plan_stays_so(network):
    chances = torch.tensor([0.2, 0.4, 0.3, 0.1])
    network.step = lambda looked, previous, state: (chances.expand(3, -1), torch.ones(3), state)
    steps, _, _ = network.decode(seen(network), undecided())
    # END has no more to say than what is left.
    assert steps.tolist() == [[1, 2, 0]] * 3
    chances[0] = 0.9
    assert network.decode(seen(network), torch.tensor([[3, NONE, NONE]] * 3))[0].tolist() == [[3, 0, 0]] * 3


def test_other_sizes_of_crops_and_thumbnails_are_taken():
    network = Planner(windows=5, crop=32, thumbnail=80, labels=3).eval()
    told = torch.rand(2, 5, 3, 32, 32), torch.rand(2, 3, 80, 80), torch.rand(2, 1, 3, 64, 32), torch.rand(2, 5)
    steps, scores, _ = network(*told, torch.rand(2), torch.tensor([[3, 3], [1, 3]]))
    assert steps.shape == (2, 2)
    assert scores.shape == (2, 2, 3)


def test_it_can_learn_which_of_two_pictures_is_noisy_and_how_much():
    torch.manual_seed(0)
    network = Planner().train()
    rng = torch.Generator().manual_seed(0)
    levels = torch.tensor([0.0, 0.08] * 6)
    crops = 0.5 + levels.view(-1, 1, 1, 1, 1) * torch.randn(12, 8, 3, 48, 48, generator=rng)
    thumbnail, traits = torch.full((12, 3, 96, 96), 0.5), torch.zeros(12, network.count)
    labels = torch.tensor([0, 2] * 6)
    optimizer = torch.optim.Adam(network.parameters(), lr=2e-3)
    for _ in range(40):
        scores, sigma, _ = network.step(network.look(crops, thumbnail, traits), *begin(12))
        loss = F.cross_entropy(scores, labels) + (sigma[1::2].log() - levels[1::2].log()).abs().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    scores, sigma, _ = network.step(network.look(crops, thumbnail, traits), *begin(12))
    assert torch.equal(scores.argmax(dim=1), labels)
    assert sigma[1::2].mean().item() == pytest.approx(0.08, rel=0.25)


def test_in_serving_caution_speaks_for_the_end_alone(network):
    network.caution.fill_(1.5)
    network.dropout.p = 0
    looked = seen(network)
    scores = network.train().step(looked, *begin())[0]
    scores[:, 0] += 1.5
    torch.testing.assert_close(network.eval().step(looked, *begin())[0], scores.softmax(dim=1))


def test_its_finder_is_not_trained_and_says_what_the_remover_says(network):
    assert not any(p.requires_grad for p in network.finder.parameters())
    remover = WatermarkRemover()
    with torch.no_grad():
        for p in remover.body.parameters():
            p.add_(0.02 * torch.randn(p.shape, generator=torch.Generator().manual_seed(p.numel())))
    network.finder.load_state_dict(remover.body.state_dict())
    picture = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(2))
    logits, lines = network.find(picture)
    expected = remover.decompose(picture, torch.zeros(2, 1, 64, 64), torch.zeros(2))
    torch.testing.assert_close(logits, expected.logits)
    torch.testing.assert_close(lines, expected.lines)


def test_what_is_told_of_a_mark_is_where_it_is_surest_and_how_large(network):
    # A finder that takes whatever is bright for a mark, and would change nothing.
    network.find = lambda picture: (20 * picture[:, :1] - 16, picture)
    view = torch.full((2, 1, 3, 192, 192), 0.5)
    view[1, ..., 64:96, 32:64] = 1.0
    without, marked = network.traits(view, torch.zeros(2, 8), torch.zeros(2))
    # The mean logit is 20 * 0.5 - 16 = -6 without and 4 on the mark, for squares of 8, 16 and 32 alike; told by 4.
    torch.testing.assert_close(without[:3], torch.full((3,), -1.5))
    torch.testing.assert_close(marked[:3], torch.full((3,), 1.0))
    # A 36th of the picture.
    assert marked[3].item() == pytest.approx(math.log(1 / 36 + 1e-4) / 4, abs=1e-4)
    # One view is both.
    torch.testing.assert_close(marked[-5:], marked[:5])
    both = network.traits(view[None, :, 0], torch.zeros(1, 8), torch.zeros(1))[0]
    torch.testing.assert_close(both, torch.cat((without[:-5], marked[:5])))


def test_what_is_told_of_noise_is_how_often_twice_as_much_from_the_faintest_crop_up(network):
    levels = torch.tensor([[8.0, 4, 2, 1, 0, 16, 32, 64]]) / 255
    found = network.traits(torch.full((1, 1, 3, 32, 32), 0.5), levels, torch.tensor([0.7]))[0]
    expected = torch.tensor([0, 1, 2, 4, 8, 16, 32, 64]).add(0.5).log() / 2
    torch.testing.assert_close(found[5:13], expected)
    assert found[13].item() == pytest.approx(0.7)
