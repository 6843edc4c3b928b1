"""What a colorizer is trained by, and the figures that steer it."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from models.colorizer import Colorizer, bin_centres
from training.colorizing import answer, chroma_loss, colorizing_figures
from training.degrade import Pair
from training.settings import Settings


def loss(found: Tensor, truth: Tensor) -> list[float]:
    return chroma_loss(found, Pair({}, truth), Settings()).tolist()


def test_the_loss_is_square_near_the_truth_and_straight_far_from_it():
    truth = torch.zeros(3, 2, 4, 4)
    found = torch.stack([torch.zeros(2, 4, 4), torch.full((2, 4, 4), 15.0), torch.full((2, 4, 4), 90.0)])
    # Huber of 30: 15^2 / 2 / 30 = 3.75, and 90 - 30 / 2 = 75.
    assert loss(found, truth) == pytest.approx([0.0, 3.75, 75.0])


def test_sure_scores_cost_little_where_they_are_right():
    bins = bin_centres()
    grey = int((bins.square().sum(1) == 0).nonzero())
    scores = torch.zeros(2, len(bins), 2, 2)
    # Half of a colour's share lies in the bins beside its own, so no score is free; but the wrong one is dear.
    scores[0, grey], scores[1, 0] = 5, 5
    right, wrong = loss(scores, torch.zeros(2, 2, 8, 8))
    assert right < math.log(len(bins)) < wrong


def test_rare_colours_count_more_than_greys():
    bins = bin_centres()
    flat = torch.zeros(2, len(bins), 2, 2)
    truth = torch.zeros(2, 2, 8, 8)
    truth[1, 0] = 60
    grey, red = loss(flat, truth)
    # Flat scores cost log Q whatever the truth; a chroma of 60 weighs 1 / (0.5 exp(-60 / 14) + 0.1) over
    # grey's 1 / (0.5 + 0.1).
    assert red / grey == pytest.approx(0.6 / (0.5 * math.exp(-60 / 14) + 0.1), rel=1e-3)


class Told(nn.Module):
    """Answers with the hints where there are any, else with grey; with a palette it gives a* = 10 all over."""

    def forward(self, image: Tensor, hints: Tensor, palette: Tensor, use_palette: Tensor) -> Tensor:
        return 110 * hints[:, :2] + 10 * use_palette.view(-1, 1, 1, 1) * torch.tensor([1.0, 0.0]).view(1, 2, 1, 1)


def photos() -> Tensor:
    """Two photos of one colour each, beyond what grey comes near."""
    clean = torch.zeros(2, 3, 32, 32)
    clean[0] = torch.tensor([0.7, 0.4, 0.4]).view(3, 1, 1)
    clean[1] = torch.tensor([0.6, 0.4, 0.4]).view(3, 1, 1)
    return clean


def test_the_figures_tell_automatic_hinted_and_told_apart():
    figures = colorizing_figures(Told(), photos())
    assert figures["nearer"] == pytest.approx(0, abs=1e-4)
    assert figures["psnr/50"] > figures["psnr/10"] > figures["psnr/0"]
    assert figures["psnr/palette"] > figures["psnr/0"]


def test_the_figures_are_the_same_at_each_call():
    assert colorizing_figures(Told(), photos()) == colorizing_figures(Told(), photos())


def test_an_answer_is_chroma_for_each_pixel():
    network = Colorizer(stem=4, channels=(8, 8), blocks=(1, 1), attention=0).eval()
    assert answer(network, photos(), torch.zeros(2, 3, 32, 32)).shape == (2, 32, 32, 2)
