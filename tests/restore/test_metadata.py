"""What a file says beside its pixels comes back in the same format, and what another cannot hold is named."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
import PIL.Image
import pytest
from PIL import ImageCms

from restore.image import Image, encode, probe_size, read

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
