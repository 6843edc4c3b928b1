"""What comes back when a picture is read and written: pixels, alpha, profile, EXIF, XMP, DPI and depth."""

from __future__ import annotations

import io
import os
import stat
import struct
import subprocess
import sys
import threading
import warnings
import zlib
from pathlib import Path

import imagecodecs
import numpy as np
import PIL.Image
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import ImageCms

from restore.errors import BadOption, UnreadableImage
from restore.image import (
    Image,
    JpegSource,
    copy,
    encode,
    format_for,
    is_picture_name,
    losses,
    probe_size,
    read,
    write,
)

SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
GREY_PROFILE = SRGB[:16] + b"GRAY" + SRGB[20:]
XMP = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><d tiff:Orientation="1" t="\xc3\xa9"/></x:xmpmeta>'
MAKER_NOTE = bytes(range(40))


def noise(*shape: int, dtype: type = np.uint8, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, np.iinfo(dtype).max, shape, dtype, endpoint=True)


def make_exif(order: str = "<", orientation: int | None = None) -> bytes:
    """EXIF by hand: Make "Abc", orientation, an Exif part with a maker note, and a link to a thumbnail's directory."""
    main = [struct.pack(order + "HHI", 271, 2, 4) + b"Abc\0"]
    if orientation is not None:
        main.append(struct.pack(order + "HHIHH", 274, 3, 1, orientation, 0))
    after_main = 8 + 2 + 12 * (len(main) + 1) + 4
    main.append(struct.pack(order + "HHII", 0x8769, 4, 1, after_main))
    part = struct.pack(order + "HHHIII", 1, 37500, 7, len(MAKER_NOTE), after_main + 18, 0) + MAKER_NOTE
    thumbnail_at = after_main + len(part)
    head = (b"II" if order == "<" else b"MM") + struct.pack(order + "HI", 42, 8)
    table = struct.pack(order + "H", len(main)) + b"".join(main) + struct.pack(order + "I", thumbnail_at)
    return head + table + part + struct.pack(order + "HI", 0, 0)


def saved(picture: PIL.Image.Image, format: str, **options: object) -> bytes:  # noqa: A002
    file = io.BytesIO()
    picture.save(file, format, **options)
    return file.getvalue()


def tiff(pixels: np.ndarray, **options: object) -> bytes:
    file = io.BytesIO()
    tifffile.imwrite(file, pixels, **options)
    return file.getvalue()


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def with_chunk(png: bytes, kind: bytes, data: bytes) -> bytes:
    return png[:33] + chunk(kind, data) + png[33:]


# Round trips


@pytest.mark.parametrize("format", ["PNG", "TIFF"])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("shape", [(7, 5), (7, 5, 3), (1, 1), (1, 1, 3), (1, 5000, 3), (5000, 1), (3, 3, 3)])
@pytest.mark.parametrize("with_alpha", [False, True])
def test_everything_survives_png_and_tiff(format, dtype, shape, with_alpha, tmp_path):  # noqa: A002
    pixels = noise(*shape, dtype=dtype)
    alpha = noise(*shape[:2], dtype=dtype, seed=1) if with_alpha else None
    profile = SRGB if len(shape) == 3 else GREY_PROFILE
    # 254 and 127 dpi are whole numbers of pixels per metre, as PNG stores them.
    image = Image(pixels, alpha, profile, make_exif(), XMP, (254.0, 127.0))
    path = tmp_path / f"picture.{format.lower()}"
    write(image, path)
    back = read(path)
    assert back.format == format
    assert back.pixels.dtype == dtype
    np.testing.assert_array_equal(back.pixels, pixels)
    assert (back.alpha is None) == (alpha is None)
    if alpha is not None:
        np.testing.assert_array_equal(back.alpha, alpha)
    assert back.icc == profile
    assert back.xmp == XMP
    assert back.dpi == pytest.approx((254.0, 127.0), abs=1e-9)
    assert back.notes == ()
    exif = PIL.Image.Exif()
    exif.load(back.exif)
    assert exif[271] == "Abc"
    assert exif.get_ifd(0x8769)[37500] == MAKER_NOTE


@given(
    hnp.arrays(
        st.sampled_from([np.uint8, np.uint16]),
        st.tuples(st.integers(1, 9), st.integers(1, 9), st.sampled_from([1, 3])).map(
            lambda s: s if s[2] == 3 else s[:2]
        ),
    ),
    st.sampled_from(["PNG", "TIFF"]),
)
@settings(max_examples=60, deadline=None)
def test_any_pixels_survive_png_and_tiff(pixels, format):  # noqa: A002
    np.testing.assert_array_equal(read(encode(Image(pixels), format)).pixels, pixels)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("order", ["<", ">"])
def test_a_tiff_takes_the_byte_order_of_the_exif_and_other_programs_read_it(dtype, order):
    pixels, alpha = noise(40, 30, 3, dtype=dtype), noise(40, 30, dtype=dtype, seed=1)
    made = encode(Image(pixels, alpha, exif=make_exif(order)), "TIFF")
    with tifffile.TiffFile(io.BytesIO(made)) as tif:
        assert tif.byteorder == order
        np.testing.assert_array_equal(tif.asarray(), np.dstack([pixels, alpha]))
    with PIL.Image.open(io.BytesIO(made)) as opened:
        assert opened.getexif()[271] == "Abc"
        assert opened.getexif().get_ifd(0x8769)[37500] == MAKER_NOTE


def test_a_tiff_of_many_strips_survives():
    pixels = noise(900, 700, 3, dtype=np.uint16)
    made = encode(Image(pixels), "TIFF")
    with tifffile.TiffFile(io.BytesIO(made)) as tif:
        assert len(tif.pages[0].dataoffsets) > 1
        assert all(offset % 2 == 0 for offset in tif.pages[0].dataoffsets)
    np.testing.assert_array_equal(read(made).pixels, pixels)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("format", ["PNG", "JPEG", "WEBP"])
def test_exif_survives_byte_for_byte(format, order):  # noqa: A002
    exif = make_exif(order, orientation=1)
    assert read(encode(Image(noise(8, 8, 3), exif=exif), format)).exif == exif


@pytest.mark.parametrize("format", ["JPEG", "WEBP"])
def test_profile_and_xmp_survive_lossy_formats(format):  # noqa: A002
    back = read(encode(Image(noise(8, 8, 3), icc=SRGB, xmp=XMP, dpi=(300, 150)), format))
    assert (back.icc, back.xmp) == (SRGB, XMP)
    if format == "JPEG":
        assert back.dpi == (300, 150)


def test_a_tiff_read_and_written_again_says_the_same():
    first = read(encode(Image(noise(5, 5), exif=make_exif(">")), "TIFF"))
    assert read(encode(first, "TIFF")).exif == first.exif


def test_pixels_per_centimetre_become_dots_per_inch():
    made = tiff(noise(4, 4), resolution=(100, 50), resolutionunit="CENTIMETER")
    assert read(made).dpi == pytest.approx((254, 127))


@pytest.mark.parametrize("format", ["PNG", "JPEG", "TIFF"])
def test_a_file_without_dpi_gets_none(format):  # noqa: A002
    assert read(encode(Image(noise(8, 8, 3), exif=make_exif()), format)).dpi is None


# Upright


UPRIGHT = {  # [[1, 2, 3], [4, 5, 6]] turned by hand
    1: [[1, 2, 3], [4, 5, 6]],
    2: [[3, 2, 1], [6, 5, 4]],
    3: [[6, 5, 4], [3, 2, 1]],
    4: [[4, 5, 6], [1, 2, 3]],
    5: [[1, 4], [2, 5], [3, 6]],
    6: [[4, 1], [5, 2], [6, 3]],
    7: [[6, 3], [5, 2], [4, 1]],
    8: [[3, 6], [2, 5], [1, 4]],
}
LYING = np.array([[1, 2, 3], [4, 5, 6]], np.uint8)


@pytest.mark.parametrize("orientation", UPRIGHT)
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("format", ["PNG", "TIFF"])
def test_a_picture_is_turned_upright(orientation, dtype, format):  # noqa: A002
    lying = LYING.astype(dtype)
    if format == "TIFF":
        stored = tiff(
            np.dstack([lying, lying + 10]),
            photometric="minisblack",
            planarconfig="contig",
            extrasamples=["unassalpha"],
            extratags=[(274, 3, 1, orientation, True)],
            resolution=(200, 100),
        )
    else:
        stored = encode(Image(lying, lying + dtype(10), exif=make_exif(orientation=orientation), dpi=(254, 127)), "PNG")
    image = read(stored)
    np.testing.assert_array_equal(image.pixels, UPRIGHT[orientation])
    np.testing.assert_array_equal(image.alpha, np.array(UPRIGHT[orientation]) + 10)
    assert image.pixels.flags.c_contiguous
    assert probe_size(stored) == image.pixels.shape
    across, down = image.dpi
    assert (across > down) == (orientation < 5)


def test_a_turned_jpeg_is_the_turned_picture_that_pillow_decodes():
    # 600 rows: more than are copied at once.
    stored = saved(PIL.Image.fromarray(noise(600, 8, 3)), "JPEG", exif=b"Exif\0\0" + make_exif(orientation=6))
    with PIL.Image.open(io.BytesIO(stored)) as opened:
        expected = np.rot90(np.asarray(opened), -1)
    np.testing.assert_array_equal(read(stored).pixels, expected)
    assert probe_size(stored) == (8, 600)


@pytest.mark.parametrize("order", ["<", ">"])
def test_turning_changes_the_orientation_and_the_thumbnails_link_alone(order):
    before = make_exif(order, orientation=8)
    after = read(encode(Image(noise(4, 6, 3), exif=before), "PNG")).exif
    # Header 8, number of entries 2, Make 12, then the orientation's value 8 bytes into its entry.
    assert struct.unpack_from(order + "H", after, 8 + 2 + 12 + 8) == (1,)
    # Three entries of 12 bytes lie before the link.
    link = 8 + 2 + 36
    assert after[link : link + 4] == bytes(4)
    changed = [i for i in range(len(before)) if before[i] != after[i]]
    assert set(changed) <= {30, 31, *range(link, link + 4)}


def test_an_upright_picture_keeps_its_thumbnail():
    exif = make_exif(orientation=1)
    assert read(encode(Image(noise(4, 6, 3), exif=exif), "PNG")).exif == exif


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("kind", [b"tEXt", b"zTXt"])
@pytest.mark.parametrize("keyword", [b"Raw profile type exif", b"Raw profile type APP1"])
def test_exif_that_an_older_png_holds_as_text_counts(dtype, kind, keyword):
    exif = b"Exif\0\0" + make_exif(orientation=6)
    digits = exif.hex().encode()
    lines = b"\n".join(digits[at : at + 72] for at in range(0, len(digits), 72))
    text = b"\nexif\n%8d\n%s\n" % (len(exif), lines)
    value = b"\0" + zlib.compress(text) if kind == b"zTXt" else text
    image = read(with_chunk(encode(Image(LYING.astype(dtype)), "PNG"), kind, keyword + b"\0" + value))
    np.testing.assert_array_equal(image.pixels, UPRIGHT[6])
    assert image.exif == read(encode(Image(LYING, exif=make_exif(orientation=6)), "PNG")).exif


@pytest.mark.parametrize("text", [b"", b"\nexif\n 4\nno digits", b"\nexif\n 2\nabcd"])
def test_text_that_is_no_exif_is_passed_over(text):
    for dtype in (np.uint8, np.uint16):
        stored = with_chunk(encode(Image(LYING.astype(dtype)), "PNG"), b"tEXt", b"Raw profile type exif\0" + text)
        assert read(stored).exif is None


def test_the_orientation_in_xmp_goes_with_that_in_exif():
    turned = XMP.replace(b'"1"', b'"6"') + b"<tiff:Orientation>6</tiff:Orientation>"
    image = read(encode(Image(noise(4, 6, 3), exif=make_exif(orientation=6), xmp=turned), "PNG"))
    assert image.xmp == XMP + b"<tiff:Orientation>1</tiff:Orientation>"


def test_xmp_alone_turns_nothing():
    turned = XMP.replace(b'"1"', b'"6"')
    image = read(encode(Image(LYING, xmp=turned), "PNG"))
    np.testing.assert_array_equal(image.pixels, LYING)
    assert image.xmp == turned


def test_damaged_exif_is_kept_as_it_is():
    exif = b"II*\0\xff\xff\xff\xffgarbage"
    image = read(encode(Image(LYING, exif=exif), "PNG"))
    assert image.exif == exif
    assert read(encode(image, "TIFF")).exif is None


# Kinds of files


def test_a_file_is_known_by_its_content(tmp_path):
    path = tmp_path / "in.png"
    path.write_bytes(saved(PIL.Image.fromarray(noise(8, 8, 3)), "JPEG"))
    image = read(path)
    assert image.format == "JPEG"
    write(image, tmp_path / "out.png")
    assert (tmp_path / "out.png").read_bytes().startswith(b"\x89PNG")


def test_a_path_may_be_a_string(tmp_path):
    path = str(tmp_path / "a.png")
    image = Image(np.arange(12, dtype=np.uint8).reshape(2, 2, 3))
    write(image, path)
    np.testing.assert_array_equal(read(path).pixels, image.pixels)
    assert probe_size(path) == (2, 2)
    with pytest.raises(BadOption, match=r"'[.]xyz' files cannot be written"):
        write(image, "a.xyz")
    with pytest.raises(UnreadableImage, match=r"missing[.]png: no such file"):
        read("missing.png")


def test_a_file_object_is_read_and_left_open():
    file = io.BytesIO(encode(Image(LYING), "PNG"))
    np.testing.assert_array_equal(read(file).pixels, LYING)
    assert not file.closed


def test_standard_input_need_not_be_seekable():
    class Pipe(io.BytesIO):
        def seekable(self) -> bool:
            return False

    np.testing.assert_array_equal(read(Pipe(encode(Image(LYING), "PNG"))).pixels, LYING)


def test_a_path_may_be_a_pipe(tmp_path):
    path = tmp_path / "pipe"
    os.mkfifo(path)
    writer = threading.Thread(target=path.write_bytes, args=(encode(Image(LYING), "PNG"),))
    writer.start()
    np.testing.assert_array_equal(read(path).pixels, LYING)
    writer.join()


@pytest.mark.parametrize("format", ["PNG", "BMP", "GIF", "TIFF", "PPM"])
def test_a_black_and_white_picture_becomes_8_bit_grey(format):  # noqa: A002
    bits = PIL.Image.fromarray(np.array([[0, 255, 0], [255, 255, 0]], np.uint8)).convert("1")
    image = read(saved(bits, format))
    pixels = image.pixels if image.is_grey else image.pixels[..., 0]
    np.testing.assert_array_equal(pixels, [[0, 255, 0], [255, 255, 0]])
    assert image.format == format


def test_a_fax_tiff_is_read():
    bits = np.zeros((20, 30), np.uint8)
    bits[5:9, 3:20] = 255
    stored = saved(PIL.Image.fromarray(bits).convert("1"), "TIFF", compression="group4")
    np.testing.assert_array_equal(read(stored).pixels, bits)


@pytest.mark.parametrize("format", ["PNG", "TIFF", "GIF", "BMP"])
def test_a_palette_becomes_rgb(format):  # noqa: A002
    picture = PIL.Image.fromarray(np.array([[0, 1], [2, 1]], np.uint8), "P")
    picture.putpalette([255, 0, 0, 10, 20, 30, 0, 0, 255])
    expected = [[[255, 0, 0], [10, 20, 30]], [[0, 0, 255], [10, 20, 30]]]
    np.testing.assert_array_equal(read(saved(picture, format)).pixels, expected)


@pytest.mark.parametrize("format", ["PNG", "GIF"])
def test_a_transparent_palette_entry_becomes_alpha(format):  # noqa: A002
    picture = PIL.Image.fromarray(np.array([[0, 1], [2, 1]], np.uint8), "P")
    picture.putpalette([255, 0, 0, 10, 20, 30, 0, 0, 255])
    np.testing.assert_array_equal(read(saved(picture, format, transparency=1)).alpha, [[255, 0], [255, 0]])


def test_a_transparent_colour_becomes_alpha():
    pixels = np.array([[[1, 2, 3], [3, 2, 1]]], np.uint8)
    stored = with_chunk(encode(Image(pixels), "PNG"), b"tRNS", struct.pack(">HHH", 3, 2, 1))
    np.testing.assert_array_equal(read(stored).alpha, [[255, 0]])
    stored = with_chunk(encode(Image(pixels.astype(np.uint16)), "PNG"), b"tRNS", struct.pack(">HHH", 3, 2, 1))
    np.testing.assert_array_equal(read(stored).alpha, [[65535, 0]])


@pytest.mark.parametrize("bits", [1, 2, 4])
def test_a_transparent_grey_is_found_in_a_png_of_few_bits(bits):
    # One row of two pixels: the largest value, then 0; each scanline begins with its filter, 0.
    row = ((1 << bits) - 1) << (8 - bits)
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 2, 1, bits, 0, 0, 0, 0))
    key = chunk(b"tRNS", struct.pack(">H", (1 << bits) - 1))
    data = chunk(b"IDAT", zlib.compress(bytes([0, row])))
    image = read(b"\x89PNG\r\n\x1a\n" + header + key + data + chunk(b"IEND", b""))
    np.testing.assert_array_equal(image.pixels, [[255, 0]])
    np.testing.assert_array_equal(image.alpha, [[0, 255]])


def test_a_16_bit_colour_png_from_elsewhere_keeps_its_16_bits():
    pixels = noise(6, 4, 3, dtype=np.uint16)
    image = read(imagecodecs.png_encode(pixels))
    assert image.bit_depth == 16
    np.testing.assert_array_equal(image.pixels, pixels)


def test_a_damaged_profile_or_xmp_costs_a_deep_png_no_pixel():
    pixels = LYING.astype(np.uint16)
    profile = with_chunk(encode(Image(pixels), "PNG"), b"iCCP", b"sRGB\0\0" + b"no zlib stream")
    image = read(profile)
    np.testing.assert_array_equal(image.pixels, pixels)
    assert image.icc is None
    assert image.notes == ("its colour profile is damaged and was left out",)
    xmp = with_chunk(encode(Image(pixels), "PNG"), b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + b"no zlib stream")
    assert read(xmp).xmp is None


def test_compressed_xmp_in_a_png_is_read():
    text = b"XML:com.adobe.xmp\0\1\0\0\0" + zlib.compress(XMP)
    for dtype in (np.uint8, np.uint16):
        assert read(with_chunk(encode(Image(LYING.astype(dtype)), "PNG"), b"iTXt", text)).xmp == XMP


@pytest.mark.parametrize(
    "options",
    [
        {"byteorder": ">"},
        {"byteorder": "<", "compression": "zlib", "predictor": True},
        {"compression": "lzw"},
        {"compression": "zstd"},
        {"tile": (16, 16)},
        {"planarconfig": "separate"},
        {"planarconfig": "separate", "compression": "zlib", "byteorder": ">"},
        {"bigtiff": True},
        {"rowsperstrip": 3},
    ],
)
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_colour_tiffs_of_every_build_are_read(options, dtype):
    pixels = noise(20, 33, 3, dtype=dtype)
    planar = options.get("planarconfig") == "separate"
    stored = tiff(np.moveaxis(pixels, -1, 0) if planar else pixels, photometric="rgb", **options)
    image = read(stored)
    assert image.pixels.dtype == dtype
    np.testing.assert_array_equal(image.pixels, pixels)


@pytest.mark.parametrize(("dtype", "most"), [(np.uint8, 255), (np.uint16, 65535)])
def test_a_tiff_in_which_0_is_white_is_inverted(dtype, most):
    stored = tiff(np.array([[0, 1, most]], dtype), photometric="miniswhite")
    np.testing.assert_array_equal(read(stored).pixels, [[most, most - 1, 0]])


def test_colours_multiplied_by_alpha_are_divided_again():
    # 300 of 600 is half of full; colours under alpha 0 are gone and read as black.
    stored = tiff(
        np.array([[[300, 600, 0, 600], [0, 0, 0, 0]]], np.uint16), photometric="rgb", extrasamples=["assocalpha"]
    )
    image = read(stored)
    np.testing.assert_array_equal(image.pixels, [[[32768, 65535, 0], [0, 0, 0]]])
    np.testing.assert_array_equal(image.alpha, [[600, 0]])


def test_an_extra_channel_that_is_no_alpha_is_dropped_and_said():
    stored = tiff(noise(4, 4, 4), photometric="rgb", extrasamples=["unspecified"])
    image = read(stored)
    assert image.alpha is None
    assert image.notes == ("an extra channel of unknown meaning was dropped",)


def test_a_12_bit_tiff_is_scaled_to_16_bits():
    # 0, 1, 2048 and 4095 packed by hand, 12 bits each. 1 x 65535 / 4095 = 16.003; 2048 x 65535 / 4095 = 32775.5.
    packed = bytes.fromhex("000001800fff")
    plain = bytearray(tiff(np.zeros((1, 4), np.uint16), metadata=None, software=False, byteorder="<"))
    with tifffile.TiffFile(io.BytesIO(bytes(plain))) as tif:
        page = tif.pages[0]
        bits, count, data = page.tags[258].valueoffset, page.tags[279].valueoffset, page.dataoffsets[0]
    plain[bits : bits + 2] = struct.pack("<H", 12)
    plain[count : count + 4] = struct.pack("<I", 6)
    plain[data : data + 6] = packed
    pixels = read(bytes(plain)).pixels
    assert pixels.dtype == np.uint16
    assert pixels.tolist()[0][::3] == [0, 65535]
    assert pixels.tolist()[0][1] == 16
    assert pixels.tolist()[0][2] in {32775, 32776}


def test_a_jpeg_compressed_tiff_is_read():
    photo = PIL.Image.new("RGB", (32, 32), (200, 100, 50))
    pixels = read(saved(photo, "TIFF", compression="jpeg")).pixels
    # One flat colour: JPEG at this quality is off by its colour transform's rounding alone.
    assert np.abs(pixels.astype(int) - (200, 100, 50)).max() <= 2


def test_a_lab_tiff_becomes_srgb():
    # 128 of 255 is L 50; a and b 0 are no colour. CIE L* 50 is a luminance of 0.184, which sRGB encodes as 119.
    lab = PIL.Image.frombytes("LAB", (1, 1), bytes([128, 0, 0]))
    image = read(saved(lab, "TIFF"))
    assert np.abs(image.pixels.astype(int) - 119).max() <= 1
    assert image.notes == ("Lab was converted to sRGB",)


def test_a_ycbcr_tiff_becomes_rgb():
    stored = saved(PIL.Image.new("RGB", (4, 4), (255, 255, 255)).convert("YCbCr"), "TIFF")
    np.testing.assert_array_equal(read(stored).pixels, np.full((4, 4, 3), 255))


def cmyk_profile() -> bytes:
    """A minimal CMYK profile by hand: no ink is L 100, black ink alone is L 50, all else is L 0; never any colour."""
    grid = b"".join(bytes([{0: 255, 1: 128}.get(node, 0), 128, 128]) for node in range(16))
    ramp = bytes(range(256))
    identity = struct.pack(">9i", 65536, 0, 0, 0, 65536, 0, 0, 0, 65536)
    lut = b"mft1\0\0\0\0" + bytes([4, 3, 2, 0]) + identity + ramp * 4 + grid + ramp * 3
    text = b"desc\0\0\0\0" + struct.pack(">I", 2) + b"x\0" + bytes(78)
    white = b"XYZ \0\0\0\0" + struct.pack(">3i", 63190, 65536, 54061)
    table, body, at = b"", b"", 128 + 4 + 12 * 3
    for name, data in ((b"A2B0", lut), (b"desc", text), (b"wtpt", white)):
        padded = data + bytes(-len(data) % 4)
        table += name + struct.pack(">II", at + len(body), len(data))
        body += padded
    size = at + len(body)
    head = struct.pack(">I4sI", size, b"lcms", 0x02400000) + b"prtrCMYKLab " + bytes(12) + b"acsp" + bytes(28)
    head += struct.pack(">3i", 63190, 65536, 54061)
    return head.ljust(128, b"\0") + struct.pack(">I", 3) + table + body


@pytest.mark.parametrize("format", ["TIFF", "JPEG"])
def test_cmyk_goes_through_its_profile_to_srgb(format):  # noqa: A002
    inks = PIL.Image.new("CMYK", (16, 8), (0, 0, 0, 0))
    inks.paste((0, 0, 0, 255), (8, 0, 16, 8))
    image = read(saved(inks, format, icc_profile=cmyk_profile()))
    assert image.notes == ("CMYK was converted to sRGB through its profile",)
    # Paper is white. Black ink alone is L 50, which is 119 in sRGB (the plain formula would give 0).
    assert image.pixels[4, 2].tolist() == pytest.approx([255, 255, 255], abs=1)
    assert image.pixels[4, 13].tolist() == pytest.approx([119, 119, 119], abs=2)
    assert image.icc[16:20] == b"RGB "


def test_cmyk_without_a_profile_is_converted_plainly_and_said():
    image = read(saved(PIL.Image.new("CMYK", (2, 2), (0, 255, 255, 0)), "TIFF"))
    np.testing.assert_array_equal(image.pixels, np.full((2, 2, 3), (255, 0, 0)))
    assert image.notes == ("CMYK was converted to sRGB by a plain formula: it came without a profile",)
    assert image.icc is None


def test_pgm_and_ppm_of_16_bits_are_scaled_to_the_full_range():
    assert read(b"P5\n# by hand\n3 1\n1000\n" + struct.pack(">3H", 0, 500, 1000)).pixels.tolist() == [[0, 32768, 65535]]
    colour = read(b"P6 1 1 65535 " + struct.pack(">3H", 1, 2, 65535))
    assert colour.pixels.tolist() == [[[1, 2, 65535]]]
    assert colour.pixels.dtype == np.uint16
    assert colour.format == "PPM"


def test_ppm_of_8_bits_is_read():
    assert read(b"P6\n2 1\n255\n\1\2\3\4\5\6").pixels.tolist() == [[[1, 2, 3], [4, 5, 6]]]


@pytest.mark.parametrize("format", ["GIF", "WEBP", "PNG"])
def test_of_an_animation_the_first_picture_is_read_and_said(format):  # noqa: A002
    frames = [PIL.Image.new("RGB", (4, 4), colour) for colour in ("red", "blue")]
    image = read(saved(frames[0], format, save_all=True, append_images=frames[1:]))
    assert image.pixels[0, 0].tolist() == pytest.approx([255, 0, 0], abs=2)
    assert image.notes == ("an animation: only its first picture was read",)


def test_of_a_tiff_with_pages_the_first_is_read_and_said():
    file = io.BytesIO()
    with tifffile.TiffWriter(file) as writer:
        for value in (7, 8):
            writer.write(np.full((4, 4), value, np.uint8))
    image = read(file.getvalue())
    assert image.pixels[0, 0] == 7
    assert image.notes == ("only the first of 2 pages was read",)


def test_a_phones_jpeg_with_a_second_picture_is_a_jpeg():
    first, second = (PIL.Image.new("RGB", (16, 16), colour) for colour in ("red", "blue"))
    image = read(saved(first, "MPO", save_all=True, append_images=[second]))
    assert image.format == "JPEG"
    assert image.jpeg is not None
    assert image.notes == ("further pictures inside the JPEG (another view, a depth or brightness map) were left out",)


def test_pillows_limit_is_neither_needed_nor_changed(monkeypatch):
    # Above twice its limit Pillow raises, and above the limit it warns: 2.25 million pixels are more than both.
    monkeypatch.setattr(PIL.Image, "MAX_IMAGE_PIXELS", 1_100_000)
    pixels = np.zeros((1500, 1500), np.uint8)
    files = [encode(Image(pixels), kind) for kind in ("PNG", "JPEG", "TIFF", "WEBP", "BMP")]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert {read(file).pixels.shape[:2] for file in files} == {(1500, 1500)}
    assert PIL.Image.MAX_IMAGE_PIXELS == 1_100_000


def test_probe_size_decodes_nothing():
    # The header of 20,000 x 10,000 pixels, and not one pixel.
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 20_000, 10_000, 8, 2, 0, 0, 0))
    assert probe_size(b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", b"")) == (10_000, 20_000)


# Writing


@pytest.mark.parametrize("subsampling", [0, 1, 2])
def test_a_jpeg_keeps_its_tables_and_subsampling(subsampling):
    luma, chroma = list(range(1, 65)), [min(255, 3 * step) for step in range(1, 65)]
    photo = PIL.Image.fromarray(noise(32, 32, 3))
    stored = saved(photo, "JPEG", qtables=[luma, chroma], subsampling=subsampling)
    image = read(stored)
    assert image.jpeg == JpegSource((tuple(luma), tuple(chroma)), subsampling)
    assert read(encode(image, "JPEG")).jpeg == image.jpeg


def test_a_grey_jpeg_keeps_its_table_also_when_it_becomes_colour():
    table = list(range(2, 66))
    image = read(saved(PIL.Image.fromarray(noise(16, 16)), "JPEG", qtables=[table]))
    assert image.is_grey
    assert read(encode(image, "JPEG")).jpeg.tables == (tuple(table),)
    coloured = image.with_pixels(noise(16, 16, 3))
    assert read(encode(coloured, "JPEG")).jpeg == JpegSource((tuple(table),), 0)


def test_a_colour_jpeg_that_becomes_grey_keeps_the_table_of_its_luma():
    image = read(saved(PIL.Image.fromarray(noise(16, 16, 3)), "JPEG", quality=60))
    grey = read(encode(image.with_pixels(noise(16, 16)), "JPEG"))
    assert grey.is_grey
    assert grey.jpeg.tables == image.jpeg.tables[:1]


def test_a_jpeg_keeps_its_captions_long_xmp_and_comment():
    def segment(marker: int, data: bytes) -> bytes:
        return struct.pack(">BBH", 255, marker, len(data) + 2) + data

    # IPTC: the caption (record 2, field 120) "Jay", in Photoshop's resource 1028.
    iptc = b"\x1c\x02\x78\x00\x03Jay"
    captions = segment(0xED, b"Photoshop 3.0\x008BIM" + struct.pack(">HHI", 1028, 0, len(iptc)) + iptc)
    long_xmp = segment(0xE1, b"http://ns.adobe.com/xmp/extension/\0" + bytes(32) + struct.pack(">II", 3, 0) + b"<x>")
    comment = segment(0xFE, b"from the attic")
    plain = saved(PIL.Image.fromarray(noise(16, 16, 3)), "JPEG")
    image = read(plain[:2] + captions + long_xmp + comment + plain[2:])
    assert image.jpeg.segments == captions + long_xmp + comment
    assert losses(image, "JPEG") == ()
    assert losses(image, "TIFF") == (
        "TIFF holds no captions as JPEG does (IPTC beside EXIF and XMP, comments): they were left out",
    )
    made = encode(image, "JPEG")
    assert read(made).jpeg.segments == captions + long_xmp + comment
    with PIL.Image.open(io.BytesIO(made)) as opened:
        assert opened.info["comment"] == b"from the attic"


def test_a_new_jpeg_has_quality_95_and_full_colour():
    made = read(encode(Image(noise(16, 16, 3)), "JPEG"))
    expected = read(saved(PIL.Image.fromarray(noise(16, 16, 3)), "JPEG", quality=95, subsampling=0))
    assert made.jpeg == expected.jpeg


def test_16_bits_are_rounded_to_8_and_not_cut():
    # A step of 8 bits is 257 steps of 16; half of it is 128.5.
    pixels = np.array([[0, 128, 129, 257, 65406, 65407, 65535]], np.uint16)
    assert read(encode(Image(pixels), "BMP")).pixels.tolist() == [[0, 0, 1, 1, 254, 255, 255]]


def test_a_format_without_transparency_shows_white_behind_the_picture():
    pixels = np.array([[[0, 0, 0], [0, 0, 0], [10, 20, 30]]], np.uint8)
    alpha = np.array([[0, 51, 255]], np.uint8)
    # 51 is a fifth of 255: black of which a fifth shows on white is 204.
    back = read(encode(Image(pixels, alpha), "BMP"))
    assert back.pixels.tolist() == [[[255, 255, 255], [204, 204, 204], [10, 20, 30]]]
    assert back.alpha is None


def test_a_lossless_webp_stays_lossless_with_the_colours_under_transparency():
    pixels, alpha = noise(9, 7, 3), np.zeros((9, 7), np.uint8)
    stored = saved(PIL.Image.fromarray(np.dstack([pixels, alpha])), "WEBP", lossless=True, exact=True)
    image = read(stored)
    assert image.lossless
    back = read(encode(image, "WEBP"))
    np.testing.assert_array_equal(back.pixels, pixels)
    np.testing.assert_array_equal(back.alpha, alpha)


def test_a_lossy_webp_stays_lossy_and_keeps_its_alpha():
    alpha = noise(20, 20, seed=1)
    image = read(saved(PIL.Image.fromarray(np.dstack([noise(20, 20, 3), alpha])), "WEBP", quality=80))
    assert not image.lossless
    np.testing.assert_array_equal(read(encode(image, "WEBP")).alpha, image.alpha)


def test_what_a_format_cannot_hold_is_said():
    image = Image(noise(2, 2, 3, dtype=np.uint16), noise(2, 2, dtype=np.uint16), icc=SRGB)
    assert losses(image, "PNG") == losses(image, "TIFF") == ()
    assert losses(image, "WEBP") == ("WEBP holds 8 bits per channel: 16 bits were rounded to 8",)
    assert losses(image, "JPEG") == (
        "JPEG holds 8 bits per channel: 16 bits were rounded to 8",
        "JPEG holds no transparency: the picture was laid on white",
    )
    assert losses(image, "BMP")[2] == "BMP holds no profile, EXIF or XMP: they were left out"


def test_an_existing_file_is_replaced(tmp_path):
    path = tmp_path / "a.png"
    path.write_bytes(b"old")
    write(Image(LYING), path)
    np.testing.assert_array_equal(read(path).pixels, LYING)
    assert list(tmp_path.iterdir()) == [path]


def test_missing_folders_are_made(tmp_path):
    write(Image(LYING), tmp_path / "a" / "b" / "c.png")
    assert (tmp_path / "a" / "b" / "c.png").exists()


def test_the_format_can_be_given_where_the_name_says_nothing(tmp_path):
    write(Image(LYING), tmp_path / "picture", format="tiff")
    assert read(tmp_path / "picture").format == "TIFF"


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o444, 0o664])
def test_the_permissions_of_the_source_go_over(mode, tmp_path):
    source = tmp_path / "source.png"
    write(Image(LYING), source)
    source.chmod(mode)
    write(Image(LYING), tmp_path / "written.png", mode_of=source)
    copy(source, tmp_path / "copied.png", mode_of=source)
    for name in ("written.png", "copied.png"):
        assert stat.S_IMODE((tmp_path / name).stat().st_mode) == mode


def test_no_right_to_run_as_another_user_goes_over(tmp_path):
    source = tmp_path / "source.png"
    write(Image(LYING), source)
    source.chmod(0o6750)
    write(Image(LYING), tmp_path / "a.png", mode_of=source)
    assert stat.S_IMODE((tmp_path / "a.png").stat().st_mode) == 0o750


def test_a_source_without_permissions_is_no_reason_to_fail(tmp_path, monkeypatch):
    write(Image(LYING), tmp_path / "a.png", mode_of=tmp_path / "gone.png")

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError

    # As on a stick whose file system knows no permissions.
    monkeypatch.setattr(os, "chmod", refuse)
    write(Image(LYING), tmp_path / "b.png", mode_of=tmp_path / "a.png")
    assert {path.name for path in tmp_path.iterdir()} == {"a.png", "b.png"}


def test_nobody_else_may_look_into_a_private_answer_that_is_being_written(tmp_path):
    source = tmp_path / "source.png"
    write(Image(LYING), source)
    source.chmod(0o600)
    seen = []
    out = tmp_path / "out"
    write(
        Image(LYING),
        out / "a.png",
        mode_of=source,
        beside=lambda: seen.extend(stat.S_IMODE(part.stat().st_mode) for part in out.iterdir()),
    )
    assert seen == [0o600]


def test_two_runs_write_the_same_bytes():
    program = (
        "import sys, numpy as np; from restore.image import Image, encode;"
        "grey = Image(np.zeros((2, 2), np.uint8), icc=bytes(16) + b'GRAY');"
        "sys.stdout.buffer.write(encode(grey.with_pixels(np.zeros((2, 2, 3), np.uint8)), 'PNG'))"
    )
    first, second = (
        subprocess.run([sys.executable, "-c", program], capture_output=True, check=True, cwd=Path(__file__).parents[2])
        for _ in range(2)
    )
    assert first.stdout == second.stdout
    assert read(first.stdout).icc[16:20] == b"RGB "


# Profiles and channels


def test_a_grey_profile_becomes_srgb_when_colour_is_added():
    image = Image(noise(4, 4), icc=GREY_PROFILE)
    assert image.with_pixels(noise(4, 4)).icc == GREY_PROFILE
    assert image.with_pixels(noise(4, 4, 3)).icc[16:20] == b"RGB "


def test_an_rgb_profile_goes_when_colour_is_taken_away():
    assert Image(noise(4, 4, 3), icc=SRGB).with_pixels(noise(4, 4)).icc is None


@pytest.mark.parametrize("format", ["PNG", "TIFF", "JPEG", "WEBP"])
def test_a_profile_that_does_not_fit_is_never_written(format):  # noqa: A002
    cmyk_on_grey = read(encode(Image(noise(4, 4), icc=cmyk_profile()), format))
    assert cmyk_on_grey.icc is None or cmyk_on_grey.icc[16:20] != b"CMYK"
    assert read(encode(Image(noise(4, 4, 3), icc=GREY_PROFILE), format)).icc[16:20] == b"RGB "


def test_a_grey_profile_becomes_srgb_in_webp_which_knows_no_grey():
    assert read(encode(Image(noise(4, 4), icc=GREY_PROFILE), "WEBP")).icc[16:20] == b"RGB "


def test_alpha_follows_the_depth_of_new_pixels():
    deep = Image(noise(1, 2, dtype=np.uint16), np.array([[257, 65535]], np.uint16))
    assert deep.with_pixels(noise(1, 2)).alpha.tolist() == [[1, 255]]
    shallow = Image(noise(1, 2), np.array([[1, 255]], np.uint8))
    assert shallow.with_pixels(noise(1, 2, dtype=np.uint16)).alpha.tolist() == [[257, 65535]]


def test_new_pixels_must_have_the_same_size():
    with pytest.raises(ValueError, match=r"pixels must be \(4, 4\), got \(4, 5\)"):
        Image(noise(4, 4)).with_pixels(noise(4, 5))


@pytest.mark.parametrize(
    ("pixels", "alpha", "message"),
    [
        (np.zeros((2, 2, 4), np.uint8), None, r"pixels must be \(H, W\) or \(H, W, 3\)"),
        (np.zeros((0, 2), np.uint8), None, "not empty"),
        (np.zeros((2, 2), np.float32), None, "pixels must be uint8 or uint16, got float32"),
        (np.zeros((2, 2), np.uint8), np.zeros((2, 2), np.uint16), r"alpha must be \(2, 2\) uint8, got"),
    ],
)
def test_an_image_of_the_wrong_shape_or_type_cannot_be_made(pixels, alpha, message):
    with pytest.raises(ValueError, match=message):
        Image(pixels, alpha)


def test_an_image_knows_its_size_and_kind():
    image = Image(noise(4, 6, 3, dtype=np.uint16))
    assert (image.height, image.width, image.is_grey, image.bit_depth) == (4, 6, False, 16)


# Names


@pytest.mark.parametrize(
    ("name", "format"), [("a.JPG", "JPEG"), ("a.b.tif", "TIFF"), ("a.png", "PNG"), ("a.webp", "WEBP"), ("a.bmp", "BMP")]
)
def test_the_suffix_names_the_format(name, format):  # noqa: A002
    assert format_for(Path(name)) == format


@pytest.mark.parametrize(
    ("name", "reason"), [("a.gif", "'.gif' files cannot be written"), ("picture", "the name has no suffix")]
)
def test_a_suffix_that_cannot_be_written_is_refused_with_those_that_can(name, reason):
    with pytest.raises(BadOption, match=rf"{name}: {reason}\. Use one of \.png \.jpg"):
        format_for(Path(name))


def test_pictures_are_found_by_name():
    assert all(is_picture_name(Path(name)) for name in ("a.JPEG", "b.tiff", "c.gif", "d.pgm"))
    assert not any(is_picture_name(Path(name)) for name in ("a.txt", "jpg", "b.png.part"))


# Memory


def test_a_jpeg_is_read_and_written_with_one_copy_of_its_pixels():
    """12 megapixels are 36 MB; Pillow needs 48 MB (4 bytes each) for as long as it decodes or encodes."""
    pytest.importorskip("resource")
    program = """if True:
        import io, resource, numpy as np
        from restore.image import Image, encode, read
        encode(read(encode(Image(np.zeros((8, 8, 3), np.uint8)), 'JPEG')), 'JPEG')
        import PIL.Image
        most = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        exif = b'Exif\\0\\0II*\\0\\10\\0\\0\\0\\1\\0\\x12\\1\\3\\0\\1\\0\\0\\0\\6\\0\\0\\0\\0\\0\\0\\0'
        file = io.BytesIO()
        PIL.Image.effect_noise((400, 300), 20).convert('RGB').resize((4000, 3000), 0).save(file, 'JPEG', exif=exif)
        before = most(); stored = file.getvalue(); image = read(stored); assert image.pixels.shape == (4000, 3000, 3)
        print(most() - before, end=' '); encode(image, 'JPEG'); print(most() - before)
    """
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=Path(__file__).parents[2]
    )
    reading, both = (float(word) for word in done.stdout.split())
    # Making the JPEG in this process has already used Pillow's 48 MB once; what is left is the 36 MB and buffers.
    assert reading < 60
    assert both < 90


def test_a_picture_is_shown_in_one_line():
    grey = Image(np.zeros((20, 30), np.uint16), np.zeros((20, 30), np.uint16), exif=b"secret", format="TIFF")
    assert repr(grey) == "<Image: 30 x 20, grey with alpha, 16 bits, TIFF>"
