"""The tab that gives colour, without a browser: what it shows, what a click does, and what is offered."""

from __future__ import annotations

import shutil
import time
from pathlib import Path
from types import SimpleNamespace

import gradio as gr
import numpy as np
import pytest
from PIL import Image as PillowImage

from restore import color, store, web
from restore.chroma import Hint
from restore.colorizer import open_colorizer
from restore.image import Image, read, write
from restore.web.colorize import ColorizeTab, parse_colour, scaled_hint

VISITOR = SimpleNamespace(session_hash="a")


@pytest.fixture
def tab(painter, monkeypatch, tmp_path):
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path / "cache"))
    with gr.Blocks(analytics_enabled=False):
        return ColorizeTab(open_colorizer(painter / "colorize-fast.onnx", device="cpu"))


@pytest.fixture
def photo(tmp_path) -> Path:
    """A grey ramp, 96 x 128."""
    path = tmp_path / "old.png"
    write(Image(np.linspace(60, 220, 128).astype(np.uint8)[None].repeat(96, axis=0)), path)
    return path


def value_of(update):
    """What a component is to show; a button keeps what it was made with."""
    return update._constructor_args[0]["value"] if hasattr(update, "_constructor_args") else update


def chroma_at(path: str, x: int, y: int) -> np.ndarray:
    return color.to_lab(np.array(PillowImage.open(path).convert("RGB")))[y, x, 1:]


def quiet(share, desc=None):
    assert 0 <= share <= 1


def test_a_dropped_photo_is_shown_in_colour_and_described(tab, photo):
    done = tab.look(str(photo), 100, None)
    assert value_of(done[tab.facts]) == "128 x 96 pixels, PNG."
    # The model's one answer.
    np.testing.assert_allclose(chroma_at(done[tab.shown], 64, 48), (20, 30), atol=1)


def test_a_photo_in_colour_is_said_to_be_one(tab, tmp_path, make_photo):
    write(Image(make_photo(96, 128)), tmp_path / "bright.png")
    assert "This photo is in colour already." in value_of(tab.look(str(tmp_path / "bright.png"), 100, None)[tab.facts])


def test_what_is_no_picture_is_a_notice(tab, tmp_path):
    (tmp_path / "a.png").write_text("no")
    done = tab.look(str(tmp_path / "a.png"), 100, None)
    assert "not a picture" in value_of(done[tab.facts])
    assert done[tab.photo] is None


def test_a_click_gives_the_spot_the_picked_colour_and_undo_takes_it_back(tab, photo):
    folder = tab.look(str(photo), 100, None)[tab.luma]
    done = tab.add_hint(str(photo), folder, [], 100, None, "#3c78be", SimpleNamespace(index=[100, 30]))
    assert done[tab.hints] == [Hint(100, 30, (0x3C, 0x78, 0xBE))]
    # Beside the mark that is drawn there: nearer to the hint's b* of -42 than to the 30 that would be there without.
    assert chroma_at(done[tab.shown], 100, 38)[1] < -3
    # What is compared has the hint's colour and not its mark.
    before, after = done[tab.whole]
    np.testing.assert_allclose(chroma_at(before, 100, 30), 0, atol=1)
    assert chroma_at(after, 100, 30)[1] < -20
    undone = tab.drop_hint(str(photo), folder, done[tab.hints], 100, None)
    assert undone[tab.hints] == []
    np.testing.assert_allclose(chroma_at(undone[tab.shown], 100, 38), (20, 30), atol=1)


def test_a_preview_that_was_cleaned_up_meanwhile_is_a_notice(tab, photo):
    folder = tab.look(str(photo), 100, None)[tab.luma]
    shutil.rmtree(folder)
    clicked = tab.add_hint(str(photo), folder, [], 100, None, "#3c78be", SimpleNamespace(index=[100, 30]))
    for done in (clicked, tab.show(str(photo), folder, [], 50, None)):
        assert value_of(done[tab.answer]) == "The preview is not there any more. Drop the photo again."


def test_strength_and_palette_change_the_preview(tab, photo, tmp_path, make_photo):
    folder = tab.look(str(photo), 100, None)[tab.luma]
    half = tab.show(str(photo), folder, [], 50, None)
    np.testing.assert_allclose(chroma_at(half[tab.shown], 64, 48), (10, 15), atol=1)
    np.testing.assert_allclose(chroma_at(half[tab.whole][1], 64, 48), (10, 15), atol=1)
    write(Image(make_photo(96, 128)), tmp_path / "like.png")
    other = tab.show(str(photo), folder, [], 100, str(tmp_path / "like.png"))
    np.testing.assert_allclose(chroma_at(other[tab.shown], 100, 48), (-20, -30), atol=1)
    refused = tab.show(str(photo), folder, [], 100, str(photo))
    assert "so it has no palette" in value_of(refused[tab.answer])


def test_the_full_file_has_the_hints_and_is_offered(tab, photo):
    hints = [Hint(100, 30, (0x3C, 0x78, 0xBE))]
    done = tab.run(str(photo), hints, 100, None, note=True, request=VISITOR, progress=quiet)
    path = Path(value_of(done[tab.download]))
    assert path.name == "old-colorized.png"
    made = read(path)
    assert made.pixels.shape == (96, 128, 3)
    assert color.to_lab(made.pixels)[30, 100, 2] < -20
    assert b"They are a guess" in (made.xmp or b"")


def test_a_preview_of_12_megapixels_follows_a_hint_within_two_seconds(tab, tmp_path):
    plane = np.linspace(60, 220, 4000).astype(np.uint8)[None].repeat(3000, axis=0)
    write(Image(plane), tmp_path / "large.jpg")
    folder = tab.look(str(tmp_path / "large.jpg"), 100, None)[tab.luma]
    started = time.process_time()
    done = tab.add_hint(str(tmp_path / "large.jpg"), folder, [], 100, None, "#3c78be", SimpleNamespace(index=[512, 9]))
    # The bar, in time of the processor, which other work beside the test does not lengthen.
    assert time.process_time() - started < 2
    # The preview is 1024 px wide: its 513th column is around column 2002 of 4000.
    assert done[tab.hints][0].x == 2001


@pytest.mark.parametrize(
    ("text", "rgb"),
    [("#3c78be", (60, 120, 190)), ("#3c78beff", (60, 120, 190)), ("rgba(60.2, 119.9, 190, 1)", (60, 120, 190))],
)
def test_a_pickers_colour_is_read_in_both_its_ways(text, rgb):
    assert parse_colour(text) == rgb


def test_a_hint_keeps_its_place_on_the_preview():
    assert scaled_hint(Hint(3999, 1500, (1, 2, 3)), (3000, 4000), (768, 1024)) == Hint(1023, 384, (1, 2, 3))


def test_the_page_has_the_tab_where_there_is_a_model_for_it(painter, smoother, monkeypatch):
    monkeypatch.setattr(store, "BUNDLED", smoother)

    def tabs(folder: Path) -> list[str]:
        monkeypatch.setenv("RESTORE_MODELS", str(folder))
        return [block.label for block in web.build_app().blocks.values() if isinstance(block, gr.Tab)]

    assert "Colorize" in tabs(painter)
    assert "Colorize" not in tabs(smoother)
