"""The tab that takes noise out."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import gradio as gr

from restore.engine import Restored, Restorer
from restore.errors import RestoreError
from restore.image import Image
from restore.previews import DETAIL, centre, preview, save_preview
from restore.web.tab import PROGRESS, CancelledError, deliver, describe, new_folder, open_photo, refusal, slider

_AUTOMATIC, _BY_HAND = "Automatic", "Set by hand"
_REMOVED = "Noise of sigma {:.1f} removed. Left of the handle is before, right of it after."
_UNCHANGED = "No noise found: the photo is unchanged."


class DenoiseTab:
    """The parts of one tab and what they do. Serves many visitors at once: nothing of a photo is kept here."""

    def __init__(self, tiers: Mapping[str, Restorer]) -> None:
        self._tiers = tiers
        self._sigma = next(iter(tiers.values())).spec.param("sigma")
        self._cancelled: set[str | None] = set()
        with gr.Row():
            with gr.Column(scale=2, min_width=320):
                self._build_controls()
            with gr.Column(scale=5, min_width=320):
                self._build_views()
        self._connect()

    def _build_controls(self) -> None:
        self.photo = gr.File(label="Photo", file_types=["image", ".jfif", ".mpo", ".apng"], height=140)
        self.facts = gr.Markdown(visible=False)
        self.level = gr.Radio([_AUTOMATIC, _BY_HAND], value=_AUTOMATIC, label="Noise level")
        low, high = self._sigma.min * self._sigma.scale, self._sigma.max * self._sigma.scale
        self.sigma = gr.Slider(
            low, high, value=min(25, high), step=0.1, label="sigma", visible=False, buttons=[],
            info="10 is fine grain, 25 plain to see, 50 strong (on the 0-255 scale)",
        )  # fmt: skip
        self.tier = gr.Radio(
            list(self._tiers), value=next(iter(self._tiers)), label="Quality", visible=len(self._tiers) > 1,
            info="Best is finer, and takes about two and a half times as long",
        )  # fmt: skip
        with gr.Accordion("Strength", open=False):
            self.strength = gr.Slider(0, 100, value=100, step=1, label="Grain removed, %", buttons=[])
            self.chroma = gr.Slider(0, 100, value=100, step=1, label="Colour blotches removed, %", buttons=[])
        self.start = gr.Button("Remove noise", variant="primary", interactive=False)
        self.cancel = gr.Button("Cancel", visible=False)
        self.answer = gr.Markdown(visible=False)
        self.download = gr.DownloadButton("Download", visible=False)

    def _build_views(self) -> None:
        self.invitation = gr.HTML("Drop a photo, and it appears here, before and after.", elem_id="invitation")
        self.source = gr.Image(
            label="Photo", visible=False, interactive=False, format="png", buttons=["fullscreen"], elem_id="source"
        )
        with gr.Tabs(visible=False) as self.views:
            with gr.Tab("Whole picture"):
                self.whole = slider("Before and after")
            with gr.Tab("Actual pixels") as self.detail_tab:
                self.detail = slider("Before and after, the centre")

    def _connect(self) -> None:
        quick: dict[str, Any] = {"queue": False, "show_progress": "hidden", "api_visibility": "private"}
        slow: dict[str, Any] = {"concurrency_id": "compute", "concurrency_limit": 1, "api_visibility": "private"}
        everything = [
            self.photo, self.facts, self.sigma, self.start, self.cancel, self.answer, self.download,
            self.invitation, self.source, self.views, self.whole, self.detail_tab, self.detail,
        ]  # fmt: skip
        self.level.change(lambda level: gr.Slider(visible=level == _BY_HAND), self.level, self.sigma, **quick)
        self.photo.upload(self.look, self.photo, everything, show_progress_on=[self.facts, self.invitation], **slow)
        self.photo.clear(self.forget, None, everything, **quick)
        run = self.start.click(self.begin, None, everything, **quick).then(
            self.run,
            [self.photo, self.level, self.sigma, self.tier, self.strength, self.chroma],
            everything,
            show_progress_on=[self.source, self.whole, self.detail],
            **slow,
        )
        run.then(self.end, self.photo, everything, **quick)
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
            self.invitation: gr.HTML(visible=False),
            self.source: gr.Image(source, visible=True),
        }

    def forget(self, request: gr.Request | None = None) -> dict[Any, Any]:
        """The page without a photo; what is being computed for the old one stops."""
        if request:
            self.stop(request)
        return {
            self.facts: gr.Markdown(visible=False),
            self.start: gr.Button(interactive=False),
            self.cancel: gr.Button(visible=False),
            self.answer: gr.Markdown(visible=False),
            self.download: gr.DownloadButton(visible=False),
            self.invitation: gr.HTML(visible=True),
            self.source: gr.Image(None, visible=False),
            self.views: gr.Tabs(visible=False),
            self.whole: None,
            self.detail: None,
        }

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
        level: str,
        sigma_255: float,
        tier: str,
        strength: float,
        chroma: float,
        request: gr.Request,
        progress: gr.Progress = PROGRESS,
    ) -> dict[Any, Any]:
        """Remove the noise, and show and offer what came out."""

        def tick(share: float) -> None:
            if request.session_hash in self._cancelled:
                raise CancelledError
            progress(0.9 * share, desc="Removing noise")

        try:
            tick(0.0)
            image = open_photo(Path(path))
            params: dict[str, Any] = {} if level == _AUTOMATIC else {"sigma": self._sigma.from_user(sigma_255)}
            restorer = functools.partial(self._tiers[tier], strength=strength / 100, chroma_strength=chroma / 100)
            restored = restorer(image, progress=tick, **params)
            progress(0.9, desc="Saving the photo")
            folder = new_folder(self.photo.GRADIO_CACHE)
            download = deliver(Path(path), image, restored, folder, suffix="-denoised")
            tick(1.0)
        except CancelledError:
            gr.Info("Cancelled: the photo is as it was.")
            return dict(gr.skip())
        except RestoreError as error:
            return {self.answer: refusal(error)}
        offer = gr.DownloadButton(f"Download {download.name}", value=download, visible=True)
        sigma = {"sigma": self._sigma.default, **restored.found, **params}["sigma"]
        return {self.download: offer} | self._compare(image, restored, sigma * self._sigma.scale, folder)

    def _compare(self, image: Image, restored: Restored, sigma_255: float, folder: Path) -> dict[Any, Any]:
        if not restored.changed(image):
            return {
                self.answer: gr.Markdown(_UNCHANGED, visible=True),
                self.source: gr.Image(visible=True),
                self.views: gr.Tabs(visible=False),
            }
        pictures = {"before": image, "after": restored.image}
        window = centre(image.height, image.width)
        whole = [save_preview(preview(p), folder, name) for name, p in pictures.items()]
        detail = [save_preview(preview(p, window), folder, f"{name}-detail") for name, p in pictures.items()]
        return {
            self.answer: gr.Markdown(_REMOVED.format(sigma_255), visible=True),
            self.source: gr.Image(visible=False),
            self.views: gr.Tabs(visible=True),
            self.whole: (whole[0], whole[1]),
            # As wide as its pixels and its two borders: enlarged or shrunk they would not be the actual ones.
            self.detail: gr.ImageSlider((detail[0], detail[1]), width=min(image.width, DETAIL[1]) + 2),
        }

    def end(self, path: str | None) -> dict[Any, Any]:
        """After every run, also a failed one."""
        return {self.start: gr.Button(interactive=path is not None), self.cancel: gr.Button(visible=False)}

    def stop(self, request: gr.Request) -> None:
        """Leave the running computation of this visitor before its next tile."""
        self._cancelled.add(request.session_hash)
