"""Colour profiles: which one fits which pixels, and the way from CMYK and Lab to sRGB."""

from __future__ import annotations

import io
import struct
from functools import cache
from typing import TYPE_CHECKING

import numpy as np

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


def luminance(icc: bytes, top: int) -> np.ndarray:
    """What each level, 0 to `top`, of each sample adds to a pixel's relative luminance: float64, 1 in all for white.

    (1, top + 1) for a grey profile, (3, top + 1) for one of RGB that is made of curves and primaries
    (ICC.1:2010, annex F). Raises ValueError for any other.
    """
    space, connection = icc[16:20], icc[20:24]
    try:
        tags = {
            icc[at : at + 4]: icc[slice(*_span(*struct.unpack_from(">II", icc, at + 4)))]
            for at in range(132, 132 + 12 * min(struct.unpack_from(">I", icc, 128)[0], 100), 12)
        }
        at = np.linspace(0, 1, top + 1)
        if space == b"GRAY":
            grey = _curve(tags[b"kTRC"], at)
            return (_luminance_of(grey) if connection == b"Lab " else grey)[None]
        if space == b"RGB " and connection == b"XYZ ":
            # Of a primary's X, Y and Z, each a 65536th, the second is its luminance.
            primaries = (b"r", b"g", b"b")
            weights = np.array([struct.unpack_from(">i", tags[name + b"XYZ"], 12)[0] / 65536 for name in primaries])
            curves = np.stack([_curve(tags[name + b"TRC"], at) for name in primaries])
            shares: np.ndarray = weights[:, None] / weights.sum() * curves
            return shares
    except (struct.error, KeyError) as error:
        raise ValueError("a damaged profile, or one without curves") from error
    raise ValueError(f"no luminance is known of {space!r} by way of {connection!r}")


def _span(start: int, length: int) -> tuple[int, int]:
    return start, start + length


def _curve(tag: bytes, at: np.ndarray) -> np.ndarray:
    """A tag of curveType or parametricCurveType (ICC.1:2010, 10.5 and 10.15) at values from 0 to 1."""
    if tag[:4] == b"curv":
        (count,) = struct.unpack_from(">I", tag, 8)
        values = struct.unpack_from(f">{count}H", tag, 12)
        if count == 0:
            return at
        curve: np.ndarray = at ** (values[0] / 256)
        return curve if count == 1 else np.interp(at, np.linspace(0, 1, count), np.array(values) / 65535)
    if tag[:4] != b"para":
        raise ValueError("a curve of an unknown type")
    (kind,) = struct.unpack_from(">H", tag, 8)
    if kind > 4:
        raise ValueError("a curve of an unknown kind")
    given = [value / 65536 for value in struct.unpack_from(f">{(1, 3, 4, 5, 7)[kind]}i", tag, 12)]
    gamma, a, b, c, d, e, f = given + [1.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0][len(given) :]
    if kind in {1, 2}:
        # The lower part is level, and `c` is added to both.
        c, d, e, f = 0.0, -b / a, c, c
    made: np.ndarray = np.where(at >= d, np.maximum(a * at + b, 0) ** gamma + e, c * at + f).clip(0, 1)
    return made


def _luminance_of(lightness: np.ndarray) -> np.ndarray:
    """Relative luminance of L* over 100 (CIE 15)."""
    root = (100 * lightness + 16) / 116
    luminance: np.ndarray = np.where(root > 6 / 29, root**3, (root - 4 / 29) * 3 * (6 / 29) ** 2)
    return luminance


def grey_in_srgb(pixels: np.ndarray, icc: bytes) -> np.ndarray:
    """8-bit grey pixels of a grey profile as they look in sRGB; as they are where the profile is damaged."""
    import PIL.Image
    from PIL import ImageCms

    levels = PIL.Image.fromarray(np.arange(256, dtype=np.uint8)[None])
    try:
        made = ImageCms.profileToProfile(
            levels, ImageCms.ImageCmsProfile(io.BytesIO(icc)), ImageCms.createProfile("sRGB"), outputMode="RGB"
        )
    except (ImageCms.PyCMSError, OSError):
        return pixels
    shown: np.ndarray = np.asarray(_never_none(made))[0, :, 1][pixels]
    return shown


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
