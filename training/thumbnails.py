"""Small versions of whole photos, for networks that must see what a picture shows."""

from __future__ import annotations

import io

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor
from torch.nn import functional as F

from training.data import PhotoSet

#: Shorter side that photos are kept at, in pixels: 5,000 of them take 0.8 GB.
SIDE = 192
#: Share of a photo's shorter side that a crop covers, from and to: most of what the photo shows.
COVERED = (0.7, 1.0)
#: How far a crop may be stretched along one side.
_STRETCH = 1.15
_HELD_OUT = 64


class ThumbnailSet(PhotoSet):
    """Photos of one split at a shorter side of SIDE; a crop is most of a photo, at whatever size is asked for."""

    @staticmethod
    def decode(payload: bytes) -> np.ndarray:
        """An encoded photo, upright, shrunk to a shorter side of SIDE: (H, W, 3) uint8."""
        with Image.open(io.BytesIO(payload)) as image:
            upright = ImageOps.exif_transpose(image).convert("RGB")
        scale = SIDE / min(upright.size)
        width, height = (max(SIDE, round(length * scale)) for length in upright.size)
        return np.array(upright.resize((width, height), Image.Resampling.LANCZOS, reducing_gap=3.0))

    def crops(self, rng: torch.Generator, *, batch: int, size: int) -> Tensor:
        """Most of each of `batch` photos, mirrored at random but upright: (batch, 3, size, size) float32 in [0, 1].

        Every photo is drawn alike, whatever its area, but for its weight.
        """
        device = self.pixels.device
        chosen = torch.multinomial(self.weights, batch, replacement=True, generator=rng)
        heights, widths = self.sizes[chosen].unbind(dim=1)
        chance = torch.rand(5, batch, device=device, generator=rng)
        side = torch.minimum(heights, widths) * (COVERED[0] + (COVERED[1] - COVERED[0]) * chance[0])
        stretch = _STRETCH ** (2 * chance[1] - 1)
        tall, wide = torch.minimum(side * stretch, heights.float()), torch.minimum(side / stretch, widths.float())
        # Four samples a pixel, averaged: enough against aliasing where a crop is shrunk to half at the most.
        line = (torch.arange(2 * size, device=device) + 0.5) / (2 * size)
        rows = ((heights - tall) * chance[2])[:, None] + tall[:, None] * line
        across = torch.where((chance[4] < 0.5)[:, None], 1 - line, line)
        columns = ((widths - wide) * chance[3])[:, None] + wide[:, None] * across
        row = torch.minimum(rows.long(), heights[:, None] - 1)
        column = torch.minimum(columns.long(), widths[:, None] - 1)
        index = self.offsets[chosen][:, None, None] + row[:, :, None] * widths[:, None, None] + column[:, None, :]
        return F.avg_pool2d(self.pixels[index].permute(0, 3, 1, 2).float(), 2).div_(255)

    def held_out(self) -> Tensor:
        """The middle square of 64 photos taken evenly from the whole set: (N, 3, SIDE, SIDE) in [0, 1]."""
        picked = sorted({int(at) for at in np.linspace(0, len(self) - 1, min(_HELD_OUT, len(self)))})
        squares = []
        for index in picked:
            photo = self.photo(index)
            top, left = ((length - SIDE) // 2 for length in photo.shape[-2:])
            squares.append(photo[:, top : top + SIDE, left : left + SIDE])
        return torch.stack(squares).float().div_(255)
