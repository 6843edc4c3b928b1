"""Contact sheets: many small pictures side by side, to look at what a network learns from or answers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from training.degrade import Pair

_GAP = 6


def contact_sheet(pair: Pair, out: Path, *, columns: int = 4) -> Path:
    """Write a PNG with what a pair shows of each picture side by side, e.g. truth and damaged; returns its path."""
    return sheet(pair.pictures(), out, columns=columns)


def sheet(pictures: Sequence[Tensor], out: Path, *, columns: int = 1) -> Path:
    """Write a PNG: for each n the pictures' n-th side by side in a cell, `columns` cells a row.

    All (N, 3 or 1, H, W), clipped to [0, 1]. The folder of `out` is made.
    """
    shown = [picture.expand(-1, 3, -1, -1) for picture in pictures]
    cells = F.pad(torch.cat(shown, dim=3), (0, _GAP, 0, _GAP), value=0.5)
    missing = -len(cells) % columns
    cells = torch.cat((cells, torch.full_like(cells[:1], 0.5).expand(missing, -1, -1, -1)))
    rows = [torch.cat(tuple(row), dim=2) for row in torch.split(cells, columns)]
    whole = torch.cat(rows, dim=1).clamp(0, 1).mul(255).round().byte().permute(1, 2, 0).cpu().numpy()
    out.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(whole).save(out)
    return out
