"""The colorizer in the engine: what it keeps of a picture, what it refuses, and where colour ends."""

from __future__ import annotations

from xml.etree import ElementTree as ET

import numpy as np
import pytest

from restore import chroma, color
from restore.chroma import Hint, difference, palettes
from restore.colorizer import open_colorizer
from restore.engine import open_model
from restore.errors import BadOption, UnsupportedModel
from restore.image import Image
from training.color_metrics import ciede2000


@pytest.fixture(scope="module")
def paint(painter):
    """The model whose answer is a* 20, b* 30 all over."""
    return open_colorizer(painter / "colorize-fast.onnx", device="cpu")


def ramp(dtype: type = np.uint8, *, grey: bool = False) -> np.ndarray:
    """All levels from black to white, from left to right: (96, 256)."""
    top = np.iinfo(dtype).max
    plane = np.rint(np.linspace(0, top, 256)).astype(dtype)[None].repeat(96, axis=0)
    return plane if grey else np.repeat(plane[..., None], 3, axis=2)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("grey", [True, False])
def test_the_luma_stays_and_the_colour_is_new(paint, dtype, grey):
    image = Image(ramp(dtype, grey=grey))
    made = paint(image).image.pixels
    assert made.shape == (96, 256, 3)
    assert made.dtype == dtype
    before, after = color.luma_of(image.pixels), color.to_lab(made)
    # The bar: half of one L* in gamut, of which rounding to 8 bits takes most.
    assert np.abs(after[..., 0] - before).max() <= 0.5
    middle = after[:, 100:160, 1:].reshape(-1, 2).mean(axis=0)
    np.testing.assert_allclose(middle, (20, 30), atol=0.5)


def test_all_that_is_not_colour_comes_from_the_source(paint):
    alpha = np.arange(96 * 256, dtype=np.uint16).reshape(96, 256)
    image = Image(ramp(np.uint16, grey=True), alpha=alpha, exif=b"exif", dpi=(300.0, 300.0), format="TIFF")
    made = paint(image).image
    assert made.alpha is alpha
    assert (made.exif, made.dpi, made.format) == (b"exif", (300.0, 300.0), "TIFF")


def test_a_sepia_print_is_coloured_by_its_luma(paint):
    tones = ramp() / 255
    sepia = np.rint(255 * tones ** np.array([0.8, 1.0, 1.4]) * np.array([1, 0.95, 0.8])).astype(np.uint8)
    made = paint(Image(sepia)).image.pixels
    before, after = color.luma_of(sepia), color.to_lab(made)
    assert np.abs(after[..., 0] - before).max() <= 0.5
    np.testing.assert_allclose(after[:, 100:160, 1:].reshape(-1, 2).mean(axis=0), (20, 30), atol=0.5)


def test_a_photo_in_colour_comes_back_as_the_same_object(paint, make_photo):
    image = Image(make_photo(96, 128))
    assert paint(image).image is image
    assert paint(image, force=True).changed(image)
    assert paint(image, hints=[Hint(3, 3, (9, 99, 9))]).changed(image)


def test_colours_out_of_gamut_are_pulled_in_at_their_hue(paint):
    made = color.to_lab(paint(Image(ramp()), strength=1.5).image.pixels)
    # L* 90 cannot show a* 30, b* 45; what is left of it lies on the same hue, 30 : 45.
    a, b = made[48, 228, 1:]
    assert 5 < a < 29
    assert b / a == pytest.approx(1.5, abs=0.1)


def test_a_hint_is_met_and_covers_its_thing_alone(paint):
    # A bright disc on a dark ground, at 12 times the working size.
    y, x = np.mgrid[0:768, 0:768]
    inside = (y - 300) ** 2 + (x - 400) ** 2 < 150**2
    pixels = np.where(inside, 190, 60).astype(np.uint8)
    hint = Hint(420, 310, (70, 160, 200))
    made = color.to_lab(paint(Image(pixels), hints=[hint]).image.pixels)
    luma = color.luma_of(pixels)
    wanted = color.to_lab(np.array([[hint.rgb]], np.uint8))[0, 0]
    wanted[0] = luma[310, 420]
    patch = np.s_[307:314, 417:424]
    met = ciede2000(made[patch], color.into_gamut(wanted[None, None])[0, 0])
    assert met.mean() <= 6
    away = np.hypot(*np.moveaxis(made[..., 1:] - np.array([20, 30]), -1, 0))
    # 60 pixels off, still in the disc, most of the way from the guess to the hint; 40 pixels outside it, nothing.
    assert away[300, 360] > 10
    assert away[300, 590:].max() < 4


@pytest.mark.parametrize("strength", [-0.1, 1.6, float("nan")])
def test_a_strength_that_cannot_be_is_refused(paint, strength):
    with pytest.raises(BadOption, match=r"is not possible. Use 0 \(no colour\) to 1.5"):
        paint(Image(ramp()), strength=strength)


def test_strength_0_is_grey(paint):
    made = paint(Image(ramp()), strength=0.0).image.pixels
    np.testing.assert_array_equal(made, ramp())


def test_the_note_says_that_colours_were_computed_and_can_be_left_out(paint):
    image = Image(ramp())
    assert b"computed by Restore (colorize-fast). They are a guess" in (paint(image).image.xmp or b"")
    assert b"algorithmicallyEnhanced" in (paint(image).image.xmp or b"")
    assert paint(image, note=False).image.xmp is None


def test_a_note_is_added_to_what_xmp_there_is(paint):
    there = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF><rdf:Description a="1"/></rdf:RDF></x:xmpmeta>'
    made = paint(Image(ramp(), xmp=there)).image.xmp or b""
    assert made.startswith(b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF><rdf:Description a="1"/>')
    assert b"They are a guess" in made
    assert paint(Image(ramp(), xmp=made)).image.xmp == made


@pytest.mark.parametrize(
    ("said", "added"),
    [
        (b'photoshop:Instructions="Do not crop"', b"algorithmicallyEnhanced"),
        (b'Iptc4xmpExt:DigitalSourceType="http://x/negativeFilm"', b"They are a guess"),
    ],
)
def test_a_persons_words_stay_and_what_is_not_said_is_added(paint, said, added):
    named = b"xmlns:photoshop='http://ns.adobe.com/photoshop/1.0/' xmlns:Iptc4xmpExt='http://iptc.org/std/x/'"
    rdf = b"xmlns:r='http://www.w3.org/1999/02/22-rdf-syntax-ns#'"
    there = b"<r:RDF %s><r:Description %s %s/></r:RDF>" % (rdf, named, said)
    made = paint(Image(ramp(), xmp=there)).image.xmp or b""
    assert said in made
    assert made.count(said.partition(b"=")[0]) == 1
    assert added in made
    # Still XML, whose namespaces are all declared.
    description = ET.fromstring(made)[-1]
    assert description.tag == "{http://www.w3.org/1999/02/22-rdf-syntax-ns#}Description"


def test_xmp_that_cannot_be_added_to_stays_and_the_user_is_told(paint):
    made = paint(Image(ramp(), xmp=b"not xmp")).image
    assert made.xmp == b"not xmp"
    assert made.notes == ("its XMP cannot be added to, so that nothing in the file says that the colours are a guess",)


def test_a_palette_comes_from_a_photo_in_colour_only(paint, make_photo):
    palette = paint.palette_of(Image(make_photo(96, 128)))
    assert palette.shape == (color.PALETTE_SIZE,)
    made = color.to_lab(paint(Image(ramp()), palette=palette).image.pixels)
    # From L* 63 on sRGB can show it.
    np.testing.assert_allclose(made[:, 165:190, 1:].reshape(-1, 2).mean(axis=0), (-20, -30), atol=0.5)
    with pytest.raises(BadOption, match="the picture is grey, so it has no palette"):
        paint.palette_of(Image(ramp()))


def test_progress_runs_from_0_to_1(paint):
    told: list[float] = []
    paint(Image(ramp()), progress=told.append)
    assert (told[0], told[-1]) == (0.0, 1.0)
    assert told == sorted(told)


def test_strips_leave_no_seam(paint):
    tall = np.rint(np.linspace(0, 255, 1000)).astype(np.uint8)[:, None].repeat(40, axis=1)
    made = color.to_lab(paint(Image(tall)).image.pixels.astype(np.uint8))
    # A ramp of a quarter of a level a row: neighbouring rows differ by rounding alone.
    assert np.abs(np.diff(made[..., 0], axis=0)).max() < 1.0


def test_shipped_palettes_are_palettes():
    known = palettes()
    assert known.shape == (64, color.PALETTE_SIZE)
    np.testing.assert_allclose(known[:, :-1].sum(axis=1), 1, atol=0.01)
    assert (known[:, -1] > 0).all()


def test_candidates_begin_with_the_automatic_one_and_are_seeded(paint):
    image = Image(ramp())
    # This model knows two answers only: any palette's differs from the automatic one's, and not from another's.
    first = paint.candidates(image, 3, seed=1)
    assert first[0] is None
    assert len(first) == 3
    luma = color.luma_of(image.pixels)
    assert difference(paint.guess(luma), paint.guess(luma, palette=first[1])) > 6
    again = paint.candidates(image, 3, seed=1)
    np.testing.assert_array_equal(first[1], again[1])


def test_candidates_are_drawn_among_the_palettes_that_are_nearest_to_the_automatic_one(paint):
    image = Image(ramp())
    own = color.palette_of(paint.guess(color.luma_of(image.pixels)).ab)
    known = chroma.palettes()
    nearest = known[np.argsort(chroma.palette_distance(own, known))[:16]]
    drawn = [paint.candidates(image, 3, seed=seed)[1:] for seed in range(40)]
    assert all((nearest == palette).all(axis=1).any() for pair in drawn for palette in pair)
    assert len({np.concatenate(pair).tobytes() for pair in drawn}) > 1


def test_a_model_for_another_task_is_refused(painter, smoother):
    with pytest.raises(UnsupportedModel, match="denoise-fast gives no colour: it is for the task denoise"):
        open_colorizer(smoother / "denoise-fast.onnx")
    with pytest.raises(UnsupportedModel, match="it is for the task colorize"):
        open_model(painter / "colorize-fast.onnx")
