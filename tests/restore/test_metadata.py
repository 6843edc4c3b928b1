"""What a file says beside its pixels comes back in the same format, and what another cannot hold is named."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
import PIL.Image
import pytest
import tifffile
from PIL import ImageCms

from restore.image import Image, encode, losses, probe_size, read

SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
# Above 1 MiB, where Pillow refuses to unpack; noise, so that it does not shrink.
LARGE = np.random.default_rng(0).bytes(3 << 20)
GREY = np.arange(48, dtype=np.uint8).reshape(6, 8)
DEPTHS = pytest.mark.parametrize("dtype", [np.uint8, np.uint16])


def saved(picture: PIL.Image.Image, format: str, **options: object) -> bytes:  # noqa: A002
    file = io.BytesIO()
    picture.save(file, format, **options)
    return file.getvalue()


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def with_chunks(png: bytes, *chunks: bytes) -> bytes:
    """Right after the header."""
    return png[:33] + b"".join(chunks) + png[33:]


# PNG: large profiles and texts


@DEPTHS
def test_a_profile_of_several_megabytes_survives_a_png(dtype):
    image = Image(np.dstack([GREY] * 3).astype(dtype), icc=SRGB + LARGE)
    made = encode(image, "PNG")
    assert read(made).icc == SRGB + LARGE
    np.testing.assert_array_equal(read(made).pixels, image.pixels)
    assert probe_size(made) == (6, 8)


@DEPTHS
@pytest.mark.parametrize("kind", [b"zTXt", b"iTXt"])
def test_a_png_with_a_text_of_several_megabytes_is_read(dtype, kind):
    head = b"Comment\0\0" if kind == b"zTXt" else b"Comment\0\1\0\0\0"
    made = with_chunks(
        encode(Image(GREY.astype(dtype)), "PNG"), chunk(kind, head + zlib.compress(LARGE.hex().encode()))
    )
    np.testing.assert_array_equal(read(made).pixels, GREY)
    assert probe_size(made) == (6, 8)


@DEPTHS
def test_a_damaged_profile_costs_a_png_no_pixel_and_is_said(dtype):
    made = with_chunks(encode(Image(GREY.astype(dtype)), "PNG"), chunk(b"iCCP", b"sRGB\0\0no zlib stream"))
    image = read(made)
    np.testing.assert_array_equal(image.pixels, GREY)
    assert image.icc is None
    assert image.notes == ("its colour profile is damaged and was left out",)


@DEPTHS
def test_metadata_after_a_pngs_pixels_counts(dtype):
    made = encode(Image(GREY.astype(dtype)), "PNG")
    image = read(
        made[:-12] + chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0<x/>") + chunk(b"eXIf", b"II*\0late") + made[-12:]
    )
    assert (image.xmp, image.exif) == (b"<x/>", b"II*\0late")


def test_probing_a_png_reads_no_pixel():
    class Counted(io.BytesIO):
        count = 0

        def read(self, size: int | None = -1, /) -> bytes:
            data = super().read(size)
            self.count += len(data)
            return data

    noise = np.random.default_rng(0).integers(0, 256, (500, 500), np.uint8)
    file = Counted(with_chunks(encode(Image(noise), "PNG"), chunk(b"zTXt", b"Comment\0\0" + zlib.compress(LARGE))))
    assert probe_size(file) == (500, 500)
    assert file.count < 1000


# Resolution


ABSURD = (4_294_967_295.0, 4_294_967_295.0)


@DEPTHS
@pytest.mark.parametrize("dpi", [ABSURD, (300.0, 1e-9)], ids=["large", "small"])
def test_a_resolution_that_a_png_cannot_hold_is_left_out_and_said(dtype, dpi):
    image = Image(GREY.astype(dtype), dpi=dpi)
    assert read(encode(image, "PNG")).dpi is None
    assert losses(image, "PNG") == ("a resolution that PNG cannot hold was left out",)


@pytest.mark.parametrize(("dpi", "fits"), [((65_535.0, 1.0), True), ((65_535.6, 1.0), False), ((0.4, 1.0), False)])
def test_jpeg_holds_whole_dots_per_inch_of_16_bits(dpi, fits):
    image = Image(GREY, dpi=dpi)
    assert read(encode(image, "JPEG")).dpi == (dpi if fits else None)
    assert losses(image, "JPEG") == (() if fits else ("a resolution that JPEG cannot hold was left out",))


def test_webp_holds_a_resolution_in_exif_alone():
    exif = struct.pack("<2sHIH", b"II", 42, 8, 3)
    exif += struct.pack("<HHIIHHIIHHIHHI", 282, 5, 1, 50, 283, 5, 1, 50, 296, 3, 1, 2, 0, 0) + struct.pack(
        "<II", 300, 1
    )
    image = Image(GREY, dpi=(300.0, 300.0))
    assert losses(image, "WEBP") == ("WEBP holds a resolution in EXIF alone: it was left out",)
    assert losses(Image(GREY, exif=exif, dpi=(300.0, 300.0)), "WEBP") == ()


def test_the_absurd_resolution_of_a_tiff_is_no_reason_to_fail():
    file = io.BytesIO()
    tifffile.imwrite(file, GREY.astype(np.uint16), resolution=((4_294_967_295, 1), (4_294_967_295, 1)))
    image = read(file.getvalue())
    assert image.dpi == ABSURD
    np.testing.assert_array_equal(read(encode(image, "PNG")).pixels, GREY)


# TIFF: optional tags of odd types


def tiff_with(*entries: tuple[int, int, int, bytes]) -> bytes:
    """A grey TIFF of 2 x 1 pixels by hand, with further tags: number, type, count, value (4 bytes, or longer)."""
    base = [(256, 3, 1, 2), (257, 3, 1, 1), (258, 3, 1, 8), (259, 3, 1, 1), (262, 3, 1, 1), (273, 3, 1, 8)]
    base += [(277, 3, 1, 1), (278, 3, 1, 1), (279, 3, 1, 2)]
    found = [(tag, kind, count, struct.pack("<HH", value, 0)) for tag, kind, count, value in base] + list(entries)
    heap_at = 10 + 2 + 12 * len(found) + 4
    table, heap = struct.pack("<H", len(found)), b""
    for tag, kind, count, value in sorted(found):
        inline = value if len(value) == 4 else struct.pack("<I", heap_at + len(heap))
        table += struct.pack("<HHI", tag, kind, count) + inline
        heap += b"" if len(value) == 4 else value
    return b"II" + struct.pack("<HI", 42, 10) + b"\x07\x08" + table + bytes(4) + heap


FLOAT_300, LONG_300 = (11, 1, struct.pack("<f", 300)), (4, 1, struct.pack("<I", 300))


@pytest.mark.parametrize(
    "value", [FLOAT_300, LONG_300, (12, 1, struct.pack("<d", 300)), (5, 1, struct.pack("<II", 600, 2))]
)
def test_a_tiffs_resolution_may_be_a_number_of_any_type(value):
    image = read(tiff_with((282, *value), (283, *value)))
    assert image.pixels.tolist() == [[7, 8]]
    assert image.dpi == (300, 300)


def test_of_a_unit_or_an_orientation_that_is_twice_there_the_first_counts():
    twice = struct.pack("<HH", 3, 3)
    file = tiff_with((274, 3, 2, twice), (282, *LONG_300), (283, *LONG_300), (296, 3, 2, twice))
    image = read(file)
    # 3 is upside down, and centimetres.
    assert image.pixels.tolist() == [[8, 7]]
    assert image.dpi == (762, 762)
    assert probe_size(file) == (1, 2)


@pytest.mark.parametrize("tag", [274, 282, 283, 296, 700, 34675])
@pytest.mark.parametrize(
    "value",
    [
        (2, 4, b"odd\0"),
        (5, 1, struct.pack("<II", 1, 0)),
        (4, 1, bytes(4)),
        (1, 0, bytes(4)),
        (3, 4000, struct.pack("<I", 1 << 30)),
        (99, 1, bytes(4)),
        (11, 1, struct.pack("<f", float("nan"))),
        (12, 1, struct.pack("<d", float("inf"))),
    ],
    ids=["text", "over zero", "zero", "none", "beyond the end", "of no type", "nan", "infinite"],
)
def test_a_faulty_tag_that_is_optional_costs_a_tiff_no_pixel(tag, value):
    others = {282: LONG_300, 283: LONG_300}
    others.pop(tag, None)
    file = tiff_with((tag, *value), *((other, *said) for other, said in others.items()))
    image = read(file)
    assert image.pixels.tolist() == [[7, 8]]
    assert probe_size(file) == (1, 2)
    np.testing.assert_array_equal(read(encode(image, "PNG")).pixels, image.pixels)


# EXIF of a picture that was turned


def exif_of_sizes(order: str, orientation: int) -> bytes:
    """EXIF of a picture of 60 x 40: sizes in both directories, 300 dots per inch across and 150 down."""
    main = struct.pack(order + "HHII", 256, 4, 1, 60) + struct.pack(order + "HHIHH", 257, 3, 1, 40, 0)
    main += struct.pack(order + "HHIHH", 274, 3, 1, orientation, 0)
    # 8 bytes of header, 6 entries of 12, 6 for their number and the link: numbers follow at 86, the Exif part at 102.
    main += struct.pack(order + "HHII", 282, 5, 1, 86) + struct.pack(order + "HHII", 283, 5, 1, 94)
    main += struct.pack(order + "HHII", 0x8769, 4, 1, 102)
    part = struct.pack(order + "HHIHH", 0xA002, 3, 1, 60, 0) + struct.pack(order + "HHII", 0xA003, 4, 1, 40)
    head = (b"II" if order == "<" else b"MM") + struct.pack(order + "HI", 42, 8)
    numbers = struct.pack(order + "IIII", 300, 1, 150, 1)
    return (
        head + struct.pack(order + "H", 6) + main + bytes(4) + numbers + struct.pack(order + "H", 2) + part + bytes(4)
    )


def sizes_in(exif: bytes) -> list[float]:
    """Width, height, dots per inch across and down, and width and height in the Exif part."""
    found = PIL.Image.Exif()
    found.load(exif)
    part = found.get_ifd(0x8769)
    return [float(value) for value in (*(found[tag] for tag in (256, 257, 282, 283)), part[0xA002], part[0xA003])]


LYING = np.zeros((40, 60, 3), np.uint8)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP"])
def test_the_sizes_in_exif_are_those_of_the_turned_picture(format, orientation, order):  # noqa: A002
    exif = exif_of_sizes(order, orientation)
    assert sizes_in(exif) == [60, 40, 300, 150, 60, 40]
    image = read(encode(Image(LYING, exif=exif), format))
    sideways = orientation >= 5
    assert (image.height, image.width) == ((60, 40) if sideways else (40, 60))
    assert sizes_in(image.exif) == ([40, 60, 150, 300, 40, 60] if sideways else [60, 40, 300, 150, 60, 40])


def test_the_sizes_in_the_exif_of_a_tiff_are_those_of_the_turned_picture():
    made = encode(Image(LYING, exif=exif_of_sizes("<", 1)), "TIFF")
    upright = struct.pack("<HHIHH", 274, 3, 1, 1, 0)
    assert made.count(upright) == 1
    image = read(made.replace(upright, struct.pack("<HHIHH", 274, 3, 1, 6, 0)))
    found = PIL.Image.Exif()
    found.load(image.exif)
    assert (found.get_ifd(0x8769)[0xA002], found.get_ifd(0x8769)[0xA003]) == (40, 60)


@pytest.mark.parametrize("end", range(8, 140, 3))
def test_exif_that_is_cut_off_anywhere_is_no_reason_to_fail(end):
    image = read(encode(Image(LYING, exif=exif_of_sizes("<", 6)[:end]), "PNG"))
    assert len(image.exif) == min(end, 132)
