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
from restore.colorizer import Colorizer, lightness
from restore.engine import Restored
from restore.errors import BadOption, RestoreError
from restore.image import Image
from restore.monochrome import judge
from restore.previews import preview, save_preview
from restore.web.tab import PROGRESS, SLOW, PhotoTab, Tick, Updates, drop_zone, open_photo, pair, refusal, slider

_NOTE = "The colours are a guess, not a record. Click a spot to say what colour it should have."
_IN_COLOUR = "This photo is in colour already. What you see is its luma, coloured anew."
#: Longest side of the preview that hints are clicked on: it is computed anew for each.
_SIDE = 1024
#: Radius of a hint's mark on the preview, in pixels.
_MARK = 7
_FIRST_COLOUR = "#7b2d26"

#: The name of the preview of a photo as it came.
_BEFORE = "before"


class ColorizeTab(PhotoTab):
    """A preview in colour that is clicked on, and the full-size file when it is as it should be."""

    doing, suffix = "Colouring the photo", "-colorized"

    def __init__(self, colorizer: Colorizer) -> None:
        self._colorizer = colorizer
        #: A visitor's hints, in pixels of the full photo, and where the luma that previews are made of lies.
        self.hints = gr.State([])
        self.luma = gr.State(None)
        super().__init__()

    def _build_controls(self) -> None:
        self._build_photo("Black-and-white photo")
        self.colour = gr.ColorPicker(_FIRST_COLOUR, label="Colour of the spot that you click", elem_id="hint-colour")
        with gr.Row():
            self.undo = gr.Button("Undo the last hint", interactive=False)
            self.clear = gr.Button("Remove all hints", interactive=False)
        self.strength = gr.Slider(0, 150, value=100, step=1, label="Strength of the guess, %", buttons=[])
        with gr.Accordion("Colours like those of another photo", open=False):
            self.like = drop_zone("A photo in colour", height=120)
        self.note = gr.Checkbox(value=True, label="Say in the file that the colours were computed")
        self._build_start("Make the full-size file")
        self._build_answer()
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
        self._on_photo(self.look, [self.strength, self.like], busy=[self.facts])
        given = [self.photo, self.luma, self.hints, self.strength, self.like]
        self.shown.select(self.add_hint, [*given, self.colour], self._outputs, show_progress="hidden", **SLOW)
        for event, follow in (
            (self.undo.click, self.drop_hint),
            (self.clear.click, self.drop_hints),
            (self.strength.release, self.show),
            (self.like.upload, self.show),
            (self.like.clear, self.show),
        ):
            event(follow, given, self._outputs, show_progress="hidden", **SLOW)
        self._on_click(self.start, self.run, [self.hints, self.strength, self.like, self.note], busy=[self.shown])

    def _own_parts(self) -> list[Any]:
        return [self.undo, self.clear, self.views, self.shown, self.whole, self.hints, self.luma]

    def _emptied(self) -> Updates:
        return {
            self.undo: gr.Button(interactive=False),
            self.clear: gr.Button(interactive=False),
            self.views: gr.Tabs(visible=False),
            self.shown: None,
            self.whole: None,
            self.hints: [],
            self.luma: None,
        }

    def look(self, path: str, strength: float, like: str | None) -> Updates:
        """A photo was dropped: show it in colour and say what it is."""

        def show(image: Image) -> Updates:
            folder = self._folder()
            luma = lightness(image)
            small = color.shrink(luma, *working_shape(image.height, image.width, _SIDE))
            np.save(folder / "luma.npy", small.astype(np.float16))
            (folder / "size").write_text(f"{image.height} {image.width}")
            save_preview(preview(image), folder, _BEFORE)
            shown = self.show(path, str(folder), [], strength, like)
            more = "" if judge(image.pixels).is_monochrome else f" {_IN_COLOUR}"
            return (
                shown
                | self._described(image, more)
                | {
                    self.luma: str(folder),
                    self.views: gr.Tabs(visible=True),
                }
            )

        return self._look(path, show)

    def add_hint(  # noqa: PLR0917 - gradio passes its inputs by position
        self,
        path: str,
        folder: str,
        hints: list[Hint],
        strength: float,
        like: str | None,
        colour: str,
        event: gr.SelectData,
    ) -> Updates:
        """The preview was clicked: the spot gets the picked colour."""
        try:
            luma, (height, width) = _read_luma(folder)
        except BadOption as error:
            return {self.answer: refusal(error)}
        column, row = event.index
        hint = Hint(
            min(width - 1, int((column + 0.5) * width / luma.shape[1])),
            min(height - 1, int((row + 0.5) * height / luma.shape[0])),
            parse_colour(colour),
        )
        return self.show(path, folder, [*hints, hint], strength, like)

    def drop_hint(self, path: str, folder: str, hints: list[Hint], strength: float, like: str | None) -> Updates:
        """Without the last hint."""
        return self.show(path, folder, hints[:-1], strength, like)

    def drop_hints(self, path: str, folder: str, _: list[Hint], strength: float, like: str | None) -> Updates:
        """Without any hint."""
        return self.show(path, folder, [], strength, like)

    def show(
        self, path: str | None, folder: str | None, hints: list[Hint], strength: float, like: str | None
    ) -> Updates:
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
        place = self._folder()
        shown = save_preview(marked(pixels, scaled), place, "coloured")
        after = save_preview(PillowImage.fromarray(pixels), place, "after") if hints else shown
        return {
            self.shown: shown,
            self.whole: (str(Path(folder) / f"{_BEFORE}.png"), after),
            self.hints: hints,
            self.undo: gr.Button(interactive=bool(hints)),
            self.clear: gr.Button(interactive=bool(hints)),
            self.download: gr.DownloadButton(visible=False),
            self.answer: gr.Markdown(visible=False),
        }

    def _palette(self, like: str | None) -> np.ndarray | None:
        return None if like is None else self._colorizer.palette_of(open_photo(Path(like)))

    def run(  # noqa: PLR0917 - gradio passes its inputs by position
        self,
        path: str,
        hints: list[Hint],
        strength: float,
        like: str | None,
        note: bool,
        request: gr.Request,
        progress: gr.Progress = PROGRESS,
    ) -> Updates:
        """The full-size file, as the preview shows it."""

        def work(image: Image, tick: Tick) -> Restored:
            return self._colorizer(
                image,
                hints=hints,
                palette=self._palette(like),
                strength=strength / 100,
                force=True,
                note=note,
                progress=tick,
            )

        return self._run(path, work, self._compare, request, progress)

    def _compare(self, image: Image, restored: Restored, download: Path) -> Updates:
        return {
            self.answer: gr.Markdown("In colour, and its luma as it was.", visible=True),
            self.whole: pair(image, restored.image, download.parent),
        }


def _read_luma(folder: str) -> tuple[np.ndarray, tuple[int, int]]:
    """The preview's L*, (h, w) float32, and the height and width of the photo; BadOption once they are cleaned up."""
    try:
        height, width = map(int, (Path(folder) / "size").read_text().split())
        return np.load(Path(folder) / "luma.npy").astype(np.float32), (height, width)
    except FileNotFoundError:
        raise BadOption("The preview is not there any more. Drop the photo again.") from None


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
