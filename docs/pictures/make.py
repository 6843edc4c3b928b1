"""Makes the before/after pictures of the README from the sample photos and the shipped weights.

    python docs/pictures/make.py

Each is one crop at its actual pixels, doubled in size: as it was on the left, as `restore denoise`
(blind, default options) gives it on the right.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image as PillowImage

from restore import open_model, read

SAMPLES = Path(__file__).parents[1] / "samples"
SIDE = 200
#: Name of the sample: left and top of its crop.
CROPS = {"osprey": (190, 90), "lake": (150, 120), "city": (470, 90), "lighthouse": (0, 20)}


def main() -> None:
    """Write every picture beside this file, and print what was found."""
    denoise = open_model("denoise")
    for name, (left, top) in CROPS.items():
        photo = read(SAMPLES / f"{name}.jpg")
        restored, found, _ = denoise(photo)
        part = slice(top, top + SIDE), slice(left, left + SIDE)
        gap = np.full((SIDE, 4, 3), 255, np.uint8)
        pair = np.concatenate([photo.pixels[part], gap, restored.pixels[part]], axis=1)
        picture = PillowImage.fromarray(pair)
        doubled = picture.resize((2 * picture.width, 2 * picture.height), PillowImage.Resampling.NEAREST)
        doubled.save(Path(__file__).parent / f"{name}.webp", quality=92, method=6)
        print(f"{name}: sigma about {255 * found['sigma']:.0f}")


if __name__ == "__main__":
    main()
