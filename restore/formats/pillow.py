"""What Pillow reads and writes: JPEG, WebP, BMP, GIF, and PNG, PGM and PPM of up to 8 bits."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from restore.errors import UnreadableImage
from restore.formats import deep, profiles, tags
from restore.formats.stored import JpegSource, Stored, turned

if TYPE_CHECKING:
    import PIL.Image
    import PIL.ImageFile

# What XMP beyond one segment's 64 KB begins with, in segments of its own.
_LONG_XMP = b"http://ns.adobe.com/xmp/extension/\0"
# Copied at once: a few MB, so that no second copy of the picture is ever made.
_STRIP_PIXELS = 1 << 20


def _plugin(file: BinaryIO, kind: str) -> PIL.ImageFile.ImageFile:
    """Pillow's reader for a known format, with the header parsed.

    Not PIL.Image.open: its guard against huge pictures is one global number and a warning, and `read` has its own.
    """
    from PIL import BmpImagePlugin, GifImagePlugin, JpegImagePlugin, PngImagePlugin, PpmImagePlugin, WebPImagePlugin

    readers: dict[str, type[PIL.ImageFile.ImageFile]] = {
        # For a phone's MPO too, which is a JPEG followed by others.
        "JPEG": JpegImagePlugin.JpegImageFile,
        "PNG": PngImagePlugin.PngImageFile,
        "WEBP": WebPImagePlugin.WebPImageFile,
        "BMP": BmpImagePlugin.BmpImageFile,
        "GIF": GifImagePlugin.GifImageFile,
        "PPM": PpmImagePlugin.PpmImageFile,
    }
    file.seek(0)
    return readers[kind](file)


def probe_plain(file: BinaryIO, kind: str) -> tuple[tuple[int, int], int | None]:
    """Stored height and width, and the orientation, from the header."""
    opened = _plugin(file, kind)
    width, height = opened.size
    return (height, width), tags.orientation_of(_bare_exif(opened.info.get("exif")))


def read_plain(file: BinaryIO, kind: str) -> Stored:
    """The first picture in a file whose kind is known."""
    image = _plugin(file, kind)
    info: dict[Any, Any] = image.info
    notes: tuple[str, ...] = ()
    if getattr(image, "is_animated", False):
        notes += ("an animation: only its first picture was read",)
    if "mp" in info:
        notes += ("further pictures inside the JPEG (another view, a depth or brightness map) were left out",)
    image.load()
    exif = _bare_exif(info.get("exif")) or _exif_in_text(info)
    orientation = tags.orientation_of(exif)
    icc = info.get("icc_profile")
    loaded: PIL.Image.Image = image
    if image.mode in {"P", "PA"}:
        loaded = image.convert("RGBA" if image.has_transparency_data else "RGB")
    elif image.mode == "1":
        loaded = image.convert("L")
    elif image.mode in {"CMYK", "YCbCr", "LAB"}:
        loaded, note = profiles.to_srgb(image, icc)
        notes += (note,)
    elif image.mode not in {"L", "LA", "RGB", "RGBA"}:
        raise UnreadableImage(f"pixels of the kind {image.mode} are not supported. Save it as 8- or 16-bit RGB first.")
    pixels, alpha = _copy_out(loaded, orientation)
    if alpha is None and "transparency" in info and image.mode in {"1", "L", "RGB"}:
        alpha = _alpha_of_one_colour(pixels, info["transparency"], file, kind)
    return Stored(
        pixels,
        alpha,
        icc,
        exif,
        info.get("xmp"),
        _dpi(info, exif, kind),
        orientation,
        notes,
        jpeg=_jpeg_source(image) if kind == "JPEG" else None,
        lossless=kind == "WEBP" and _webp_is_lossless(file),
    )


def _copy_out(image: PIL.Image.Image, orientation: int | None) -> tuple[np.ndarray, np.ndarray | None]:
    """Pixels and alpha, as views in the stored orientation of arrays that are upright in memory.

    In strips, straight to the place where each pixel belongs: numpy's own way over Pillow's tobytes, and turning
    afterwards, would each hold the picture once more.
    """
    bands = image.getbands()
    has_alpha = bands[-1] == "A"
    colours = len(bands) - has_alpha
    width, height = image.size
    sideways = orientation in {5, 6, 7, 8}
    shape = (width, height) if sideways else (height, width)
    back = {6: 8, 8: 6}.get(orientation or 1, orientation)
    pixels = turned(np.empty(shape if colours == 1 else (*shape, colours), np.uint8), back)
    alpha = turned(np.empty(shape, np.uint8), back) if has_alpha else None
    rows = max(1, _STRIP_PIXELS // width)
    for top in range(0, height, rows):
        bottom = min(top + rows, height)
        strip = np.asarray(image.crop((0, top, width, bottom)))
        if alpha is None:
            pixels[top:bottom] = strip
        else:
            pixels[top:bottom] = strip[..., :colours] if colours > 1 else strip[..., 0]
            alpha[top:bottom] = strip[..., colours]
    return pixels, alpha


def _alpha_of_one_colour(pixels: np.ndarray, colour: Any, file: BinaryIO, kind: str) -> np.ndarray:
    """Alpha for a file that names one colour as transparent."""
    scale = 1
    if kind == "PNG":
        # The colour is in the file's own depth, while Pillow has spread 2 and 4 bits to 8; 1 bit it has seen to.
        file.seek(24)
        scale = {2: 85, 4: 17}.get(file.read(1)[0], 1)
    same = pixels == np.asarray(colour) * scale
    return np.where(same if same.ndim == 2 else same.all(axis=2), np.uint8(0), np.uint8(255))


def _exif_in_text(info: dict[Any, Any]) -> bytes | None:
    found = (tags.exif_of_text(info[name]) for name in tags.EXIF_TEXTS if isinstance(info.get(name), str))
    return next(filter(None, found), None)


def _bare_exif(exif: bytes | None) -> bytes | None:
    return exif.removeprefix(b"Exif\0\0") or None if exif else None


def _dpi(info: dict[Any, Any], exif: bytes | None, kind: str) -> tuple[float, float] | None:
    if kind == "JPEG" and info.get("jfif_unit") not in {1, 2} and not (exif and tags.has_resolution(exif)):
        # Pillow makes up 72 for a JPEG whose EXIF states none.
        return None
    found = info.get("dpi")
    return None if found is None else (float(found[0]), float(found[1]))


def _jpeg_source(image: Any) -> JpegSource | None:
    from PIL import JpegImagePlugin

    try:
        tables = [tuple(int(step) for step in image.quantization[component[3]]) for component in image.layer]
    except KeyError:
        return None
    while len(tables) > 1 and tables[-1] == tables[-2]:
        tables.pop()
    # Pillow names three ways of subsampling; for any other, none loses nothing.
    return JpegSource(tuple(tables), max(0, JpegImagePlugin.get_sampling(image)), _further_segments(image))


def _further_segments(image: Any) -> bytes:
    """What Pillow would not write back, as raw segments: Photoshop's block with IPTC captions, long XMP, comments."""
    markers = {"APP13": (b"\xff\xed", b"Photoshop 3.0\0"), "APP1": (b"\xff\xe1", _LONG_XMP), "COM": (b"\xff\xfe", b"")}
    kept = b""
    for name, data in image.applist:
        marker, start = markers.get(name, (b"", b""))
        if marker and data.startswith(start):
            kept += marker + (len(data) + 2).to_bytes(2, "big") + data
    return kept


def _webp_is_lossless(file: BinaryIO) -> bool:
    """Whether a WebP's first picture is in a VP8L chunk, alone or inside the first ANMF frame."""
    file.seek(12)
    while len(head := file.read(8)) == 8:
        length = int.from_bytes(head[4:], "little")
        if head[:4] in {b"VP8L", b"VP8 "}:
            return head[:4] == b"VP8L"
        # A frame's own chunks follow 16 bytes of its position and duration.
        file.seek(16 if head[:4] == b"ANMF" else length + length % 2, io.SEEK_CUR)
    return False


def write_plain(file: BinaryIO, stored: Stored, kind: str) -> None:
    """Write 8-bit pixels as PNG, JPEG, WebP or BMP; alpha only to a format that holds it."""
    import PIL.Image

    made = PIL.Image.fromarray(np.ascontiguousarray(stored.pixels))
    if stored.alpha is not None:
        made.putalpha(PIL.Image.fromarray(np.ascontiguousarray(stored.alpha)))
    options: dict[str, Any] = {}
    if stored.dpi is not None and max(stored.dpi) < 65_536:
        options["dpi"] = stored.dpi
    if kind == "PNG":
        options |= _png_options(stored)
    elif kind == "JPEG":
        options |= _jpeg_options(stored)
    elif kind == "WEBP":
        options |= {"icc_profile": stored.icc or b"", "exif": stored.exif or b"", "xmp": stored.xmp or b""}
        # `exact` keeps the colours under full transparency, which belong to the archive too.
        options |= {"quality": 95, "lossless": stored.lossless, "exact": True}
    made.save(_WithoutDescriptor(file), format=kind, **options)  # type: ignore[arg-type]


class _WithoutDescriptor:
    """A file as Pillow should see it.

    Given a file descriptor, Pillow (12.3) writes JPEG and BMP to it by itself and does not notice when a full disk
    takes only a part: the file would end early and nobody would know. A Python file's own write raises.
    """

    def __init__(self, file: BinaryIO) -> None:
        self.write = file.write


def _png_options(stored: Stored) -> dict[str, Any]:
    from PIL.PngImagePlugin import PngInfo

    chunks = PngInfo()
    if stored.xmp:
        chunks.add(b"iTXt", deep.xmp_chunk(stored.xmp))
    return {"icc_profile": stored.icc, "exif": stored.exif, "pnginfo": chunks}


def _jpeg_options(stored: Stored) -> dict[str, Any]:
    options: dict[str, Any] = {"icc_profile": stored.icc, "xmp": stored.xmp}
    options["exif"] = b"Exif\0\0" + stored.exif if stored.exif else b""
    if stored.jpeg is None:
        return options | {"quality": 95, "subsampling": 0}
    components = 1 if stored.pixels.ndim == 2 else 3
    tables = [list(table) for table in stored.jpeg.tables[:components]]
    return options | {"qtables": tables, "subsampling": stored.jpeg.subsampling, "extra": stored.jpeg.segments}
