"""Where a run stands, and what follows from it."""

from __future__ import annotations

import pytest
import torch

from training.schedule import Progress, patch_at, rate_at, step_rng
from training.settings import Settings


def test_a_run_is_over_by_steps_or_by_minutes_whichever_is_first():
    settings = Settings(steps=100, minutes=2)
    assert Progress(step=25).fraction(settings) == 0.25
    assert Progress(step=25, elapsed=60).fraction(settings) == 0.5
    assert Progress(step=75, elapsed=60).fraction(settings) == 0.75
    assert Progress(step=100, elapsed=240).fraction(settings) == 1.0


def test_without_a_limit_of_minutes_time_does_not_count():
    assert Progress(step=1, elapsed=1e6).fraction(Settings(steps=4)) == 0.25


def test_the_rate_rises_in_a_line_and_falls_as_half_a_cosine():
    settings = Settings(warmup=0.2, final_rate=0.1)
    assert rate_at(0.0, settings) == pytest.approx(0.001)
    assert rate_at(0.1, settings) == pytest.approx(0.5)
    assert rate_at(0.2, settings) == pytest.approx(1.0)
    # Half way down the cosine is half way between 1 and 0.1.
    assert rate_at(0.6, settings) == pytest.approx(0.55)
    assert rate_at(1.0, settings) == pytest.approx(0.1)


def test_without_a_warmup_the_rate_starts_at_its_highest():
    assert rate_at(0.0, Settings(warmup=0.0)) == pytest.approx(1.0)


def test_each_crop_size_gets_an_equal_share_of_the_run_at_equal_pixels():
    settings = Settings(patches=(32, 64, 128), pixels=32_768)
    assert patch_at(0.0, settings) == (32, 32)
    assert patch_at(0.33, settings) == (32, 32)
    assert patch_at(0.34, settings) == (64, 8)
    assert patch_at(0.67, settings) == (128, 2)
    assert patch_at(1.0, settings) == (128, 2)


def test_a_crop_larger_than_the_pixels_of_a_step_still_makes_a_batch_of_one():
    assert patch_at(0.0, Settings(patches=(128,), pixels=100)) == (128, 1)


def test_every_step_process_and_seed_has_chance_of_its_own():
    cpu = torch.device("cpu")
    keys = [(seed, step, rank) for seed in (0, 1) for step in (0, 1, 2) for rank in (0, 1)]
    drawn = {key: torch.rand(1, generator=step_rng(*key, cpu)).item() for key in keys}
    assert len(set(drawn.values())) == len(keys)
    assert drawn[0, 1, 0] == torch.rand(1, generator=step_rng(0, 1, 0, cpu)).item()
