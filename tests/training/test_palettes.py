"""Which palettes stand for all."""

from __future__ import annotations

import json

import numpy as np
import torch

from restore.color import PALETTE_SIZE
from training.palettes import choose, palettes_of, to_json
from training.thumbnails import SIDE, ThumbnailSet


def palette(place: int, saturation: float = 0.2) -> np.ndarray:
    made = np.zeros(PALETTE_SIZE, np.float32)
    made[place], made[-1] = 1, saturation
    return made


def test_each_kind_of_palette_gets_one_that_stands_for_it():
    many = np.stack([palette(3)] * 5 + [palette(40)] * 3 + [palette(70, 0.5)])
    found = {tuple(row) for row in choose(many, 3).tolist()}
    assert found == {tuple(palette(*kind).tolist()) for kind in ((3,), (40,), (70, 0.5))}


def test_no_more_are_chosen_than_there_are():
    assert len(choose(np.stack([palette(1), palette(2)]), 8)) == 2


def test_a_grey_photo_gives_no_palette():
    grey, red = np.full((SIDE, SIDE, 3), 120, np.uint8), np.zeros((SIDE, SIDE, 3), np.uint8)
    red[..., 0] = 200
    photos = ThumbnailSet(["grey", "red"], [grey, red], device=torch.device("cpu"))
    found = palettes_of(photos)
    assert found.shape == (1, PALETTE_SIZE)
    # Full red has a chroma of 104.6; at 200 of 255 the light is 0.578 and its cube root 0.833.
    assert abs(found[0, -1] - 0.833 * 104.6 / 110) < 0.01


def test_what_is_stored_is_what_is_not_empty():
    assert json.loads(to_json(np.stack([palette(7, 0.25)]))) == [{"7": 10_000, str(PALETTE_SIZE - 1): 2_500}]
