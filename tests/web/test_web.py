"""What the page does, without a browser."""

from __future__ import annotations

import signal
from pathlib import Path
from types import SimpleNamespace

import gradio as gr
import numpy as np
import pytest
from PIL import Image as PillowImage
from PIL import ImageCms

from restore import previews, web
from restore.engine import Restored, open_model
from restore.errors import BadOption, ModelNotFound, UnreadableImage
from restore.image import Image, read
from restore.web.denoise import DenoiseTab
from restore.web.tab import deliver, open_photo

#: What gradio is answered where the page is to stay as it is.
UNCHANGED = {"__type__": "update"}

GREY = np.full((40, 60), 100, np.uint8)


@pytest.fixture
def restorer(smoother):
    return open_model(smoother / "denoise-fast.onnx")


@pytest.fixture
def tab(restorer, monkeypatch, tmp_path):
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path / "cache"))
    with gr.Blocks(analytics_enabled=False):
        return DenoiseTab({"Fast": restorer})


def noisy(height=48, width=64, seed=0):
    rng = np.random.default_rng(seed)
    return np.clip(128 + rng.normal(0, 20, (height, width, 3)), 0, 255).astype(np.uint8)


def saved(path, pixels, **options):
    PillowImage.fromarray(pixels).save(path, **options)
    return path


def visitor(name="a"):
    return SimpleNamespace(session_hash=name)


def swapped_profile():
    """The sRGB profile with the primaries of red and blue exchanged: its pure red is our pure blue."""
    made = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    at = {bytes(made[i : i + 4]): i for i in range(132, 132 + 12 * int.from_bytes(made[128:132], "big"), 12)}
    for name, other in ((b"rXYZ", b"bXYZ"), (b"bXYZ", b"rXYZ")):
        made[at[name] : at[name] + 4] = other
    return bytes(made)


@pytest.fixture
def own_environment(monkeypatch, tmp_path):
    """`serve` owns its process and sets these; here they must be taken back."""
    monkeypatch.setattr(gr.routes, "DEFAULT_TEMP_DIR", str(tmp_path))
    for name in ("NO_PROXY", "no_proxy", "GRADIO_TEMP_DIR"):
        monkeypatch.setenv(name, "")
    monkeypatch.setattr(signal, "signal", lambda *_: None)


def test_a_model_that_is_not_there_is_refused_before_anything_is_served(own_environment, monkeypatch, smoother):
    monkeypatch.setenv("RESTORE_MODELS", str(smoother))
    with pytest.raises(ModelNotFound, match="no model is called 'nonesuch'"):
        web.serve(model="nonesuch")


def test_a_port_that_is_taken_is_a_wrong_option(own_environment, smoother, monkeypatch):
    monkeypatch.setattr(gr.Blocks, "launch", lambda *_, **__: (_ for _ in ()).throw(OSError("taken")))
    with pytest.raises(BadOption, match=r"cannot listen on 127\.0\.0\.1:4242: .* Try --port 4243"):
        web.serve(port=4242, model=smoother / "denoise-fast.onnx")


def test_no_font_is_fetched_and_nothing_phones_out(smoother):
    assert web.page_options()["theme"]._stylesheets == []
    assert web.build_app(model=smoother / "denoise-fast.onnx").analytics_enabled is False


def test_no_event_of_the_page_is_an_open_api(smoother):
    app = web.build_app(model=smoother / "denoise-fast.onnx")
    assert {event.api_visibility for event in app.fns.values()} == {"private"}


def test_the_slider_has_the_range_that_the_model_was_trained_in(tab):
    assert (tab.sigma.minimum, tab.sigma.maximum) == (0, pytest.approx(75))


def test_a_large_picture_is_shown_with_at_most_two_megapixels():
    preview = previews.preview(Image(np.zeros((3000, 4000, 3), np.uint8)))
    # 4:3 at 2 megapixels is 1632.99 x 1224.74.
    assert preview.size == (1632, 1224)


@pytest.mark.parametrize(("shape", "size"), [((1, 1), (1, 1)), ((1, 100_000), (4096, 1)), ((3, 3), (3, 3))])
def test_an_odd_shape_has_a_preview(shape, size):
    assert previews.preview(Image(np.zeros(shape, np.uint8))).size == size


def test_a_small_picture_and_a_window_are_shown_pixel_by_pixel():
    pixels = noisy(900, 1000)
    np.testing.assert_array_equal(np.asarray(previews.preview(Image(pixels))), pixels)
    window = previews.centre(900, 1000)
    np.testing.assert_array_equal(np.asarray(previews.preview(Image(pixels), window)), pixels[150:750, 100:900])


def test_the_centre_of_a_picture_smaller_than_the_window_is_all_of_it():
    assert GREY[previews.centre(40, 60)].shape == (40, 60)


def test_16_bits_are_shown_rounded_to_8():
    pixels = np.array([[0, 128, 129, 65535]], np.uint16)
    assert np.asarray(previews.preview(Image(pixels)))[0, :, 0].tolist() == [0, 0, 1, 255]


def test_a_preview_is_converted_to_srgb():
    red = np.zeros((4, 4, 3), np.uint8) + np.array([255, 0, 0], np.uint8)
    # Two levels: the profile stores its primaries rounded to 1/65536.
    shown = np.asarray(previews.preview(Image(red, icc=swapped_profile())), int)
    assert np.abs(shown - [0, 0, 255]).max() <= 2


@pytest.mark.parametrize("icc", [b"not a profile", ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()])
def test_a_damaged_profile_or_one_for_colour_does_not_keep_a_grey_picture_from_being_shown(icc):
    shown = np.asarray(previews.preview(Image(GREY, icc=icc)), int)
    assert shown.shape == (40, 60, 3)
    # sRGB to sRGB through lcms's tables may round by one level.
    assert np.abs(shown - 100).max() <= 1


def test_what_is_transparent_is_shown_on_white():
    alpha = np.zeros_like(GREY)
    alpha[:, 30:] = 255
    shown = np.asarray(previews.preview(Image(GREY, alpha=alpha)))
    assert shown[0, 0].tolist() == [255, 255, 255]
    assert shown[0, 59].tolist() == [100, 100, 100]


def test_a_picture_above_the_limit_is_refused_by_its_name_alone(tmp_path, monkeypatch):
    monkeypatch.setattr("restore.web.tab.MAX_PIXELS", 2000)
    path = saved(tmp_path / "large.png", GREY)
    with pytest.raises(UnreadableImage, match=r"^large\.png: 60 x 40 pixels"):
        open_photo(path)


@pytest.mark.parametrize(
    ("name", "format", "download"),
    [
        ("a.jpg", "JPEG", "a-denoised.jpg"),
        ("b.JPEG", "JPEG", "b-denoised.JPEG"),
        ("c.d.tiff", "TIFF", "c.d-denoised.tiff"),
        ("jpeg called.png", "JPEG", "jpeg called-denoised.jpg"),
        ("animation.gif", "GIF", "animation-denoised.png"),
    ],
)
def test_the_download_has_the_photos_own_format(tmp_path, name, format, download):  # noqa: A002
    image = read(saved(tmp_path / name, noisy(), format=format))
    changed = image.with_pixels(255 - image.pixels)
    out = deliver(tmp_path / name, image, Restored(changed, {}), tmp_path, suffix="-denoised")
    assert out.name == download
    assert read(out).format == ("PNG" if format == "GIF" else format)


def test_a_photo_without_noise_is_handed_back_byte_for_byte(tab, tmp_path):
    path = saved(tmp_path / "flat.jpg", GREY)
    updates = tab.run(str(path), "Automatic", 0.0, "Fast", 100, 100, visitor())
    assert updates[tab.answer].value == "No noise found: the photo is unchanged."
    assert updates[tab.download].value["orig_name"] == "flat-denoised.jpg"
    assert Path(updates[tab.download].value["path"]).read_bytes() == path.read_bytes()


def test_a_photo_of_which_nothing_is_to_be_taken_is_not_called_free_of_noise(tab, tmp_path):
    path = saved(tmp_path / "photo.png", noisy())
    updates = tab.run(str(path), "Automatic", 0.0, "Fast", 0, 0, visitor())
    assert updates[tab.answer].value == "Nothing was taken away: the photo is unchanged."


def test_a_level_set_by_hand_is_used_instead_of_the_estimate(tab, restorer, tmp_path):
    path = saved(tmp_path / "photo.png", noisy())
    updates = tab.run(str(path), "Set by hand", 30.0, "Fast", 100, 100, visitor())
    expected = restorer(read(path), sigma=30 / 255).image
    assert updates[tab.answer].value.startswith("Noise of sigma 30.0 removed.")
    np.testing.assert_array_equal(read(Path(updates[tab.download].value["path"])).pixels, expected.pixels)


def test_cancel_leaves_the_engine_at_the_next_tile(tab, notices, tmp_path, monkeypatch):
    def impatient(image, *, progress, **_):
        tab.stop(visitor("a"))
        progress(0.5)
        pytest.fail("the engine went on")

    monkeypatch.setattr(tab, "_tiers", {"Fast": impatient})
    tab.begin(visitor("a"))
    path = str(saved(tmp_path / "photo.png", noisy()))
    assert tab.run(path, "Automatic", 0.0, "Fast", 100, 100, visitor("a")) == UNCHANGED
    assert notices == ["Cancelled: the photo is as it was."]


def test_one_visitor_does_not_cancel_another(tab, notices, tmp_path):
    tab.stop(visitor("a"))
    assert tab.run(str(saved(tmp_path / "photo.png", noisy())), "Automatic", 0.0, "Fast", 100, 100, visitor("b"))
    assert notices == []


def test_a_cancelled_visitor_can_begin_again(tab, notices, tmp_path):
    tab.stop(visitor("a"))
    tab.begin(visitor("a"))
    assert tab.run(str(saved(tmp_path / "photo.png", noisy())), "Automatic", 0.0, "Fast", 100, 100, visitor("a"))
    assert notices == []


def test_a_files_name_cannot_put_html_into_the_notice(tab, notices, tmp_path):
    path = tmp_path / "<img src=x>.jpg"
    path.write_text("not a picture")
    updates = tab.look(str(path))
    assert updates[tab.photo] is None
    assert updates[tab.start].interactive is False
    assert notices == [updates[tab.facts].value]
    assert notices[0].startswith("&lt;img src=x&gt;.jpg: not a picture")
