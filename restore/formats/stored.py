"""A picture as its file stores it, before it is turned upright."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from restore.formats.tags import Entry

#: What is said of content credentials, whatever the format.
SIGNED = "a signature of its origin (C2PA) was left out: it vouches for the unchanged picture alone"


@dataclass(frozen=True, slots=True)
class JpegSource:
    """How a JPEG was compressed and what else it holds, so that it can be written back with no more and no less loss.

    One table of 64 numbers for each component, equal ones at the end given once. `subsampling` is Pillow's: 0 is
    4:4:4, 1 is 4:2:2, 2 is 4:2:0. `segments` are raw: IPTC captions, XMP beyond 64 KB, comments.
    """

    tables: tuple[tuple[int, ...], ...]
    subsampling: int
    segments: bytes = b""


@dataclass(frozen=True, slots=True)
class PngSource:
    """What else a PNG says, as names and data of its chunks.

    `texts` are title, author and such; `colours` are gamma, primaries and the mark of sRGB, true beside the profile
    `icc` (None: beside none) and no other.
    """

    texts: tuple[tuple[bytes, bytes], ...] = ()
    colours: tuple[tuple[bytes, bytes], ...] = ()
    icc: bytes | None = None


@dataclass(frozen=True, slots=True)
class TiffSource:
    """What else a TIFF says: tags by number, in its byte order ("<" or ">"), that are of no concern to the pixels."""

    order: Literal["<", ">"]
    tags: tuple[tuple[int, Entry], ...]


@dataclass(frozen=True, slots=True)
class Stored:
    """A picture as its file stores it: not yet upright. Pixels and alpha as in `restore.image.Image`."""

    pixels: np.ndarray
    alpha: np.ndarray | None = None
    icc: bytes | None = None
    exif: bytes | None = None
    xmp: bytes | None = None
    dpi: tuple[float, float] | None = None
    orientation: int | None = None
    notes: tuple[str, ...] = ()
    jpeg: JpegSource | None = None
    lossless: bool = False
    png: PngSource | None = None
    tiff: TiffSource | None = None
    dropped: tuple[str, ...] = ()


def turned(stored: np.ndarray, orientation: int | None) -> np.ndarray:
    """A view of stored pixels, (H, W, ...), turned as EXIF's orientation asks; None is 1."""
    if orientation in {5, 6, 7, 8}:
        stored = stored.swapaxes(0, 1)
    if orientation in {3, 4, 7, 8}:
        stored = stored[::-1]
    if orientation in {2, 3, 6, 7}:
        stored = stored[:, ::-1]
    return stored
