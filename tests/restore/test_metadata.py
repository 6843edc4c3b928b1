"""What a file says beside its pixels comes back in the same format, and what another cannot hold is named."""

from __future__ import annotations

import dataclasses
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


# PNG: texts and colours


TITLE = (b"tEXt", b"Title\0Jay \xe9")
AUTHOR = (b"zTXt", b"Author\0\0" + zlib.compress(b"A. Nobody"))
COPYRIGHT = (b"iTXt", "Copyright\0\0\0de\0Urheber\0© 1955".encode())
GAMMA = (b"gAMA", struct.pack(">I", 55_556))
PRIMARIES = (b"cHRM", struct.pack(">8I", 31_270, 32_900, 64_000, 33_000, 21_000, 71_000, 15_000, 6_000))
MARK = (b"sRGB", b"\0")
WITHOUT_TEXTS = "JPEG holds no texts as PNG does (title, author and such): they were left out"
WITHOUT_COLOURS = "JPEG holds no gamma, primaries or mark of sRGB as PNG does: they were left out"


def chunks_of(png: bytes) -> list[tuple[bytes, bytes]]:
    found, at = [], 8
    while at < len(png):
        length, kind = struct.unpack_from(">I4s", png, at)
        found.append((kind, png[at + 8 : at + 8 + length]))
        at += 12 + length
    return found


def png_saying(*said: tuple[bytes, bytes], dtype: type = np.uint8, icc: bytes | None = None) -> bytes:
    made = encode(Image(np.dstack([GREY] * 3).astype(dtype), icc=icc), "PNG")
    return with_chunks(made, *(chunk(*one) for one in said))


@DEPTHS
def test_texts_and_colours_go_from_png_to_png(dtype):
    said = [GAMMA, PRIMARIES, MARK, TITLE, AUTHOR, COPYRIGHT]
    image = read(png_saying(*said, dtype=dtype))
    assert losses(image, "PNG") == ()
    made = encode(image, "PNG")
    assert set(said) <= set(chunks_of(made))
    # The order of the standard: colours come before the pixels.
    kinds = [kind for kind, _ in chunks_of(made)]
    assert max(kinds.index(kind) for kind in (b"gAMA", b"cHRM", b"sRGB")) < kinds.index(b"IDAT")
    with PIL.Image.open(io.BytesIO(made)) as opened:
        assert (opened.text["Title"], opened.text["Author"], opened.text["Copyright"]) == (
            "Jay é",
            "A. Nobody",
            "© 1955",
        )
        assert opened.info["gamma"] == 0.55556


def test_texts_after_the_pixels_go_over_too():
    made = encode(Image(GREY), "PNG")
    image = read(made[:-12] + chunk(*TITLE) + made[-12:])
    assert TITLE in chunks_of(encode(image, "PNG"))


def test_texts_and_colours_are_named_where_another_format_holds_none():
    assert losses(read(png_saying(TITLE)), "JPEG") == (WITHOUT_TEXTS,)
    assert losses(read(png_saying(GAMMA)), "JPEG") == (WITHOUT_COLOURS,)
    # A profile says more than the gamma beside it.
    assert losses(read(png_saying(GAMMA, icc=SRGB)), "JPEG") == ()


@DEPTHS
def test_colours_go_over_beside_their_own_profile_alone(dtype):
    image = read(png_saying(GAMMA, PRIMARIES, dtype=dtype, icc=SRGB))
    kept = {kind for kind, _ in chunks_of(encode(image, "PNG"))}
    assert {b"gAMA", b"cHRM", b"iCCP"} <= kept
    other = dataclasses.replace(image, icc=SRGB + bytes(4))
    grey = image.with_pixels(GREY.astype(dtype))
    for changed in (other, grey):
        assert not {b"gAMA", b"cHRM"} & {kind for kind, _ in chunks_of(encode(changed, "PNG"))}
        assert losses(changed, "PNG") == ()


@DEPTHS
def test_exif_and_xmp_do_not_go_over_as_texts_once_more(dtype):
    exif = b"II*\0\x08\0\0\0" + bytes(6)
    text = b"\nexif\n%8d\n%s\n" % (len(exif), exif.hex().encode())
    said = [(b"tEXt", b"Raw profile type exif\0" + text), (b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0<x/>")]
    kinds = [kind for kind, _ in chunks_of(encode(read(png_saying(*said, dtype=dtype)), "PNG"))]
    assert (kinds.count(b"eXIf"), kinds.count(b"iTXt"), kinds.count(b"tEXt")) == (1, 1, 0)


SIGNED = "a signature of its origin (C2PA) was left out: it vouches for the unchanged picture alone"


@DEPTHS
def test_what_a_png_holds_for_one_program_alone_is_named(dtype):
    image = read(png_saying((b"caBX", b"jumb"), (b"mkBF", b"layers"), (b"tIME", bytes(7)), dtype=dtype))
    for format_ in ("PNG", "TIFF"):
        assert losses(image, format_) == (SIGNED, "chunks that no standard names (mkBF) were left out")
    assert image.notes == ()


# TIFF: tags that say nothing about how the pixels are stored


PHOTOSHOP = (34377, 7, 8, b"8BIM\x04\x04\0\0")
SCALE = (33550, 12, 3, struct.pack("<3d", 0.5, 0.5, 0))
TIE = (33922, 12, 6, struct.pack("<6d", 0, 0, 0, 350_000, 5_600_000, 0))
KEYS = (34735, 3, 4, struct.pack("<4H", 1, 1, 0, 0))
GDAL = (42112, 2, 20, b"<GDALMetadata/>1234\0")
PRIVATE = (65_000, 9, 2, struct.pack("<2i", -1, 70_000))


def tags_of(file: bytes) -> dict[int, tuple[int, int, bytes]]:
    """Type, count and value of each tag of a little-endian TIFF's first directory."""
    (at,) = struct.unpack_from("<I", file, 4)
    (number,) = struct.unpack_from("<H", file, at)
    found = {}
    for start in range(at + 2, at + 2 + 12 * number, 12):
        tag, kind, count, place = struct.unpack_from("<HHII", file, start)
        length = count * {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 7: 1, 9: 4, 12: 8}[kind]
        value = file[start + 8 : start + 8 + length] if length <= 4 else file[place : place + length]
        found[tag] = (kind, count, value)
    return found


def test_tags_of_other_programs_go_from_tiff_to_tiff():
    said = [PHOTOSHOP, SCALE, TIE, KEYS, GDAL, PRIVATE]
    image = read(tiff_with(*said))
    assert losses(image, "TIFF") == ()
    made = encode(image, "TIFF")
    found = tags_of(made)
    for tag, *value in said:
        assert found[tag] == tuple(value)
    assert read(made).pixels.tolist() == [[7, 8]]
    with PIL.Image.open(io.BytesIO(made)) as opened:
        assert opened.tag_v2[65_000] == (-1, 70_000)


def test_a_tag_that_claims_more_than_the_file_holds_is_passed_over():
    image = read(tiff_with((65_000, 12, 0x7FFF_FFFF, bytes(4)), (65_001, 13, 1, bytes(4)), (65_002, 3, 1, bytes(4))))
    assert tags_of(encode(image, "TIFF")).keys() & {65_000, 65_001, 65_002} == {65_002}


def test_tags_go_over_into_a_tiff_of_the_other_byte_order():
    image = dataclasses.replace(read(tiff_with(TIE, PRIVATE, GDAL)), exif=exif_of_sizes(">", 1))
    with tifffile.TiffFile(io.BytesIO(encode(image, "TIFF"))) as made:
        assert made.byteorder == ">"
        assert made.pages[0].tags[65_000].value == (-1, 70_000)
        assert made.pages[0].tags[33922].value == (0, 0, 0, 350_000, 5_600_000, 0)
        assert made.pages[0].tags[42112].value == "<GDALMetadata/>1234"


@pytest.mark.parametrize(
    ("said", "what"),
    [
        ([PHOTOSHOP], "Photoshop's block"),
        ([SCALE, KEYS, GDAL], "places on a map (GeoTIFF)"),
        ([PRIVATE], "tags of other programs"),
        ([PRIVATE, TIE], "places on a map (GeoTIFF), tags of other programs"),
    ],
)
def test_tags_of_a_tiff_are_named_where_another_format_holds_none(said, what):
    assert losses(read(tiff_with(*said)), "PNG") == (f"PNG holds nothing like what the TIFF held: {what}",)


def test_layers_that_show_the_picture_as_it_was_are_left_out_and_named():
    image = read(tiff_with((37724, 7, 36, b"Adobe Photoshop Document Data Block\0")))
    assert losses(image, "TIFF") == ("Photoshop's layers were left out: they show the picture as it was",)
    assert 37724 not in tags_of(encode(image, "TIFF"))


def test_a_place_on_a_map_does_not_go_over_when_the_picture_was_turned():
    upside_down = (274, 3, 1, struct.pack("<HH", 3, 0))
    image = read(tiff_with(upside_down, SCALE, TIE, KEYS, PRIVATE))
    assert losses(image, "TIFF") == ("the place on a map (GeoTIFF) was left out: the picture was turned",)
    assert {33550, 33922, 34735, 65_000} & tags_of(encode(image, "TIFF")).keys() == {65_000}


def test_a_signature_of_origin_in_a_tiff_is_named():
    assert losses(read(tiff_with((52545, 7, 8, b"\0\0\0\x08jumb"))), "TIFF") == (SIGNED,)


# JPEG and GIF: what no answer holds


JPEG = saved(PIL.Image.fromarray(np.dstack([GREY] * 3)), "JPEG")


def jpeg_with(number: int, data: bytes) -> bytes:
    return JPEG[:2] + struct.pack(">BBH", 0xFF, 0xE0 + number, len(data) + 2) + data + JPEG[2:]


@pytest.mark.parametrize(
    ("file", "said"),
    [
        (jpeg_with(11, b"JP\0\1\0\0\0\1\0\0\0\x10jumb....c2pa"), SIGNED),
        (jpeg_with(4, b"SIMPLE"), "data whose meaning is unknown (APP4) were left out"),
        (jpeg_with(12, b"Ducky\0"), "data whose meaning is unknown (APP12) were left out"),
        (JPEG + bytes(20) + b"\0\0\0\x18ftypmp42" + bytes(40), "the video behind the picture was left out"),
        (JPEG + b"SEFH trailer", "12 bytes behind the picture were left out"),
    ],
    ids=["signature", "APP4", "APP12", "video", "trailer"],
)
def test_what_no_answer_takes_over_from_a_jpeg_is_named(file, said):
    image = read(file)
    assert image.notes == ()
    assert losses(image, "JPEG") == (said,)
    assert losses(image, "PNG") == (said,)


def test_a_plain_jpeg_loses_nothing():
    for file in (
        JPEG,
        JPEG + bytes(300),
        jpeg_with(1, b"Exif\0\0" + exif_of_sizes("<", 1)),
        jpeg_with(13, b"Photoshop 3.0\0"),
    ):
        assert losses(read(file), "JPEG") == ()
    progressive = saved(PIL.Image.fromarray(np.dstack([GREY] * 3)), "JPEG", progressive=True, icc_profile=SRGB)
    assert losses(read(progressive), "JPEG") == ()


def test_further_pictures_of_a_phones_jpeg_are_said_once():
    first, second = (PIL.Image.new("RGB", (16, 16), colour) for colour in ("red", "blue"))
    assert losses(read(saved(first, "MPO", save_all=True, append_images=[second])), "JPEG") == ()


def test_the_comment_of_a_gif_is_named():
    image = read(saved(PIL.Image.fromarray(GREY), "GIF", comment=b"from the attic"))
    assert losses(image, "PNG") == ("the GIF's comment was left out",)
    assert losses(read(saved(PIL.Image.fromarray(GREY), "GIF")), "PNG") == ()
