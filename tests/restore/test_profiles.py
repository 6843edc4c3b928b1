"""How light a pixel is by its colour profile, held against Little CMS, and colours that leave it so."""

from __future__ import annotations

import io
import struct

import numpy as np
import pytest
from PIL import Image as PillowImage
from PIL import ImageCms

from restore import color
from restore.colorizer import lightness, open_colorizer
from restore.formats import profiles
from restore.image import Image, encode, read

#: Of Adobe RGB (1998), seen by D50: X, Y and Z of red, green and blue.
ADOBE = {
    b"rXYZ": (0.60974, 0.31111, 0.01947),
    b"gXYZ": (0.20528, 0.62567, 0.06087),
    b"bXYZ": (0.14919, 0.06322, 0.74457),
}


def profile(space: bytes, curves: dict[bytes, bytes], connection: bytes = b"XYZ ") -> bytes:
    """A display's profile, made by hand as ICC.1:2001 has it."""
    tags = {
        b"desc": b"desc" + bytes(4) + struct.pack(">I", 2) + b"x\0" + bytes(78),
        b"wtpt": xyz(0.9642, 1.0, 0.8249),
        b"cprt": b"text" + bytes(4) + b"CC0\0",
        **curves,
    }
    if space == b"RGB ":
        tags |= {name: xyz(*value) for name, value in ADOBE.items()}
    table, body, at = b"", b"", 132 + 12 * len(tags)
    for name, data in tags.items():
        table += name + struct.pack(">II", at + len(body), len(data))
        body += data + bytes(-len(data) % 4)
    head = struct.pack(">I4sI", at + len(body), b"lcms", 0x02400000) + b"mntr" + space + connection + bytes(12)
    head += b"acsp" + bytes(28) + struct.pack(">3i", 63190, 65536, 54061)
    return head.ljust(128, b"\0") + struct.pack(">I", len(tags)) + table + body


def xyz(*values: float) -> bytes:
    return b"XYZ " + bytes(4) + struct.pack(">3i", *(round(value * 65536) for value in values))


def gamma(value: float) -> bytes:
    return b"curv" + bytes(4) + struct.pack(">IH", 1, round(value * 256)) + bytes(2)


def table(values: np.ndarray) -> bytes:
    return b"curv" + bytes(4) + struct.pack(">I", len(values)) + np.rint(values * 65535).astype(">u2").tobytes()


def parametric(kind: int, *values: float) -> bytes:
    numbers = struct.pack(f">{len(values)}i", *(round(value * 65536) for value in values))
    return b"para" + bytes(4) + struct.pack(">HH", kind, 0) + numbers


def grey(curve: bytes, connection: bytes = b"XYZ ") -> bytes:
    return profile(b"GRAY", {b"kTRC": curve}, connection)


def adobe(curve: bytes) -> bytes:
    return profile(b"RGB ", dict.fromkeys((b"rTRC", b"gTRC", b"bTRC"), curve))


def seen(pixels: np.ndarray, icc: bytes) -> np.ndarray:
    """L* as Little CMS has it: the picture's own, in steps of 0.4."""
    lab = ImageCms.profileToProfile(
        PillowImage.fromarray(pixels), ImageCms.ImageCmsProfile(io.BytesIO(icc)), ImageCms.createProfile("LAB"),
        renderingIntent=ImageCms.Intent.RELATIVE_COLORIMETRIC, outputMode="LAB",
    )  # fmt: skip
    assert lab is not None
    return np.asarray(lab)[..., 0] / 2.55


RAMP = np.arange(256, dtype=np.uint8)[None].repeat(48, axis=0)
GREYS = {
    "gamma 1.8": grey(gamma(1.8)),
    "linear": grey(b"curv" + bytes(8)),
    # As ink spreads on paper: darker than gamma 1.8 in the middle.
    "table": grey(table(np.linspace(0, 1, 33) ** 1.6 * 0.9 + np.linspace(0, 1, 33) * 0.1)),
    "parametric 0": grey(parametric(0, 2.4)),
    "parametric 1": grey(parametric(1, 2.0, 0.9, 0.1)),
    "parametric 2": grey(parametric(2, 2.0, 0.8, 0.1, 0.19)),
    "parametric 3": grey(parametric(3, 3.0, 0.862, 0.138, 0.11, 0.08)),
    "parametric 4": grey(parametric(4, 2.2, 0.85, 0.1, 0.1, 0.05, 0.1067, 0.1155)),
    "L*": grey(gamma(1.0), b"Lab "),
}


@pytest.mark.parametrize("name", GREYS)
def test_a_grey_profile_says_how_light_each_level_is(name):
    icc = GREYS[name]
    found = color.luma_of(RAMP, profiles.luminance(icc, 255))
    # Near black Little CMS is not this exact.
    assert np.abs(found - seen(RAMP, icc))[:, 8:].max() < 0.7
    # Of 16 bits each 257th level is one of 8.
    deep = color.luma_of(RAMP.astype(np.uint16) * 257, profiles.luminance(icc, 65535))
    np.testing.assert_allclose(deep, found, atol=0.02)


def test_an_rgb_profile_says_how_light_each_colour_is():
    pixels = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    icc = adobe(gamma(2.2))
    assert np.abs(color.luma_of(pixels, profiles.luminance(icc, 255)) - seen(pixels, icc)).max() < 0.7
    # On pixels that came grey.
    as_grey = color.luma_of(RAMP, profiles.luminance(grey(gamma(2.2)), 255))
    np.testing.assert_allclose(color.luma_of(RAMP, profiles.luminance(icc, 255)), as_grey, atol=1e-3)


@pytest.mark.parametrize(
    ("icc", "same"),
    [
        (profiles.srgb_profile(), True),
        (grey(table(color.srgb_to_linear(np.linspace(0, 1, 1024)))), True),
        (grey(gamma(2.2)), False),
        # Its curve, but not its primaries.
        (adobe(parametric(3, 2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045)), False),
    ],
)
def test_srgb_is_told_from_what_is_near_it(icc, same):
    assert color.is_srgb(profiles.luminance(icc, 255)) == same


@pytest.mark.parametrize(
    "icc",
    [
        grey(gamma(1.8))[:150],
        grey(b"mAB " + bytes(40)),
        grey(b"para" + bytes(4) + b"\0\x09" + bytes(30)),
        profile(b"GRAY", {}),
        profile(b"CMYK", {}, b"Lab "),
        b"",
    ],
)
def test_a_profile_without_curves_that_are_known_is_refused(icc):
    with pytest.raises(ValueError, match=r"profile|curve|luminance"):
        profiles.luminance(icc, 255)


@pytest.fixture(scope="module")
def paint(painter):
    """The model whose answer is a* 20, b* 30 all over."""
    return open_colorizer(painter / "colorize-fast.onnx", device="cpu")


@pytest.mark.parametrize(
    "icc", [GREYS["gamma 1.8"], GREYS["linear"], adobe(gamma(2.2))], ids=["1.8", "linear", "Adobe"]
)
@pytest.mark.parametrize("strength", [0.0, 1.0])
def test_colour_leaves_each_pixel_as_light_as_its_profile_shows_it(paint, icc, strength):
    pixels = np.dstack([RAMP] * 3) if icc[16:20] == b"RGB " else RAMP
    image = Image(pixels, icc=icc)
    made = paint(image, strength=strength).image
    assert made.icc == profiles.srgb_profile()
    after = color.luma_of(made.pixels)
    assert np.abs(after - lightness(image)).max() <= 0.5
    # Little CMS has it so too, but where it sees saturated colours by D50 and in steps of 0.4.
    assert np.abs(seen(made.pixels, made.icc) - seen(pixels, icc)).mean() < (0.3 if strength == 0 else 0.6)
    said = "its colour profile is sRGB now, in which the colours were computed"
    assert (said in made.notes) == (icc[16:20] == b"RGB ")


def test_a_profile_that_is_not_understood_is_said(paint):
    image = Image(RAMP, icc=grey(b"mAB " + bytes(40)))
    made = paint(image).image
    assert any("was taken for sRGB" in note for note in made.notes)
    np.testing.assert_array_equal(made.pixels, paint(Image(RAMP)).image.pixels)


def test_webp_which_knows_no_grey_shows_grey_as_light_as_before():
    image = Image(RAMP, icc=GREYS["gamma 1.8"], lossless=True)
    made = read(encode(image, "WEBP"))
    assert made.icc == profiles.srgb_profile()
    assert np.abs(seen(made.pixels, made.icc) - seen(RAMP, GREYS["gamma 1.8"])).max() < 0.8
