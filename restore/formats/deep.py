"""PNG, PGM and PPM with 16 bits, which Pillow reads as 8 without a word."""

from __future__ import annotations

import math
import struct
import zlib
from collections.abc import Iterator
from dataclasses import replace
from typing import BinaryIO

import numpy as np

from restore.errors import UnreadableImage
from restore.formats import tags
from restore.formats.stored import Stored

_XMP_KEYWORD = b"XML:com.adobe.xmp"


def png_is_deep(file: BinaryIO) -> bool:
    """Whether a PNG's header says 16 bits per sample."""
    file.seek(24)
    return file.read(1) == b"\x10"


def read_png(file: BinaryIO) -> Stored:
    """A 16-bit PNG."""
    import imagecodecs

    icc = exif = xmp = dpi = None
    notes: tuple[str, ...] = ()
    # libpng is given the pixels alone: about a profile that it dislikes it would write to the user's terminal.
    pixel_chunks = [b"\x89PNG\r\n\x1a\n"]
    for kind, data, whole in _png_chunks(file):
        if kind in {b"IHDR", b"tRNS", b"IDAT", b"IEND"}:
            pixel_chunks.append(whole)
        elif kind == b"iCCP":
            # At most 16 MB: a profile is seldom above 3 MB, and a hostile one could unpack to anything.
            icc = _unpacked(data.partition(b"\0")[2][1:], 1 << 24)
            if icc is None:
                notes += ("its colour profile is damaged and was left out",)
        elif kind == b"eXIf":
            exif = data
        elif kind == b"pHYs" and data[8:9] == b"\x01":
            across, down = struct.unpack(">II", data[:8])
            dpi = (across * 0.0254, down * 0.0254)
        elif kind == b"iTXt" and data.startswith(_XMP_KEYWORD + b"\0"):
            xmp = _international_text(data)
        elif kind in {b"tEXt", b"zTXt"} and exif is None:
            exif = _exif_in_text(kind, data)
        elif kind == b"acTL":
            notes += ("an animation: only its first picture was read",)
    samples = imagecodecs.png_decode(b"".join(pixel_chunks))
    del pixel_chunks
    stored = Stored(samples, None, icc, exif, xmp, dpi, tags.orientation_of(exif), notes)
    if samples.ndim == 2:
        return stored
    alpha = samples[..., -1] if samples.shape[2] in {2, 4} else None
    return replace(stored, pixels=samples[..., 0] if samples.shape[2] == 2 else samples[..., :3], alpha=alpha)


def _png_chunks(file: BinaryIO) -> Iterator[tuple[bytes, bytes, bytes]]:
    """Kind, data, and all of each chunk."""
    file.seek(8)
    kind = b""
    while kind != b"IEND":
        head = file.read(8)
        if len(head) < 8:
            raise EOFError
        length, kind = struct.unpack(">I4s", head)
        body = file.read(length + 4)
        if len(body) < length + 4:
            raise EOFError
        yield kind, body[:-4], head + body


def _unpacked(data: bytes, most: int) -> bytes | None:
    """What was compressed, at the most so many bytes; None where it is damaged."""
    try:
        return zlib.decompressobj().decompress(data, most)
    except zlib.error:
        return None


def _exif_in_text(kind: bytes, data: bytes) -> bytes | None:
    """EXIF in a chunk of text: keyword, 0, text, or keyword, 0, method, compressed text."""
    keyword, _, text = data.partition(b"\0")
    if keyword.decode("latin-1") not in tags.EXIF_TEXTS:
        return None
    unpacked = _unpacked(text[1:], 1 << 26) if kind == b"zTXt" else text
    return tags.exif_of_text((unpacked or b"").decode("latin-1"))


def _international_text(data: bytes) -> bytes | None:
    """The text of an iTXt chunk: keyword, 0, compressed?, method, language, 0, translated keyword, 0, text."""
    rest = data.partition(b"\0")[2]
    text = rest[2:].partition(b"\0")[2].partition(b"\0")[2]
    return _unpacked(text, 1 << 26) if rest[:1] == b"\x01" else text


def xmp_chunk(xmp: bytes) -> bytes:
    """The data of the iTXt chunk that holds XMP in a PNG, uncompressed as Adobe asks."""
    return _XMP_KEYWORD + bytes(5) + xmp


def write_png(file: BinaryIO, stored: Stored) -> None:
    """Write a 16-bit PNG."""
    import imagecodecs

    samples = stored.pixels if stored.alpha is None else np.dstack([stored.pixels, stored.alpha])
    # Room for noise, which does not compress: imagecodecs' own guess is too small for a picture one pixel wide.
    room = (samples.nbytes + samples.shape[0]) * 102 // 100 + 4096
    encoded = imagecodecs.png_encode(np.ascontiguousarray(samples), out=room)
    # The signature (8 bytes) and the header chunk (25) come first; all of these may follow directly.
    file.write(encoded[:33])
    if stored.icc:
        file.write(_chunk(b"iCCP", b"ICC Profile\0\0" + zlib.compress(stored.icc)))
    if stored.dpi:
        across, down = (round(value / 0.0254) for value in stored.dpi)
        file.write(_chunk(b"pHYs", struct.pack(">IIB", across, down, 1)))
    if stored.exif:
        file.write(_chunk(b"eXIf", stored.exif))
    if stored.xmp:
        file.write(_chunk(b"iTXt", xmp_chunk(stored.xmp)))
    file.write(memoryview(encoded)[33:])


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def pnm_is_deep(file: BinaryIO) -> bool:
    """Whether a PGM or PPM says that its samples go above 255."""
    file.seek(0)
    head = file.read(2)
    return head in {b"P2", b"P3", b"P5", b"P6"} and _pnm_header(file)[2] > 255


def read_pnm(file: BinaryIO) -> Stored:
    """A binary PGM or PPM of more than 8 bits, scaled to the full range of 16."""
    file.seek(0)
    kind = file.read(2)
    if kind not in {b"P5", b"P6"}:
        raise UnreadableImage("a plain-text PGM or PPM above 8 bits. Save it as a binary one (P5 or P6) first.")
    height, width, most = _pnm_header(file)
    shape = (height, width) if kind == b"P5" else (height, width, 3)
    data = file.read(2 * math.prod(shape))
    if len(data) < 2 * math.prod(shape):
        raise EOFError
    samples = np.frombuffer(data, ">u2").reshape(shape)
    if most == 65535:
        return Stored(samples.astype(np.uint16))
    return Stored(((np.minimum(samples, most).astype(np.uint32) * 65535 + most // 2) // most).astype(np.uint16))


def _pnm_header(file: BinaryIO) -> tuple[int, int, int]:
    """Height, width and the largest value; the file then stands at the first sample."""
    file.seek(2)
    numbers: list[int] = []
    while len(numbers) < 3:
        word = b""
        while (byte := file.read(1)) and not byte.isspace():
            if byte == b"#":
                file.readline()
                break
            word += byte
        if word:
            numbers.append(int(word))
        elif not byte:
            raise EOFError
    width, height, most = numbers
    if not 1 <= most <= 65535:
        raise UnreadableImage(f"its largest value is said to be {most}, outside 1 to 65535. The file is damaged.")
    return height, width, most
