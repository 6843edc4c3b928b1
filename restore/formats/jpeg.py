"""A JPEG's segments beside the picture: what goes over to a JPEG, and what to say of the rest."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import BinaryIO

from restore.formats.stored import SIGNED

# What XMP beyond one segment's 64 KB begins with, in segments of its own.
_LONG_XMP = b"http://ns.adobe.com/xmp/extension/\0"
_KEPT = {"APP13": (b"\xff\xed", b"Photoshop 3.0\0"), "APP1": (b"\xff\xe1", _LONG_XMP), "COM": (b"\xff\xfe", b"")}
# What is read elsewhere, or describes the compression. Further pictures (MPF) have a note of their own.
_KNOWN = {
    "APP0": (b"",),
    "APP1": (b"Exif\0", b"http://ns.adobe.com/xap/1.0/\0"),
    "APP2": (b"ICC_PROFILE\0", b"MPF\0"),
    "APP14": (b"Adobe",),
}
# A marker inside or behind compressed data: no stuffed 0, no restart, no filling.
_MARKER = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]")
_VIDEO = re.compile(rb"ftyp(?:mp4|iso|avc|qt|M4V|3gp)")
_END, _SCAN = 0xD9, 0xDA
_HUFFMAN = frozenset({0xC0, 0xC1, 0xC2})
_FRAMES = frozenset({*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC})
# 50 bytes as they may come, none of them 255, and the same again behind each of the eight restart markers, twice: the
# data may be missing from a restart on.
_ANY = bytes(73 * step % 251 for step in range(1, 51))
_MORE = _ANY + 2 * b"".join(bytes((0xFF, 0xD0 + number)) + _ANY for number in range(8))
_BLOCK = 1 << 16


def further_segments(segments: list[tuple[str, bytes]]) -> bytes:
    """What Pillow would not write back, as raw segments: Photoshop's block with IPTC captions, long XMP, comments."""
    kept = b""
    for name, data in segments:
        marker, start = _KEPT.get(name, (b"", b""))
        if marker and data.startswith(start):
            kept += marker + (len(data) + 2).to_bytes(2, "big") + data
    return kept


def dropped(
    file: BinaryIO, segments: list[tuple[str, bytes]], outline: Outline, *, has_others: bool
) -> tuple[str, ...]:
    """What no answer takes over, as sentences. `has_others`: further pictures behind the first are known of."""
    said: tuple[str, ...] = ()
    unknown = [(name, data) for name, data in segments if not _is_known(name, data)]
    if any(name == "APP11" and b"c2pa" in data for name, data in unknown):
        # Of a long manifest only the first segment has the word.
        unknown = [(name, data) for name, data in unknown if name != "APP11"]
        said += (SIGNED,)
    if unknown:
        names = ", ".join(dict.fromkeys(name for name, _ in unknown))
        said += (f"data whose meaning is unknown ({names}) were left out",)
    file.seek(max(0, outline.end + 2))
    behind = file.read() if outline.end >= 0 else b""
    if _VIDEO.search(behind):
        said += ("the video behind the picture was left out",)
    elif not has_others and behind.strip(b"\0\xff\r\n\t "):
        said += (f"{len(behind):,} bytes behind the picture were left out",)
    return said


def _is_known(name: str, data: bytes) -> bool:
    kept = name in _KEPT and data.startswith(_KEPT[name][1])
    return kept or data.startswith(_KNOWN.get(name, ()))


@dataclass(frozen=True, slots=True)
class Outline:
    """How a file's first picture is built: the marker of its frame, its scans, and where its end lies (-1: nowhere)."""

    frame: int
    scans: int
    end: int


def read_outline(file: BinaryIO) -> Outline:
    """From the markers alone; nothing is decoded."""
    frame, scans, at = 0, 0, 2
    while (at := _next_marker(file, at)) >= 0:
        file.seek(at + 1)
        head = file.read(3)
        if head[0] == _END:
            return Outline(frame, scans, at)
        if head[0] in _FRAMES:
            frame = head[0]
        scans += head[0] == _SCAN
        # Markers without a length (another start, TEM) are passed over alone.
        at += 2 if head[0] in {0x01, 0xD8} else 2 + int.from_bytes(head[1:], "big")
    return Outline(frame, scans, -1)


def with_more(file: BinaryIO, outline: Outline) -> bytes | None:
    """The same file with a few more bytes at the end of its compressed data; None where that would prove nothing.

    A decoder passes over what follows complete data, and takes it for the missing ones where some are missing: then
    another picture comes out. (Arithmetic coding may leave zeros out at its end, and is not asked.)
    """
    if outline.end < 0 or outline.frame not in _HUFFMAN:
        return None
    file.seek(0)
    return file.read(outline.end) + _MORE + bytes((0xFF, _END))


def _next_marker(file: BinaryIO, at: int) -> int:
    """Where the next marker is, at `at` or behind it; -1 if there is none."""
    file.seek(at)
    block = file.read(_BLOCK)
    while len(block) > 1:
        if found := _MARKER.search(block):
            return at + found.start()
        # A marker's first byte may be the last of the block.
        at += len(block) - 1
        block = block[-1:] + file.read(_BLOCK)
    return -1
