"""The bottleneck autoencoder: its code, its reach, and that it can learn to give back what it saw."""

from __future__ import annotations

import pytest
import torch

import models
from models.autoencoder import BottleneckAutoencoder

TINY = {"channels": (4, 6), "blocks": (1, 1), "code": 3, "levels": 2}


def test_the_picture_keeps_its_shape_and_the_code_has_a_place_for_each_block():
    network = models.build("reproducer", channels=(8, 8, 8), blocks=(1, 1, 1), code=5, levels=3).eval()
    picture, code = network(torch.rand(2, 3, 32, 48))
    assert picture.shape == (2, 3, 32, 48)
    # Unshuffled by 2 and halved twice.
    assert network.multiple_of == 8
    assert code.shape == (2, 5, 4, 6)


@pytest.mark.parametrize("training", [True, False])
def test_the_code_is_whole_numbers_within_its_levels(training):
    torch.manual_seed(0)
    network = BottleneckAutoencoder(**TINY).train(training)
    with torch.no_grad():
        _, code = network(10 * torch.randn(2, 3, 16, 16))
    torch.testing.assert_close(code, code.round())
    assert code.abs().max() == 2
    assert len(code.unique()) > 3


def test_the_gradient_passes_through_the_rounding():
    network = BottleneckAutoencoder(**TINY).train()
    network(torch.rand(1, 3, 16, 16))[0].square().sum().backward()
    assert network.encoder[1].weight.grad.abs().sum() > 0


def test_nothing_but_the_code_reaches_the_picture():
    torch.manual_seed(0)
    network = BottleneckAutoencoder(**TINY).eval()
    first = torch.rand(1, 3, 16, 16)
    # So little that no number of the code changes.
    second = first + 1e-7
    assert torch.equal(network(first)[1], network(second)[1])
    assert torch.equal(network(first)[0], network(second)[0])


@pytest.mark.parametrize("hparams", [TINY, {"channels": (4, 4, 4), "blocks": (1, 2, 1), "code": 2, "levels": 3}])
def test_the_reach_is_the_most_that_any_output_sees(hparams):
    torch.manual_seed(0)
    network = BottleneckAutoencoder(**hparams).double().train()
    for parameter in network.parameters():
        # Fresh blocks are the identity, and would hide what they see.
        torch.nn.init.normal_(parameter, std=0.2)
    middle, seen = 2 * network.reach // network.multiple_of * network.multiple_of, 0
    for place in range(middle, middle + network.multiple_of):
        image = torch.rand(1, 3, 4 * network.reach // 8 * 8 + 64, 16, dtype=torch.double, requires_grad=True)
        network(image)[0][0, :, place].sum().backward()
        rows = torch.nonzero(image.grad.abs().sum((0, 1, 3))).flatten()
        seen = max(seen, place - int(rows[0]), int(rows[-1]) - place)
    assert seen == network.reach


def test_lists_of_different_length_are_refused():
    with pytest.raises(ValueError, match="must be two lists of equal length"):
        BottleneckAutoencoder(channels=(4, 4), blocks=(1,), code=1, levels=1)


def test_one_picture_can_be_learnt_by_heart():
    torch.manual_seed(0)
    network = BottleneckAutoencoder(channels=(16, 24), blocks=(1, 1), code=8, levels=3).train()
    picture = torch.nn.functional.interpolate(torch.rand(1, 3, 4, 4), (16, 16), mode="bilinear")
    optimizer = torch.optim.Adam(network.parameters(), lr=5e-3)
    for _ in range(250):
        loss = (network(picture)[0] - picture).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss.item() < 1e-3
