"""Colour profiles: which one fits which pixels, and the way from CMYK and Lab to sRGB."""

from __future__ import annotations

import io
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import PIL.Image


@cache
def srgb_profile() -> bytes:
    """The ICC profile of sRGB, the same bytes in every run."""
    from PIL import ImageCms

    made = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    # Bytes 24-35 are the moment of creation (ICC.1:2010, 7.2.1); with it no two runs would write the same file.
    made[24:36] = bytes.fromhex("07d000010001000000000000")
    return bytes(made)


def fitting_profile(icc: bytes | None, *, is_grey: bool) -> bytes | None:
    """The profile to store with grey or RGB pixels: `icc` where it fits, else sRGB (RGB) or none (grey).

    RGB profiles on grey pixels are kept: scanners write them, and every reader copes.
    """
    if not icc:
        return None
    space = icc[16:20]
    if is_grey:
        return icc if space in {b"GRAY", b"RGB "} else None
    return icc if space == b"RGB " else srgb_profile()


def to_srgb(stored: PIL.Image.Image, icc: bytes | None) -> tuple[PIL.Image.Image, str]:
    """An 8-bit CMYK, Lab or YCbCr picture as sRGB, and a sentence that says how it was converted."""
    if stored.mode == "YCbCr":
        return stored.convert("RGB"), "YCbCr was converted to RGB"
    from PIL import ImageCms

    srgb = ImageCms.createProfile("sRGB")
    if stored.mode == "LAB":
        made = ImageCms.profileToProfile(stored, ImageCms.createProfile("LAB"), srgb, outputMode="RGB")
        return _never_none(made), "Lab was converted to sRGB"
    if icc and icc[16:20] == b"CMYK":
        try:
            # Relative colorimetric with black point compensation is what print software shows on a screen.
            made = ImageCms.profileToProfile(
                stored,
                ImageCms.ImageCmsProfile(io.BytesIO(icc)),
                srgb,
                renderingIntent=ImageCms.Intent.RELATIVE_COLORIMETRIC,
                outputMode="RGB",
                flags=ImageCms.Flags.BLACKPOINTCOMPENSATION,
            )
            return _never_none(made), "CMYK was converted to sRGB through its profile"
        except (ImageCms.PyCMSError, OSError):
            return stored.convert("RGB"), "CMYK was converted to sRGB by a plain formula: its profile is damaged"
    return stored.convert("RGB"), "CMYK was converted to sRGB by a plain formula: it came without a profile"


def _never_none(made: PIL.Image.Image | None) -> PIL.Image.Image:
    """For mypy: profileToProfile answers None only when asked to work in place."""
    assert made is not None
    return made
