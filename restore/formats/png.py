"""A PNG of any depth as its chunks: how large it is, what it says beside its pixels, and where these lie.

By hand, because Pillow refuses a file for a profile or text above 1 MiB, and libpng writes to the user's terminal about
a profile that it dislikes: both are given the chunks of the pixels alone.
"""

from __future__ import annotations

import io
import struct
import zlib
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import accumulate
from typing import Any, BinaryIO, NamedTuple, cast

import numpy as np

from restore.formats import tags
from restore.formats.stored import SIGNED, PngSource, Stored

_SIGNATURE_BYTES = 8
_XMP_KEYWORD = b"XML:com.adobe.xmp"
# The chunks that say something about the picture.
_TEXTS = frozenset({b"tEXt", b"zTXt", b"iTXt"})
_COLOURS = frozenset({b"gAMA", b"cHRM", b"sRGB", b"cICP"})
_SAID = _TEXTS | _COLOURS | {b"IHDR", b"iCCP", b"eXIf", b"pHYs", b"acTL"}
# Content credentials, and Apple's list of places in the file.
_SIGNATURE, _OF_APPLE = b"caBX", b"iDOT"
# Profiles are seldom above 3 MB and XMP seldom above 1; a hostile one could unpack to anything.
_UNPACKED_MOST = 1 << 26
_GREY, _RGB, _PALETTE = 0, 2, 3
_SAMPLES = {_GREY: 1, _RGB: 3, _PALETTE: 1, 4: 2, 6: 4}
# The passes of an interlaced picture: first column and row, and the step to the next (PNG, 8.2: Adam7).
_ADAM7 = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))


class _Chunk(NamedTuple):
    """A chunk's name, where its data begins, and how long these are said to be."""

    kind: bytes
    at: int
    length: int


@dataclass(frozen=True, slots=True)
class Header:
    """What a PNG's first chunk says."""

    height: int
    width: int
    bits: int
    colour: int
    interlaced: bool

    @property
    def unpacked_bytes(self) -> int:
        """How long the scanlines are, each with one byte for its filter."""
        passes = _ADAM7 if self.interlaced else ((0, 0, 1, 1),)
        total = 0
        for left, top, across, down in passes:
            width, height = -(-(self.width - left) // across), -(-(self.height - top) // down)
            if width > 0 and height > 0:
                total += height * (1 + -(-width * self.bits * _SAMPLES.get(self.colour, 1) // 8))
        return total


@dataclass(frozen=True, slots=True)
class Around:
    """All of a PNG but its pixels, and where these lie."""

    header: Header
    pixels: BinaryIO
    """The file with the chunks of the pixels alone."""
    data: tuple[tuple[int, int], ...]
    """Where the compressed pixels lie in the file: place and length of each part."""
    whole: bool
    """Whether the file has its end."""
    icc: bytes | None
    exif: bytes | None
    xmp: bytes | None
    dpi: tuple[float, float] | None
    notes: tuple[str, ...]
    source: PngSource | None
    dropped: tuple[str, ...]

    @property
    def orientation(self) -> int | None:
        return tags.orientation_of(self.exif)

    def with_pixels(self, pixels: np.ndarray, alpha: np.ndarray | None) -> Stored:
        """The picture in full."""
        return Stored(
            pixels,
            alpha,
            self.icc,
            self.exif,
            self.xmp,
            self.dpi,
            self.orientation,
            self.notes,
            png=self.source,
            dropped=self.dropped,
        )


def probe_png(file: BinaryIO) -> tuple[tuple[int, int], int | None]:
    """Stored height and width, and the orientation, from what comes before the pixels. Raises EOFError without any."""
    header, exif = None, None
    for chunk in _chunks(file):
        if chunk.kind == b"IHDR":
            header = _header(_data(file, chunk))
        elif chunk.kind == b"eXIf":
            exif = _data(file, chunk)
        elif chunk.kind in {b"tEXt", b"zTXt"} and exif is None and _may_hold_exif(file, chunk):
            exif = _exif_in_text(chunk.kind, _data(file, chunk))
        elif chunk.kind == b"IDAT" and header is not None:
            return (header.height, header.width), tags.orientation_of(exif)
    raise EOFError


def read_around(file: BinaryIO) -> Around:
    """What a PNG says beside its pixels. Raises EOFError if the file ends within that."""
    chunks = list(_chunks(file))
    said = [(chunk.kind, _data(file, chunk)) for chunk in chunks if chunk.kind in _SAID]
    last = dict(said)
    if b"IHDR" not in last:
        raise EOFError
    header = _header(last[b"IHDR"])
    icc = _unpacked(last[b"iCCP"].partition(b"\0")[2][1:]) if b"iCCP" in last else None
    exif, xmp = _exif_and_xmp(said)
    notes: tuple[str, ...] = ()
    if b"iCCP" in last and icc is None:
        notes += ("its colour profile is damaged and was left out",)
    if last.get(b"acTL", b"")[:4] > bytes((0, 0, 0, 1)):
        notes += ("an animation: only its first picture was read",)
    return Around(
        header,
        _pixels_alone(file, chunks, header),
        tuple((chunk.at, chunk.length) for chunk in chunks if chunk.kind == b"IDAT"),
        chunks[-1].kind == b"IEND",
        icc,
        exif,
        xmp,
        _dots_per_inch(last.get(b"pHYs", b"")),
        notes,
        _source(said, icc),
        _dropped({chunk.kind for chunk in chunks}),
    )


def _exif_and_xmp(said: list[tuple[bytes, bytes]]) -> tuple[bytes | None, bytes | None]:
    """From the chunks' names and data, in the file's order."""
    exif = exif_text = xmp = None
    for kind, data in said:
        if kind == b"eXIf":
            exif = data
        elif kind in {b"tEXt", b"zTXt"}:
            exif_text = exif_text or _exif_in_text(kind, data)
        elif kind == b"iTXt" and data.startswith(_XMP_KEYWORD + b"\0"):
            xmp = _international_text(data)
    return exif or exif_text, xmp


def _source(said: list[tuple[bytes, bytes]], icc: bytes | None) -> PngSource | None:
    """The chunks that go over into another PNG as they are."""
    elsewhere = {_XMP_KEYWORD, *(keyword.encode() for keyword in tags.EXIF_TEXTS)}
    texts = [(kind, data) for kind, data in said if kind in _TEXTS and data.partition(b"\0")[0] not in elsewhere]
    colours = {kind: data for kind, data in said if kind in _COLOURS}
    return PngSource(tuple(texts), tuple(colours.items()), icc) if texts or colours else None


def _dropped(kinds: set[bytes]) -> tuple[str, ...]:
    """What no answer takes over, as sentences."""
    said = (SIGNED,) if _SIGNATURE in kinds else ()
    # The second letter is small in the names that no standard gives; the first is too, unless the pixels need them.
    own = sorted(kind.decode() for kind in kinds - {_SIGNATURE, _OF_APPLE} if kind[:2].islower())
    return (*said, f"chunks that no standard names ({', '.join(own)}) were left out") if own else said


def _pixels_alone(file: BinaryIO, chunks: list[_Chunk], header: Header) -> BinaryIO:
    """The chunks that give the pixels, as a file; a palette is only advice for a picture that is none."""
    wanted = {b"IHDR", b"IDAT", b"IEND"}
    if header.colour == _PALETTE:
        wanted.add(b"PLTE")
    if header.colour in {_GREY, _RGB, _PALETTE}:
        wanted.add(b"tRNS")
    pieces = [(0, _SIGNATURE_BYTES), *((chunk.at - 8, chunk.length + 12) for chunk in chunks if chunk.kind in wanted)]
    return cast("BinaryIO", io.BufferedReader(_Pieces(file, pieces), 1 << 16))


def _chunks(file: BinaryIO) -> Iterator[_Chunk]:
    """The chunks up to IEND, their data passed over; fewer without a word where the file ends or goes wrong."""
    size = file.seek(0, io.SEEK_END)
    at = _SIGNATURE_BYTES
    while at + 8 <= size:
        file.seek(at)
        length, kind = struct.unpack(">I4s", file.read(8))
        if not kind.isalpha():
            return
        yield _Chunk(kind, at + 8, length)
        if kind == b"IEND":
            return
        at += length + 12


def _data(file: BinaryIO, chunk: _Chunk) -> bytes:
    file.seek(chunk.at)
    data = file.read(chunk.length)
    if len(data) < chunk.length:
        raise EOFError
    return data


def _header(data: bytes) -> Header:
    width, height, bits, colour, _, _, interlaced = struct.unpack(">IIBBBBB", data[:13])
    return Header(height, width, bits, colour, bool(interlaced))


def _dots_per_inch(data: bytes) -> tuple[float, float] | None:
    """Of a pHYs chunk; None where it gives no unit."""
    if data[8:9] != b"\x01":
        return None
    across, down = struct.unpack(">II", data[:8])
    return across * 0.0254, down * 0.0254


def _unpacked(data: bytes) -> bytes | None:
    """What was compressed; None where it is damaged or larger than anything that is meant to be read."""
    unpacking = zlib.decompressobj()
    try:
        unpacked = unpacking.decompress(data, _UNPACKED_MOST)
    except zlib.error:
        return None
    return None if unpacking.unconsumed_tail else unpacked


def _may_hold_exif(file: BinaryIO, chunk: _Chunk) -> bool:
    """Whether a chunk of text begins as one with EXIF does; the rest of it is not read."""
    file.seek(chunk.at)
    return file.read(len("Raw profile type")) == b"Raw profile type"


def _exif_in_text(kind: bytes, data: bytes) -> bytes | None:
    """EXIF in a chunk of text: keyword, 0, text, or keyword, 0, method, compressed text."""
    keyword, _, text = data.partition(b"\0")
    if keyword.decode("latin-1") not in tags.EXIF_TEXTS:
        return None
    unpacked = _unpacked(text[1:]) if kind == b"zTXt" else text
    return tags.exif_of_text((unpacked or b"").decode("latin-1"))


def _international_text(data: bytes) -> bytes | None:
    """The text of an iTXt chunk: keyword, 0, compressed?, method, language, 0, translated keyword, 0, text."""
    rest = data.partition(b"\0")[2]
    text = rest[2:].partition(b"\0")[2].partition(b"\0")[2]
    return _unpacked(text) if rest[:1] == b"\x01" else text


def rows_are_missing(file: BinaryIO, around: Around) -> bool:
    """Whether the compressed pixels unpack to less than the header promises. Takes the time of unpacking them."""
    missing = around.header.unpacked_bytes
    unpacking = zlib.decompressobj()
    for at, length in around.data:
        for start in range(0, length, 1 << 16):
            file.seek(at + start)
            packed = file.read(min(1 << 16, length - start))
            while packed and missing > 0:
                missing -= len(unpacking.decompress(packed, 1 << 18))
                packed = unpacking.unconsumed_tail
            if missing <= 0:
                return False
    return missing > len(unpacking.flush())


def further_chunks(stored: Stored) -> list[tuple[bytes, bytes]]:
    """Names and data of the chunks to write beside size, profile, resolution, EXIF and pixels, and before these."""
    further: list[tuple[bytes, bytes]] = []
    if stored.png:
        if stored.png.icc == stored.icc:
            # A file must not have the mark of sRGB beside a profile (PNG, 11.3.3.5).
            further += [(kind, data) for kind, data in stored.png.colours if not (stored.icc and kind == b"sRGB")]
        further += stored.png.texts
    if stored.xmp:
        # Uncompressed, as Adobe asks.
        further.append((b"iTXt", _XMP_KEYWORD + bytes(5) + stored.xmp))
    return further


class _Pieces(io.RawIOBase):
    """Parts of a file, one after the other, as a file of their own: no second copy is made."""

    def __init__(self, file: BinaryIO, pieces: list[tuple[int, int]]) -> None:
        self._file = file
        self._pieces = pieces
        self._starts = [0, *accumulate(length for _, length in pieces)]
        self._here = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        self._here = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._here, io.SEEK_END: self._starts[-1]}[whence]
        return self._here

    def readinto(self, buffer: Any, /) -> int:
        if self._here >= self._starts[-1]:
            return 0
        index = bisect_right(self._starts, self._here) - 1
        at, length = self._pieces[index]
        within = self._here - self._starts[index]
        self._file.seek(at + within)
        data = self._file.read(min(len(buffer), length - within))
        buffer[: len(data)] = data
        self._here += len(data)
        return len(data)
