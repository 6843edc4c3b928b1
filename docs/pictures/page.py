"""Makes the README's picture of the page: starts it, drops a sample photo, removes the noise, takes a picture.

    python docs/pictures/page.py

Needs the extras web and test, and Debian's chromium.
"""

from __future__ import annotations

import io
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

from PIL import Image as PillowImage
from playwright.sync_api import sync_playwright

HERE = Path(__file__).parent


def main() -> None:
    """Write page.webp beside this file."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    url = f"http://127.0.0.1:{port}/"
    server = subprocess.Popen([sys.executable, "-m", "restore", "serve", "--port", str(port)])
    try:
        for _ in range(600):
            try:
                urllib.request.urlopen(url, timeout=1).close()
                break
            except OSError:
                time.sleep(0.1)
        shot = take(url)
    finally:
        server.terminate()
        server.wait(30)
    PillowImage.open(io.BytesIO(shot)).save(HERE / "page.webp", quality=85, method=6)


def take(url: str) -> bytes:
    """A PNG of the page with a restored photo."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1280, "height": 860})
        page.set_default_timeout(60_000)
        page.goto(url)
        page.locator("input[type=file]").set_input_files(HERE.parent / "samples" / "city.jpg")
        page.get_by_text("pixels, JPEG").wait_for()
        page.get_by_role("button", name="Remove noise").click()
        page.get_by_text("Left of the handle").wait_for()
        page.wait_for_timeout(1500)  # the slider's pictures fade in
        shot = page.screenshot()
        browser.close()
    return shot


if __name__ == "__main__":
    main()
