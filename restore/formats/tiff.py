"""TIFF of every depth, both ways.

Not by Pillow, which reads 16-bit colour as 8-bit without a word, turns a picture by its XMP, and has one global limit.
"""

from __future__ import annotations

import io
import math
import struct
import zlib
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from itertools import islice
from typing import Any, BinaryIO, Literal

import numpy as np

from restore.errors import UnreadableImage, WriteFailed
from restore.formats import profiles, tags
from restore.formats.stored import SIGNED, Stored, TiffSource

_DEFLATE, _JPEG = 8, 7
_RATIONALS = frozenset({5, 10})
_GREY_INVERTED, _GREY, _RGB, _PALETTE, _CMYK, _YCBCR, _LAB = 0, 1, 2, 3, 5, 6, 8
# A strip of about 1 MiB: small enough to copy without being noticed, large enough to compress well.
_STRIP_BYTES = 1 << 20


def probe_tiff(file: BinaryIO) -> tuple[tuple[int, int], int | None]:
    """Stored height and width, and the orientation, of a TIFF's first page."""
    import tifffile

    file.seek(0)
    with tifffile.TiffFile(file) as tif:
        page: Any = tif.pages[0]
        return (int(page.imagelength), int(page.imagewidth)), _orientation(page)


def read_tiff(file: BinaryIO) -> Stored:
    """The first page of a TIFF or BigTIFF file.

    1 to 8 bits per sample become uint8, 9 to 16 become uint16, both scaled to the full range.
    """
    import tifffile

    file.seek(0)
    with tifffile.TiffFile(file) as tif:
        page: Any = tif.pages[0]
        _refuse_unsupported(page)
        _refuse_cut_off(page, file)
        icc = _bytes(page, 34675)
        stored = _arrange(page, page.asarray(), icc)
        notes = stored.notes
        others: Iterator[Any] = islice(tif.pages, 1, None)
        if any(not other.is_reduced for other in others):
            notes += (f"only the first of {len(tif.pages)} pages was read",)
        return replace(
            stored,
            icc=icc,
            exif=tags.exif_of_tiff(file),
            xmp=_bytes(page, 700),
            dpi=_dpi(page),
            orientation=_orientation(page),
            notes=notes,
            tiff=_further(file, turned=_orientation(page) not in {None, 1}),
            dropped=_dropped(page),
        )


def _further(file: BinaryIO, *, turned: bool) -> TiffSource | None:
    """The tags of other programs that stay true of the picture."""
    found = tags.read_directory(file, tags.is_further)
    if found is None:
        return None
    entries = found.entries.items()
    # 13 is the place of a directory in that file.
    kept = [(tag, entry) for tag, entry in entries if entry.kind != 13 and not (turned and tag in tags.GEO)]
    return TiffSource(found.order, tuple(kept)) if kept else None


def _dropped(page: Any) -> tuple[str, ...]:
    """What no answer takes over, as sentences."""
    codes = {int(tag.code) for tag in page.tags}
    said: tuple[str, ...] = ()
    if tags.LAYERS in codes:
        # Photoshop would show the layers in place of the picture.
        said += ("Photoshop's layers were left out: they show the picture as it was",)
    if codes & tags.GEO and _orientation(page) not in {None, 1}:
        said += ("the place on a map (GeoTIFF) was left out: the picture was turned",)
    if tags.SIGNATURE in codes:
        said += (SIGNED,)
    if codes & tags.COLOURS and 34675 not in codes:
        said += ("white point, primaries or transfer curve were left out",)
    if 330 in codes:
        said += ("further pictures inside the TIFF (smaller ones, or layers) were left out",)
    return said


def _tag(page: Any, code: int) -> Any:
    """A tag's value as tifffile decodes it; None where there is none, or none that it can decode."""
    with suppress(ValueError, TypeError, LookupError, struct.error):
        found = page.tags.get(code)
        return None if found is None else found.value
    return None


def _number(page: Any, code: int) -> float | None:
    """The first number of a tag; None where it holds none. Writers take any type and count for it."""
    value = _tag(page, code)
    values = value if isinstance(value, tuple) else (value,)
    if not values or not isinstance(values[0], int | float) or not math.isfinite(values[0]):
        return None
    if page.tags.get(code).dtype not in _RATIONALS:
        return values[0]
    return values[0] / values[1] if len(values) > 1 and values[1] else None


def _bytes(page: Any, code: int) -> bytes | None:
    """A tag's value where it is a block of bytes, which some writers call text."""
    value = _tag(page, code)
    if isinstance(value, str):
        return value.encode() or None
    return value if isinstance(value, bytes) and value else None


def _orientation(page: Any) -> int | None:
    value = _number(page, tags.ORIENTATION)
    return int(value) if value is not None and value in range(1, 9) else None


def _dpi(page: Any) -> tuple[float, float] | None:
    """Dots per inch; None where the file states no unit, because then the numbers only give the pixels' shape."""
    per_inch = {2.0: 1.0, 3.0: 2.54}.get(_number(page, 296) or 2.0)
    across, down = _number(page, 282), _number(page, 283)
    if per_inch is None or not across or not down:
        return None
    return across * per_inch, down * per_inch


def _refuse_unsupported(page: Any) -> None:
    """Raise for a TIFF whose samples are no picture in 8 or 16 bits."""
    bits, kind = page.bitspersample, np.dtype(page.dtype).kind if page.dtype is not None else "?"
    if _tag(page, 50706) is not None or page.is_reduced:
        # A raw file's first page is its thumbnail: to restore that in place of the photo would lose the photo.
        raise UnreadableImage("a camera raw file. Develop it to a TIFF or JPEG first.")
    if kind == "f":
        raise UnreadableImage("a float TIFF. Save it as 16-bit integers first.")
    if kind == "c":
        raise UnreadableImage("a TIFF of complex numbers, not a photo. Save its magnitude as 16-bit integers first.")
    if kind == "i":
        raise UnreadableImage(f"a TIFF of signed {bits}-bit integers. Save it as unsigned 16-bit integers first.")
    if kind not in "bu" or not 1 <= bits <= 16:
        raise UnreadableImage(f"a TIFF of {bits} bits per sample. Save it with 8 or 16 bits first.")
    if page.samplesperpixel > 4:
        raise UnreadableImage(
            f"a TIFF of {page.samplesperpixel} channels. Save it as RGB, with alpha or without, first."
        )
    if page.photometric not in {_GREY_INVERTED, _GREY, _RGB, _PALETTE, _CMYK, _YCBCR, _LAB} or page.imagedepth > 1:
        raise UnreadableImage("a TIFF of a colour space that is not supported. Save it as RGB first.")
    if bits > 8 and page.photometric in {_PALETTE, _CMYK, _YCBCR, _LAB}:
        raise UnreadableImage(f"a {bits}-bit TIFF that is neither grey nor RGB. Convert it to RGB first.")


def _refuse_cut_off(page: Any, file: BinaryIO) -> None:
    """Raise if pixel data lies beyond the file's end, or was never written: tifffile would fill it with zeros."""
    size = file.seek(0, io.SEEK_END)
    pieces = list(zip(page.dataoffsets, page.databytecounts, strict=True))
    if any(at + length > size for at, length in pieces):
        raise EOFError
    if missing := sum(at == 0 or length == 0 for at, length in pieces):
        raise UnreadableImage(f"{missing} of the picture's {len(pieces)} pieces are missing. Is there another copy?")


def _arrange(page: Any, samples: np.ndarray, icc: bytes | None) -> Stored:
    """Samples as decoded -> grey or RGB pixels, and alpha."""
    shape = (int(page.imagelength), int(page.imagewidth))
    channels = int(page.samplesperpixel)
    if page.planarconfig == 2 and channels > 1:
        samples = np.moveaxis(samples.reshape(channels, *shape), 0, -1)
    samples = samples.reshape(*shape, channels)
    if page.photometric == _PALETTE:
        return Stored(_look_up(page.colormap, samples[..., 0]))
    samples = _full_range(samples, page.bitspersample)
    if page.photometric in {_CMYK, _LAB} or (page.photometric == _YCBCR and page.compression != _JPEG):
        return _converted(page, samples, icc)
    colours = 1 if page.photometric in {_GREY_INVERTED, _GREY} else 3
    pixels = samples[..., :3] if colours == 3 else samples[..., 0]
    if page.photometric == _GREY_INVERTED:
        pixels = np.iinfo(samples.dtype).max - pixels
    if channels <= colours:
        return Stored(pixels)
    extra = [int(kind) for kind in page.extrasamples]
    if extra == [0]:
        return Stored(pixels, notes=("an extra channel of unknown meaning was dropped",))
    alpha = samples[..., colours]
    if extra == [1]:
        pixels = _divided_by(pixels, alpha)
    if channels > colours + 1:
        return Stored(pixels, alpha, notes=("extra channels of unknown meaning were dropped",))
    return Stored(pixels, alpha)


def _full_range(samples: np.ndarray, bits: int) -> np.ndarray:
    if bits in {8, 16}:
        return samples
    most = (1 << bits) - 1
    wide = samples.astype(np.uint32)
    if bits < 8:
        return ((wide * 255 + most // 2) // most).astype(np.uint8)
    return ((wide * 65535 + most // 2) // most).astype(np.uint16)


def _look_up(colormap: np.ndarray, indices: np.ndarray) -> np.ndarray:
    # Some writers fill the 16-bit palette with 8-bit values.
    palette = colormap if int(colormap.max()) < 256 else colormap >> 8
    colours: np.ndarray = np.ascontiguousarray(palette.T.astype(np.uint8))[indices]
    return colours


def _divided_by(pixels: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    """Colours that were stored multiplied by alpha ("associated"), as they were before; black where alpha is 0."""
    most = int(np.iinfo(pixels.dtype).max)
    opacity = alpha.astype(np.uint32)
    if pixels.ndim == 3:
        opacity = opacity[..., None]
    divisor = np.maximum(opacity, 1)
    colours = (pixels.astype(np.uint32) * most + divisor // 2) // divisor
    return np.where(opacity == 0, 0, np.minimum(colours, most)).astype(pixels.dtype)


def _converted(page: Any, samples: np.ndarray, icc: bytes | None) -> Stored:
    """8-bit CMYK, Lab or YCbCr samples as sRGB pixels."""
    import PIL.Image

    mode = {_CMYK: "CMYK", _LAB: "LAB", _YCBCR: "YCbCr"}[int(page.photometric)]
    if samples.shape[2] != len(PIL.Image.new(mode, (1, 1)).getbands()):
        raise UnreadableImage(f"a TIFF of {mode} with {samples.shape[2]} channels. Save it as RGB first.")
    height, width = samples.shape[:2]
    image = PIL.Image.frombuffer(mode, (width, height), np.ascontiguousarray(samples), "raw", mode, 0, 1)
    made, note = profiles.to_srgb(image, icc)
    return Stored(np.array(made), notes=(note,))


def write_tiff(file: BinaryIO, stored: Stored) -> None:
    """Write a TIFF, deflate with horizontal predictor, from the start of an empty, seekable file.

    By hand, because neither Pillow nor tifffile writes 16-bit colour and the whole EXIF into one TIFF. The file takes
    EXIF's byte order, so that EXIF's values go over as they are.
    """
    pixels, alpha = stored.pixels, stored.alpha
    said = tags.read_directory(io.BytesIO(stored.exif)) if stored.exif else None
    head = tags.Directory(said.order if said else stored.tiff.order if stored.tiff else "<")
    if stored.tiff:
        head.put_further(stored.tiff.order, stored.tiff.tags)
    if said:
        head.below = said.below
        head.entries |= said.entries
    colours = 1 if pixels.ndim == 2 else 3
    channels = colours + (alpha is not None)
    rows = max(1, _STRIP_BYTES // (pixels.shape[1] * channels * pixels.itemsize))
    file.write(bytes(8))
    places, lengths = _write_strips(file, head.order, pixels, alpha, rows)
    head.put(256, 4, pixels.shape[1])
    head.put(257, 4, pixels.shape[0])
    head.put(258, 3, *[8 * pixels.itemsize] * channels)
    head.put(259, 3, _DEFLATE)
    head.put(262, 3, _GREY if colours == 1 else _RGB)
    head.put(273, 4, *places)
    head.put(tags.ORIENTATION, 3, 1)
    head.put(277, 3, channels)
    head.put(278, 4, rows)
    head.put(279, 4, *lengths)
    head.put(284, 3, 1)
    head.put(317, 3, 2)
    if alpha is not None:
        head.put(338, 3, 2)
    if stored.dpi is not None:
        head.put(282, 5, *_ratio(stored.dpi[0]))
        head.put(283, 5, *_ratio(stored.dpi[1]))
        head.put(296, 3, 2)
    if stored.xmp:
        head.put_bytes(700, stored.xmp)
    if stored.icc:
        head.put_bytes(34675, stored.icc)
    at = file.tell()
    file.write(tags.pack_directory(head, at))
    file.seek(0)
    file.write(struct.pack(head.order + "2sHI", b"II" if head.order == "<" else b"MM", 42, at))


def _write_strips(
    file: BinaryIO, order: Literal["<", ">"], pixels: np.ndarray, alpha: np.ndarray | None, rows: int
) -> tuple[list[int], list[int]]:
    """Write the pixels; where each strip begins (even, as TIFF asks) and how long it is."""
    places, lengths = [], []
    for top in range(0, pixels.shape[0], rows):
        strip = pixels[top : top + rows]
        if alpha is not None:
            strip = np.dstack([strip, alpha[top : top + rows]])
        differences = strip.astype(strip.dtype.newbyteorder(order))
        differences[:, 1:] -= strip[:, :-1]
        packed = zlib.compress(differences.tobytes())
        places.append(file.tell())
        lengths.append(len(packed))
        file.write(packed + bytes(len(packed) % 2))
        if file.tell() > 0xF000_0000:
            raise WriteFailed("too large for TIFF, which ends at 4 GB. Write a PNG.")
    return places, lengths


def _ratio(value: float) -> tuple[int, int]:
    """A positive number as TIFF stores it: two 32-bit integers. Exact for up to four digits after the point."""
    scale = 10_000 if value < 100_000 else 1
    numerator = min(round(value * scale), 0xFFFF_FFFF)
    shared = math.gcd(numerator, scale)
    return numerator // shared, scale // shared
