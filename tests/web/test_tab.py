"""What every tab for photos does alike, on one that only makes a photo darker."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import gradio as gr
import numpy as np
import pytest
from PIL import Image as PillowImage

from restore import store, web
from restore.engine import Restored
from restore.errors import NotEnoughMemory
from restore.image import read
from restore.web import tab as module
from restore.web.tab import PROGRESS, PhotoTab, slider

#: What gradio is answered where the page is to stay as it is.
UNCHANGED = {"__type__": "update"}

VISITOR = SimpleNamespace(session_hash="a")


class DarkTab(PhotoTab):
    """Takes ten levels off, unless it is told to fail."""

    doing, suffix = "Making it dark", "-dark"

    def _build_controls(self):
        self._build_photo("Photo")
        self._build_start("Make it dark")
        self._build_answer()

    def _build_views(self):
        self.whole = slider("Before and after")

    def _connect(self):
        self._on_photo(self.look)
        self._on_click(self.start, self.run, [], busy=[self.whole])

    def _own_parts(self):
        return [self.whole]

    def _emptied(self):
        return {self.whole: None}

    def look(self, path):
        return self._look(path, self._described)

    def run(self, path, request: gr.Request, progress: gr.Progress = PROGRESS):
        def work(image, tick):
            tick(0.5)
            return Restored(image.with_pixels(image.pixels - np.uint8(10)), {})

        return self._run(path, work, lambda *_: {self.answer: gr.Markdown("Done", visible=True)}, request, progress)


@pytest.fixture
def tab(monkeypatch, tmp_path):
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path / "cache"))
    with gr.Blocks(analytics_enabled=False):
        return DarkTab()


@pytest.fixture
def photo(tmp_path):
    PillowImage.fromarray(np.full((40, 60), 100, np.uint8)).save(tmp_path / "photo.png")
    return str(tmp_path / "photo.png")


def no_progress(*_, **__):
    pass


def test_a_run_says_what_it_does_and_offers_its_file(tab, photo):
    said = []
    done = tab.run(photo, VISITOR, lambda share, desc: said.append((share, desc)))
    assert (read(Path(done[tab.download].value["path"])).pixels == 90).all()
    assert done[tab.download].value["orig_name"] == "photo-dark.png"
    assert done[tab.answer].value == "Done"
    # The last tenth is for saving.
    assert (0.45, "Making it dark") in said
    assert (0.9, "Saving the photo") in said


def test_who_cancels_while_the_file_is_saved_gets_none(tab, photo, notices, monkeypatch):
    def slow(*args, **options):
        tab.stop(VISITOR)
        return deliver(*args, **options)

    deliver = module.deliver
    monkeypatch.setattr(module, "deliver", slow)
    assert tab.run(photo, VISITOR, no_progress) == UNCHANGED
    assert notices == ["Cancelled: the photo is as it was."]


def test_taking_the_photo_away_stops_the_run(tab, photo, notices):
    assert tab.forget(VISITOR)[tab.start].interactive is False
    assert tab.run(photo, VISITOR, no_progress) == UNCHANGED


def test_looking_at_the_next_photo_stops_nobody(tab, photo, notices):
    tab.look(photo)
    assert tab.download in tab.run(photo, VISITOR, no_progress)


def test_while_it_runs_it_can_be_cancelled_but_not_started_and_the_old_file_is_gone(tab):
    begun = tab.begin(VISITOR)
    assert (begun[tab.start].interactive, begun[tab.cancel].visible) == (False, True)
    assert (begun[tab.answer].visible, begun[tab.download].visible) == (False, False)


@pytest.mark.parametrize(("path", "there"), [("photo.png", True), (None, False)])
def test_after_a_run_it_can_be_started_again_where_there_is_a_photo(tab, path, there):
    ended = tab.end(path)
    assert (ended[tab.start].interactive, ended[tab.cancel].visible) == (there, False)


def test_what_is_refused_during_a_run_is_said_and_stays_on_the_page(tab, photo, notices, monkeypatch):
    def refuse(*_):
        raise NotEnoughMemory("the memory does not suffice for <b>")

    monkeypatch.setattr(module, "open_photo", refuse)
    done = tab.run(photo, VISITOR, no_progress)
    assert done.keys() == {tab.answer}
    assert done[tab.answer].value == notices[0] == "the memory does not suffice for &lt;b&gt;"


def test_a_photo_that_cannot_be_looked_at_is_not_kept(tab, photo, notices):
    def refuse(image):
        raise NotEnoughMemory("the memory does not suffice")

    looked = tab._look(photo, refuse)
    assert looked[tab.photo] is None
    assert looked[tab.facts].value == notices[0] == "the memory does not suffice"
    assert looked[tab.start].interactive is False


def test_a_tab_has_each_of_its_parts_once(tab):
    """A component that is made while a page is built becomes a part of the page: what is forgotten then must not be."""
    with gr.Blocks(analytics_enabled=False) as app:
        DarkTab()
    kinds = [type(block) for block in app.blocks.values()]
    assert [kinds.count(kind) for kind in (gr.File, gr.Markdown, gr.Button, gr.DownloadButton)] == [1, 2, 2, 1]


def test_every_tab_may_change_all_that_it_forgets(smoother, white_is_mark, painter, monkeypatch, tmp_path):
    tabs = []
    build = PhotoTab.__init__
    monkeypatch.setattr(PhotoTab, "__init__", lambda self: (tabs.append(self), build(self))[1])
    monkeypatch.setattr(store, "BUNDLED", smoother)
    for models in (painter, white_is_mark(tmp_path).parent):
        monkeypatch.setenv("RESTORE_MODELS", str(models))
        web.build_app()
    assert {type(tab).__name__ for tab in tabs} == {"DenoiseTab", "StepsTab", "ColorizeTab", "UnwatermarkTab"}
    for tab in tabs:
        assert tab.forget().keys() <= set(tab._outputs)
