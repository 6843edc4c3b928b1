r"""EXIF and TIFF directories, moved as raw bytes: a value that is never decoded is never changed by a wrong guess.

An EXIF block is a small TIFF file: header, directory of tags, values. `exif` here is always that block without the
"Exif\0\0" that JPEG puts before it.
"""

from __future__ import annotations

import io
import re
import struct
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import BinaryIO, Literal, NamedTuple

#: Keywords under which PNGs hold EXIF as text.
EXIF_TEXTS = ("Raw profile type exif", "Raw profile type APP1")
ORIENTATION, RESOLUTION, RESOLUTION_UNIT = 0x0112, 0x011A, 0x0128
EXIF, GPS, INTEROP = 0x8769, 0x8825, 0xA005

#: Tags of a TIFF's main directory that describe the photo and not the way its pixels are stored. 33723 is IPTC: the
#: captions of a press archive, which some readers also look for in the EXIF of a JPEG.
DESCRIPTIVE = frozenset({269, 270, 271, 272, 285, 305, 306, 315, 316, 18246, 18249, 33432, 33723, *range(40091, 40096)})

# Tags that come in pairs, with the directory (0: the main one) in which they are: width and height, dots per inch, and
# dots on the sensor.
_ACROSS_AND_DOWN = (
    (0, 0x0100, 0x0101),
    (0, RESOLUTION, RESOLUTION + 1),
    (EXIF, 0xA002, 0xA003),
    (EXIF, 0xA20E, 0xA20F),
)
#: Where on a map the pixels lie (GeoTIFF, GDAL): true of them as they are stored.
GEO = frozenset({33550, 33922, 34264, 34735, 34736, 34737, 42112, 42113, 50844})
PHOTOSHOP, LAYERS, SIGNATURE = 34377, 37724, 52545
#: White point, primaries and transfer curve, for pictures without a profile.
COLOURS = frozenset({301, 318, 319})
# Below 700 are the tags of the standard, which are described above or say how the pixels are stored. Of those beyond,
# these do so too, or point to places in the file, or are read elsewhere.
_FURTHER_FROM = 701
_NOT_FURTHER = frozenset(
    {*range(32995, 32999), *range(34016, 34037), 33421, 33422, 33424, 34310, EXIF, GPS, 34675, INTEROP, 50674}
    | {LAYERS, SIGNATURE}
)
# Directories that a directory may point to; maker notes have a layout of their own and stay closed.
_BELOW = {0: (EXIF, GPS), EXIF: (INTEROP,), GPS: (), INTEROP: ()}
_ORDERS: dict[bytes, Literal["<", ">"]] = {b"II": "<", b"MM": ">"}
_BYTES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4}
# How many bytes of a value belong together, where that is more than one.
_WORDS = {3: 2, 4: 4, 5: 4, 8: 2, 9: 4, 10: 4, 11: 4, 12: 8}
_INTEGERS = {1: "B", 3: "H", 4: "I", 13: "I", 16: "Q", 18: "Q"}


@dataclass(frozen=True, slots=True)
class Entry:
    """One tag's value: TIFF type number, how many, and the bytes in the directory's byte order."""

    kind: int
    count: int
    raw: bytes


@dataclass(slots=True)
class Directory:
    """A directory of tags and the directories that it points to; `order` is "<" or ">"."""

    order: Literal["<", ">"]
    entries: dict[int, Entry] = field(default_factory=dict)
    below: dict[int, Directory] = field(default_factory=dict)

    def put_further(self, order: Literal["<", ">"], found: Iterable[tuple[int, Entry]]) -> None:
        """Store values that may be in the other byte order."""
        for tag, entry in found:
            size = _WORDS.get(entry.kind, 1) if order != self.order else 1
            raw = entry.raw
            if size > 1:
                raw = b"".join(raw[at : at + size][::-1] for at in range(0, len(raw), size))
            self.entries[tag] = Entry(entry.kind, entry.count, raw)

    def put(self, tag: int, kind: int, *values: int) -> None:
        """Store integers as SHORT (3) or LONG (4), or pairs of them as RATIONAL (5)."""
        raw = struct.pack(f"{self.order}{len(values)}{'H' if kind == 3 else 'I'}", *values)
        self.entries[tag] = Entry(kind, len(raw) // _BYTES[kind], raw)

    def put_bytes(self, tag: int, raw: bytes) -> None:
        """Store bytes as UNDEFINED (7)."""
        self.entries[tag] = Entry(7, len(raw), raw)


def read_directory(file: BinaryIO, is_wanted: Callable[[int], bool] = DESCRIPTIVE.__contains__) -> Directory | None:
    """The wanted tags of a TIFF or BigTIFF file or EXIF block, and its Exif and GPS parts; None if damaged."""
    file.seek(0)
    head = file.read(16)
    order = _ORDERS.get(head[:2])
    try:
        if order is None or len(head) < 8:
            return None
        word: Literal["I", "Q"] = "Q" if struct.unpack(order + "H", head[2:4])[0] == 43 else "I"
        (at,) = struct.unpack_from(order + word, head, 4 if word == "I" else 8)
        return _read(_Layout(file, file.seek(0, io.SEEK_END), order, word), at, 0, is_wanted)
    except (struct.error, OverflowError, OSError):
        return None


def is_further(tag: int) -> bool:
    """Whether a tag of a TIFF's main directory is another program's and says nothing about how pixels are stored."""
    return tag >= _FURTHER_FROM and tag not in DESCRIPTIVE and tag not in _NOT_FURTHER


class _Layout(NamedTuple):
    """A file of so many bytes, and how it is read: `word` is "I" in TIFF, and "Q" (8 bytes) in BigTIFF."""

    file: BinaryIO
    length: int
    order: Literal["<", ">"]
    word: Literal["I", "Q"]


def _read(layout: _Layout, at: int, own_tag: int, is_wanted: Callable[[int], bool]) -> Directory:
    """One directory, and those below it."""
    file, _, order, word = layout
    size = struct.calcsize(word)
    counter = "H" if word == "I" else "Q"
    found = Directory(order)
    file.seek(at)
    (number,) = struct.unpack(order + counter, file.read(struct.calcsize(counter)))
    # 65,535 entries are the most that classic TIFF can count to; more is damage, not data.
    table = file.read(min(number, 65535) * (4 + 2 * size))
    for start in range(0, len(table) - (4 + 2 * size) + 1, 4 + 2 * size):
        tag, kind, count = struct.unpack_from(f"{order}HH{word}", table, start)
        value = table[start + 4 + size : start + 4 + 2 * size]
        if tag in _BELOW[own_tag] and kind in _INTEGERS:
            (place,) = struct.unpack_from(order + _INTEGERS[kind], value)
            found.below[tag] = _read(layout, place, tag, is_wanted)
        elif kind in _BYTES and (own_tag or is_wanted(tag)):
            length = _BYTES[kind] * count
            if length > layout.length:
                continue
            if length > size:
                file.seek(struct.unpack(order + word, value)[0])
                value = file.read(length)
            if len(value) >= length:
                found.entries[tag] = Entry(kind, count, value[:length])
    return found


def pack_directory(directory: Directory, at: int) -> bytes:
    """The directory's bytes, for a place `at` (even) bytes after the start of the TIFF file or EXIF block."""
    order = directory.order
    tags = sorted({*directory.entries, *directory.below})
    table = bytearray(struct.pack(order + "H", len(tags)))
    heap = bytearray()
    heap_at = at + 2 + 12 * len(tags) + 4
    for tag in tags:
        heap += b"\0" * (len(heap) % 2)
        place = heap_at + len(heap)
        if tag in directory.below:
            heap += pack_directory(directory.below[tag], place)
            table += struct.pack(order + "HHII", tag, 4, 1, place)
            continue
        entry = directory.entries[tag]
        table += struct.pack(order + "HHI", tag, entry.kind, entry.count)
        if len(entry.raw) <= 4:
            table += entry.raw.ljust(4, b"\0")
        else:
            table += struct.pack(order + "I", place)
            heap += entry.raw
    return bytes(table + struct.pack(order + "I", 0) + heap)


def exif_of_tiff(file: BinaryIO) -> bytes | None:
    """What a TIFF file says about the photo, as an EXIF block; None if it says nothing."""
    found = read_directory(file)
    if found is None or not (found.entries or found.below):
        return None
    mark = b"II*\0" if found.order == "<" else b"MM\0*"
    return mark + struct.pack(found.order + "I", 8) + pack_directory(found, 8)


def exif_of_text(text: str) -> bytes | None:
    """The EXIF block that PNGs from before the eXIf chunk hold as text, in hexadecimal (ImageMagick's raw profile).

    Three lines come first: empty, the profile's name, its length. None for text that is nothing of the kind.
    """
    try:
        block = bytes.fromhex("".join(text.split("\n")[3:]))
    except ValueError:
        return None
    return block.removeprefix(b"Exif\0\0") if block.startswith((b"Exif\0\0", b"II", b"MM")) else None


def has_resolution(exif: bytes) -> bool:
    """Whether an EXIF block states its resolution (XResolution and its unit)."""
    return _find(exif, RESOLUTION) is not None and _find(exif, RESOLUTION_UNIT) is not None


def orientation_of(exif: bytes | None) -> int | None:
    """EXIF's orientation, 1 to 8; None where there is none or it makes no sense."""
    place = _find(exif, ORIENTATION)
    if exif is None or place is None or place.form is None:
        return None
    (value,) = struct.unpack_from(place.form, exif, place.value)
    return value if 1 <= value <= 8 else None


def upright_exif(exif: bytes) -> bytes:
    """The same EXIF for pixels that have been turned upright: orientation 1, every other byte as it was.

    When the pixels were turned, the thumbnail was not: the link to it is cut.
    """
    place = _find(exif, ORIENTATION)
    if place is None or place.form is None:
        return exif
    changed = bytearray(exif)
    if orientation_of(exif) not in {None, 1} and place.next_link + 4 <= len(exif):
        changed[place.next_link : place.next_link + 4] = bytes(4)
    struct.pack_into(place.form, changed, place.value, 1)
    return bytes(changed)


def sideways_exif(exif: bytes) -> bytes:
    """The same EXIF for pixels that have been turned by a quarter: width and height of each kind changed places."""
    changed = bytearray(exif)
    for part, across, down in _ACROSS_AND_DOWN:
        first, second = _find(exif, across, part), _find(exif, down, part)
        if first and second:
            # All of an entry but its number: how wide a value is may differ between the two.
            one, other = (slice(place.value - 6, place.value + 4) for place in (first, second))
            changed[one], changed[other] = exif[other], exif[one]
    return bytes(changed)


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a tag's value is, how struct reads it (None: not one integer), and where the link to the thumbnail is."""

    form: str | None
    value: int
    next_link: int


def _find(exif: bytes | None, wanted: int, part: int = 0) -> _Place | None:
    """A tag in the main directory of an EXIF block, or in the part that a tag of the main one points to."""
    order = _ORDERS.get((exif or b"")[:2])
    if exif is None or order is None:
        return None
    try:
        if part:
            pointer = _find(exif, part)
            if pointer is None or pointer.form is None:
                return None
            (at,) = struct.unpack_from(pointer.form, exif, pointer.value)
        else:
            (at,) = struct.unpack_from(order + "I", exif, 4)
        (number,) = struct.unpack_from(order + "H", exif, at)
        for start in range(at + 2, at + 2 + 12 * number, 12):
            tag, kind, count, _ = struct.unpack_from(order + "HHI4s", exif, start)
            if tag == wanted:
                form = order + _INTEGERS[kind] if kind in {1, 3, 4} and count == 1 else None
                return _Place(form, start + 8, at + 2 + 12 * number)
    except struct.error:
        return None
    return None


def upright_xmp(xmp: bytes) -> bytes:
    """The same XMP with its tiff:Orientation, as an attribute or an element, set to 1."""
    xmp = re.sub(rb"""(\btiff:Orientation\s*=\s*["'])\s*\d+\s*(?=["'])""", rb"\g<1>1", xmp)
    return re.sub(rb"(<tiff:Orientation>)\s*\d+\s*(?=</tiff:Orientation>)", rb"\g<1>1", xmp)


_XMP = b"""<?xpacket begin="\xef\xbb\xbf" id="W5M0MpCehiHzreSzNTczkc9d"?>
<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
</rdf:RDF></x:xmpmeta>
<?xpacket end="w"?>"""
# What the packet calls the namespace of RDF is its own affair: the note says for itself what it calls it.
_DESCRIPTION = b"""<rdf:Description xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#" rdf:about=""%s/>
"""
_INSTRUCTIONS = b"""
 xmlns:photoshop="http://ns.adobe.com/photoshop/1.0/" photoshop:Instructions="%s\""""
_SOURCE_TYPE = b"""
 xmlns:Iptc4xmpExt="http://iptc.org/std/Iptc4xmpExt/2008-02-29/"
 Iptc4xmpExt:DigitalSourceType="http://cv.iptc.org/newscodes/digitalsourcetype/algorithmicallyEnhanced\""""
_END = re.compile(rb"</(?:[\w.-]+:)?RDF\s*>")


def noted_xmp(xmp: bytes | None, text: str) -> bytes | None:
    """The same XMP, or a fresh one, with a note in IPTC's "Instructions" and its type "algorithmically enhanced".

    One of the two that is there already stays as it was: a person's words are not replaced. None for a packet that
    cannot be added to, because it is damaged or not in UTF-8.
    """
    packet = xmp or _XMP
    ends = list(_END.finditer(packet))
    if not ends:
        return None
    said = b""
    if b"photoshop:Instructions" not in packet:
        said += _INSTRUCTIONS % text.replace("&", "&amp;").replace("<", "&lt;").replace('"', "&quot;").encode()
    if b"Iptc4xmpExt:DigitalSourceType" not in packet:
        said += _SOURCE_TYPE
    if not said:
        return packet
    end = ends[-1].start()
    return packet[:end] + _DESCRIPTION % said + packet[end:]
