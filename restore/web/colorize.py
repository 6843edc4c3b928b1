"""The tab that gives colour: a click and a colour put a wrong guess right, and the preview follows at once."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import gradio as gr
import numpy as np
from PIL import Image as PillowImage
from PIL import ImageDraw

from restore import color
from restore.chroma import Hint, working_shape
from restore.colorizer import Colorizer
from restore.errors import RestoreError
from restore.monochrome import judge
from restore.previews import preview, save_preview
from restore.web.tab import PROGRESS, CancelledError, deliver, describe, new_folder, open_photo, refusal, slider

_NOTE = "The colours are a guess, not a record. Click a spot to say what colour it should have."
_IN_COLOUR = "This photo is in colour already. What you see is its luma, coloured anew."
#: Longest side of the preview that hints are clicked on: it is computed anew for each.
_SIDE = 1024
#: Radius of a hint's mark on the preview, in pixels.
_MARK = 7
_FIRST_COLOUR = "#7b2d26"


class ColorizeTab:
    """The parts of one tab and what they do. Serves many visitors at once: nothing of a photo is kept here."""

    def __init__(self, colorizer: Colorizer) -> None:
        self._colorizer = colorizer
        self._cancelled: set[str | None] = set()
        #: A visitor's hints, in pixels of the full photo, and where the luma that previews are made of lies.
        self.hints = gr.State([])
        self.luma = gr.State(None)
        with gr.Row():
            with gr.Column(scale=2, min_width=320):
                self._build_controls()
            with gr.Column(scale=5, min_width=320):
                self._build_views()
        self._connect()

    def _build_controls(self) -> None:
        kinds = ["image", ".jfif", ".mpo", ".apng"]
        self.photo = gr.File(label="Black-and-white photo", file_types=kinds, height=140)
        self.facts = gr.Markdown(visible=False)
        self.colour = gr.ColorPicker(_FIRST_COLOUR, label="Colour of the spot that you click", elem_id="hint-colour")
        with gr.Row():
            self.undo = gr.Button("Undo the last hint", interactive=False)
            self.clear = gr.Button("Remove all hints", interactive=False)
        self.strength = gr.Slider(0, 150, value=100, step=1, label="Strength of the guess, %", buttons=[])
        with gr.Accordion("Colours like those of another photo", open=False):
            self.like = gr.File(label="A photo in colour", file_types=kinds, height=120)
        self.note = gr.Checkbox(value=True, label="Say in the file that the colours were computed")
        self.start = gr.Button("Make the full-size file", variant="primary", interactive=False)
        self.cancel = gr.Button("Cancel", visible=False)
        self.answer = gr.Markdown(visible=False)
        self.download = gr.DownloadButton("Download", visible=False)
        gr.Markdown(_NOTE)

    def _build_views(self) -> None:
        with gr.Tabs(visible=False) as self.views:
            with gr.Tab("In colour"):
                self.shown = gr.Image(
                    label="Click a spot", interactive=False, format="png", buttons=["fullscreen"], elem_id="coloured"
                )
            with gr.Tab("Before and after"):
                self.whole = slider("Before and after")

    def _connect(self) -> None:
        quick: dict[str, Any] = {"queue": False, "show_progress": "hidden", "api_visibility": "private"}
        slow: dict[str, Any] = {"concurrency_id": "compute", "concurrency_limit": 1, "api_visibility": "private"}
        everything = [
            self.photo, self.facts, self.undo, self.clear, self.start, self.cancel, self.answer, self.download,
            self.views, self.shown, self.whole, self.hints, self.luma,
        ]  # fmt: skip
        given = [self.photo, self.luma, self.hints, self.strength, self.like]
        self.photo.upload(
            self.look, [self.photo, self.strength, self.like], everything, show_progress_on=[self.facts], **slow
        )
        self.photo.clear(self.forget, None, everything, **quick)
        seen: dict[str, Any] = {"show_progress": "hidden", **slow}
        self.shown.select(self.add_hint, [*given, self.colour], everything, **seen)
        self.undo.click(self.drop_hint, given, everything, **seen)
        self.clear.click(self.drop_hints, given, everything, **seen)
        for change in (self.strength.release, self.like.upload, self.like.clear):
            change(self.show, given, everything, **seen)
        begun = self.start.click(self.begin, None, everything, **quick)
        done = begun.then(
            self.run,
            [self.photo, self.hints, self.strength, self.like, self.note],
            everything,
            show_progress_on=[self.shown],
            **slow,
        )
        done.then(self.end, self.photo, everything, **quick)
        self.cancel.click(self.stop, None, None, **quick)

    def look(self, path: str, strength: float, like: str | None) -> dict[Any, Any]:
        """A photo was dropped: show it in colour and say what it is."""
        cleared = self.forget()
        try:
            image = open_photo(Path(path))
            folder = new_folder(self.photo.GRADIO_CACHE)
            luma = color.luma_of(image.pixels)
            small = color.shrink(luma, *working_shape(image.height, image.width, _SIDE))
            np.save(folder / "luma.npy", small.astype(np.float16))
            (folder / "size").write_text(f"{image.height} {image.width}")
            before = save_preview(preview(image), folder, "before")
        except RestoreError as error:
            return cleared | {self.photo: None, self.facts: refusal(error)}
        facts = describe(image) + ("" if judge(image.pixels).is_monochrome else f" {_IN_COLOUR}")
        shown = self.show(path, str(folder), [], strength, like)
        return (
            cleared
            | shown
            | {
                self.facts: gr.Markdown(facts, visible=True),
                self.luma: str(folder),
                self.views: gr.Tabs(visible=True),
                self.start: gr.Button(interactive=True),
                self.whole: (before, shown[self.shown]) if self.shown in shown else None,
            }
        )

    def forget(self, request: gr.Request | None = None) -> dict[Any, Any]:
        """The tab without a photo; what is being computed for the old one stops."""
        if request:
            self.stop(request)
        return {
            self.facts: gr.Markdown(visible=False),
            self.undo: gr.Button(interactive=False),
            self.clear: gr.Button(interactive=False),
            self.start: gr.Button(interactive=False),
            self.cancel: gr.Button(visible=False),
            self.answer: gr.Markdown(visible=False),
            self.download: gr.DownloadButton(visible=False),
            self.views: gr.Tabs(visible=False),
            self.shown: None,
            self.whole: None,
            self.hints: [],
            self.luma: None,
        }

    def add_hint(  # noqa: PLR0917 - gradio passes its inputs by position
        self,
        path: str,
        folder: str,
        hints: list[Hint],
        strength: float,
        like: str | None,
        colour: str,
        event: gr.SelectData,
    ) -> dict[Any, Any]:
        """The preview was clicked: the spot gets the picked colour."""
        luma, (height, width) = _read_luma(folder)
        column, row = event.index
        hint = Hint(
            min(width - 1, int((column + 0.5) * width / luma.shape[1])),
            min(height - 1, int((row + 0.5) * height / luma.shape[0])),
            parse_colour(colour),
        )
        return self.show(path, folder, [*hints, hint], strength, like)

    def drop_hint(self, path: str, folder: str, hints: list[Hint], strength: float, like: str | None) -> dict[Any, Any]:
        """Without the last hint."""
        return self.show(path, folder, hints[:-1], strength, like)

    def drop_hints(self, path: str, folder: str, _: list[Hint], strength: float, like: str | None) -> dict[Any, Any]:
        """Without any hint."""
        return self.show(path, folder, [], strength, like)

    def show(
        self, path: str | None, folder: str | None, hints: list[Hint], strength: float, like: str | None
    ) -> dict[Any, Any]:
        """The preview for these hints; what was offered for download is out of date."""
        if not (path and folder):
            return dict(gr.skip())
        try:
            luma, size = _read_luma(folder)
            scaled = [scaled_hint(hint, size, luma.shape) for hint in hints]
            found = self._colorizer.guess(luma, hints=scaled, palette=self._palette(like), strength=strength / 100)
        except RestoreError as error:
            return {self.answer: refusal(error)}
        pixels = color.colour_in(luma, found.ab, found.luma, np.uint8)
        shown = save_preview(marked(pixels, scaled), new_folder(self.photo.GRADIO_CACHE), "coloured")
        return {
            self.shown: shown,
            self.hints: hints,
            self.undo: gr.Button(interactive=bool(hints)),
            self.clear: gr.Button(interactive=bool(hints)),
            self.download: gr.DownloadButton(visible=False),
            self.answer: gr.Markdown(visible=False),
        }

    def _palette(self, like: str | None) -> np.ndarray | None:
        return None if like is None else self._colorizer.palette_of(open_photo(Path(like)))

    def begin(self, request: gr.Request) -> dict[Any, Any]:
        """At once, before the queue is joined."""
        self._cancelled.discard(request.session_hash)
        return {
            self.start: gr.Button(interactive=False),
            self.cancel: gr.Button(visible=True),
            self.answer: gr.Markdown(visible=False),
            self.download: gr.DownloadButton(visible=False),
        }

    def run(  # noqa: PLR0917 - gradio passes its inputs by position
        self,
        path: str,
        hints: list[Hint],
        strength: float,
        like: str | None,
        note: bool,
        request: gr.Request,
        progress: gr.Progress = PROGRESS,
    ) -> dict[Any, Any]:
        """The full-size file, as the preview shows it."""

        def tick(share: float) -> None:
            if request.session_hash in self._cancelled:
                raise CancelledError
            progress(0.9 * share, desc="Colouring the photo")

        try:
            tick(0.0)
            image = open_photo(Path(path))
            restored = self._colorizer(
                image,
                hints=hints,
                palette=self._palette(like),
                strength=strength / 100,
                force=True,
                note=note,
                progress=tick,
            )
            progress(0.9, desc="Saving the photo")
            made = new_folder(self.photo.GRADIO_CACHE)
            download = deliver(Path(path), image, restored, made, suffix="-colorized")
        except CancelledError:
            gr.Info("Cancelled: the photo is as it was.")
            return dict(gr.skip())
        except RestoreError as error:
            return {self.answer: refusal(error)}
        before, after = (save_preview(preview(p), made, n) for p, n in ((image, "before"), (restored.image, "after")))
        return {
            self.download: gr.DownloadButton(f"Download {download.name}", value=download, visible=True),
            self.answer: gr.Markdown("In colour, and its luma as it was.", visible=True),
            self.whole: (before, after),
        }

    def end(self, path: str | None) -> dict[Any, Any]:
        """After every run, also a failed one."""
        return {self.start: gr.Button(interactive=path is not None), self.cancel: gr.Button(visible=False)}

    def stop(self, request: gr.Request) -> None:
        """Leave the running computation of this visitor at its next step."""
        self._cancelled.add(request.session_hash)


def _read_luma(folder: str) -> tuple[np.ndarray, tuple[int, int]]:
    """The preview's L*, (h, w) float32, and the height and width of the photo."""
    height, width = map(int, (Path(folder) / "size").read_text().split())
    return np.load(Path(folder) / "luma.npy").astype(np.float32), (height, width)


def scaled_hint(hint: Hint, size: tuple[int, int], small: tuple[int, ...]) -> Hint:
    """A hint for a picture of `size` (H, W), in pixels of the same picture at `small` (h, w)."""
    return Hint(hint.x * small[1] // size[1], hint.y * small[0] // size[0], hint.rgb)


def parse_colour(text: str) -> tuple[int, int, int]:
    """What a colour picker says, #rrggbb or rgba(r, g, b, a) with fractions, as 0-255."""
    if text.startswith("#"):
        return Hint.parse(f"0,0={text[:7]}").rgb
    red, green, blue = (round(float(number)) for number in re.findall(r"[\d.]+", text)[:3])
    return red, green, blue


def marked(pixels: np.ndarray, hints: Sequence[Hint]) -> PillowImage.Image:
    """A preview with a disc of each hint's colour, ringed white and black, where it was clicked."""
    picture = PillowImage.fromarray(pixels)
    pen = ImageDraw.Draw(picture)
    for hint in hints:
        for radius, colour in ((_MARK, (0, 0, 0)), (_MARK - 1, (255, 255, 255)), (_MARK - 3, hint.rgb)):
            pen.ellipse((hint.x - radius, hint.y - radius, hint.x + radius, hint.y + radius), fill=colour)
    return picture
