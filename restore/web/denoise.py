"""The tab that takes noise out."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import gradio as gr

from restore.engine import Restored, Restorer
from restore.image import Image
from restore.previews import centre
from restore.web.tab import PROGRESS, QUICK, PhotoTab, Tick, Updates, actual_pixels, pair, slider

_AUTOMATIC, _BY_HAND = "Automatic", "Set by hand"
_REMOVED = "Noise of sigma {:.1f} removed. Left of the handle is before, right of it after."
_UNCHANGED = "No noise found: the photo is unchanged."
_NOTHING_TAKEN = "Nothing was taken away: the photo is unchanged."


class DenoiseTab(PhotoTab):
    """A slider for the noise level, where it is not found, and for how much of the noise goes."""

    doing, suffix = "Removing noise", "-denoised"

    def __init__(self, tiers: Mapping[str, Restorer]) -> None:
        self._tiers = tiers
        self._sigma = next(iter(tiers.values())).spec.param("sigma")
        super().__init__()

    def _build_controls(self) -> None:
        self._build_photo("Photo")
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
        self._build_start("Remove noise")
        self._build_answer()

    def _build_views(self) -> None:
        self.invitation = gr.HTML("Drop a photo, and it appears here, before and after.", elem_id="invitation")
        self.source = gr.Image(
            label="Photo", visible=False, interactive=False, format="png", buttons=["fullscreen"], elem_id="source"
        )
        with gr.Tabs(visible=False) as self.views:
            with gr.Tab("Whole picture"):
                self.whole = slider("Before and after")
            with gr.Tab("Actual pixels"):
                self.detail = slider("Before and after, the centre")

    def _connect(self) -> None:
        self.level.change(lambda level: gr.Slider(visible=level == _BY_HAND), self.level, self.sigma, **QUICK)
        self._on_photo(self.look, busy=[self.facts, self.invitation])
        settings = [self.level, self.sigma, self.tier, self.strength, self.chroma]
        self._on_click(self.start, self.run, settings, busy=[self.source, self.whole, self.detail])

    def _own_parts(self) -> list[Any]:
        return [self.invitation, self.source, self.views, self.whole, self.detail]

    def _emptied(self) -> Updates:
        return {
            self.invitation: gr.HTML(visible=True),
            self.source: gr.Image(None, visible=False),
            self.views: gr.Tabs(visible=False),
            self.whole: None,
            self.detail: None,
        }

    def look(self, path: str) -> Updates:
        """A photo was dropped: show it and say what it is."""
        return self._look(path, self._shown)

    def _shown(self, image: Image) -> Updates:
        return self._described(image) | {
            self.invitation: gr.HTML(visible=False),
            self.source: self._source(image),
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
    ) -> Updates:
        """Remove the noise, and show and offer what came out."""

        def work(image: Image, tick: Tick) -> Restored:
            params: dict[str, Any] = {} if level == _AUTOMATIC else {"sigma": self._sigma.from_user(sigma_255)}
            restored = self._tiers[tier](
                image, progress=tick, strength=strength / 100, chroma_strength=chroma / 100, **params
            )
            # Set by hand, found, or the model's default: the one that was used.
            used: dict[str, Any] = {"sigma": self._sigma.default, **restored.found, **params}
            return restored._replace(found=used)

        return self._run(path, work, self._compare, request, progress)

    def _compare(self, image: Image, restored: Restored, download: Path) -> Updates:
        if not restored.changed(image):
            noisy = restored.found["sigma"] >= self._sigma.nothing_below
            return {
                self.answer: gr.Markdown(_NOTHING_TAKEN if noisy else _UNCHANGED, visible=True),
                self.source: gr.Image(visible=True),
                self.views: gr.Tabs(visible=False),
            }
        sigma_255 = restored.found["sigma"] * self._sigma.scale
        window = centre(image.height, image.width)
        return {
            self.answer: gr.Markdown(_REMOVED.format(sigma_255), visible=True),
            self.source: gr.Image(visible=False),
            self.views: gr.Tabs(visible=True),
            self.whole: pair(image, restored.image, download.parent),
            self.detail: actual_pixels(image, restored.image, download.parent, window),
        }
