"""The tab that takes marks off, without a browser: what it shows, offers, and makes of a painted mask."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import gradio as gr
import numpy as np
import pytest
from PIL import Image as PillowImage

from restore import store, web
from restore.engine import open_model
from restore.image import read
from restore.previews import busiest
from restore.web.unwatermark import UnwatermarkTab, corrected, overlaid, shrunk, strokes_of

VISITOR = SimpleNamespace(session_hash="a")


@pytest.fixture
def tab(white_is_mark, monkeypatch, tmp_path):
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path / "cache"))
    with gr.Blocks(analytics_enabled=False):
        return UnwatermarkTab({"Fast": open_model(white_is_mark(tmp_path), device="cpu")})


@pytest.fixture
def photo(tmp_path) -> Path:
    """Grey of 90, 40 x 60, with a white square on rows 4-11 and columns 20-29."""
    pixels = np.full((40, 60, 3), 90, np.uint8)
    pixels[4:12, 20:30] = 255
    path = tmp_path / "photo.png"
    PillowImage.fromarray(pixels).save(path)
    return path


def quiet(share, desc=None):
    assert 0 <= share <= 1


def value_of(update):
    """What a component is to show; a button keeps what it was made with."""
    return update._constructor_args[0]["value"] if hasattr(update, "_constructor_args") else update


def test_photo_and_mask_are_offered_and_the_share_is_said(tab, photo):
    done = tab.run(str(photo), anyhow=False, thorough=False, request=VISITOR, progress=quiet)
    # 80 of 2,400 pixels.
    assert value_of(done[tab.answer]).startswith("A mark on 3.3 % of the photo was taken off")
    marked = (read(photo).pixels == 255).all(axis=2)
    answer = read(Path(value_of(done[tab.download])))
    assert Path(value_of(done[tab.download])).name == "photo-unmarked.png"
    assert set(answer.pixels[marked].flat) == {128}
    assert set(answer.pixels[~marked].flat) == {90}
    np.testing.assert_array_equal(read(Path(value_of(done[tab.download_mask]))).pixels, 255 * marked)


def test_the_mask_lies_red_over_the_photo(tab, photo):
    editor = value_of(tab.run(str(photo), anyhow=False, thorough=False, request=VISITOR, progress=quiet)[tab.editor])
    marked = (read(photo).pixels == 255).all(axis=2)
    np.testing.assert_array_equal(editor["background"][~marked], read(photo).pixels[~marked])
    # 0.4 of white and 0.6 of (255, 0, 60).
    assert {tuple(pixel) for pixel in editor["background"][marked]} == {(255, 102, 138)}


def test_red_strokes_add_to_the_mask_and_green_ones_take_away(tab, photo):
    done = tab.run(str(photo), anyhow=False, thorough=False, request=VISITOR, progress=quiet)
    layer = np.zeros((40, 60, 4), np.uint8)
    layer[4:12, 20:30] = (0, 200, 80, 255)
    layer[30:32, 1:5] = (255, 0, 60, 255)
    painted = value_of(done[tab.editor]) | {"layers": [layer]}
    again = tab.run_again(
        str(photo), painted, value_of(done[tab.found]), thorough=True, request=VISITOR, progress=quiet
    )
    before, after = read(photo).pixels, read(Path(value_of(again[tab.download]))).pixels
    assert set(after[30:32, 1:5].flat) == {128}
    changed = (after != before).any(axis=2)
    assert changed.sum() == 8
    assert changed[30:32, 1:5].all()


def test_a_photo_without_a_mark_is_said_to_be_unchanged(tab, tmp_path):
    PillowImage.fromarray(np.full((20, 30, 3), 9, np.uint8)).save(tmp_path / "plain.png")
    done = tab.run(str(tmp_path / "plain.png"), anyhow=False, thorough=False, request=VISITOR, progress=quiet)
    assert value_of(done[tab.answer]).startswith("No mark found: the photo is unchanged.")
    offered = Path(value_of(done[tab.download]))
    assert offered.read_bytes() == (tmp_path / "plain.png").read_bytes()


@pytest.mark.parametrize("painted", [None, {"background": np.zeros((40, 60, 4)), "layers": []}])
def test_a_mask_that_is_gone_is_a_notice(tab, photo, monkeypatch, tmp_path, painted):
    """Files of visitors are deleted after an hour."""
    monkeypatch.setattr(gr, "Warning", lambda *_: None)
    gone = painted and str(tmp_path / "gone-mask.png")
    done = tab.run_again(str(photo), painted, gone, thorough=False, request=VISITOR, progress=quiet)
    assert value_of(done[tab.answer]) == "The mask is not there any more. Drop the photo again."


def test_a_small_pixel_is_marked_where_any_below_it_is():
    mask = np.zeros((4, 6), bool)
    mask[3, 1] = True
    assert shrunk(mask, (2, 3)).tolist() == [[False, False, False], [True, False, False]]
    assert (overlaid(np.zeros((2, 3, 3), np.uint8), mask)[..., 0] > 0).tolist() == [[False] * 3, [True, False, False]]


def test_a_mask_without_strokes_stays_as_it_is():
    mask = np.random.default_rng(0).random((40, 60)) > 0.7
    none = np.zeros((20, 30), bool)
    np.testing.assert_array_equal(corrected(mask, none, none), mask)


def test_all_layers_of_the_editor_count():
    background, one, two = np.zeros((2, 2, 4)), np.zeros((2, 2, 4)), np.zeros((2, 2, 4))
    one[0, 0], two[1, 1] = (255, 0, 60, 1), (0, 200, 80, 255)
    red, green = strokes_of({"background": background, "layers": [one, two]})
    assert red.tolist() == [[True, False], [False, False]]
    assert green.tolist() == [[False, False], [False, True]]
    assert not np.any(strokes_of({"background": background, "layers": []}))


def test_the_window_of_actual_pixels_lies_around_the_mark():
    mask = np.zeros((2000, 3000), np.uint8)
    mask[1500:1600, 100:200] = 9
    # The middle is (1549, 149): 300 above it, and the left edge, where there are no 400.
    assert busiest(mask) == (slice(1249, 1849), slice(0, 800))
    assert busiest(np.zeros((2000, 3000))) == (slice(700, 1300), slice(1100, 1900))


def test_the_page_has_the_tab_where_there_is_a_model_for_it(white_is_mark, smoother, tmp_path, monkeypatch):
    white_is_mark(tmp_path)
    monkeypatch.setattr(store, "BUNDLED", smoother)

    def tabs(folder: Path) -> list[str]:
        monkeypatch.setenv("RESTORE_MODELS", str(folder))
        return [block.label for block in web.build_app().blocks.values() if isinstance(block, gr.Tab)]

    assert "Unwatermark" in tabs(tmp_path)
    assert "Unwatermark" not in tabs(smoother)
