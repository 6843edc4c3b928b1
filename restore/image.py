"""Pictures as pixels in memory and as files: read, write, and everything that must survive in between.

With the private `formats` below it, alone knows file formats, and alone knows Pillow's (width, height).
"""

from __future__ import annotations

import errno
import io
import math
import os
import secrets
import shutil
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO

import numpy as np

from restore.errors import BadOption, NotEnoughMemory, UnreadableImage, WriteFailed
from restore.formats import deep, pillow, png, profiles, tags, tiff
from restore.formats.stored import JpegSource, PngSource, Stored, TiffSource, turned

#: Above this many pixels nothing is decoded: 1.2 GB as 8-bit RGB. An A2 sheet scanned at 600 dpi has 139 million.
DEFAULT_MAX_PIXELS = 400_000_000

_WRITABLE = {
    ".png": "PNG",
    ".jpg": "JPEG",
    ".jpeg": "JPEG",
    ".jpe": "JPEG",
    ".jfif": "JPEG",
    ".tif": "TIFF",
    ".tiff": "TIFF",
    ".webp": "WEBP",
    ".bmp": "BMP",
}
_READABLE = frozenset({*_WRITABLE, ".mpo", ".apng", ".gif", ".ppm", ".pgm", ".pbm", ".pnm"})
_HOLDS_16_BITS = frozenset({"PNG", "TIFF"})
_HOLDS_ALPHA = frozenset({"PNG", "TIFF", "WEBP"})
# libjpeg stops at 65,500 although the format's field would hold 65,535; WebP's field has 14 bits.
_LONGEST_SIDE = {"JPEG": 65_500, "WEBP": 16_383}
# A JPEG segment's length field has 16 bits, of which each kind needs some for its own name.
_JPEG_EXIF_MOST, _JPEG_XMP_MOST = 65_527, 65_504
# Dots per inch, least and most: PNG and BMP hold whole dots per metre in 31 bits, JPEG per inch in 16, TIFF two numbers
# of 32 bits.
_DPI = {
    "PNG": (0.0254, 0.0254 * (2**31 - 1)),
    "BMP": (0.0254, 0.0254 * (2**31 - 1)),
    "JPEG": (1.0, 65_535.0),
    "TIFF": (0.0001, 2**32 - 1.0),
}
_ROWS = 256


@dataclass(frozen=True, slots=True, eq=False)
class Image:
    """A picture, upright, with all that its file said about it."""

    pixels: np.ndarray
    """(H, W, 3) RGB or (H, W) grey, uint8 or uint16."""
    alpha: np.ndarray | None = None
    """(H, W), same dtype as the pixels; never shown to a network."""
    icc: bytes | None = None
    exif: bytes | None = None
    """From the byte order mark on, without JPEG's "Exif" prefix. Orientation is already applied and set to 1."""
    xmp: bytes | None = None
    dpi: tuple[float, float] | None = None
    """Across, down."""
    format: str = "PNG"
    """What the file's content was, whatever its name: JPEG, PNG, TIFF, WEBP, BMP, GIF or PPM."""
    notes: tuple[str, ...] = ()
    """What the user should be told once about how the file was read."""
    jpeg: JpegSource | None = None
    lossless: bool = False
    """A WebP that was compressed without loss, and is to be written so."""
    png: PngSource | None = None
    tiff: TiffSource | None = None
    dropped: tuple[str, ...] = ()
    """What no file takes over that is written of this picture, as sentences for the user."""

    def __post_init__(self) -> None:
        pixels, alpha = self.pixels, self.alpha
        if not (pixels.ndim == 2 or (pixels.ndim == 3 and pixels.shape[2] == 3)) or 0 in pixels.shape:
            raise ValueError(f"pixels must be (H, W) or (H, W, 3) and not empty, got {pixels.shape}")
        if pixels.dtype not in {np.dtype(np.uint8), np.dtype(np.uint16)}:
            raise ValueError(f"pixels must be uint8 or uint16, got {pixels.dtype}")
        if alpha is not None and (alpha.shape != pixels.shape[:2] or alpha.dtype != pixels.dtype):
            raise ValueError(f"alpha must be {pixels.shape[:2]} {pixels.dtype}, got {alpha.shape} {alpha.dtype}")

    def __repr__(self) -> str:
        # Not the pixels, and not what a camera wrote about them: thousands of lines in a notebook.
        kind = ("grey" if self.is_grey else "RGB") + (" with alpha" if self.alpha is not None else "")
        return f"<Image: {self.width} x {self.height}, {kind}, {self.bit_depth} bits, {self.format}>"

    @property
    def height(self) -> int:
        return int(self.pixels.shape[0])

    @property
    def width(self) -> int:
        return int(self.pixels.shape[1])

    @property
    def is_grey(self) -> bool:
        return self.pixels.ndim == 2

    @property
    def bit_depth(self) -> int:
        """8 or 16."""
        return 8 * self.pixels.itemsize

    def with_pixels(self, pixels: np.ndarray) -> Image:
        """The same picture with other pixels of the same height and width.

        They may be grey where these are RGB or the other way round, and 8-bit where these are 16: the profile and
        alpha follow. Raises ValueError if the size differs.
        """
        if pixels.shape[:2] != self.pixels.shape[:2]:
            raise ValueError(f"pixels must be {self.pixels.shape[:2]}, got {pixels.shape[:2]}")
        alpha, icc = self.alpha, self.icc
        if alpha is not None and alpha.dtype != pixels.dtype:
            alpha = to_8_bits(alpha) if pixels.dtype == np.uint8 else alpha.astype(np.uint16) * np.uint16(257)
        if not self.is_grey and pixels.ndim == 2:
            # An RGB profile is kept on pixels that came grey, but none is to be put there.
            icc = None
        return replace(self, pixels=pixels, alpha=alpha, icc=profiles.fitting_profile(icc, is_grey=pixels.ndim == 2))


def read(
    source: str | Path | bytes | BinaryIO, *, max_pixels: int | None = DEFAULT_MAX_PIXELS, name: str | None = None
) -> Image:
    """The picture in a file, recognised by its content and turned upright.

    Of several pages or frames the first, which `notes` then says. `name` is what error messages call the source; None:
    its path. Raises UnreadableImage if it is no picture, damaged, or has more than `max_pixels` (None: no limit), and
    NotEnoughMemory.
    """
    with _opened(source, name) as (file, shown), _explained(file, shown):
        kind = _recognise(file)
        height, width = _size(file, kind)
        if max_pixels is not None and height * width > max_pixels:
            raise UnreadableImage(
                f"{width} x {height} pixels are {height * width / 1e6:,.0f} megapixels, above the limit of "
                f"{max_pixels / 1e6:,.0f}. Scale it down first, or, if the file is trusted, read it in Python with "
                "more `max_pixels`."
            )
        if kind == "TIFF":
            stored = tiff.read_tiff(file)
        elif kind == "PNG" and deep.png_is_deep(file):
            stored = deep.read_png(file)
        elif kind == "PPM" and deep.pnm_is_deep(file):
            stored = deep.read_pnm(file)
        elif kind == "PNG":
            stored = pillow.read_plain_png(file)
        elif kind == "JPEG":
            stored = pillow.read_jpeg(file)
        else:
            stored = pillow.read_plain(file, kind)
        return _upright(stored, kind)


def probe_size(source: str | Path | bytes | BinaryIO) -> tuple[int, int]:
    """Height and width of the upright picture from the file's header alone; no pixel is decoded.

    Raises UnreadableImage as `read` does. (A PNG's orientation counts only where it comes before the pixels.)
    """
    with _opened(source, None) as (file, shown), _explained(file, shown):
        return _size(file, _recognise(file))


def write(
    image: Image,
    path: str | Path,
    *,
    format: str | None = None,  # noqa: A002
    beside: Callable[[], None] = lambda: None,
    mode_of: Path | None = None,
) -> None:
    """Write a picture, whole or not at all; missing folders are made. An existing file is replaced.

    `format` None: what the suffix says. `beside` is called once the file is complete, just before it appears, and
    writes what belongs to it: what it raises goes on to the caller, and no file appears. `mode_of` is the file whose
    permissions to take over, where the disk knows such. Raises BadOption if there is no such format and WriteFailed for
    the rest.
    """
    path = Path(path)
    kind = format_for(path) if format is None else _known_format(format)
    with _whole_or_nothing(path, mode_of) as file:
        with _write_explained(path):
            _check_limits(image, kind)
            _encode_into(image, kind, file)
            _flush(file)
        beside()


def copy(
    source: Path | bytes,
    path: Path,
    *,
    beside: Callable[[], None] = lambda: None,
    mode_of: Path | None = None,
) -> None:
    """Put the same bytes into another file as `write` does, whole or not at all. Raises WriteFailed."""
    with _whole_or_nothing(path, mode_of) as file:
        with (
            _write_explained(path),
            io.BytesIO(source) if isinstance(source, bytes) else source.open("rb") as origin,
        ):
            shutil.copyfileobj(origin, file)
            _flush(file)
        beside()


def encode(image: Image, format: str) -> bytes:  # noqa: A002
    """The bytes of a file of this format. Raises BadOption or WriteFailed as `write` does."""
    kind = _known_format(format)
    with _write_explained(None):
        _check_limits(image, kind)
        file = io.BytesIO()
        _encode_into(image, kind, file)
        return file.getvalue()


def losses(image: Image, format: str) -> tuple[str, ...]:  # noqa: A002
    """What a file of this format will lack of what the picture's own held, as sentences; empty when all fits."""
    kind = _known_format(format)
    return (*_lost_of_picture(image, kind), *_lost_of_words(image, kind), *image.dropped)


def _lost_of_picture(image: Image, kind: str) -> Iterator[str]:
    if image.bit_depth == 16 and kind not in _HOLDS_16_BITS:
        yield f"{kind} holds 8 bits per channel: 16 bits were rounded to 8"
    if image.alpha is not None and kind not in _HOLDS_ALPHA:
        yield f"{kind} holds no transparency: the picture was laid on white"
    if image.dpi and kind == "WEBP" and not (image.exif and tags.has_resolution(image.exif)):
        yield "WEBP holds a resolution in EXIF alone: it was left out"
    if image.dpi and kind != "WEBP" and not _holds_dpi(kind, image.dpi):
        yield f"a resolution that {kind} cannot hold was left out"


def _lost_of_words(image: Image, kind: str) -> Iterator[str]:
    if kind != "JPEG" and image.jpeg and image.jpeg.segments:
        yield f"{kind} holds no captions as JPEG does (IPTC beside EXIF and XMP, comments): they were left out"
    if kind != "PNG" and image.png and image.png.texts:
        yield f"{kind} holds no texts as PNG does (title, author and such): they were left out"
    if kind != "PNG" and image.png and image.png.colours and not image.icc:
        yield f"{kind} holds no gamma, primaries or mark of sRGB as PNG does: they were left out"
    if kind != "TIFF" and image.tiff:
        yield f"{kind} holds nothing like what the TIFF held: {', '.join(_named_tags(image.tiff))}"
    if kind == "BMP" and (image.icc or image.exif or image.xmp):
        yield "BMP holds no profile, EXIF or XMP: they were left out"


def _named_tags(source: TiffSource) -> Iterator[str]:
    codes = {code for code, _ in source.tags}
    if tags.PHOTOSHOP in codes:
        yield "Photoshop's block"
    if codes & tags.GEO:
        yield "places on a map (GeoTIFF)"
    if codes - tags.GEO - {tags.PHOTOSHOP}:
        yield "tags of other programs"


def _holds_dpi(kind: str, dpi: tuple[float, float]) -> bool:
    least, most = _DPI.get(kind, (math.inf, 0.0))
    return all(least <= value <= most for value in dpi)


def format_for(path: Path) -> str:
    """The format that a file of this name is written in. Raises BadOption if its suffix stands for none."""
    if path.suffix.lower() not in _WRITABLE:
        named = f"'{path.suffix}' files cannot be written" if path.suffix else "the name has no suffix"
        raise BadOption(f"{path}: {named}. Use one of {' '.join(_WRITABLE)}.")
    return _WRITABLE[path.suffix.lower()]


def is_picture_name(path: Path) -> bool:
    """Whether a file of this name is likely a picture that can be read."""
    return path.suffix.lower() in _READABLE


def _known_format(kind: str) -> str:
    known = sorted({*_WRITABLE.values()})
    if kind.upper() not in known:
        raise BadOption(f"{kind} cannot be written. Use one of {', '.join(known)}.")
    return kind.upper()


@contextmanager
def _opened(source: str | Path | bytes | BinaryIO, name: str | None) -> Iterator[tuple[BinaryIO, str]]:
    """A seekable file, and what messages call it."""
    if isinstance(source, str):
        source = Path(source)
    if isinstance(source, bytes):
        yield io.BytesIO(source), name or "the picture"
    elif isinstance(source, Path):
        shown = name or str(source)
        try:
            file = source.open("rb")
        except (FileNotFoundError, NotADirectoryError, ValueError):
            raise UnreadableImage(f"{shown}: no such file. Is the name spelled right?") from None
        except IsADirectoryError:
            raise UnreadableImage(f"{shown}: a folder, not a picture. Name a file in it.") from None
        except PermissionError:
            raise UnreadableImage(f"{shown}: no permission to read it. Change its mode or ask its owner.") from None
        except OSError as error:
            raise UnreadableImage(f"{shown}: cannot be opened: {error.strerror}. Is its disk still there?") from error
        with file:
            yield file if file.seekable() else io.BytesIO(file.read()), shown
    else:
        yield source if source.seekable() else io.BytesIO(source.read()), name or "the picture"


@contextmanager
def _explained(file: BinaryIO, shown: str) -> Iterator[None]:
    """Turn whatever a decoder throws at damaged data into one sentence with the file's name."""
    try:
        yield
    except UnreadableImage as error:
        raise UnreadableImage(f"{shown}: {error}") from error.__cause__
    except MemoryError as error:
        raise NotEnoughMemory(
            f"{shown}: not enough memory to decode it. Close other programs or scale it down."
        ) from error
    except Exception as error:
        # Everything, on purpose: four decoders raise a dozen unrelated types for a file that someone damaged.
        size = file.seek(0, io.SEEK_END)
        if isinstance(error, EOFError) or "truncated" in str(error) or not _ends_as_it_should(file, size):
            raise UnreadableImage(
                f"{shown}: the file ends early ({size:,} bytes). Is the download complete?"
            ) from error
        raise UnreadableImage(f"{shown}: the picture is damaged ({error}). Is there another copy?") from error


def _ends_as_it_should(file: BinaryIO, size: int) -> bool:
    """False if the format's end is missing: what the decoder then complains about is a consequence."""
    file.seek(0)
    head = file.read(12)
    file.seek(max(0, size - 4096))
    tail = file.read()
    if head.startswith(b"\xff\xd8"):
        return b"\xff\xd9" in tail
    if head.startswith(b"\x89PNG"):
        return b"IEND" in tail
    if head.startswith(b"RIFF"):
        return int.from_bytes(head[4:8], "little") + 8 <= size
    if head.startswith(b"BM"):
        return int.from_bytes(head[2:6], "little") <= size
    return True


def _recognise(file: BinaryIO) -> str:
    """The format by the content's first bytes."""
    file.seek(0)
    head = file.read(16)
    if not head:
        raise UnreadableImage("the file is empty (0 bytes). Is the download complete?")
    starts = {
        "JPEG": (b"\xff\xd8\xff",),
        "PNG": (b"\x89PNG\r\n\x1a\n",),
        "TIFF": (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"),
        "GIF": (b"GIF87a", b"GIF89a"),
        "BMP": (b"BM",),
        "PPM": tuple(b"P%d%b" % (digit, space) for digit in range(1, 7) for space in (b"\n", b" ", b"\t", b"\r")),
    }
    for kind, beginnings in starts.items():
        if head.startswith(beginnings):
            return kind
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "WEBP"
    if head[4:8] == b"ftyp":
        raise UnreadableImage("a HEIC, AVIF or video file. Save it as JPEG or PNG first.")
    raise UnreadableImage("not a picture that can be read. Give a JPEG, PNG, TIFF, WebP, BMP, GIF, PPM or PGM file.")


def _size(file: BinaryIO, kind: str) -> tuple[int, int]:
    """Height and width, upright, without decoding."""
    if kind == "TIFF":
        size, orientation = tiff.probe_tiff(file)
    elif kind == "PNG":
        size, orientation = png.probe_png(file)
    else:
        size, orientation = pillow.probe_plain(file, kind)
    return (size[1], size[0]) if orientation in {5, 6, 7, 8} else size


def _upright(stored: Stored, kind: str) -> Image:
    pixels = np.ascontiguousarray(turned(stored.pixels, stored.orientation))
    alpha = None if stored.alpha is None else np.ascontiguousarray(turned(stored.alpha, stored.orientation))
    exif, xmp = stored.exif, stored.xmp
    if stored.orientation is not None:
        exif = tags.upright_exif(exif) if exif else None
        if exif and stored.orientation >= 5:
            exif = tags.sideways_exif(exif)
        xmp = tags.upright_xmp(xmp) if xmp else None
    dpi = stored.dpi
    if dpi is not None:
        if not all(math.isfinite(value) and value > 0 for value in dpi):
            dpi = None
        elif stored.orientation in {5, 6, 7, 8}:
            dpi = (dpi[1], dpi[0])
    icc = profiles.fitting_profile(stored.icc, is_grey=pixels.ndim == 2)
    return Image(
        pixels,
        alpha,
        icc,
        exif,
        xmp,
        dpi,
        kind,
        stored.notes,
        stored.jpeg,
        stored.lossless,
        stored.png,
        stored.tiff,
        stored.dropped,
    )


def _check_limits(image: Image, kind: str) -> None:
    most = _LONGEST_SIDE.get(kind)
    if most is not None and max(image.height, image.width) > most:
        raise WriteFailed(
            f"{image.width} x {image.height} pixels are too many for {kind}, whose longest side is {most:,}. "
            "Write a PNG."
        )
    if kind == "JPEG" and len(image.exif or b"") > _JPEG_EXIF_MOST:
        raise WriteFailed(f"EXIF of {len(image.exif or b''):,} bytes does not fit into a JPEG. Write a PNG.")
    if kind == "JPEG" and len(image.xmp or b"") > _JPEG_XMP_MOST:
        raise WriteFailed(f"XMP of {len(image.xmp or b''):,} bytes does not fit into a JPEG. Write a PNG.")


@contextmanager
def _whole_or_nothing(path: Path, mode_of: Path | None) -> Iterator[BinaryIO]:
    """A file to fill that takes the place of `path` at the end, or leaves no trace; raises WriteFailed."""
    made: list[Path] = []
    file: BinaryIO | None = None
    # Named by chance and not after the picture: two writers must not share it, and a long name must not grow longer.
    part = path.parent / f".{secrets.token_hex(8)}.part"
    try:
        with _write_explained(path):
            made += [folder for folder in path.parents if not folder.exists()]
            path.parent.mkdir(parents=True, exist_ok=True)
            file = part.open("xb")
            _take_over_mode(mode_of, part)
        yield file
        with _write_explained(path):
            file.close()
            part.replace(path)
    except BaseException:
        # What still waits to be written may be what could not be.
        with suppress(OSError):
            if file:
                file.close()
        with suppress(OSError):
            part.unlink()
        for folder in made:
            with suppress(OSError):
                folder.rmdir()
        raise


def _take_over_mode(source: Path | None, part: Path) -> None:
    """Give a file the permissions of another, if that is no pipe; not every disk knows permissions."""
    if source is not None:
        with suppress(OSError):
            mode = source.stat().st_mode
            # At once and not at the end: nobody is to look into a private photo while it is being written.
            if stat.S_ISREG(mode):
                part.chmod(mode & 0o777)


def _flush(file: BinaryIO) -> None:
    """Bring what was written to the disk: a name given before that could be one of an empty file after a power cut."""
    file.flush()
    os.fsync(file.fileno())


@contextmanager
def _write_explained(path: Path | None) -> Iterator[None]:
    """Turn a failure to encode or to write into one sentence with the file's name."""
    start = "" if path is None else f"{path}: "
    try:
        yield
    except WriteFailed as error:
        raise WriteFailed(f"{start}{error}") from error.__cause__
    except MemoryError as error:
        raise NotEnoughMemory(f"{start}not enough memory to encode it. Close other programs.") from error
    except OSError as error:
        if error.errno in {errno.ENOSPC, errno.EDQUOT}:
            reason = "the disk is full. Make room, or write to another disk."
        elif error.errno in {errno.EACCES, errno.EPERM, errno.EROFS}:
            reason = "no permission to write there. Choose another folder."
        elif error.errno in {errno.EISDIR, errno.ENOTDIR, errno.EEXIST}:
            reason = "a folder of this name, or a file in place of its folder, is in the way. Choose another name."
        else:
            reason = f"cannot be written: {error.strerror or error}. Choose another folder."
        raise WriteFailed(f"{start}{reason}") from error


def _encode_into(image: Image, kind: str, file: BinaryIO) -> None:
    pixels, alpha = image.pixels, image.alpha
    if image.bit_depth == 16 and kind not in _HOLDS_16_BITS:
        pixels = to_8_bits(pixels)
        alpha = None if alpha is None else to_8_bits(alpha)
    if alpha is not None and kind not in _HOLDS_ALPHA:
        pixels, alpha = _on_white(pixels, alpha), None
    icc = image.icc
    if icc and image.is_grey and kind == "WEBP":
        # WebP knows no grey: its pixels come back as RGB, and a grey profile on them would be a broken file.
        if icc[16:20] == b"GRAY":
            pixels = profiles.grey_in_srgb(pixels, icc)
        icc = profiles.fitting_profile(icc, is_grey=False)
    dpi = image.dpi if image.dpi and _holds_dpi(kind, image.dpi) else None
    stored = Stored(
        pixels,
        alpha,
        icc,
        image.exif,
        image.xmp,
        dpi,
        jpeg=image.jpeg,
        lossless=image.lossless,
        png=image.png,
        tiff=image.tiff,
    )
    if kind == "TIFF":
        tiff.write_tiff(file, stored)
    elif kind == "PNG" and image.bit_depth == 16:
        deep.write_png(file, stored)
    else:
        pillow.write_plain(file, stored, kind)


def to_8_bits(samples: np.ndarray) -> np.ndarray:
    """uint16 samples of any shape rounded to uint8, 65535 being 255 x 257; uint8 as it is."""
    if samples.dtype == np.uint8:
        return samples
    small = np.empty(samples.shape, np.uint8)
    for top in range(0, samples.shape[0], _ROWS):
        small[top : top + _ROWS] = (samples[top : top + _ROWS].astype(np.uint32) + 128) // 257
    return small


def _on_white(pixels: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    """8-bit pixels laid on white; merely dropping alpha would show what it hides."""
    laid = np.empty_like(pixels)
    for top in range(0, pixels.shape[0], _ROWS):
        strip = pixels[top : top + _ROWS].astype(np.uint32)
        opacity = alpha[top : top + _ROWS].astype(np.uint32)
        if strip.ndim == 3:
            opacity = opacity[..., None]
        laid[top : top + _ROWS] = (strip * opacity + 255 * (255 - opacity) + 127) // 255
    return laid
