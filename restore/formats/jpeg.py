"""A JPEG's segments beside the picture: what goes over to a JPEG, and what to say of the rest."""

from __future__ import annotations

import re
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
_BLOCK = 1 << 16


def further_segments(segments: list[tuple[str, bytes]]) -> bytes:
    """What Pillow would not write back, as raw segments: Photoshop's block with IPTC captions, long XMP, comments."""
    kept = b""
    for name, data in segments:
        marker, start = _KEPT.get(name, (b"", b""))
        if marker and data.startswith(start):
            kept += marker + (len(data) + 2).to_bytes(2, "big") + data
    return kept


def dropped(file: BinaryIO, segments: list[tuple[str, bytes]], *, has_others: bool) -> tuple[str, ...]:
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
    behind = _behind(file)
    if _VIDEO.search(behind):
        said += ("the video behind the picture was left out",)
    elif not has_others and behind.strip(b"\0\xff\r\n\t "):
        said += (f"{len(behind):,} bytes behind the picture were left out",)
    return said


def _is_known(name: str, data: bytes) -> bool:
    kept = name in _KEPT and data.startswith(_KEPT[name][1])
    return kept or data.startswith(_KNOWN.get(name, ()))


def _behind(file: BinaryIO) -> bytes:
    """What follows the end of the file's first picture."""
    at = 2
    while (at := _next_marker(file, at)) >= 0:
        file.seek(at + 1)
        head = file.read(3)
        if head[0] == _END:
            file.seek(at + 2)
            return file.read()
        # Markers without a length (another start, TEM) are passed over alone.
        at += 2 if head[0] in {0x01, 0xD8} else 2 + int.from_bytes(head[1:], "big")
    return b""


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
