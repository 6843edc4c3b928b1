"""Makes the README's picture of colours from old photos and the shipped weights.

    python docs/pictures/colours.py --old ../shared/data/test/old_photos

Each row: the photo as it is, coloured automatically, and coloured with the hints that are listed here.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image as PillowImage

from restore import Hint, open_colorizer, read
from restore.image import Image

HEIGHT = 256
_SKIN, _WHITE, _LEAVES = (212, 162, 138), (240, 237, 230), (80, 112, 52)
#: Old photos (docs/samples/CREDITS.md names them), each with hints: x and y in its pixels, and a colour.
SHOWN: dict[str, Sequence[tuple[int, int, tuple[int, int, int]]]] = {
    "2932fa527403e9a6.webp": (
        (40, 300, _LEAVES), (220, 290, _LEAVES), (230, 30, _LEAVES), (150, 15, _LEAVES), (88, 75, _SKIN),
        (165, 95, _SKIN), (165, 150, _WHITE), (70, 205, _WHITE), (140, 240, _WHITE),
    ),
    "10bb9f8af397397c.webp": (
        (60, 50, (150, 185, 220)), (300, 70, (150, 185, 220)), (60, 185, (95, 128, 140)), (290, 210, (95, 128, 140)),
        (175, 120, _WHITE), (230, 160, _WHITE), (20, 245, _WHITE),
    ),
    "099abba80af22486.webp": (
        (118, 140, _SKIN), (105, 55, (136, 106, 76)), (80, 260, (58, 72, 112)), (200, 280, (58, 72, 112)),
        (130, 225, (130, 40, 45)), (110, 200, _WHITE),
        (180, 221, (58, 72, 112)), (36, 88, (160, 152, 140)), (221, 88, (160, 152, 140)),
    ),
}  # fmt: skip


def shown(pixels: np.ndarray) -> PillowImage.Image:
    """At the height of a row."""
    picture = PillowImage.fromarray(pixels).convert("RGB")
    return picture.resize((round(picture.width * HEIGHT / picture.height), HEIGHT), PillowImage.Resampling.LANCZOS)


def row(photo: Image, hints: Sequence[Hint]) -> PillowImage.Image:
    """As it is, automatic, with hints, side by side."""
    colorize = open_colorizer("colorize")
    cells = [photo, colorize(photo, force=True).image, colorize(photo, force=True, hints=hints).image]
    pictures = [shown(cell.pixels) for cell in cells]
    whole = PillowImage.new("RGB", (sum(p.width + 4 for p in pictures), HEIGHT + 4), "white")
    for index, picture in enumerate(pictures):
        whole.paste(picture, (sum(p.width + 4 for p in pictures[:index]), 0))
    return whole


def main() -> None:
    """Write colours.webp beside this file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--old", type=Path, required=True, help="the folder of old photos")
    old = parser.parse_args().old
    rows = []
    for name, spots in SHOWN.items():
        photo = read(old / name)
        rows.append(row(photo, [Hint(x, y, rgb) for x, y, rgb in spots]))
    sheet = PillowImage.new("RGB", (max(r.width for r in rows), sum(r.height for r in rows)), "white")
    for index, picture in enumerate(rows):
        sheet.paste(picture, (0, sum(r.height for r in rows[:index])))
    sheet.save(Path(__file__).parent / "colours.webp", quality=88, method=6)


if __name__ == "__main__":
    main()
