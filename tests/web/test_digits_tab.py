"""The Digits tab: in a real browser where there is one, and what it does without."""

from __future__ import annotations

import shutil
from pathlib import Path

import gradio as gr
import numpy as np
import pytest
from PIL import Image as PillowImage
from PIL import ImageDraw

from restore.classifier import Classifier
from restore.engine import open_model
from restore.web.digits import DigitsTab

WEIGHTS = Path(__file__).parents[2] / "restore/weights/classify-fast.onnx"
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
#: Where the pen goes on the canvas for a seven, in shares of its sides.
SEVEN = ((0.4, 0.25), (0.6, 0.25), (0.5, 0.78))


def seven(background: tuple[int, ...]) -> np.ndarray:
    """(112, 112, C) uint8: a seven in black."""
    picture = PillowImage.new("RGBA" if len(background) == 4 else "RGB", (112, 112), background)
    ImageDraw.Draw(picture).line([(34, 28), (78, 28), (52, 88)], fill=(0, 0, 0, 255)[: len(background)], width=9)
    return np.asarray(picture)


@pytest.fixture
def tab(monkeypatch, tmp_path):
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path / "cache"))
    with gr.Blocks(analytics_enabled=False):
        return DigitsTab(open_model(WEIGHTS, kind=Classifier, device="cpu", threads=1))


@pytest.fixture
def notices(monkeypatch):
    seen = []
    monkeypatch.setattr(gr, "Warning", lambda text, **_: seen.append(text))
    return seen


def test_a_dropped_digit_is_read_and_shown_as_the_network_sees_it(tab, tmp_path):
    PillowImage.fromarray(seven((200, 220, 250))).save(tmp_path / "seven.png")
    answer = tab.read_file(str(tmp_path / "seven.png"))
    chances = answer[tab.answer].value["confidences"]
    assert chances[0]["label"] == "7"
    assert sum(row["confidence"] for row in chances) == pytest.approx(1, abs=1e-5)
    # 28 pixels, each 8 wide.
    assert PillowImage.open(answer[tab.seen].value["path"]).size == (224, 224)


def test_a_drawing_on_nothing_is_read(tab):
    answer = tab.read_drawing({"composite": seven((0, 0, 0, 0))})
    assert answer[tab.answer].value["label"] == "7"


@pytest.mark.parametrize("drawing", [None, {"composite": None}, {"composite": np.zeros((9, 9, 4), np.uint8)}])
def test_an_empty_canvas_says_so(tab, notices, drawing):
    answer = tab.read_drawing(drawing)
    assert answer[tab.problem].value == "Nothing is drawn. Draw one digit on the canvas."
    assert answer[tab.answer].value == {}
    assert notices == ["Nothing is drawn. Draw one digit on the canvas."]


def test_a_picture_without_a_digit_says_so(tab, notices, tmp_path):
    PillowImage.new("RGB", (50, 40), "white").save(tmp_path / "blank.png")
    answer = tab.read_file(str(tmp_path / "blank.png"))
    assert "no digit found in 50 x 40 pixels" in answer[tab.problem].value
    assert len(notices) == 1


@pytest.mark.skipif(CHROMIUM is None, reason="no chromium on this machine: apt-get install chromium")
def test_a_visitor_draws_a_seven_and_drops_one(server, tmp_path):
    from playwright.sync_api import expect, sync_playwright

    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        page = launched.new_page(viewport={"width": 1280, "height": 900})
        page.set_default_timeout(30_000)
        page.goto(server.url)
        page.get_by_role("tab", name="Digits").click()
        page.get_by_role("button", name="Brush").click()
        box = page.locator("#digit-canvas canvas").first.bounding_box()
        for index, (x, y) in enumerate(SEVEN):
            page.mouse.move(box["x"] + x * box["width"], box["y"] + y * box["height"], steps=12)
            if index == 0:
                page.mouse.down()
        page.mouse.up()
        # The drawing is on its way to the server as long as the stroke can be undone by nobody.
        expect(page.locator("#digit-canvas").get_by_role("button", name="Undo")).to_be_enabled(timeout=30_000)
        page.get_by_role("button", name="Read the drawing").click()
        answer = page.locator("#digit-answer")
        expect(answer.get_by_test_id("label-output-value")).to_have_text("7", timeout=30_000)
        nought = PillowImage.new("RGB", (90, 90), (250, 240, 170))
        ImageDraw.Draw(nought).ellipse([28, 18, 62, 72], outline=(20, 30, 120), width=7)
        nought.save(tmp_path / "nought.png")
        page.locator("#digit-file input[type=file]").set_input_files(tmp_path / "nought.png")
        expect(answer.get_by_test_id("label-output-value")).to_have_text("0", timeout=30_000)
        launched.close()
