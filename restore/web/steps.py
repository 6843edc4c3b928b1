"""The tab that does several steps in one go: a visitor's own, or those that a planner proposes where there is one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import gradio as gr

from restore.engine import Planner, Restored
from restore.errors import RestoreError
from restore.image import Image
from restore.previews import preview, save_preview
from restore.steps import NAMES, Outcome, Step, Tool, carry_out, describe, make_plan
from restore.web import tab as shared
from restore.web.tab import PROGRESS, CancelledError, deliver, new_folder, open_photo, refusal, slider

_TITLES = {"unwatermark": "Take the watermark off", "denoise": "Remove noise", "colorize": "Give colour"}
_UNCHANGED = "Nothing was found to mend: the photo is unchanged."


class StepsTab:
    """The parts of one tab and what they do. Serves many visitors at once: nothing of a photo is kept here."""

    def __init__(self, tools: Mapping[str, Tool], planner: Planner | None = None) -> None:
        self._tools = tools
        self._planner = planner
        self._cancelled: set[str | None] = set()
        with gr.Row():
            with gr.Column(scale=2, min_width=320):
                self._build_controls()
            with gr.Column(scale=5, min_width=320):
                self.source = gr.Image(label="Photo", visible=False, interactive=False, format="png", buttons=[])
                self.whole = slider("Before and after")
        self._connect()

    def _build_controls(self) -> None:
        self.photo = gr.File(
            label="Photo", file_types=["image", ".jfif", ".mpo", ".apng"], height=140, elem_id="steps-photo"
        )
        self.facts = gr.Markdown(visible=False)
        choices = [(_TITLES[name], name) for name in NAMES if name in self._tools]
        info = "Proposed by a look at the photo; change them as you like" if self._planner else None
        self.steps = gr.CheckboxGroup(choices, label="Steps, done in this order", info=info)
        self.start = gr.Button("Restore", variant="primary", interactive=False)
        self.cancel = gr.Button("Cancel", visible=False)
        self.answer = gr.Markdown(visible=False)
        self.download = gr.DownloadButton("Download", visible=False)

    def _connect(self) -> None:
        quick: dict[str, Any] = {"queue": False, "show_progress": "hidden", "api_visibility": "private"}
        slow: dict[str, Any] = {"concurrency_id": "compute", "concurrency_limit": 1, "api_visibility": "private"}
        everything = [
            self.photo, self.facts, self.steps, self.start, self.cancel, self.answer, self.download, self.source,
            self.whole,
        ]  # fmt: skip
        self.photo.upload(self.look, self.photo, everything, **slow)
        self.photo.clear(self.forget, None, everything, **quick)
        run = self.start.click(self.begin, None, everything, **quick).then(
            self.run, [self.photo, self.steps], everything, show_progress_on=[self.source, self.whole], **slow
        )
        run.then(self.end, self.photo, everything, **quick)
        self.cancel.click(self.stop, None, None, **quick)

    def look(self, path: str) -> dict[Any, Any]:
        """A photo was dropped: show it, say what it is, and propose what it needs."""
        cleared = self.forget()
        try:
            image = open_photo(Path(path))
        except RestoreError as error:
            return cleared | {self.photo: None, self.facts: refusal(error)}
        planned = make_plan(image, self._planner) if self._planner else ()
        proposal = f" It looks like: {describe(planned)}." if self._planner else ""
        shown = save_preview(preview(image), new_folder(self.photo.GRADIO_CACHE), "photo")
        return cleared | {
            self.facts: gr.Markdown(shared.describe(image) + proposal, visible=True),
            self.steps: [step.name for step in planned if step.name in self._tools],
            self.start: gr.Button(interactive=True),
            self.source: gr.Image(shown, visible=True),
        }

    def forget(self, request: gr.Request | None = None) -> dict[Any, Any]:
        """The tab without a photo; what is being computed for the old one stops."""
        if request:
            self.stop(request)
        return {
            self.facts: gr.Markdown(visible=False),
            self.start: gr.Button(interactive=False),
            self.cancel: gr.Button(visible=False),
            self.answer: gr.Markdown(visible=False),
            self.download: gr.DownloadButton(visible=False),
            self.source: gr.Image(None, visible=False),
            self.whole: gr.ImageSlider(None, visible=False),
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

    def run(
        self, path: str, chosen: Sequence[str], request: gr.Request, progress: gr.Progress = PROGRESS
    ) -> dict[Any, Any]:
        """Do the chosen steps, and show and offer what came out."""

        def tick(share: float) -> None:
            if request.session_hash in self._cancelled:
                raise CancelledError
            progress(0.9 * share, desc="Restoring")

        try:
            tick(0.0)
            image = open_photo(Path(path))
            steps = [Step(name) for name in NAMES if name in chosen]
            outcome = carry_out(image, self._tools, steps=steps, progress=tick)
            folder = new_folder(self.photo.GRADIO_CACHE)
            download = deliver(Path(path), image, Restored(outcome.image, {}), folder, suffix="-restored")
        except CancelledError:
            gr.Info("Cancelled: the photo is as it was.")
            return dict(gr.skip())
        except RestoreError as error:
            return {self.answer: refusal(error)}
        offer = gr.DownloadButton(f"Download {download.name}", value=download, visible=True)
        return {self.download: offer} | self._compare(image, outcome, folder)

    def _compare(self, image: Image, outcome: Outcome, folder: Path) -> dict[Any, Any]:
        if outcome.image is image:
            return {self.answer: gr.Markdown(_UNCHANGED, visible=True)}
        pair = [save_preview(preview(p), folder, name) for name, p in (("before", image), ("after", outcome.image))]
        said = f"Mended: {describe(outcome.taken)}. Left of the handle is before, right of it after."
        return {
            self.answer: gr.Markdown(said, visible=True),
            self.source: gr.Image(visible=False),
            self.whole: gr.ImageSlider((pair[0], pair[1]), visible=True),
        }

    def end(self, path: str | None) -> dict[Any, Any]:
        """After every run, also a failed one."""
        return {self.start: gr.Button(interactive=path is not None), self.cancel: gr.Button(visible=False)}

    def stop(self, request: gr.Request) -> None:
        """Leave the running computation of this visitor before its next tile."""
        self._cancelled.add(request.session_hash)
