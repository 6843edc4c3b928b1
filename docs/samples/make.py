"""Makes the sample photos: clean, free photos with camera-like noise, the same from the same seed.

    python docs/samples/make.py FOLDER

FOLDER holds the clean photos under the names of CREDITS.md. In linear light each photon-counting
pixel gets Poisson-Gaussian noise (Foi et al. 2008, doi:10.1109/TIP.2008.2001399), here in its normal
approximation, of variance `shot * signal + read**2`; then the sRGB curve, 8 bits and JPEG 95.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from PIL import Image

#: Name of the sample: (clean photo, shot noise, read noise), both in linear light of [0, 1].
SAMPLES = {
    "osprey": ("58df1065f56fd207.webp", 0.012, 0.020),
    "lake": ("88397729d6fd5303.webp", 0.006, 0.010),
    "city": ("9796194b3c1d3e40.webp", 0.020, 0.030),
    "lighthouse": ("a4818f3e614fb259.webp", 0.025, 0.030),
}


def noisy(clean: np.ndarray, *, shot: float, read: float, rng: np.random.Generator) -> np.ndarray:
    """(H, W, 3) uint8, sRGB, with signal-dependent noise added in linear light."""
    signal = clean.astype(np.float64) / 255
    linear = np.where(signal <= 0.04045, signal / 12.92, ((signal + 0.055) / 1.055) ** 2.4)
    linear = linear + rng.standard_normal(linear.shape) * np.sqrt(shot * linear + read**2)
    linear = linear.clip(0, 1)
    curve = np.where(linear <= 0.0031308, linear * 12.92, 1.055 * linear ** (1 / 2.4) - 0.055)
    return np.rint(curve * 255).astype(np.uint8)


def main(folder: Path) -> None:
    """Write every sample beside this file."""
    for seed, (name, (source, shot, read)) in enumerate(SAMPLES.items()):
        with Image.open(folder / source) as photo:
            clean = np.asarray(photo.convert("RGB"))
        picture = noisy(clean, shot=shot, read=read, rng=np.random.default_rng(seed))
        Image.fromarray(picture).save(Path(__file__).parent / f"{name}.jpg", quality=95, subsampling=0)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
