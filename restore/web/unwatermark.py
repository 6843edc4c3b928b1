"""The tab that takes marks off: it shows where it found one, and a brush corrects it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import gradio as gr
import numpy as np

from restore.color import enlarge_rows
from restore.engine import Restored, Restorer
from restore.errors import BadOption, RestoreError
from restore.image import Image
from restore.masks import read_mask, write_mask
from restore.previews import DETAIL, busiest, preview, save_preview
from restore.web.tab import PROGRESS, CancelledError, deliver, describe, new_folder, open_photo, refusal, slider

_NOTE = "For marks on pictures that you own or may edit: removing others' ownership marks can be against the law."
_REMOVED = "A mark on {:.1f} % of the photo was taken off; every other pixel is as it was."
_UNCHANGED = "No mark found: the photo is unchanged. Where there is one, paint over it under Mask and run again."
#: What is painted over a photo, and how opaque it lies there.
_RED, _OPACITY = (255, 0, 60), 150


class UnwatermarkTab:
    """The parts of one tab and what they do. Serves many visitors at once: nothing of a photo is kept here."""

    def __init__(self, tiers: Mapping[str, Restorer]) -> None:
        self._restorer = next(iter(tiers.values()))
        self._cancelled: set[str | None] = set()
        #: Where the mask that is being corrected lies, a file for each visitor.
        self.found = gr.State(None)
        with gr.Row():
            with gr.Column(scale=2, min_width=320):
                self._build_controls()
            with gr.Column(scale=5, min_width=320):
                self._build_views()
        self._connect()

    def _build_controls(self) -> None:
        self.photo = gr.File(label="Photo with a mark", file_types=["image", ".jfif", ".mpo", ".apng"], height=140)
        self.facts = gr.Markdown(visible=False)
        self.start = gr.Button("Take the mark off", variant="primary", interactive=False)
        self.again = gr.Button("Run again with the painted mask", visible=False)
        self.cancel = gr.Button("Cancel", visible=False)
        self.answer = gr.Markdown(visible=False)
        self.download = gr.DownloadButton("Download", visible=False)
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
                gr.Markdown("Red is where the mark is. Paint over what was missed, erase what is none, and run again.")
                self.editor = gr.ImageEditor(
                    label="Where the mark is", format="png", type="numpy", image_mode="RGBA", sources=(),
                    transforms=(), brush=gr.Brush(default_size=16, colors=["rgb(255, 0, 60)"], color_mode="fixed"),
                    eraser=gr.Eraser(default_size=16), layers=False, buttons=[], elem_id="mask",
                )  # fmt: skip

    def _connect(self) -> None:
        quick: dict[str, Any] = {"queue": False, "show_progress": "hidden", "api_visibility": "private"}
        slow: dict[str, Any] = {"concurrency_id": "compute", "concurrency_limit": 1, "api_visibility": "private"}
        everything = [
            self.photo, self.facts, self.start, self.again, self.cancel, self.answer, self.download,
            self.download_mask, self.source, self.views, self.whole, self.detail, self.editor, self.found,
        ]  # fmt: skip
        self.photo.upload(self.look, self.photo, everything, show_progress_on=[self.facts], **slow)
        self.photo.clear(self.forget, None, everything, **quick)
        busy = [self.source, self.whole, self.detail]
        for button, run, inputs in (
            (self.start, self.run, [self.photo]),
            (self.again, self.run_again, [self.photo, self.editor, self.found]),
        ):
            begun = button.click(self.begin, None, everything, **quick)
            done = begun.then(run, inputs, everything, show_progress_on=busy, **slow)
            done.then(self.end, self.photo, everything, **quick)
        self.cancel.click(self.stop, None, None, **quick)

    def look(self, path: str) -> dict[Any, Any]:
        """A photo was dropped: show it and say what it is."""
        cleared = self.forget()
        try:
            image = open_photo(Path(path))
        except RestoreError as error:
            return cleared | {self.photo: None, self.facts: refusal(error)}
        source = save_preview(preview(image), new_folder(self.photo.GRADIO_CACHE), "photo")
        return cleared | {
            self.facts: gr.Markdown(describe(image), visible=True),
            self.start: gr.Button(interactive=True),
            self.source: gr.Image(source, visible=True),
        }

    def forget(self, request: gr.Request | None = None) -> dict[Any, Any]:
        """The tab without a photo; what is being computed for the old one stops."""
        if request:
            self.stop(request)
        return {
            self.facts: gr.Markdown(visible=False),
            self.start: gr.Button(interactive=False),
            self.again: gr.Button(visible=False),
            self.cancel: gr.Button(visible=False),
            self.answer: gr.Markdown(visible=False),
            self.download: gr.DownloadButton(visible=False),
            self.download_mask: gr.DownloadButton(visible=False),
            self.source: gr.Image(None, visible=False),
            self.views: gr.Tabs(visible=False),
            self.whole: None,
            self.detail: None,
            self.editor: None,
            self.found: None,
        }

    def begin(self, request: gr.Request) -> dict[Any, Any]:
        """At once, before the queue is joined."""
        self._cancelled.discard(request.session_hash)
        return {
            self.start: gr.Button(interactive=False),
            self.again: gr.Button(interactive=False),
            self.cancel: gr.Button(visible=True),
            self.answer: gr.Markdown(visible=False),
            self.download: gr.DownloadButton(visible=False),
            self.download_mask: gr.DownloadButton(visible=False),
        }

    def run(self, path: str, request: gr.Request, progress: gr.Progress = PROGRESS) -> dict[Any, Any]:
        """Find the mark, take it off, and show and offer what came out."""
        return self._work(path, None, request, progress)

    def run_again(
        self,
        path: str,
        painted: Mapping[str, Any] | None,
        found: str | None,
        request: gr.Request,
        progress: gr.Progress = PROGRESS,
    ) -> dict[Any, Any]:
        """Take the mark off where the visitor says that it is."""
        if not (painted and found):
            return {self.answer: refusal(BadOption("The mask is not there any more. Drop the photo again."))}
        return self._work(path, corrected(read_mask(Path(found)), layer_of(painted)), request, progress)

    def _work(self, path: str, mask: np.ndarray | None, request: gr.Request, progress: gr.Progress) -> dict[Any, Any]:
        def tick(share: float) -> None:
            if request.session_hash in self._cancelled:
                raise CancelledError
            progress(0.9 * share, desc="Taking the mark off")

        try:
            tick(0.0)
            image = open_photo(Path(path))
            restored = self._restorer(image, progress=tick, mask=mask)
            assert restored.mask is not None, "a model that finds marks gives its mask"
            progress(0.9, desc="Saving the photo")
            folder = new_folder(self.photo.GRADIO_CACHE)
            download = deliver(Path(path), image, restored, folder, suffix="-unmarked")
            mask_file = folder / f"{Path(path).stem}-mask.png"
            write_mask(restored.mask, mask_file)
            tick(1.0)
        except CancelledError:
            gr.Info("Cancelled: the photo is as it was.")
            return dict(gr.skip())
        except RestoreError as error:
            return {self.answer: refusal(error)}
        return {
            self.download: gr.DownloadButton(f"Download {download.name}", value=download, visible=True),
            self.download_mask: gr.DownloadButton(value=mask_file, visible=True),
            self.again: gr.Button(visible=True),
            self.found: str(mask_file),
        } | self._compare(image, restored, folder)

    def _compare(self, image: Image, restored: Restored, folder: Path) -> dict[Any, Any]:
        assert restored.mask is not None, "a model that finds marks gives its mask"
        pictures = {"before": image, "after": restored.image}
        window = busiest(restored.mask)
        whole = [save_preview(preview(p), folder, name) for name, p in pictures.items()]
        detail = [save_preview(preview(p, window), folder, f"{name}-detail") for name, p in pictures.items()]
        said = _REMOVED.format(max(100 * restored.found["marked"], 0.1)) if restored.changed(image) else _UNCHANGED
        background = np.asarray(preview(image))
        layer = layer_from(restored.mask, background.shape[:2])
        return {
            self.answer: gr.Markdown(said, visible=True),
            self.source: gr.Image(visible=False),
            self.views: gr.Tabs(visible=True),
            self.whole: (whole[0], whole[1]),
            self.detail: gr.ImageSlider((detail[0], detail[1]), width=min(image.width, DETAIL[1]) + 2),
            self.editor: {"background": background, "layers": [layer], "composite": None},
        }

    def end(self, path: str | None) -> dict[Any, Any]:
        """After every run, also a failed one."""
        return {
            self.start: gr.Button(interactive=path is not None),
            self.again: gr.Button(interactive=path is not None),
            self.cancel: gr.Button(visible=False),
        }

    def stop(self, request: gr.Request) -> None:
        """Leave the running computation of this visitor before its next tile."""
        self._cancelled.add(request.session_hash)


def layer_from(mask: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """What lies over the preview of this (height, width): red where any pixel below is marked, (h, w, 4) uint8."""
    layer = np.zeros((*size, 4), np.uint8)
    layer[shrunk(mask, size)] = (*_RED, _OPACITY)
    return layer


def layer_of(painted: Mapping[str, Any]) -> np.ndarray:
    """Where anything lies on the editor's layers: (h, w) bool."""
    marked = [np.asarray(layer)[..., 3] > 0 for layer in painted["layers"]]
    empty = np.zeros(np.asarray(painted["background"]).shape[:2], bool)
    together: np.ndarray = np.logical_or.reduce([empty, *marked])
    return together


def shrunk(mask: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Whether any pixel under each one of a smaller picture is marked: (H, W) -> (h, w) bool."""
    rows, columns = (np.arange(few) * many // few for few, many in zip(size, mask.shape, strict=True))
    tall = np.logical_or.reduceat(mask > 0, rows, axis=0)
    small: np.ndarray = np.logical_or.reduceat(tall, columns, axis=1)
    return small


def corrected(mask: np.ndarray, painted: np.ndarray) -> np.ndarray:
    """A full-size mask (H, W) bool with what a visitor painted and erased on its small picture, (h, w) bool.

    Where nothing was painted or erased the mask keeps its own fine edge.
    """
    before = shrunk(mask, painted.shape[:2])

    def enlarged(part: np.ndarray) -> np.ndarray:
        height, width = mask.shape
        large: np.ndarray = enlarge_rows(part.astype(np.float32), slice(0, height), (height, width)) > 0.5
        return large

    settled: np.ndarray = (mask | enlarged(painted & ~before)) & ~enlarged(before & ~painted)
    return settled
