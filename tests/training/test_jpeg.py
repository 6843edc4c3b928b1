"""JPEG in torch against libjpeg."""

from __future__ import annotations

import io

import numpy as np
import pytest
import torch
from PIL import Image

from training.jpeg import jpeg


def in_libjpeg(pixels, quality, *, subsample):
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=quality, subsampling=2 if subsample else 0)
    return np.asarray(Image.open(file))


@pytest.mark.parametrize("subsample", [True, False])
@pytest.mark.parametrize("quality", [30, 60, 90, 98])
def test_the_picture_is_the_one_that_libjpeg_gives(make_photo, quality, subsample):
    pixels = make_photo(96, 128)
    image = torch.from_numpy(pixels).permute(2, 0, 1)[None] / 255
    answer = jpeg(image, torch.tensor([float(quality)]), subsample=subsample)
    difference = np.abs(answer[0].permute(1, 2, 0).numpy() * 255 - in_libjpeg(pixels, quality, subsample=subsample))
    # libjpeg computes in integers: a level here and there, and a coefficient at the edge of its step.
    assert difference.mean() < 0.8
    assert np.quantile(difference, 0.95) <= 3


def test_each_picture_has_its_own_quality(make_photo):
    image = torch.from_numpy(make_photo(48, 40)).permute(2, 0, 1)[None] / 255
    both = jpeg(image.repeat(2, 1, 1, 1), torch.tensor([60.0, 95.0]))
    for answer, quality in zip(both, (60.0, 95.0), strict=True):
        torch.testing.assert_close(answer[None], jpeg(image, torch.tensor([quality])))
    assert (both[0] - image).square().mean() > (both[1] - image).square().mean()


@pytest.mark.parametrize("value", [0.0, 128 / 255, 1.0])
def test_grey_without_detail_comes_back_exactly(value):
    image = torch.full((1, 3, 20, 37), value)
    # Its only coefficient, 8 (v - 128), is a multiple of the luma step of quality 98.
    torch.testing.assert_close(jpeg(image, torch.tensor([98.0])), image, atol=1 / 255, rtol=0)
