"""Photos as a whole: what a crop shows of them, how often each is drawn, what is held out."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from training import TrainingError
from training.thumbnails import SIDE, ThumbnailSet

CPU = torch.device("cpu")


def ramp(height: int, width: int) -> np.ndarray:
    """Red rises from left to right, green from top to bottom, blue is constant."""
    photo = np.zeros((height, width, 3), np.uint8)
    photo[..., 0] = np.linspace(0, 250, width)
    photo[..., 1] = np.linspace(0, 250, height)[:, None]
    photo[..., 2] = 77
    return photo


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_a_crop_covers_most_of_a_photo_and_stays_upright():
    photos = ThumbnailSet(["a"], [ramp(SIDE, SIDE)], device=CPU)
    crops = photos.crops(rng(), batch=64, size=32)
    assert crops.shape == (64, 3, 32, 32)
    down = crops[:, 1, -1].mean(dim=1) - crops[:, 1, 0].mean(dim=1)
    # 70 to 100 % of the side, stretched by up to 1.15, and never more than there is; the ends are pixels' centres.
    assert down.min() > 0.7 / 1.15 * 250 / 255 * 31 / 32 - 0.02
    assert down.max() <= 250 / 255
    assert torch.allclose(crops[:, 2], torch.tensor(77 / 255), atol=1e-4)


def test_about_half_of_the_crops_are_mirrored():
    photos = ThumbnailSet(["a"], [ramp(SIDE, SIDE)], device=CPU)
    crops = photos.crops(rng(), batch=200, size=16)
    mirrored = (crops[:, 0, :, -1].mean(dim=1) < crops[:, 0, :, 0].mean(dim=1)).float().mean()
    # Three standard errors of a half over 200.
    assert abs(mirrored - 0.5) < 0.11


def test_the_same_chance_gives_the_same_crops():
    photos = ThumbnailSet(["a", "b"], [ramp(SIDE, 300), ramp(250, SIDE)], device=CPU)
    assert torch.equal(photos.crops(rng(3), batch=5, size=24), photos.crops(rng(3), batch=5, size=24))


def test_a_large_photo_is_drawn_no_more_often_than_a_small_one():
    black, white = np.zeros((SIDE, SIDE, 3), np.uint8), np.full((SIDE, 5 * SIDE, 3), 255, np.uint8)
    photos = ThumbnailSet(["a", "b"], [black, white], device=CPU)
    assert abs(photos.crops(rng(), batch=400, size=8).mean() - 0.5) < 0.075


def test_sources_are_drawn_by_the_root_of_their_size(tmp_path):
    table = tmp_path / "SOURCES.tsv"
    rows = [f"f{i}\tflowers" for i in range(4)] + ["s\tstreets"]
    table.write_text("\n".join(["file\trepository", *rows]) + "\n", "utf-8")
    names = ["f0", "f1", "f2", "f3", "s"]
    photos = ThumbnailSet(names, [np.zeros((SIDE, SIDE, 3), np.uint8)] * 5, device=CPU)
    photos.balance(table)
    # Four flowers at 1/2 each are 2 together; the one street is 1.
    assert photos.weights.tolist() == [0.5, 0.5, 0.5, 0.5, 1.0]


def test_a_photo_that_the_table_lacks_is_refused(tmp_path):
    table = tmp_path / "SOURCES.tsv"
    table.write_text("file\trepository\nother\tx\n", "utf-8")
    photos = ThumbnailSet(["a"], [ramp(SIDE, SIDE)], device=CPU)
    with pytest.raises(TrainingError, match="it has no row for a, which the shards hold"):
        photos.balance(table)
    table.write_text("file\tlicence\na\tx\n", "utf-8")
    with pytest.raises(TrainingError, match="it needs the columns file and repository"):
        photos.balance(table)


def test_photos_are_shrunk_as_they_are_loaded(shards):
    photos = ThumbnailSet.load([shards], "train", device=CPU)
    # 72 x 88 becomes 192 x 235.
    assert photos.sizes.tolist() == [[SIDE, 235]] * 4
    with pytest.raises(TrainingError, match="no photo of the split 'other'"):
        ThumbnailSet.load([shards], "other", device=CPU)


def test_middle_squares_are_held_out():
    wide = np.zeros((SIDE, 3 * SIDE, 3), np.uint8)
    wide[:, SIDE : 2 * SIDE] = 255
    photos = ThumbnailSet([str(i) for i in range(200)], [wide] * 200, device=CPU)
    assert torch.equal(photos.held_out(), torch.ones(64, 3, SIDE, SIDE))
