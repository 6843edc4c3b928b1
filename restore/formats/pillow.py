"""What Pillow reads and writes: JPEG, WebP, BMP, GIF, and PNG, PGM and PPM of up to 8 bits."""

from __future__ import annotations

import io
import zlib
from dataclasses import replace
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from restore.errors import UnreadableImage
from restore.formats import jpeg, png, profiles, tags
from restore.formats.stored import JpegSource, Stored, turned

if TYPE_CHECKING:
    import PIL.Image
    import PIL.ImageFile

# Copied at once: a few MB, so that no second copy of the picture is ever made.
_STRIP_PIXELS = 1 << 20
# 256 x 256: decoded twice within a millisecond.
_FEW_PIXELS = 1 << 16


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
    """Stored height and width, and the orientation, from the header. For any kind but PNG."""
    opened = _plugin(file, kind)
    width, height = opened.size
    return (height, width), tags.orientation_of(_bare_exif(opened.info.get("exif")))


def read_plain(file: BinaryIO, kind: str) -> Stored:
    """The first picture in a file whose kind is known, and is neither PNG nor JPEG."""
    image = _plugin(file, kind)
    image.load()
    return _stored(image, file, kind)


def read_jpeg(file: BinaryIO) -> Stored:
    """The first picture in a JPEG."""
    image = _plugin(file, "JPEG")
    image.load()
    outline = jpeg.read_outline(file)
    # What is missing leaves even blocks at the end of the only scan; of several scans, or few blocks, it may not show.
    suspect = outline.scans > 1 or image.width * image.height < _FEW_PIXELS or _ends_in_an_even_block(image)
    check = _checksum(image) if suspect else 0
    stored = replace(
        _stored(image, file, "JPEG"),
        jpeg=_jpeg_source(image),
        dropped=jpeg.dropped(file, image.applist, outline, has_others="mp" in image.info),  # type: ignore[attr-defined]
    )
    # Only one of the two pictures is ever in memory.
    del image
    more = jpeg.with_more(file, outline) if suspect else None
    if more is not None:
        again = _plugin(io.BytesIO(more), "JPEG")
        again.load()
        if _checksum(again) != check:
            raise UnreadableImage("the picture is damaged (a part of its data is missing). Is there another copy?")
    return stored


def _ends_in_an_even_block(image: PIL.Image.Image) -> bool:
    """Whether the last block of 8 x 8 pixels is as even as one is for which a JPEG has no data."""
    width, height = image.size
    block = np.asarray(image.crop(((width - 1) // 8 * 8, (height - 1) // 8 * 8, width, height)))
    # Of the luma alone, because colour may be blended with that of the blocks beside it.
    luma = block if block.ndim == 2 else block[..., :3] @ np.array([0.299, 0.587, 0.114])
    return bool(np.ptp(luma) <= 1)


def _checksum(image: PIL.Image.Image) -> int:
    width, height = image.size
    rows = max(1, _STRIP_PIXELS // width)
    check = 0
    for top in range(0, height, rows):
        check = zlib.crc32(image.crop((0, top, width, min(top + rows, height))).tobytes(), check)
    return check


def _stored(image: PIL.ImageFile.ImageFile, file: BinaryIO, kind: str) -> Stored:
    """A picture that is loaded, with what its file says."""
    info: dict[Any, Any] = image.info
    notes: tuple[str, ...] = ()
    if getattr(image, "is_animated", False):
        notes += ("an animation: only its first picture was read",)
    if "mp" in info:
        notes += ("further pictures inside the JPEG (another view, a depth or brightness map) were left out",)
    exif = _bare_exif(info.get("exif"))
    orientation = tags.orientation_of(exif)
    icc = info.get("icc_profile")
    loaded, converted = _as_grey_or_rgb(image, icc)
    pixels, alpha = _copy_out(loaded, orientation)
    return Stored(
        pixels,
        alpha,
        icc,
        exif,
        info.get("xmp"),
        _dpi(info, exif, kind),
        orientation,
        notes + converted,
        lossless=kind == "WEBP" and _webp_is_lossless(file),
        dropped=("the GIF's comment was left out",) if kind == "GIF" and info.get("comment") else (),
    )


def read_plain_png(file: BinaryIO) -> Stored:
    """A PNG of up to 8 bits; of an animation the first picture."""
    around = png.read_around(file)
    image = _plugin(around.pixels, "PNG")
    image.load()
    # Pillow leaves rows black for which there are no data. In a row that is not, there were some: most files need not
    # be unpacked once more.
    last = image.crop((0, image.height - 1, image.width, image.height))
    if (around.header.interlaced or not np.asarray(last).any()) and png.rows_are_missing(file, around):
        raise UnreadableImage("the picture is damaged (its last rows are missing). Is there another copy?")
    loaded, _ = _as_grey_or_rgb(image, around.icc)
    pixels, alpha = _copy_out(loaded, around.orientation)
    if alpha is None and "transparency" in image.info and image.mode in {"1", "L", "RGB"}:
        alpha = _alpha_of_one_colour(pixels, image.info["transparency"], around.header.bits)
    return around.with_pixels(pixels, alpha)


def _as_grey_or_rgb(image: PIL.Image.Image, icc: bytes | None) -> tuple[PIL.Image.Image, tuple[str, ...]]:
    """The picture in one of the modes L, LA, RGB and RGBA, and what is to be said about the way there."""
    if image.mode in {"L", "LA", "RGB", "RGBA"}:
        return image, ()
    if image.mode in {"P", "PA"}:
        return image.convert("RGBA" if image.has_transparency_data else "RGB"), ()
    if image.mode == "1":
        return image.convert("L"), ()
    if image.mode in {"CMYK", "YCbCr", "LAB"}:
        made, note = profiles.to_srgb(image, icc)
        return made, (note,)
    raise UnreadableImage(f"pixels of the kind {image.mode} are not supported. Save it as 8- or 16-bit RGB first.")


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


def _alpha_of_one_colour(pixels: np.ndarray, colour: Any, bits: int) -> np.ndarray:
    """Alpha for a PNG that names one colour as transparent."""
    # The colour is in the file's own depth, while Pillow has spread 2 and 4 bits to 8; 1 bit it has seen to.
    same = pixels == np.asarray(colour) * {2: 85, 4: 17}.get(bits, 1)
    return np.where(same if same.ndim == 2 else same.all(axis=2), np.uint8(0), np.uint8(255))


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
    return JpegSource(tuple(tables), max(0, JpegImagePlugin.get_sampling(image)), jpeg.further_segments(image.applist))


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
    if stored.dpi is not None:
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
    for name, data in png.further_chunks(stored):
        chunks.add(name, data)
    return {"icc_profile": stored.icc, "exif": stored.exif, "pnginfo": chunks}


def _jpeg_options(stored: Stored) -> dict[str, Any]:
    options: dict[str, Any] = {"icc_profile": stored.icc, "xmp": stored.xmp}
    options["exif"] = b"Exif\0\0" + stored.exif if stored.exif else b""
    if stored.jpeg is None:
        return options | {"quality": 95, "subsampling": 0}
    components = 1 if stored.pixels.ndim == 2 else 3
    tables = [list(table) for table in stored.jpeg.tables[:components]]
    return options | {"qtables": tables, "subsampling": stored.jpeg.subsampling, "extra": stored.jpeg.segments}
