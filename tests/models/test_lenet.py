"""LeNet-5: its size, its shapes, and that it can learn."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from models.lenet import LeNet, LeNetTrunk


def test_lenet_has_44_426_parameters():
    # 6 (25 + 1), 16 (6 * 25 + 1), 120 (256 + 1), 84 (120 + 1), 10 (84 + 1).
    assert sum(p.numel() for p in LeNet().parameters()) == 156 + 2416 + 30840 + 10164 + 850 == 44_426


def test_lenet_gives_ten_scores_a_picture():
    assert LeNet()(torch.rand(3, 1, 28, 28)).shape == (3, 10)


@pytest.mark.parametrize(("height", "width"), [(28, 28), (29, 33), (16, 16), (64, 47), (17, 101)])
def test_the_trunk_says_the_size_of_its_features(height, width):
    trunk = LeNetTrunk(3, channels=(4, 8))
    assert trunk(torch.rand(2, 3, height, width)).shape == (2, 8, *trunk.output_size(height, width))


def test_the_trunk_leaves_4_x_4_of_28_x_28():
    # 28 - 4 = 24, halved 12, 12 - 4 = 8, halved 4.
    assert LeNetTrunk().output_size(28, 28) == (4, 4)


def test_the_trunk_takes_more_stages():
    # 64: 60, 30, 26, 13, 9, 4.
    assert LeNetTrunk(3, channels=(4, 8, 12))(torch.rand(1, 3, 64, 64)).shape == (1, 12, 4, 4)


def test_a_picture_that_is_too_small_is_refused():
    with pytest.raises(ValueError, match="15 x 28 pixels are too few for 2 stages"):
        LeNet(size=(15, 28))


def test_lenet_takes_other_channels_sizes_and_labels():
    assert LeNet(in_channels=3, size=(40, 32), labels=4)(torch.rand(2, 3, 40, 32)).shape == (2, 4)


def test_one_batch_can_be_learnt_by_heart():
    torch.manual_seed(0)
    network, images, labels = LeNet(), torch.rand(16, 1, 28, 28), torch.arange(16) % 10
    optimizer = torch.optim.Adam(network.parameters(), lr=3e-3)
    for _ in range(150):
        loss = F.cross_entropy(network(images), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss.item() < 1e-2
