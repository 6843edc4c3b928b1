"""The tab that does several steps in one go: a visitor's own, or those that a planner proposes where there is one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import gradio as gr

from restore.image import Image
from restore.planner import Planner
from restore.steps import NAMES, Outcome, Step, Tool, carry_out, describe, make_plan
from restore.web.tab import PROGRESS, PhotoTab, Tick, Updates, pair, slider

_TITLES = {"unwatermark": "Take the watermark off", "denoise": "Remove noise", "colorize": "Give colour"}
_UNCHANGED = "Nothing was found to mend: the photo is unchanged."
_NO_MARK = " No mark was sure enough to be taken off: if you see one, say so on the tab Unwatermark."


class StepsTab(PhotoTab):
    """Steps to choose, done one after the other."""

    doing, suffix = "Restoring", "-restored"

    def __init__(self, tools: Mapping[str, Tool], planner: Planner | None = None) -> None:
        self._tools = tools
        self._planner = planner
        super().__init__()

    def _build_controls(self) -> None:
        self._build_photo("Photo", elem_id="steps-photo")
        choices = [(_TITLES[name], name) for name in NAMES if name in self._tools]
        proposed = "Proposed by a look at the photo; change them as you like. " if self._planner else ""
        # A list that keeps the order in which things were chosen: some marks show only when the noise is gone.
        self.steps = gr.Dropdown(
            choices, value=[], multiselect=True, filterable=False, elem_id="steps-chosen",
            label="Steps", info=proposed + "They are done in the order in which they stand here.",
        )  # fmt: skip
        self._build_start("Restore")
        self._build_answer()

    def _build_views(self) -> None:
        self.source = gr.Image(label="Photo", visible=False, interactive=False, format="png", buttons=[])
        self.whole = slider("Before and after")

    def _connect(self) -> None:
        self._on_photo(self.look)
        self._on_click(self.start, self.run, [self.steps], busy=[self.source, self.whole])

    def _own_parts(self) -> list[Any]:
        return [self.steps, self.source, self.whole]

    def _emptied(self) -> Updates:
        return {
            self.steps: [],
            self.source: gr.Image(None, visible=False),
            self.whole: gr.ImageSlider(None, visible=False),
        }

    def look(self, path: str) -> Updates:
        """A photo was dropped: show it, say what it is, and propose what it needs."""
        return self._look(path, self._propose)

    def _propose(self, image: Image) -> Updates:
        planned = make_plan(image, self._planner) if self._planner else ()
        proposal = f" It looks like: {describe(planned)}." if self._planner else ""
        return self._described(image, proposal) | {
            self.steps: [step.name for step in planned if step.name in self._tools],
            self.source: self._source(image),
        }

    def run(self, path: str, chosen: Sequence[str], request: gr.Request, progress: gr.Progress = PROGRESS) -> Updates:
        """Do the chosen steps, and show and offer what came out."""

        def work(image: Image, tick: Tick) -> Outcome:
            steps = [Step(name) for name in chosen]
            return carry_out(image, self._tools, steps=steps, progress=tick)

        return self._run(path, work, self._compare, request, progress)

    def _compare(self, image: Image, outcome: Outcome, download: Path) -> Updates:
        missed = {step.name for step in outcome.planned} - {step.name for step in outcome.taken}
        hint = _NO_MARK if "unwatermark" in missed else ""
        if outcome.image is image:
            return {self.answer: gr.Markdown(_UNCHANGED + hint, visible=True)}
        said = f"Mended: {describe(outcome.taken)}. Left of the handle is before, right of it after.{hint}"
        return {
            self.answer: gr.Markdown(said, visible=True),
            self.source: gr.Image(visible=False),
            self.whole: gr.ImageSlider(pair(image, outcome.image, download.parent), visible=True),
        }
