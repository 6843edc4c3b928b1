"""How well a level is found, and what becomes of the darkest and brightest parts, with errors worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from restore.image import Image, write
from training.levels_eval import (
    LEVELS,
    Extremes,
    extremes,
    levels_markdown,
    measure_extremes,
    measure_levels,
    wavelet_level,
)


class Finds:
    """A model that finds the same level whatever it sees, and adds one 8-bit level to every pixel."""

    def run_array(self, noisy, **_):
        return {"level": np.full(noisy.shape[:2], 10 / 255, np.float32), "restored": noisy + 1 / 255}


def test_the_error_is_the_mean_distance_from_the_true_levels(monkeypatch, make_photo, tmp_path):
    monkeypatch.setattr("training.levels_eval.wavelet_level", lambda _: 0.0)
    flat, textured = np.full((16, 16, 3), 128, np.uint8), np.zeros((16, 16, 3), np.uint8)
    textured[:, ::2] = 255
    real, mean = tmp_path / "real.png", tmp_path / "mean.png"
    write(Image(flat), real)
    write(Image(flat + 4), mean)
    rows = measure_levels([Image(flat), Image(textured)], [(real, mean)], {"ten": Finds()}, seed=0)
    nothing, ten = rows
    assert nothing.flat == nothing.textured == pytest.approx(sum(LEVELS) / len(LEVELS))
    assert ten.flat == ten.textured == pytest.approx(sum(abs(10 - level) for level in LEVELS) / len(LEVELS), abs=1e-4)
    assert ten.real == pytest.approx(10 - 4, abs=1e-4)


def test_a_single_photo_has_no_textured_half(monkeypatch):
    monkeypatch.setattr("training.levels_eval.wavelet_level", lambda _: 0.0)
    rows = measure_levels([Image(np.full((16, 16, 3), 128, np.uint8))], [], {}, seed=0)
    assert (rows[0].textured, rows[0].real) == (None, None)
    assert levels_markdown(rows, {})[-1] == f"| {rows[0].method} | {rows[0].flat:.2f} | - | - |"


def test_only_blocks_beyond_the_limits_count_each_with_its_signed_error():
    clean = np.full((16, 24, 3), 128 / 255)
    clean[:8, :8], clean[8:, :8], clean[:8, 8:16] = 10 / 255, 15 / 255, 250 / 255
    restored = clean.copy()
    restored[:8, :8] += 2 / 255
    restored[8:, :8] -= 1 / 255
    restored[:8, 8:16] -= 3 / 255
    restored[:, 16:] += 50 / 255
    dark, bright = extremes(clean, restored)
    assert sorted(dark) == pytest.approx([-1, 2])
    assert bright == pytest.approx([-3])


def test_extremes_are_means_over_all_pictures_and_none_where_there_is_no_such_block():
    black = Image(np.zeros((8, 8, 3), np.uint8))
    # The noise has a mean of its own: 25 over the root of 192 values.
    found = measure_extremes([black] * 20, Finds(), seed=0)
    assert found.dark == pytest.approx(1, abs=3 * 25 / np.sqrt(192 * 20))
    assert found.bright is None


def test_the_wavelet_estimator_finds_white_noise_on_a_flat_picture():
    noisy = np.random.default_rng(0).normal(0.5, 20 / 255, (128, 128, 3)).astype(np.float32)
    assert wavelet_level(noisy) == pytest.approx(20, rel=0.05)


def test_a_model_has_a_row_of_signed_errors():
    lines = levels_markdown([], {"a": Extremes(0.25, None)})
    assert "| a | +0.25 | - |" in lines
