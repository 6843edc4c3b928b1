"""AdamW for all, Muon for the inner 3x3 convolutions."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from models.denoiser import ResidualDenoiser
from training import TrainingError
from training.optimizers import Muon, Optimizers, orthogonalize
from training.settings import Settings


@pytest.fixture
def network() -> nn.Module:
    torch.manual_seed(0)
    return ResidualDenoiser(channels=(32, 32), blocks=(1, 1))


def learn(network: nn.Module, optimizers: Optimizers, *, steps: int) -> None:
    for step in range(steps):
        rng = torch.Generator().manual_seed(step)
        image = torch.rand(1, 3, 8, 8, generator=rng)
        network(image, torch.tensor([0.1]))[0].square().mean().backward()
        optimizers.step()


@pytest.mark.parametrize("shape", [(32, 288), (288, 32), (64, 96)])
def test_orthogonalize_moves_the_singular_values_near_1(shape):
    matrix = torch.randn(shape, generator=torch.Generator().manual_seed(0)) * 1e-3
    values = torch.linalg.svdvals(orthogonalize(matrix)) / max(1, shape[0] / shape[1]) ** 0.5
    # Jordan et al.'s coefficients converge to a band around 1, not to 1.
    assert values.min() > 0.6
    assert values.max() < 1.3


def test_orthogonalize_keeps_the_singular_directions():
    # Of a diagonal matrix these are the axes, so nothing may appear beside the diagonal.
    answer = orthogonalize(torch.diag(torch.tensor([1.0, 2.0, 3.0])))
    assert torch.equal(answer, torch.diag(answer.diagonal()))
    assert (answer.diagonal() > 0).all()


def test_muon_steps_by_its_rate_whatever_the_size_of_the_gradient():
    for scale in (1e-6, 1e3):
        weight = nn.Parameter(torch.zeros(32, 32, 3, 3))
        weight.grad = scale * torch.randn(weight.shape, generator=torch.Generator().manual_seed(0))
        Muon([weight], lr=0.1).step()
        values = torch.linalg.svdvals(weight.detach().flatten(1))
        assert 0.06 < values.min() < values.max() < 0.13


def test_muon_takes_the_inner_3x3_convolutions_and_adamw_all_else(network):
    adamw, muon = Optimizers(network, Settings(optimizer="muon"))._all
    taken = [p for group in muon.param_groups for p in group["params"]]
    # A block has two convolutions of 32 x 32; there is one in the encoder, bottom and decoder each.
    assert [p.shape for p in taken] == [(32, 32, 3, 3)] * 6
    rest = [p for group in adamw.param_groups for p in group["params"]]
    assert sorted(map(id, taken + rest)) == sorted(map(id, network.parameters()))


def test_adamw_alone_covers_every_parameter_once(network):
    (adamw,) = Optimizers(network, Settings(optimizer="adamw"))._all
    covered = [p for group in adamw.param_groups for p in group["params"]]
    assert sorted(map(id, covered)) == sorted(map(id, network.parameters()))


def test_the_rate_scales_each_optimisers_own(network):
    settings = Settings(learning_rate=1e-3, muon_learning_rate=0.02)
    optimizers = Optimizers(network, settings)
    for factor in (0.5, 0.1):  # not compounded
        optimizers.set_rate(factor)
        assert [o.param_groups[0]["lr"] for o in optimizers._all] == pytest.approx([1e-3 * factor, 0.02 * factor])


@pytest.mark.parametrize("name", ["adamw", "muon"])
def test_a_reloaded_state_steps_as_the_one_that_was_saved(network, name):
    settings = Settings(optimizer=name)
    first = Optimizers(network, settings)
    learn(network, first, steps=2)
    twin = copy.deepcopy(network)
    second = Optimizers(twin, settings)
    second.load_state_dict(copy.deepcopy(first.state_dict()))
    learn(network, first, steps=1)
    learn(twin, second, steps=1)
    for one, other in zip(network.parameters(), twin.parameters(), strict=True):
        assert torch.equal(one, other)


def test_weight_decay_is_that_of_the_settings_and_not_of_the_saved_run(network):
    saved = Optimizers(network, Settings(weight_decay=0.0)).state_dict()
    optimizers = Optimizers(network, Settings(weight_decay=0.1))
    optimizers.load_state_dict(saved)
    assert [group["weight_decay"] for o in optimizers._all for group in o.param_groups] == [0.1, 0.1]


def test_the_state_of_other_optimisers_is_refused(network):
    state = Optimizers(network, Settings(optimizer="adamw")).state_dict()
    with pytest.raises(TrainingError, match="another --optimizer"):
        Optimizers(network, Settings(optimizer="muon")).load_state_dict(state)
