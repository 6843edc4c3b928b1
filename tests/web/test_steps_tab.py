"""The Restore tab: several steps in one go, what it shows and offers, and when it is there."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import gradio as gr
import numpy as np
import pytest
from PIL import Image as PillowImage

from restore import web
from restore.engine import Restored
from restore.image import read
from restore.web.steps import StepsTab

#: What gradio is answered where the page is to stay as it is.
UNCHANGED = {"__type__": "update"}

VISITOR = SimpleNamespace(session_hash="a")


def darker(by: int):
    """A tool that takes so many levels off, and says that it found noise of sigma 0.1."""

    def work(image, *, progress=None, **params):
        if progress:
            progress(1.0)
        return Restored(image.with_pixels(image.pixels - np.uint8(by)) if by else image, {"sigma": 0.1})

    return work


@pytest.fixture
def tab(monkeypatch, tmp_path):
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path / "cache"))
    with gr.Blocks(analytics_enabled=False):
        return StepsTab({"denoise": darker(10), "unwatermark": darker(20), "colorize": darker(0)})


@pytest.fixture
def photo(tmp_path):
    PillowImage.fromarray(np.full((40, 60, 3), 100, np.uint8)).save(tmp_path / "photo.png")
    return str(tmp_path / "photo.png")


def no_progress(*_, **__):
    pass


def test_steps_are_offered_in_the_usual_order(tab):
    assert [name for _, name in tab.steps.choices] == ["unwatermark", "denoise", "colorize"]


def test_a_dropped_photo_is_shown_and_nothing_is_proposed_without_a_planner(tab, photo):
    answer = tab.look(photo)
    assert answer[tab.facts].value == "60 x 40 pixels, PNG."
    assert answer[tab.steps] == []
    assert answer[tab.start].interactive


def test_a_planner_proposes_steps(tab, photo):
    tab._planner = lambda image: (("unwatermark", None), ("denoise", 22 / 255))
    answer = tab.look(photo)
    assert answer[tab.facts].value == "60 x 40 pixels, PNG. It looks like: watermark; noise, sigma about 22."
    assert answer[tab.steps] == ["unwatermark", "denoise"]


def test_the_chosen_steps_are_done_in_the_order_that_was_chosen_and_the_answer_offered(tab, photo):
    answer = tab.run(photo, ["denoise", "unwatermark"], VISITOR, no_progress)
    assert answer[tab.answer].value.startswith("Mended: noise, sigma about 26; watermark.")
    download = Path(answer[tab.download].value["path"])
    assert download.name == "photo-restored.png"
    assert (read(download).pixels == 70).all()


def test_with_the_photo_its_steps_are_taken_away(tab):
    assert tab.forget()[tab.steps] == []


def test_a_photo_with_nothing_to_mend_comes_back_byte_for_byte(tab, photo):
    answer = tab.run(photo, ["colorize"], VISITOR, no_progress)
    assert answer[tab.answer].value == "Nothing was found to mend: the photo is unchanged."
    assert Path(answer[tab.download].value["path"]).read_bytes() == Path(photo).read_bytes()


def test_a_file_that_is_no_picture_says_so(tab, tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr(gr, "Warning", lambda text, **_: seen.append(text))
    (tmp_path / "text.png").write_text("no picture")
    answer = tab.look(str(tmp_path / "text.png"))
    assert "not a picture" in answer[tab.facts].value
    assert len(seen) == 1


def test_a_visitor_who_cancels_gets_no_answer(tab, photo, monkeypatch):
    seen = []
    monkeypatch.setattr(gr, "Info", seen.append)
    tab.stop(VISITOR)
    assert tab.run(photo, ["denoise"], VISITOR, no_progress) == UNCHANGED
    assert seen == ["Cancelled: the photo is as it was."]
    # The next run begins anew.
    tab.begin(VISITOR)
    assert tab.download in tab.run(photo, ["denoise"], VISITOR, no_progress)


def test_with_one_tool_alone_there_is_no_such_tab(smoother, monkeypatch, tmp_path):
    from restore import store

    monkeypatch.setenv("RESTORE_MODELS", str(smoother))
    monkeypatch.setattr(store, "BUNDLED", tmp_path)
    titles = [block.label for block in web.build_app().blocks.values() if isinstance(block, gr.Tab)]
    assert "Denoise" in titles
    assert "Restore" not in titles
