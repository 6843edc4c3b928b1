"""Marks drawn ahead by other processes."""

from __future__ import annotations

import dataclasses
import itertools
from pathlib import Path

import pytest
import torch
from torch import Tensor

from training import TrainingError
from training.ahead import drawn_ahead
from training.degrade import GaussianNoise
from training.mark_assets import Assets
from training.mark_bank import bank_path, fill_bank
from training.settings import Settings
from training.watermarks import Watermark

SETTINGS = Settings(patches=(32,), pixels=2 * 32**2, steps=6, workers=1)


@pytest.fixture(scope="module")
def marks(mark_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Watermark:
    folder = tmp_path_factory.mktemp("marks")
    fill_bank(Assets.load(mark_folder, "train"), bank_path(folder, "train"), marks=4, logos=1, seed=0)
    return Watermark(folder=folder)


@pytest.fixture(scope="module")
def crops() -> Tensor:
    return torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))


def pairs(marks: Watermark, crops: Tensor, settings: Settings = SETTINGS, *, first: int = 0, rank: int = 0) -> Tensor:
    """What the crops become in all steps from `first` on: (steps, N, 3, H, W)."""
    ahead = drawn_ahead(marks, settings, first=first, rank=rank)
    assert ahead is not None
    return torch.stack([ahead(crops).inputs["image"] for _ in range(settings.steps - first)])


def test_each_step_has_its_own_draw_whoever_makes_it_and_a_resumed_run_gets_the_same(marks, crops):
    whole = pairs(marks, crops)
    assert whole.shape == (6, *crops.shape)
    assert not any(torch.equal(one, other) for one, other in itertools.combinations(whole, 2))
    assert torch.equal(whole, pairs(marks, crops, dataclasses.replace(SETTINGS, workers=2)))
    assert torch.equal(whole[4:], pairs(marks, crops, first=4))
    assert not torch.equal(whole, pairs(marks, crops, rank=1))


def test_without_workers_nothing_is_drawn_ahead(marks):
    assert drawn_ahead(marks, Settings(patches=(32,)), first=0, rank=0) is None


def test_noise_is_not_drawn_ahead():
    with pytest.raises(TrainingError, match="Leave --workers out"):
        drawn_ahead(GaussianNoise(), SETTINGS, first=0, rank=0)


def test_crops_of_several_sizes_are_refused(marks):
    with pytest.raises(TrainingError, match="give --patches one number"):
        drawn_ahead(marks, Settings(patches=(32, 64), workers=1), first=0, rank=0)
