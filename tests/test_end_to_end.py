"""The whole way once: photos, shards, a short training, an ONNX file, the command, a better picture."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image as PillowImage

from restore.cli import main
from training.data import PhotoSet
from training.export import export_checkpoint
from training.loop import fit
from training.recipes import find_recipe

SIGMA = 50


def decibels(picture: np.ndarray, truth: np.ndarray) -> float:
    error = np.mean((picture.astype(float) - truth.astype(float)) ** 2)
    return float(10 * np.log10(255**2 / error))


@pytest.fixture(scope="module")
def trained(shards, tmp_path_factory):
    """A small network after 150 steps, exported."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # two small convolutions gain nothing from more, and lose much on a busy machine
    folder = tmp_path_factory.mktemp("run")
    hparams = {"stem": 2, "channels": (32, 32), "blocks": (1, 1)}
    recipe = dataclasses.replace(find_recipe("denoise"), hparams=hparams)
    settings = dataclasses.replace(recipe.settings, steps=150, ema=0.9, patches=(48,), pixels=8 * 48 * 48)
    device = torch.device("cpu")
    best = fit(recipe, settings, PhotoSet.load([shards], "train", device=device), run=folder, device=device)
    torch.set_num_threads(threads)
    return export_checkpoint(best, folder)


def test_a_hundred_and_fifty_steps_of_training_make_a_photo_better(trained, make_photo, tmp_path, monkeypatch):
    clean = make_photo(120, 150, seed=99)
    noisy = clean + np.random.default_rng(0).normal(0, SIGMA, clean.shape)
    noisy = np.rint(noisy.clip(0, 255)).astype(np.uint8)
    PillowImage.fromarray(noisy).save(tmp_path / "noisy.png")
    arguments = ["denoise", str(tmp_path / "noisy.png"), "-o", str(tmp_path / "clean.png"), "--model", str(trained)]
    monkeypatch.setattr("sys.argv", ["restore", *arguments, "--sigma", str(SIGMA)])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code in (0, None)
    restored = np.asarray(PillowImage.open(Path(tmp_path / "clean.png")))
    # A hundred and fifty steps are nothing, yet any working chain gains several dB on noise this strong.
    assert decibels(restored, clean) > decibels(noisy, clean) + 3
