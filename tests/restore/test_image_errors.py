"""What is said of files that are no picture or that cannot be written, and that nothing is left behind."""

from __future__ import annotations

import errno
import io
import os
import re
import resource
import struct
import zlib
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
import tifffile

from restore.errors import BadOption, NotEnoughMemory, UnreadableImage, WriteFailed
from restore.image import Image, encode, probe_size, read, write

NOISE = np.random.default_rng(0).integers(0, 256, (40, 30, 3), np.uint8)
DEEP_NOISE = NOISE.astype(np.uint16) * 256 + 7


def saved(pixels: np.ndarray, format: str, **options: object) -> bytes:  # noqa: A002
    file = io.BytesIO()
    PIL.Image.fromarray(pixels).save(file, format, **options)
    return file.getvalue()


def tiff(pixels: np.ndarray, **options: object) -> bytes:
    file = io.BytesIO()
    tifffile.imwrite(file, pixels, **options)
    return file.getvalue()


def png_header(width: int, height: int) -> bytes:
    data = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    start = b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + data + struct.pack(">I", zlib.crc32(data))
    return start + struct.pack(">I", 1000) + b"IDAT"


def said_of(source: Path | bytes, **options: object) -> str:
    with pytest.raises(UnreadableImage) as caught:
        read(source, **options)
    return str(caught.value)


# Reading


def test_a_missing_file(tmp_path):
    path = tmp_path / "gone.jpg"
    assert said_of(path) == f"{path}: no such file. Is the name spelled right?"


def test_a_folder(tmp_path):
    assert said_of(tmp_path) == f"{tmp_path}: a folder, not a picture. Name a file in it."


def test_a_file_without_permission(tmp_path, monkeypatch):
    path = tmp_path / "locked.jpg"

    def refuse(*_: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    # By monkeypatch and not chmod: root may read everything.
    monkeypatch.setattr(Path, "open", refuse)
    assert said_of(path) == f"{path}: no permission to read it. Change its mode or ask its owner."


def test_an_empty_file(tmp_path):
    path = tmp_path / "empty.png"
    path.write_bytes(b"")
    assert said_of(path) == f"{path}: the file is empty (0 bytes). Is the download complete?"


@pytest.mark.parametrize("content", [b"Dear diary, today I saw a jay.", b"\0" * 100, b"P", b"\xff\xd8"])
def test_a_file_that_is_no_picture(content, tmp_path):
    path = tmp_path / "letter.jpg"
    path.write_bytes(content)
    assert said_of(path).startswith(f"{path}: not a picture that can be read. Give a JPEG, PNG, TIFF, WebP")


def test_a_heic_file():
    assert said_of(b"\0\0\0\x18ftypheic" + bytes(50)) == (
        "the picture: a HEIC, AVIF or video file. Save it as JPEG or PNG first."
    )


def test_bytes_are_called_by_the_name_given():
    assert said_of(b"", name="upload.png").startswith("upload.png: the file is empty")


WHOLE = {
    "jpeg": saved(NOISE, "JPEG"),
    "progressive jpeg": saved(NOISE, "JPEG", progressive=True),
    "png": saved(NOISE, "PNG"),
    "deep png": encode(Image(DEEP_NOISE), "PNG"),
    "webp": saved(NOISE, "WEBP"),
    "bmp": saved(NOISE, "BMP"),
    "ppm": saved(NOISE, "PPM"),
    "deep ppm": b"P6 30 40 65535 " + DEEP_NOISE.astype(">u2").tobytes(),
    "tiff": tiff(NOISE),
    "deep tiff": tiff(DEEP_NOISE, photometric="rgb"),
    "gif": saved(NOISE, "GIF"),
}


@pytest.mark.parametrize("kind", WHOLE)
def test_a_file_that_ends_early(kind, tmp_path):
    whole = WHOLE[kind]
    read(whole)
    path = tmp_path / "half.img"
    path.write_bytes(whole[: len(whole) // 2])
    assert said_of(path) == f"{path}: the file ends early ({len(whole) // 2:,} bytes). Is the download complete?"


def test_a_tiff_whose_pieces_were_never_written():
    # As a writer leaves it that ran out of disk: where a piece lies is known, its length is 0.
    file = bytearray(tiff(NOISE, rowsperstrip=10))
    with tifffile.TiffFile(io.BytesIO(file)) as made:
        tag = made.pages[0].tags[279]
        assert tag.count == 4
        word = tag.valuebytecount // 4
        file[tag.valueoffset + word : tag.valueoffset + 2 * word] = bytes(word)
    with pytest.raises(UnreadableImage, match="1 of the picture's 4 pieces are missing"):
        read(bytes(file))


@pytest.mark.parametrize("kind", WHOLE)
@pytest.mark.parametrize("length", [2, 3, 9, 12, 20, 33, 60, 100, -400, -30])
def test_a_file_cut_anywhere_gets_one_sentence(kind, length):
    # A cut that takes no pixel (the last padding of a GIF or TIFF) may still be read.
    try:
        read(WHOLE[kind][:length])
    except UnreadableImage as error:
        assert re.fullmatch(r"the picture: [^\n]+[.?]", str(error))  # noqa: PT017 - not always raised


@pytest.mark.parametrize("kind", WHOLE)
def test_a_file_with_wrong_bytes_is_read_or_refused_but_never_crashes(kind):
    rng = np.random.default_rng(1)
    for _ in range(60):
        broken = bytearray(WHOLE[kind])
        for place in rng.integers(0, len(broken), 5):
            broken[place] = rng.integers(0, 256)
        try:
            read(bytes(broken), max_pixels=10_000)
        except (UnreadableImage, NotEnoughMemory) as error:
            assert re.fullmatch(r"the picture: [^\n]+[.?]", str(error))  # noqa: PT017 - not always raised


def test_damaged_data_inside_a_whole_file():
    broken = bytearray(WHOLE["deep png"])
    middle = len(broken) // 2
    broken[middle : middle + 100] = bytes(100)
    assert re.fullmatch(r"the picture: the picture is damaged \(.+\)\. Is there another copy\?", said_of(bytes(broken)))


TALL = np.random.default_rng(1).integers(0, 256, (100, 70, 3), np.uint8)
JPEGS = {
    "4:2:0": saved(TALL, "JPEG"),
    "4:4:4": saved(TALL, "JPEG", subsampling=0),
    "grey": saved(TALL[..., 0], "JPEG"),
    "restarts": saved(TALL, "JPEG", restart_marker_rows=1),
    "progressive": saved(TALL, "JPEG", progressive=True),
}


@pytest.mark.parametrize("kind", JPEGS)
@pytest.mark.parametrize("share", [0.3, 0.5, 0.9, 0.95])
def test_a_jpeg_that_was_cut_off_and_ended_again_is_damaged(kind, share):
    whole = JPEGS[kind]
    head = whole.rindex(b"\xff\xda") if kind != "progressive" else whole.index(b"\xff\xda")
    # Behind the head of a scan, so that something of it is there and something is missing.
    cut = head + 20 + int(share * (len(whole) - head - 20))
    assert said_of(whole[:cut] + b"\xff\xd9") == (
        "the picture: the picture is damaged (a part of its data is missing). Is there another copy?"
    )


@pytest.mark.parametrize(
    "options", [{}, {"progressive": True}, {"restart_marker_rows": 1}, {"subsampling": 0}], ids=str
)
@pytest.mark.parametrize("shape", [(100, 70, 3), (96, 64, 3), (97, 65)], ids=str)
def test_a_whole_jpeg_with_an_even_bottom_is_read(options, shape):
    pixels = np.full(shape, 200, np.uint8)
    pixels[:50] = TALL[:50, : shape[1]] if len(shape) == 3 else TALL[:50, : shape[1], 0]
    for behind in (b"", b"\xff\xd9 behind"):
        assert read(saved(pixels, "JPEG", **options) + behind).pixels[-1, -1].tolist() == pixels[-1, -1].tolist()


def png_of(rows: bytes, *, height: int, width: int, colour: int, interlaced: bool = False) -> bytes:
    """A whole 8-bit PNG of these scanlines, whatever its header promises."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, colour, 0, 0, interlaced))
    palette = chunk(b"PLTE", bytes(range(48))) if colour == 3 else b""
    return b"\x89PNG\r\n\x1a\n" + header + palette + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


@pytest.mark.parametrize(("colour", "samples"), [(0, 1), (2, 3), (3, 1), (4, 2), (6, 4)])
def test_a_png_that_holds_half_of_its_rows_is_damaged(colour, samples):
    row = b"\0" + bytes(range(1, 1 + 5 * samples))
    assert read(png_of(row * 4, height=4, width=5, colour=colour)).pixels.shape[:2] == (4, 5)
    assert said_of(png_of(row * 2, height=4, width=5, colour=colour)) == (
        "the picture: the picture is damaged (its last rows are missing). Is there another copy?"
    )


def test_a_png_that_ends_in_black_rows_is_whole():
    assert read(png_of(bytes(4 * 6), height=4, width=5, colour=0)).pixels.tolist() == [[0] * 5] * 4


def test_an_interlaced_png_whose_last_pass_is_missing_is_damaged():
    # Adam7 of 8 x 8 has passes of 1x1, 1x1, 1x2, 2x2, 2x4, 4x4 and 4x8 pixels, each row with its filter's byte.
    passes = [(1, 1), (1, 1), (1, 2), (2, 2), (2, 4), (4, 4), (4, 8)]
    rows = [b"\0" + bytes([7] * width) for height, width in passes for _ in range(height)]
    whole = png_of(b"".join(rows), height=8, width=8, colour=0, interlaced=True)
    assert read(whole).pixels.tolist() == [[7] * 8] * 8
    assert "its last rows are missing" in said_of(
        png_of(b"".join(rows[:-1]), height=8, width=8, colour=0, interlaced=True)
    )


def test_an_interlaced_png_narrower_than_a_pass_is_whole():
    # Of one pixel in width and 3 in height, passes 1, 5 (row 2) and 7 (row 1) have pixels.
    image = read(png_of(b"\0\1\0\3\0\2", height=3, width=1, colour=0, interlaced=True))
    assert image.pixels.tolist() == [[1], [2], [3]]


@pytest.mark.parametrize(
    ("pixels", "options", "said"),
    [
        (np.zeros((4, 4), np.float32), {}, "a float TIFF. Save it as 16-bit integers first."),
        (np.zeros((4, 4, 3), np.float16), {"photometric": "rgb"}, "a float TIFF. Save it as 16-bit integers first."),
        (np.zeros((4, 4), np.uint32), {}, "a TIFF of 32 bits per sample. Save it with 8 or 16 bits first."),
        (
            np.zeros((4, 4), np.int16),
            {},
            "a TIFF of signed 16-bit integers. Save it as unsigned 16-bit integers first.",
        ),
        (
            np.zeros((4, 4), np.complex64),
            {},
            "a TIFF of complex numbers, not a photo. Save its magnitude as 16-bit integers first.",
        ),
        (
            np.zeros((4, 4, 5), np.uint8),
            {"photometric": "rgb", "planarconfig": "contig", "extrasamples": ["unspecified"] * 2},
            "a TIFF of 5 channels. Save it as RGB, with alpha or without, first.",
        ),
        (
            np.zeros((4, 4, 4), np.uint16),
            {"photometric": "separated"},
            "a 16-bit TIFF that is neither grey nor RGB. Convert it to RGB first.",
        ),
        (
            np.zeros((4, 4), np.uint8),
            {"photometric": 32803},
            "a TIFF of a colour space that is not supported. Save it as RGB first.",
        ),
        (
            np.zeros((4, 4), np.uint8),
            {"extratags": [(50706, 1, 4, b"\1\4\0\0", True)]},
            "a camera raw file. Develop it to a TIFF or JPEG first.",
        ),
        (np.zeros((4, 4), np.uint8), {"subfiletype": 1}, "a camera raw file. Develop it to a TIFF or JPEG first."),
    ],
)
def test_a_tiff_that_is_no_photo_in_8_or_16_bits(pixels, options, said):
    assert said_of(tiff(pixels, **options)) == f"the picture: {said}"


def test_a_pfm_of_floats():
    assert said_of(b"Pf\n1 1\n-1.0\n" + bytes(4)).startswith("the picture: not a picture that can be read")


def test_plain_text_ppm_of_16_bits():
    assert said_of(b"P3 1 1 1000 1 2 3") == (
        "the picture: a plain-text PGM or PPM above 8 bits. Save it as a binary one (P5 or P6) first."
    )


def test_a_picture_above_the_limit_is_refused_before_it_is_decoded():
    # The file has a header alone: had anything been decoded, the message would be another.
    assert said_of(png_header(30_000, 20_000)) == (
        "the picture: 30000 x 20000 pixels are 600 megapixels, above the limit of 400. "
        "Scale it down first, or, if the file is trusted, read it in Python with more `max_pixels`."
    )


@pytest.mark.parametrize("kind", WHOLE)
def test_the_limit_counts_pixels_in_every_format(kind):
    assert read(WHOLE[kind], max_pixels=1200).pixels.shape == (40, 30, 3)
    assert "above the limit of" in said_of(WHOLE[kind], max_pixels=1199)
    assert read(WHOLE[kind], max_pixels=None).pixels.shape == (40, 30, 3)
    assert probe_size(WHOLE[kind]) == (40, 30)


def test_probing_says_the_same_of_a_file_that_is_no_picture():
    with pytest.raises(UnreadableImage, match="the picture: not a picture that can be read"):
        probe_size(b"Dear diary, today I saw a jay.")


def test_memory_that_does_not_suffice_is_said(monkeypatch):
    def refuse(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr("restore.formats.pillow.np.empty", refuse)
    with pytest.raises(NotEnoughMemory, match="the picture: not enough memory to decode it"):
        read(WHOLE["jpeg"])


# Writing


@pytest.mark.parametrize("name", ["a.gif", "a", "a.jpg.part"])
def test_an_unknown_suffix_is_refused_and_nothing_is_made(name, tmp_path):
    with pytest.raises(BadOption, match=r"Use one of \.png \.jpg"):
        write(Image(NOISE), tmp_path / "new" / name)
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_format_is_refused(tmp_path):
    with pytest.raises(BadOption, match=r"GIF cannot be written\. Use one of BMP, JPEG, PNG, TIFF, WEBP\."):
        encode(Image(NOISE), "GIF")


def test_a_full_disk_leaves_nothing_behind(tmp_path, monkeypatch):
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    old = tmp_path / "old.png"
    old.write_bytes(b"old")
    for path in (old, tmp_path / "new.png", tmp_path / "deep" / "er" / "new.png"):
        with pytest.raises(WriteFailed) as caught:
            write(Image(NOISE), path)
        assert str(caught.value) == f"{path}: the disk is full. Make room, or write to another disk."
    assert [path.name for path in tmp_path.iterdir()] == ["old.png"]
    assert old.read_bytes() == b"old"


@pytest.mark.parametrize("suffix", ["png", "jpg", "tif", "webp", "bmp"])
@pytest.mark.parametrize("pixels", [NOISE, DEEP_NOISE], ids=["8", "16"])
def test_a_write_that_breaks_off_midway_leaves_nothing_behind(suffix, pixels, tmp_path):
    path = tmp_path / f"a.{suffix}"
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    # The system itself refuses to let any file grow beyond 200 bytes, as a full disk would.
    resource.setrlimit(resource.RLIMIT_FSIZE, (200, hard))
    try:
        with pytest.raises(WriteFailed) as caught:
            write(Image(pixels), path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert str(caught.value) == f"{path}: cannot be written: File too large. Choose another folder."
    assert list(tmp_path.iterdir()) == []


def test_a_folder_without_permission(tmp_path, monkeypatch):
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(WriteFailed, match=r"no permission to write there\. Choose another folder\."):
        write(Image(NOISE), tmp_path / "a.png")
    assert list(tmp_path.iterdir()) == []


def test_a_name_that_is_too_long(tmp_path):
    for path in (tmp_path / f"{'n' * 300}.png", tmp_path / ("n" * 300) / "a.png"):
        with pytest.raises(WriteFailed, match=r"cannot be written: File name too long\. Choose another folder\."):
            write(Image(NOISE), path)
    assert list(tmp_path.iterdir()) == []


def test_a_file_where_a_folder_should_be(tmp_path):
    (tmp_path / "out").write_bytes(b"")
    with pytest.raises(WriteFailed, match=r"in the way\. Choose another name\."):
        write(Image(NOISE), tmp_path / "out" / "a.png")
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_a_folder_where_the_file_should_be(tmp_path):
    (tmp_path / "a.png").mkdir()
    with pytest.raises(WriteFailed, match=r"in the way\. Choose another name\."):
        write(Image(NOISE), tmp_path / "a.png")
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]


def test_an_interrupted_write_leaves_nothing_behind(tmp_path, monkeypatch):
    def interrupt(_: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        write(Image(NOISE), tmp_path / "sub" / "a.png")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("suffix", "kind", "most"), [("webp", "WEBP", 16_383), ("jpg", "JPEG", 65_500)])
def test_the_longest_side_of_a_format_is_held_and_no_longer_one(suffix, kind, most, tmp_path):
    strip = np.zeros((1, most + 1), np.uint8)
    path = tmp_path / f"a.{suffix}"
    with pytest.raises(WriteFailed) as caught:
        write(Image(strip), path)
    assert str(caught.value) == (
        f"{path}: {most + 1} x 1 pixels are too many for {kind}, whose longest side is {most:,}. Write a PNG."
    )
    assert list(tmp_path.iterdir()) == []
    write(Image(strip[:, 1:]), path)
    assert read(path).width == most


@pytest.mark.parametrize(("part", "most"), [("exif", 65_527), ("xmp", 65_504)])
def test_metadata_too_large_for_a_jpeg_is_said_and_not_dropped(part, most):
    kept = Image(NOISE, **{part: b"II*\0\x08\0\0\0" + bytes(most - 8)})
    assert getattr(read(encode(kept, "JPEG")), part) == getattr(kept, part)
    with pytest.raises(
        WriteFailed, match=f"{part.upper()} of {most + 1:,} bytes does not fit into a JPEG. Write a PNG"
    ):
        encode(Image(NOISE, **{part: bytes(most + 1)}), "JPEG")
