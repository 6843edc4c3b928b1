"""The tab that takes marks off: it shows where it found one, and a brush corrects it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import gradio as gr
import numpy as np

from restore.color import enlarge_rows
from restore.engine import Restored, Restorer
from restore.errors import BadOption
from restore.image import Image
from restore.masks import read_mask, write_mask
from restore.previews import busiest, preview
from restore.web.tab import PROGRESS, PhotoTab, Tick, Updates, actual_pixels, pair, slider

_NOTE = "For marks on pictures that you own or may edit: removing others' ownership marks can be against the law."
_REMOVED = "A mark on {:.1f} % of the photo was taken off; every other pixel is as it was{}."
_UNCHANGED = "No mark found: the photo is unchanged. Where there is one, paint over it under Mask and run again."
#: Looks at a photo for a visitor who has time.
_MANY_LOOKS = 4
#: What lies over a photo where the mark is, and how much of it is seen.
_RED, _TINT = (255, 0, 60), 0.6
#: Red adds to the mask, green takes away.
_BRUSHES: list[str | tuple[str, float]] = ["rgb(255, 0, 60)", "rgb(0, 200, 80)"]


class UnwatermarkTab(PhotoTab):
    """Beside the photo its mask, to be painted on and to be downloaded."""

    doing, suffix = "Taking the mark off", "-unmarked"

    def __init__(self, tiers: Mapping[str, Restorer]) -> None:
        self._restorer = next(iter(tiers.values()))
        #: Where the mask that is being corrected lies, a file for each visitor.
        self.found = gr.State(None)
        super().__init__()

    def _build_controls(self) -> None:
        self._build_photo("Photo with a mark")
        self.anyhow = gr.Checkbox(
            label="There is a mark", info="Finds more, and more that is none: for a photo that you know has a mark",
            visible=any(param.name == "certainty" for param in self._restorer.spec.params),
        )  # fmt: skip
        self.thorough = gr.Checkbox(
            label="Look four times", info="Mirrored and turned: takes it off more cleanly, in four times the time",
        )  # fmt: skip
        self._build_start("Take the mark off")
        self.again = gr.Button("Run again with the painted mask", visible=False)
        self._build_answer()
        self.download_mask = gr.DownloadButton("Download the mask", visible=False)
        gr.Markdown(_NOTE)

    def _build_views(self) -> None:
        self.source = gr.Image(label="Photo", visible=False, interactive=False, format="png", buttons=["fullscreen"])
        with gr.Tabs(visible=False) as self.views:
            with gr.Tab("Whole picture"):
                self.whole = slider("Before and after")
            with gr.Tab("Actual pixels"):
                self.detail = slider("Before and after, where the mark is")
            with gr.Tab("Mask"):
                gr.Markdown(
                    "Red is where the mark is. Paint red over what was missed, green over what is none, and run again."
                )
                self.editor = gr.ImageEditor(
                    label="Where the mark is", format="png", type="numpy", image_mode="RGBA", sources=(),
                    transforms=(), brush=gr.Brush(default_size=16, colors=_BRUSHES, color_mode="fixed"),
                    eraser=gr.Eraser(default_size=16), layers=False, buttons=[], elem_id="mask",
                )  # fmt: skip

    def _connect(self) -> None:
        self._on_photo(self.look, busy=[self.facts])
        busy = [self.source, self.whole, self.detail]
        self._on_click(self.start, self.run, [self.anyhow, self.thorough], busy=busy)
        self._on_click(self.again, self.run_again, [self.editor, self.found, self.thorough], busy=busy)

    def _own_parts(self) -> list[Any]:
        return [
            self.again,
            self.download_mask,
            self.source,
            self.views,
            self.whole,
            self.detail,
            self.editor,
            self.found,
        ]

    def _emptied(self) -> Updates:
        return {
            self.again: gr.Button(visible=False),
            self.download_mask: gr.DownloadButton(visible=False),
            self.source: gr.Image(None, visible=False),
            self.views: gr.Tabs(visible=False),
            self.whole: None,
            self.detail: None,
            self.editor: None,
            self.found: None,
        }

    def look(self, path: str) -> Updates:
        """A photo was dropped: show it and say what it is."""
        return self._look(path, lambda image: self._described(image) | {self.source: self._source(image)})

    def begin(self, request: gr.Request) -> Updates:
        """At once, before the queue is joined."""
        return super().begin(request) | {
            self.again: gr.Button(interactive=False),
            self.download_mask: gr.DownloadButton(visible=False),
        }

    def end(self, path: str | None) -> Updates:
        """After every run, also a failed one."""
        return super().end(path) | {self.again: gr.Button(interactive=path is not None)}

    def run(
        self, path: str, anyhow: bool, thorough: bool, request: gr.Request, progress: gr.Progress = PROGRESS
    ) -> Updates:
        """Find the mark, take it off, and show and offer what came out.

        `anyhow`: the visitor knows of a mark; `thorough`: it may take longer.
        """

        def work(image: Image, tick: Tick) -> Restored:
            params: dict[str, Any] = {"certainty": 0.0} if anyhow else {}
            return self._restorer(image, progress=tick, self_ensemble=_looks(thorough), **params)

        return self._run(path, work, self._compare, request, progress)

    def run_again(  # noqa: PLR0917 - gradio passes its inputs by position
        self,
        path: str,
        painted: Mapping[str, Any] | None,
        found: str | None,
        thorough: bool,
        request: gr.Request,
        progress: gr.Progress = PROGRESS,
    ) -> Updates:
        """Take the mark off where the visitor says that it is."""

        def work(image: Image, tick: Tick) -> Restored:
            if not (painted and found and Path(found).is_file()):
                raise BadOption("The mask is not there any more. Drop the photo again.")
            mask = corrected(read_mask(Path(found)), *strokes_of(painted))
            return self._restorer(image, progress=tick, mask=mask, self_ensemble=_looks(thorough))

        return self._run(path, work, self._compare, request, progress)

    def _compare(self, image: Image, restored: Restored, download: Path) -> Updates:
        assert restored.mask is not None, "a model that finds marks gives its mask"
        mask_file = download.with_name(f"{download.stem.removesuffix(self.suffix)}-mask.png")
        write_mask(restored.mask, mask_file)
        compressed = image.format == "JPEG" or (image.format == "WEBP" and not image.lossless)
        but = f", but for what {image.format} loses when it is written anew" if compressed else ""
        said = _REMOVED.format(max(100 * restored.found["marked"], 0.1), but) if restored.changed(image) else _UNCHANGED
        return {
            self.answer: gr.Markdown(said, visible=True),
            self.download_mask: gr.DownloadButton(value=mask_file, visible=True),
            self.again: gr.Button(visible=True),
            self.found: str(mask_file),
            self.source: gr.Image(visible=False),
            self.views: gr.Tabs(visible=True),
            self.whole: pair(image, restored.image, download.parent),
            self.detail: actual_pixels(image, restored.image, download.parent, busiest(restored.mask)),
            # In the background, not as a layer: Gradio 6.31 drops the layers of an editor on a tab not yet opened.
            self.editor: {
                "background": overlaid(np.asarray(preview(image)), restored.mask),
                "layers": [],
                "composite": None,
            },
        }


def _looks(thorough: bool) -> int:
    return _MANY_LOOKS if thorough else 1


def overlaid(picture: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """A preview (h, w, 3) uint8, tinted red where any pixel below is marked in the full-size mask (H, W)."""
    tinted = picture.copy()
    marked = shrunk(mask, picture.shape[:2])
    tinted[marked] = (picture[marked] * (1 - _TINT) + np.array(_RED) * _TINT).astype(np.uint8)
    return tinted


def strokes_of(painted: Mapping[str, Any]) -> tuple[np.ndarray, np.ndarray]:
    """Where red and where green was painted on the editor's layers: (h, w) bool each."""
    red = np.zeros(np.asarray(painted["background"]).shape[:2], bool)
    green = red.copy()
    for layer in painted["layers"]:
        levels = np.asarray(layer).astype(np.int16)
        seen = levels[..., 3] > 0
        red |= seen & (levels[..., 0] >= levels[..., 1])
        green |= seen & (levels[..., 0] < levels[..., 1])
    return red, green


def shrunk(mask: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Whether any pixel under each one of a smaller picture is marked: (H, W) -> (h, w) bool."""
    rows, columns = (np.arange(few) * many // few for few, many in zip(size, mask.shape, strict=True))
    tall = np.logical_or.reduceat(mask > 0, rows, axis=0)
    small: np.ndarray = np.logical_or.reduceat(tall, columns, axis=1)
    return small


def corrected(mask: np.ndarray, red: np.ndarray, green: np.ndarray) -> np.ndarray:
    """A full-size mask (H, W) bool with what was painted on its small picture, (h, w) bool, added and taken away."""

    def enlarged(part: np.ndarray) -> np.ndarray:
        height, width = mask.shape
        large: np.ndarray = enlarge_rows(part.astype(np.float32), slice(0, height), (height, width)) > 0.5
        return large

    settled: np.ndarray = (mask | enlarged(red)) & ~enlarged(green)
    return settled
