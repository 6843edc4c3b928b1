"""A step's gradients, as they are and recorded on a GPU."""

import copy

import pytest
import torch
from torch import nn

from training.degrade import GaussianNoise, Pair
from training.replay import Feed, Gradients
from training.schedule import Progress


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 3, 3, padding=1))


def batch(seed: int, device: torch.device, *, side: int = 16) -> Pair:
    rng = torch.Generator(device).manual_seed(seed)
    return GaussianNoise(low=0.1, high=0.1)(torch.rand(4, 3, side, side, generator=rng, device=device), rng)


def loss_of(net: nn.Module):
    return lambda pair: ((net(pair.inputs["image"]) - pair.clean).square().mean(dim=(1, 2, 3)) * pair.weight).mean()


def test_gradients_are_those_of_the_pair_alone():
    net = network()
    gradients = Gradients(net, loss_of(net), record=False)
    gradients(batch(1, torch.device("cpu")))
    loss = gradients(batch(2, torch.device("cpu")))
    expected = copy.deepcopy(net)
    expected.zero_grad()
    true = loss_of(expected)(batch(2, torch.device("cpu")))
    true.backward()
    assert float(loss) == float(true.detach())
    assert not loss.requires_grad
    for mine, theirs in zip(net.parameters(), expected.parameters(), strict=True):
        torch.testing.assert_close(mine.grad, theirs.grad)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_recorded_pass_computes_what_a_plain_one_does_for_every_size():
    device = torch.device("cuda")
    net = network().to(device)
    recorded, plain = (Gradients(net, loss_of(net), record=record) for record in (True, False))
    sides = (16, 16, 24, 16)
    feed = Feed(lambda progress: batch(progress.step, device, side=sides[progress.step]), ahead=True)
    for step, side in enumerate(sides):
        loss = recorded(feed.pair(Progress(step=step)))
        found = [p.grad.clone() for p in net.parameters()]
        if step + 1 < len(sides):
            feed.start(Progress(step=step + 1), recorded.read)
        torch.testing.assert_close(loss, plain(batch(step, device, side=side)))
        torch.testing.assert_close(found, [p.grad for p in net.parameters()])
