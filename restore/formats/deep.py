"""PNG, PGM and PPM with 16 bits, which Pillow reads as 8 without a word."""

from __future__ import annotations

import math
import struct
import zlib
from typing import BinaryIO

import numpy as np

from restore.errors import UnreadableImage
from restore.formats import png
from restore.formats.stored import Stored


def png_is_deep(file: BinaryIO) -> bool:
    """Whether a PNG's header says 16 bits per sample."""
    file.seek(24)
    return file.read(1) == b"\x10"


def read_png(file: BinaryIO) -> Stored:
    """A 16-bit PNG."""
    import imagecodecs

    around = png.read_around(file)
    if not around.whole:
        raise EOFError
    samples = imagecodecs.png_decode(around.pixels.read())
    if samples.ndim == 2:
        return around.with_pixels(samples, None)
    alpha = samples[..., -1] if samples.shape[2] in {2, 4} else None
    return around.with_pixels(samples[..., 0] if samples.shape[2] == 2 else samples[..., :3], alpha)


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
    file.writelines(_chunk(kind, data) for kind, data in png.further_chunks(stored))
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
