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
#: What lies over a photo where the mark is, and how much of it is seen.
_RED, _TINT = (255, 0, 60), 0.6
#: Red adds to the mask, green takes away.
_BRUSHES: list[str | tuple[str, float]] = ["rgb(255, 0, 60)", "rgb(0, 200, 80)"]


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
        self.anyhow = gr.Checkbox(
            label="There is a mark", info="Finds more, and more that is none: for a photo that you know has a mark",
            visible=any(param.name == "certainty" for param in self._restorer.spec.params),
        )  # fmt: skip
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
                gr.Markdown(
                    "Red is where the mark is. Paint red over what was missed, green over what is none, and run again."
                )
                self.editor = gr.ImageEditor(
                    label="Where the mark is", format="png", type="numpy", image_mode="RGBA", sources=(),
                    transforms=(), brush=gr.Brush(default_size=16, colors=_BRUSHES, color_mode="fixed"),
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
            (self.start, self.run, [self.photo, self.anyhow]),
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

    def run(self, path: str, anyhow: bool, request: gr.Request, progress: gr.Progress = PROGRESS) -> dict[Any, Any]:
        """Find the mark, take it off, and show and offer what came out; `anyhow`: the visitor knows of a mark."""
        return self._work(path, None, request, progress, certainty=0.0 if anyhow else None)

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
        return self._work(path, corrected(read_mask(Path(found)), *strokes_of(painted)), request, progress)

    def _work(
        self,
        path: str,
        mask: np.ndarray | None,
        request: gr.Request,
        progress: gr.Progress,
        *,
        certainty: float | None = None,
    ) -> dict[Any, Any]:
        def tick(share: float) -> None:
            if request.session_hash in self._cancelled:
                raise CancelledError
            progress(0.9 * share, desc="Taking the mark off")

        try:
            tick(0.0)
            image = open_photo(Path(path))
            params: dict[str, Any] = {} if certainty is None else {"certainty": certainty}
            restored = self._restorer(image, progress=tick, mask=mask, **params)
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
        return {
            self.answer: gr.Markdown(said, visible=True),
            self.source: gr.Image(visible=False),
            self.views: gr.Tabs(visible=True),
            self.whole: (whole[0], whole[1]),
            self.detail: gr.ImageSlider((detail[0], detail[1]), width=min(image.width, DETAIL[1]) + 2),
            # In the background, not as a layer: Gradio 6.31 drops the layers of an editor on a tab not yet opened.
            self.editor: {
                "background": overlaid(np.asarray(preview(image)), restored.mask),
                "layers": [],
                "composite": None,
            },
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
