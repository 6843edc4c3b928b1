"""The tab for colour in a real browser: drop a photo, click a spot, see its colour, download."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import expect, sync_playwright

from restore import color
from restore.image import Image, read, write
from tests.web.conftest import serving

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")

expect.set_options(timeout=30_000)

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no chromium on this machine: apt-get install chromium")


@pytest.fixture(scope="module")
def page(painter, tmp_path_factory):
    with serving(painter, tmp_path_factory.mktemp("server")) as server, sync_playwright() as playwright:
        flags = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=flags)
        page = browser.new_page(viewport={"width": 1280, "height": 1000})
        page.set_default_timeout(30_000)
        page.goto(server.url)
        page.get_by_role("tab", name="Colorize").click()
        yield page
        browser.close()


def test_a_click_and_a_colour_reach_the_file(page, tmp_path):
    write(Image(np.linspace(60, 220, 640).astype(np.uint8)[None].repeat(480, axis=0)), tmp_path / "old.png")
    page.locator("input[type=file]:not([disabled])").last.set_input_files(tmp_path / "old.png")
    expect(page.get_by_text("640 x 480 pixels, PNG")).to_be_visible()
    shown = page.locator("#coloured img").first
    expect(shown).to_be_visible()
    before = shown.get_attribute("src")
    box = shown.bounding_box()
    page.mouse.click(box["x"] + 0.75 * box["width"], box["y"] + 0.5 * box["height"])
    expect(page.get_by_role("button", name="Undo the last hint")).to_be_enabled()
    assert shown.get_attribute("src") != before
    page.get_by_role("button", name="Make the full-size file").click()
    expect(page.get_by_text("In colour, and its luma as it was.")).to_be_visible()
    with page.expect_download() as waiting:
        page.get_by_role("button", name="Download old-colorized.png").click()
    lab = color.to_lab(read(Path(waiting.value.path())).pixels)
    # The model's one answer, but at the click, within a few pixels, the picker's first colour: a* 33.5, b* 22.2.
    np.testing.assert_allclose(lab[240, 100, 1:], (20, 30), atol=2)
    np.testing.assert_allclose(lab[240, 480, 1:], (33.6, 22.3), atol=2)
