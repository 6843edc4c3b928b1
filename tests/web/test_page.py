"""The page in a real browser: drop a photo, compare, download. Nothing leaves this computer."""

from __future__ import annotations

import base64
import io
import shutil
import struct
import zlib
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import pytest
from PIL import Image as PillowImage
from PIL import ImageCms
from playwright.sync_api import expect, sync_playwright

from restore.engine import open_model
from restore.image import encode, read

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
QUIET = (
    "--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync"
)

# Long for a busy machine; nothing here waits for time to pass.
expect.set_options(timeout=30_000)

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no chromium on this machine: apt-get install chromium")


# Per module: while Playwright runs, no other test of this thread can start an event loop.
@pytest.fixture(scope="module")
def browser(server):
    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=CHROMIUM, args=QUIET.split())
        # One context for all, so that gradio's scripts are loaded once.
        yield launched.new_context(viewport={"width": 1280, "height": 900})
        launched.close()


@pytest.fixture(scope="module")
def requests():
    """The address of everything that any page asked for."""
    return []


@pytest.fixture
def page(browser, server, requests):
    page = browser.new_page()
    page.set_default_timeout(30_000)
    page.on("request", lambda request: requests.append(request.url))
    page.goto(server.url)
    yield page
    page.close()


@pytest.fixture(scope="module")
def restorer(smoother):
    return open_model(smoother / "denoise-fast.onnx")


@pytest.fixture(scope="module")
def noisy(make_photo):
    rng = np.random.default_rng(1)
    clean = make_photo(300, 400)
    return np.clip(clean + rng.normal(0, 20, clean.shape), 0, 255).astype(np.uint8)


@pytest.fixture
def noisy_png(noisy, tmp_path):
    PillowImage.fromarray(noisy).save(tmp_path / "noisy.png")
    return tmp_path / "noisy.png"


def drop(page, path):
    page.locator("input[type=file]").set_input_files(path)


def set_by_hand(page, sigma_255):
    expect(page.get_by_text("pixels, ")).to_be_visible()
    page.get_by_label("Set by hand").check()
    page.get_by_label("number input for sigma").fill(str(sigma_255))
    page.get_by_label("number input for sigma").press("Tab")


def remove_noise(page, said="removed. Left of the handle"):
    page.get_by_role("button", name="Remove noise").click()
    expect(page.get_by_text(said)).to_be_visible()


def download(page):
    with page.expect_download() as waiting:
        page.get_by_role("button", name="Download").click()
    return Path(waiting.value.path()), waiting.value.suggested_filename


def shown_pictures(page):
    """The two pictures of the visible slider, as the browser was sent them."""
    images = page.locator("img[data-testid=imageslider-image]:visible")
    expect(images).to_have_count(2)
    sent = [page.request.get(image.get_attribute("src")) for image in images.all()]
    assert {answer.headers["content-type"] for answer in sent} == {"image/png"}
    return [PillowImage.open(io.BytesIO(answer.body())) for answer in sent]


def test_a_png_comes_back_exactly_as_the_engine_restores_it(page, restorer, noisy_png):
    drop(page, noisy_png)
    expect(page.get_by_text("400 x 300 pixels, PNG")).to_be_visible()
    remove_noise(page)
    file, name = download(page)
    assert name == "noisy-denoised.png"
    np.testing.assert_array_equal(read(file).pixels, restorer(read(noisy_png)).image.pixels)


def test_a_photo_is_dropped_on_the_page(page, noisy_png):
    content = base64.b64encode(noisy_png.read_bytes()).decode()
    data = page.evaluate_handle(
        """async content => {
            const bytes = await (await fetch("data:image/png;base64," + content)).blob();
            const transfer = new DataTransfer();
            transfer.items.add(new File([bytes], "dropped.png", {type: "image/png"}));
            return transfer;
        }""",
        content,
    )
    page.get_by_role("button", name="upload").dispatch_event("drop", {"dataTransfer": data})
    expect(page.get_by_text("400 x 300 pixels, PNG")).to_be_visible()
    remove_noise(page)
    assert download(page)[1] == "dropped-denoised.png"


def test_the_slider_shows_before_and_after_without_loss(page, restorer, noisy, noisy_png):
    drop(page, noisy_png)
    remove_noise(page)
    before, after = shown_pictures(page)
    np.testing.assert_array_equal(np.asarray(before), noisy)
    np.testing.assert_array_equal(np.asarray(after), restorer(read(noisy_png)).image.pixels)


def test_a_jpeg_keeps_format_profile_and_exif(page, restorer, noisy, tmp_path):
    path = tmp_path / "Müller & Söhne (1).jpg"
    exif = PillowImage.Exif()
    exif[0x010F] = "Camera maker"
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    PillowImage.fromarray(noisy).save(path, quality=92, exif=exif, icc_profile=profile)
    drop(page, path)
    set_by_hand(page, 30)
    remove_noise(page)
    file, name = download(page)
    assert name == "Müller & Söhne (1)-denoised.jpg"
    assert file.read_bytes() == encode(restorer(read(path), sigma=30 / 255).image, "JPEG")
    with PillowImage.open(file) as answer:
        assert answer.format == "JPEG"
        assert answer.getexif()[0x010F] == "Camera maker"
        assert answer.info["icc_profile"] == profile


def test_the_level_set_by_hand_is_heeded(page, restorer, noisy_png):
    drop(page, noisy_png)
    set_by_hand(page, 42)
    remove_noise(page, "Noise of sigma 42.0 removed.")
    np.testing.assert_array_equal(
        read(download(page)[0]).pixels, restorer(read(noisy_png), sigma=42 / 255).image.pixels
    )


def test_a_clean_photo_is_handed_back_byte_for_byte(page, tmp_path):
    path = tmp_path / "flat.jpg"
    PillowImage.new("RGB", (64, 48), "teal").save(path)
    drop(page, path)
    expect(page.get_by_text("64 x 48 pixels, JPEG.")).to_be_visible()
    remove_noise(page, "No noise found: the photo is unchanged.")
    file, name = download(page)
    assert name == "flat-denoised.jpg"
    assert file.read_bytes() == path.read_bytes()


@pytest.fixture
def large_png(tmp_path):
    picture = PillowImage.new("RGB", (4000, 3000), "teal")
    # Of one colour throughout nothing could be taken.
    noise = np.random.default_rng(0).normal(120, 10, (200, 200, 3)).clip(0, 255).astype(np.uint8)
    picture.paste(PillowImage.fromarray(noise), (1900, 1400))
    picture.save(tmp_path / "large.png")
    return tmp_path / "large.png"


def test_a_large_photo_is_previewed_small_and_in_actual_pixels_and_downloaded_whole(page, large_png):
    drop(page, large_png)
    set_by_hand(page, 10)
    remove_noise(page)
    assert [picture.size for picture in shown_pictures(page)] == [(1632, 1224)] * 2
    page.get_by_role("tab", name="Actual pixels").click()
    assert [picture.size for picture in shown_pictures(page)] == [(800, 600)] * 2
    before = page.locator("img[data-testid=imageslider-image]:visible").first
    assert (before.bounding_box()["width"], before.bounding_box()["height"]) == (800, 600)
    with PillowImage.open(download(page)[0]) as answer:
        assert answer.size == (4000, 3000)


def test_cancel_stops_and_the_next_run_works(page, large_png):
    drop(page, large_png)
    set_by_hand(page, 10)
    page.get_by_role("button", name="Remove noise").click()
    page.get_by_role("button", name="Cancel").click()
    expect(page.get_by_text("Cancelled: the photo is as it was.")).to_be_visible()
    expect(page.get_by_role("button", name="Download")).to_be_hidden()
    remove_noise(page)


def test_a_file_that_is_no_picture_is_a_notice_and_the_next_photo_works(page, noisy_png, tmp_path):
    (tmp_path / "Tom & Jerry.jpg").write_text("not a picture")
    drop(page, tmp_path / "Tom & Jerry.jpg")
    sentence = page.get_by_text("Tom & Jerry.jpg: not a picture that can be read.")
    expect(sentence).to_have_count(2)  # in the notice and, when that has gone, on the page
    expect(page.get_by_role("button", name="Remove noise")).to_be_disabled()
    drop(page, noisy_png)
    expect(page.get_by_text("400 x 300 pixels, PNG")).to_be_visible()
    remove_noise(page)


def test_a_decompression_bomb_is_refused_from_its_header(page, server, tmp_path):
    path = tmp_path / "bomb.png"
    path.write_bytes(white_png(20_000))
    assert path.stat().st_size < 100_000
    before = server.peak_memory()
    drop(page, path)
    expect(page.get_by_text("bomb.png: 20000 x 20000 pixels are 400 megapixels").first).to_be_visible()
    # Decoded it would take 400 MB as grey; what a request costs in itself is a few.
    assert server.peak_memory() - before < 50_000_000


def white_png(side):
    """A valid black-and-white PNG, one bit a pixel."""

    def chunk(name, data):
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    deflate = zlib.compressobj(9)
    row = b"\0" + b"\xff" * (side // 8)
    pixels = b"".join(deflate.compress(row) for _ in range(side)) + deflate.flush()
    header = struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


def test_a_photo_can_be_taken_away_again(page, noisy_png):
    drop(page, noisy_png)
    remove_noise(page)
    page.get_by_role("button", name="Clear").click()
    expect(page.get_by_role("button", name="Remove noise")).to_be_disabled()
    expect(page.get_by_role("button", name="Download")).to_be_hidden()
    expect(page.locator("img[data-testid=imageslider-image]:visible")).to_have_count(0)


def test_a_phone_shows_everything_without_scrolling_sideways(page, noisy_png):
    page.set_viewport_size({"width": 390, "height": 844})
    drop(page, noisy_png)
    remove_noise(page)
    assert page.evaluate("document.documentElement.scrollWidth") == 390


def test_the_page_names_its_version_and_shows_no_way_out(page):
    from restore import __version__

    expect(page.get_by_text(f"Restore {__version__}")).to_be_visible()
    assert page.title() == "Restore"
    links = page.eval_on_selector_all("a[href]", "all => all.map(a => a.href)")
    assert not [link for link in links if urlsplit(link).hostname != "127.0.0.1"]


def test_no_request_left_this_computer(page, server, requests):
    expect(page.get_by_role("button", name="Remove noise")).to_be_visible()
    assert {urlsplit(url).hostname for url in requests if not url.startswith(("data:", "blob:"))} == {"127.0.0.1"}
    assert set(server.connections.read_text().split()) <= {"127.0.0.1", "localhost"}


def test_onnxruntime_reports_nothing_to_its_maker(server):
    """From 1.29 on it keeps a device id in the home folder and sends events, unless told not to before its import."""
    assert not [path for path in server.home.rglob("*") if "Microsoft" in path.name]
    assert not (server.temporary / ".ses").exists()


def test_ending_the_server_leaves_no_photo_behind(server):
    """Last: it ends the server."""
    assert [folder for folder in server.temporary.iterdir() if folder.name.startswith("restore-page-")]
    server.process.terminate()
    assert server.process.wait(30) == 0
    assert {path.name for path in server.temporary.iterdir()} <= {".ses"}
