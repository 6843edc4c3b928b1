"""The tab that reads a handwritten digit: dropped or drawn."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gradio as gr
import numpy as np

from restore.classifier import Classifier, Reading
from restore.errors import RestoreError, UnreadableImage
from restore.image import Image
from restore.previews import preview, save_preview
from restore.web.tab import SLOW, drop_zone, new_folder, open_photo, refusal

#: The side of the canvas, the pen's width on it, and how much larger the network's view is shown.
_CANVAS, _PEN, _ENLARGED = 336, 24, 8


class DigitsTab:
    """The parts of the tab and what they do. Serves many visitors at once: nothing of a picture is kept here."""

    def __init__(self, read_digit: Classifier) -> None:
        self._read_digit = read_digit
        with gr.Row():
            with gr.Column(scale=3, min_width=320):
                self.photo = drop_zone("Scan or photo of one digit", elem_id="digit-file")
                self.canvas = gr.Sketchpad(
                    label="Or draw one: take the brush first", type="numpy", canvas_size=(_CANVAS, _CANVAS),
                    fixed_canvas=True, layers=False,
                    brush=gr.Brush(default_size=_PEN, colors=["#000000"], default_color="#000000", color_mode="fixed"),
                    sources=(), transforms=(), format="png", elem_id="digit-canvas",
                )  # fmt: skip
                self.start = gr.Button("Read the drawing", variant="primary")
            with gr.Column(scale=2, min_width=320):
                self.answer = gr.Label(label="Digit", num_top_classes=3, elem_id="digit-answer")
                self.seen = gr.Image(
                    label="As the network sees it, 28 x 28", interactive=False, format="png", visible=False, buttons=[],
                )  # fmt: skip
                self.problem = gr.Markdown(visible=False)
        everything = [self.answer, self.seen, self.problem]
        self.photo.upload(self.read_file, self.photo, everything, **SLOW)
        self.photo.clear(self.forget, None, everything, queue=False, api_visibility="private")
        self.start.click(self.read_drawing, self.canvas, everything, **SLOW)

    def read_file(self, path: str) -> dict[Any, Any]:
        """A picture was dropped: read its digit."""
        try:
            return self._show(self._read_digit(open_photo(Path(path))))
        except RestoreError as error:
            return self.forget() | {self.problem: refusal(error)}

    def read_drawing(self, drawing: dict[str, Any] | None) -> dict[Any, Any]:
        """Read what is on the canvas: (H, W, 4) uint8, transparent where nothing was drawn."""
        pixels = drawing["composite"] if drawing else None
        try:
            if pixels is None or (pixels.shape[2] == 4 and not pixels[..., 3].any()):
                raise UnreadableImage("Nothing is drawn. Draw one digit on the canvas.")
            alpha = np.ascontiguousarray(pixels[..., 3]) if pixels.shape[2] == 4 else None
            return self._show(self._read_digit(Image(np.ascontiguousarray(pixels[..., :3]), alpha=alpha)))
        except RestoreError as error:
            return self.forget() | {self.problem: refusal(error)}

    def _show(self, reading: Reading) -> dict[Any, Any]:
        enlarged = np.kron(np.rint(255 * reading.seen), np.ones((_ENLARGED, _ENLARGED))).astype(np.uint8)
        seen = save_preview(preview(Image(enlarged)), new_folder(self.photo.GRADIO_CACHE), "seen")
        return {
            self.answer: gr.Label(dict(reading.probabilities)),
            self.seen: gr.Image(seen, visible=True),
            self.problem: gr.Markdown(visible=False),
        }

    def forget(self) -> dict[Any, Any]:
        """The tab without an answer."""
        return {
            self.answer: gr.Label(None),
            self.seen: gr.Image(None, visible=False),
            self.problem: gr.Markdown(visible=False),
        }
