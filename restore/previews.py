"""What a screen shows of a picture: small, 8 bits, sRGB, and lossless."""

from __future__ import annotations

import math
from contextlib import suppress
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image as PillowImage
from PIL import ImageCms

from restore.image import Image, to_8_bits

#: A larger PNG takes seconds to encode; what is lost by shrinking is shown in a second view, pixel by pixel.
PREVIEW_PIXELS = 2_000_000
#: Height and width of that second view.
DETAIL = (600, 800)


def centre(height: int, width: int) -> tuple[slice, slice]:
    """The middle of a picture of this size, at most DETAIL large."""
    top, left = ((length - min(length, most)) // 2 for length, most in zip((height, width), DETAIL, strict=True))
    return slice(top, top + DETAIL[0]), slice(left, left + DETAIL[1])


def busiest(mask: np.ndarray) -> tuple[slice, slice]:
    """A window, at most DETAIL large, around what is marked in a mask (H, W); of an empty one the centre."""
    height, width = mask.shape
    if not mask.any():
        return centre(height, width)
    starts = []
    for axis, (length, most) in enumerate(zip(mask.shape, DETAIL, strict=True)):
        marked = np.flatnonzero(mask.any(axis=1 - axis))
        middle = int(marked[0] + marked[-1]) // 2
        starts.append(min(max(0, middle - most // 2), max(0, length - most)))
    return slice(starts[0], starts[0] + DETAIL[0]), slice(starts[1], starts[1] + DETAIL[1])


def preview(image: Image, window: tuple[slice, slice] | None = None) -> PillowImage.Image:
    """What a screen shows of a picture: 8 bits, sRGB, transparency on white; a window as it is, the whole shrunk.

    Shrunk to PREVIEW_PIXELS, and to 4096 on the longest side.
    """
    cut = window or (slice(None), slice(None))
    shown = _to_pillow(image.pixels[cut])
    alpha = None if image.alpha is None else _to_pillow(image.alpha[cut])
    scale = min(1.0, math.sqrt(PREVIEW_PIXELS / (shown.width * shown.height)), 4096 / max(shown.size))
    if scale < 1:
        size = (max(1, int(shown.width * scale)), max(1, int(shown.height * scale)))
        shown = shown.resize(size, PillowImage.Resampling.LANCZOS, reducing_gap=2.0)
        alpha = alpha and alpha.resize(size, PillowImage.Resampling.BOX)
    shown = _to_srgb(shown, image.icc)
    if alpha:
        shown = PillowImage.composite(shown, PillowImage.new("RGB", shown.size, "white"), alpha)
    return shown


def _to_pillow(plane: np.ndarray) -> PillowImage.Image:
    return PillowImage.fromarray(to_8_bits(plane))


def _to_srgb(picture: PillowImage.Image, icc: bytes | None) -> PillowImage.Image:
    """A grey or RGB picture as RGB in sRGB, through its profile; a profile that is damaged is as good as none."""
    if icc:
        # Scanners put RGB profiles on grey pixels.
        fitting = picture.convert("RGB") if icc[16:20] == b"RGB " else picture
        srgb = ImageCms.createProfile("sRGB")
        with suppress(ImageCms.PyCMSError, OSError):
            converted = ImageCms.profileToProfile(
                fitting, ImageCms.ImageCmsProfile(BytesIO(icc)), srgb, outputMode="RGB"
            )
            assert converted is not None
            return converted
    return picture.convert("RGB")


def save_preview(picture: PillowImage.Image, folder: Path, name: str) -> str:
    """Write `folder/NAME.png`, fast rather than small; returns its path."""
    path = folder / f"{name}.png"
    picture.save(path, compress_level=1)
    return str(path)
