"""Makes the contact sheet of the kinds of noise: twelve free test photos, none of them trained on.

    python docs/pictures/noises.py --photos ../shared/data/photos [--quality best]

Of each a crop at twice its size: noisy, as `restore denoise` gives it (blind but for the first row,
default options), and the truth. The noise is of `training/photo_noise.py`, with fixed seeds.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from PIL import Image as PillowImage
from PIL import ImageDraw
from torch import Tensor

from restore import Image, open_model, read
from training.camera import Camera
from training.degrade import add_gaussian_noise
from training.jpeg import jpeg
from training.photo_noise import chroma_blotches, film_grain, scanner_noise

SIDE = 120
Noise = Callable[[Tensor, torch.Generator], Tensor]


def white(sigma_255: float) -> Noise:
    """Gaussian noise, as a file would hold it."""
    return lambda clean, rng: add_gaussian_noise(clean, sigma_255 / 255, rng)


def sensor(shot: float, *, quality: float = 100) -> Noise:
    """A camera whose colours are mixed a little, at so high an ISO, and its JPEG."""
    matrix = torch.tensor([[[1.6, -0.5, -0.1], [-0.2, 1.5, -0.3], [0.0, -0.6, 1.6]]])
    camera = Camera(matrix, torch.tensor([[2.0, 1.0, 1.7]]), torch.tensor([shot]), torch.tensor([shot**2]))
    return lambda clean, rng: jpeg(clean + camera.noise(clean, rng), torch.tensor([quality]))


def added(noise: Noise) -> Noise:
    """A field that is added."""
    return lambda clean, rng: clean + noise(clean, rng)


#: Photo, left and top of the crop in the picture, what is done to it, and what that is.
SHEET: tuple[tuple[str, int, int, Noise, str], ...] = (
    ("4b63cdf5c207af33", 180, 150, white(25), "white noise, sigma 25"),
    ("38be1204c93bdac3", 330, 60, white(50), "white noise, sigma 50"),
    ("f9e5b1ff6b3df54e", 230, 60, sensor(2e-4), "sensor, low ISO"),
    ("58df1065f56fd207", 190, 60, sensor(3e-3), "sensor, high ISO"),
    ("83ed131a420e42d9", 110, 120, sensor(2e-3, quality=85), "sensor, high ISO, JPEG 85"),
    ("9796194b3c1d3e40", 300, 150, sensor(8e-3), "sensor, night"),
    ("88397729d6fd5303", 170, 80, added(film_grain), "film grain"),
    ("dd7ef528eccde0e5", 60, 90, added(film_grain), "film grain"),
    ("a4818f3e614fb259", 10, 40, added(scanner_noise), "scanner"),
    ("6db3208957aa0d9a", 300, 60, added(chroma_blotches), "colour blotches"),
    ("da321e9318e4365f", 60, 60, lambda clean, _: jpeg(clean, torch.tensor([60.0])), "JPEG 60 alone"),
    ("89b3c6761d7fc89e", 280, 130, lambda clean, _: clean, "nothing: a clean photo"),
)


def main() -> None:
    """Write the sheet beside this file, and print what was found in each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=Path, required=True, help="the folder that holds large/NAME.webp")
    parser.add_argument("--quality", choices=("fast", "best"), default="fast")
    args = parser.parse_args()
    denoise = open_model(f"denoise-{args.quality}")
    cell, line = 2 * SIDE, 18
    sheet = PillowImage.new("RGB", (2 * (3 * cell + 8), 6 * (cell + line)), "white")
    draw = ImageDraw.Draw(sheet)
    for index, (name, left, top, noise, what) in enumerate(SHEET):
        clean = read(args.photos / "large" / f"{name}.webp").pixels
        tensor = torch.from_numpy(clean).permute(2, 0, 1)[None] / 255
        noisy = noise(tensor, torch.Generator().manual_seed(index))[0].permute(1, 2, 0).numpy()
        pixels = np.rint(noisy.clip(0, 1) * 255).astype(np.uint8)
        restored, found, _ = denoise(Image(pixels))
        x, y = index % 2 * (3 * cell + 8), index // 2 * (cell + line)
        for column, picture in enumerate((pixels, restored.pixels, clean)):
            part = PillowImage.fromarray(picture[top : top + SIDE, left : left + SIDE])
            sheet.paste(part.resize((cell, cell), PillowImage.Resampling.NEAREST), (x + column * cell, y + line))
        draw.text((x, y + 3), f"{what}: found sigma {255 * found['sigma']:.1f}", fill="black")
        before, after = (
            -10 * np.log10(np.mean((p / 255.0 - clean / 255.0) ** 2) + 1e-10) for p in (pixels, restored.pixels)
        )
        print(f"{name}: {what}: sigma {255 * found['sigma']:.1f}, {before:.2f} -> {after:.2f} dB")
    sheet.save(Path(__file__).parent / f"noises-{args.quality}.webp", quality=85, method=6)


if __name__ == "__main__":
    main()
