"""The tab for marks in a real browser: drop a photo, see the mask, paint more of it, download."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as PillowImage
from playwright.sync_api import expect, sync_playwright

from restore.image import read
from tests.web.conftest import serving

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")

# A machine that trains beside it took half a minute for one run.
expect.set_options(timeout=120_000)

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no chromium on this machine: apt-get install chromium")


@pytest.fixture(scope="module")
def address(white_is_mark, tmp_path_factory):
    models = tmp_path_factory.mktemp("marks")
    white_is_mark(models)
    with serving(models, tmp_path_factory.mktemp("server")) as server:
        yield server.url


@pytest.fixture(scope="module")
def page(address):
    with sync_playwright() as playwright:
        flags = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=flags)
        page = browser.new_page(viewport={"width": 1280, "height": 1000})
        page.set_default_timeout(120_000)
        page.goto(address)
        page.get_by_role("tab", name="Unwatermark").click()
        yield page
        browser.close()


def download(page, name):
    with page.expect_download() as waiting:
        page.get_by_role("button", name=name).click()
    return read(Path(waiting.value.path())).pixels


def test_a_mark_is_found_shown_painted_on_and_taken_off(page, tmp_path):
    pixels = np.full((240, 320, 3), 90, np.uint8)
    pixels[20:60, 30:110] = 255
    PillowImage.fromarray(pixels).save(tmp_path / "photo.png")
    page.locator("input[type=file]:not([disabled])").last.set_input_files(tmp_path / "photo.png")
    expect(page.get_by_text("320 x 240 pixels, PNG")).to_be_visible()
    page.get_by_role("button", name="Take the mark off").click()
    # 3,200 of 76,800 pixels.
    expect(page.get_by_text("A mark on 4.2 % of the photo was taken off")).to_be_visible()
    first = download(page, "Download photo-unmarked.png")
    np.testing.assert_array_equal((first != pixels).any(axis=2), (pixels == 255).all(axis=2))

    page.get_by_role("tab", name="Mask").click()
    canvas = page.locator("#mask canvas").first
    expect(canvas).to_be_visible()
    box = canvas.bounding_box()
    page.mouse.move(box["x"] + 0.5 * box["width"], box["y"] + 0.7 * box["height"])
    page.mouse.down()
    page.mouse.move(box["x"] + 0.6 * box["width"], box["y"] + 0.7 * box["height"], steps=8)
    page.mouse.up()
    page.get_by_role("button", name="Run again with the painted mask").click()
    expect(page.get_by_text("A mark on 4.2 % of the photo was taken off")).to_be_hidden()
    expect(page.get_by_text("of the photo was taken off")).to_be_visible()
    second = (download(page, "Download photo-unmarked.png") != pixels).any(axis=2)
    assert second[20:60, 30:110].all()
    # The stroke lies in the lower half, and is some pixels thick.
    assert second[120:].sum() > 100
    mask = download(page, "Download the mask")
    np.testing.assert_array_equal(mask > 0, second)
