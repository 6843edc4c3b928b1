"""What the page's tabs share: reading a photo that was dropped, showing pictures, offering a download."""

from __future__ import annotations

import html
import shutil
import tempfile
from contextlib import suppress
from pathlib import Path

import gradio as gr

from restore.engine import Restored
from restore.errors import BadOption, RestoreError
from restore.image import Image, format_for, read, write

#: Refused from the header, before anything is decoded.
MAX_PIXELS = 100_000_000

#: For a photo whose name says another format than its content; GIF and PPM cannot be written and become PNG.
_SUFFIXES = {"JPEG": ".jpg", "TIFF": ".tif", "WEBP": ".webp", "BMP": ".bmp"}

# gradio knows a function's progress bar by this default; the call is here because a default is made only once.
PROGRESS = gr.Progress()


class CancelledError(Exception):
    """Raised from the progress callback to leave the engine between two tiles."""


def new_folder(cache: str) -> Path:
    """A folder with a name that cannot be guessed, in gradio's cache, where `delete_cache` cleans up."""
    Path(cache).mkdir(parents=True, exist_ok=True)
    return Path(tempfile.mkdtemp(dir=cache))


def slider(label: str) -> gr.ImageSlider:
    """Before and after, in one frame."""
    return gr.ImageSlider(label=label, format="png", interactive=False, buttons=["fullscreen"], max_height=720)


def refusal(error: RestoreError) -> gr.Markdown:
    """Show a notice that goes away; returns the same sentence for the page, where it stays."""
    # It may hold a file's name, and both places read HTML.
    sentence = html.escape(str(error))
    gr.Warning(sentence)
    return gr.Markdown(sentence, visible=True)


def open_photo(path: Path) -> Image:
    """The photo that a visitor dropped. Raises UnreadableImage, also for one that is too large for a page."""
    return read(path, max_pixels=MAX_PIXELS, name=path.name)


def describe(image: Image) -> str:
    """Its size and format, and what there is to be said of it."""
    notes = "".join(f" {html.escape(note)}." for note in image.notes)
    return f"{image.width} x {image.height} pixels, {image.format}.{notes}"


def deliver(path: Path, image: Image, restored: Restored, folder: Path, *, suffix: str) -> Path:
    """Write NAMESUFFIX.EXT into the folder, in the photo's own format; the same bytes where nothing was done."""
    if not restored.changed(image):
        return Path(shutil.copyfile(path, folder / f"{path.stem}{suffix}{path.suffix}"))
    extension = _SUFFIXES.get(image.format, ".png")
    with suppress(BadOption):
        extension = path.suffix if format_for(path) == image.format else extension
    out = folder / f"{path.stem}{suffix}{extension}"
    write(restored.image, out)
    return out
