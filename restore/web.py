"""The web page: drop a photo, compare before and after, download. Alone imports gradio."""

from __future__ import annotations

import functools
import html
import os
import shutil
import signal
import sys
import tempfile
import threading
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import gradio as gr

from restore import __version__, store
from restore.engine import Restored, Restorer, open_model
from restore.errors import BadOption, RestoreError
from restore.image import Image, format_for, read, write
from restore.previews import DETAIL, centre, preview, save_preview

#: Refused from the header, before anything is decoded.
MAX_PIXELS = 100_000_000
MAX_FILE_BYTES = 500 * 2**20

#: Seconds between two clean-ups, and the age at which uploaded and restored photos are deleted.
_CLEAN_UP = (600, 3600)
_AUTOMATIC, _BY_HAND = "Automatic", "Set by hand"
_REMOVED = "Noise of sigma {:.1f} removed. Left of the handle is before, right of it after."
_UNCHANGED = "No noise found: the photo is unchanged."

#: For a photo whose name says another format than its content; GIF and PPM cannot be written and become PNG.
_SUFFIXES = {"JPEG": ".jpg", "TIFF": ".tif", "WEBP": ".webp", "BMP": ".bmp"}

# Plain names: a GoogleFont would be fetched from the network.
_FONTS = ("system-ui", "-apple-system", "Segoe UI", "Roboto", "DejaVu Sans", "sans-serif")
_CSS = """
.gradio-container { width: 100% !important; max-width: 1280px !important; margin: 0 auto !important; }
#invitation { display: grid; place-items: center; min-height: 320px; text-align: center;
  border: 1px solid var(--border-color-primary); color: var(--body-text-color-subdued); }
#about p { margin-top: 1rem; font-size: var(--text-sm); color: var(--body-text-color-subdued); }
#source img { max-height: 720px; }
@media (max-width: 640px) { #invitation { display: none; } }
"""


def build_app(*, model: str | Path = "denoise", device: str = "auto", threads: int | None = None) -> gr.Blocks:
    """The page, to be launched or mounted with `page_options()`.

    The model is opened at once: raises ModelNotFound, UnsupportedModel, BadOption.
    """
    tiers = _open_tiers(model, device=device, threads=threads)
    app = gr.Blocks(title="Restore", analytics_enabled=False, delete_cache=_CLEAN_UP)
    with app:
        gr.Markdown("# Restore\nGives back damaged photos. Everything happens on this computer: no photo leaves it.")
        with gr.Tabs(), gr.Tab("Denoise"):
            _DenoiseTab(tiers)
        names = ", ".join(restorer.spec.name for restorer in tiers.values())
        about = f"Restore {__version__} · {names} · works without a network"
        gr.Markdown(about, elem_id="about")
    app.queue(default_concurrency_limit=1)
    return app


def _open_tiers(model: str | Path, *, device: str, threads: int | None) -> dict[str, Restorer]:
    """The model by its tier, and beside a task's own the task's other tiers, by the names that the page shows."""
    first = open_model(model, device=device, threads=threads)
    names = [e.name for e in store.entries() if e.task == first.spec.task and e.name != first.spec.name]
    others = [open_model(name, device=device, threads=threads) for name in names if model == first.spec.task]
    return {restorer.spec.tier.capitalize(): restorer for restorer in (first, *others)}


def page_options() -> dict[str, Any]:
    """What `launch` and `mount_gradio_app` must both be told: looks, limits, and nothing that phones out."""
    return {
        "theme": gr.themes.Default(
            primary_hue="indigo", neutral_hue="slate", font=_FONTS, font_mono=("ui-monospace", "monospace")
        ),
        "css": _CSS,
        "max_file_size": MAX_FILE_BYTES,
        "footer_links": [],
        "run_history": False,
        "enable_monitoring": False,
        "mcp_server": False,
        "ssr_mode": False,
        "pwa": False,
        "show_error": False,
    }


def serve(
    *,
    host: str = "127.0.0.1",
    port: int = 7860,
    model: str | Path = "denoise",
    device: str = "auto",
    threads: int | None = None,
    open_browser: bool = False,
) -> None:
    """Show the page until Ctrl-C or SIGTERM; then every uploaded and restored photo is deleted.

    Raises BadOption for an address that cannot be listened on, and as `build_app`.
    """
    # A container is stopped with SIGTERM, which its first process, and every clean-up, would otherwise not notice.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    # gradio asks its own server for a sign of life, and would send that through a company's proxy.
    for name in ("NO_PROXY", "no_proxy"):
        os.environ[name] = ",".join(filter(None, [os.environ.get(name), "127.0.0.1", "localhost", "::1"]))
    if ":" in host and not host.startswith("["):
        host = f"[{host}]"
    with tempfile.TemporaryDirectory(prefix="restore-page-") as folder:
        os.environ["GRADIO_TEMP_DIR"] = folder
        # Read when gradio was imported; where a computer has several users, it is a folder of one of them.
        vars(gr.routes)["DEFAULT_TEMP_DIR"] = folder
        app = build_app(model=model, device=device, threads=threads)
        try:
            app.launch(
                server_name=host,
                server_port=port,
                inbrowser=open_browser,
                share=False,
                quiet=True,
                prevent_thread_lock=True,
                **page_options(),
            )
        except OSError:
            raise BadOption(
                f"cannot listen on {host}:{port}: another program does, or {host} is no address of this computer. "
                f"Try --port {port + 1}."
            ) from None
        print(f"Restore is at {app.local_url}\nPress Ctrl-C to stop.", file=sys.stderr, flush=True)
        with suppress(KeyboardInterrupt):
            threading.Event().wait()
        app.close(verbose=False)


# gradio knows a function's progress bar by this default; the call is here because a default is made only once.
_PROGRESS = gr.Progress()


class _CancelledError(Exception):
    """Raised from the progress callback to leave the engine between two tiles."""


class _DenoiseTab:
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
                self.whole = _slider("Before and after")
            with gr.Tab("Actual pixels") as self.detail_tab:
                self.detail = _slider("Before and after, the centre")

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
            image = _open(Path(path))
        except RestoreError as error:
            return cleared | {self.photo: None, self.facts: _refusal(error)}
        source = save_preview(preview(image), self._new_folder(), "photo")
        return cleared | {
            self.facts: gr.Markdown(_describe(image), visible=True),
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
        progress: gr.Progress = _PROGRESS,
    ) -> dict[Any, Any]:
        """Remove the noise, and show and offer what came out."""

        def tick(share: float) -> None:
            if request.session_hash in self._cancelled:
                raise _CancelledError
            progress(0.9 * share, desc="Removing noise")

        try:
            tick(0.0)
            image = _open(Path(path))
            params: dict[str, Any] = {} if level == _AUTOMATIC else {"sigma": self._sigma.from_user(sigma_255)}
            restorer = functools.partial(self._tiers[tier], strength=strength / 100, chroma_strength=chroma / 100)
            restored = restorer(image, progress=tick, **params)
            progress(0.9, desc="Saving the photo")
            folder = self._new_folder()
            download = _deliver(Path(path), image, restored, folder)
            tick(1.0)
        except _CancelledError:
            gr.Info("Cancelled: the photo is as it was.")
            return dict(gr.skip())
        except RestoreError as error:
            return {self.answer: _refusal(error)}
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

    def _new_folder(self) -> Path:
        """A folder with a name that cannot be guessed, in gradio's cache, where `delete_cache` cleans up."""
        cache = Path(self.photo.GRADIO_CACHE)
        cache.mkdir(parents=True, exist_ok=True)
        return Path(tempfile.mkdtemp(dir=cache))


def _slider(label: str) -> gr.ImageSlider:
    return gr.ImageSlider(label=label, format="png", interactive=False, buttons=["fullscreen"], max_height=720)


def _refusal(error: RestoreError) -> gr.Markdown:
    """Show a notice that goes away; returns the same sentence for the page, where it stays."""
    # It may hold a file's name, and both places read HTML.
    sentence = html.escape(str(error))
    gr.Warning(sentence)
    return gr.Markdown(sentence, visible=True)


def _open(path: Path) -> Image:
    return read(path, max_pixels=MAX_PIXELS, name=path.name)


def _describe(image: Image) -> str:
    notes = "".join(f" {html.escape(note)}." for note in image.notes)
    return f"{image.width} x {image.height} pixels, {image.format}.{notes}"


def _deliver(path: Path, image: Image, restored: Restored, folder: Path) -> Path:
    """Write NAME-denoised.EXT into the folder, in the photo's own format; the same bytes where nothing was done."""
    if not restored.changed(image):
        return Path(shutil.copyfile(path, folder / f"{path.stem}-denoised{path.suffix}"))
    suffix = _SUFFIXES.get(image.format, ".png")
    with suppress(BadOption):
        suffix = path.suffix if format_for(path) == image.format else suffix
    out = folder / f"{path.stem}-denoised{suffix}"
    write(restored.image, out)
    return out
