"""The web page: drop a photo, compare before and after, download. Alone imports gradio."""

from __future__ import annotations

import os
import signal
import sys
import tempfile
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any

import gradio as gr

from restore import __version__, store
from restore.classifier import Classifier
from restore.colorizer import open_colorizer
from restore.engine import Restorer, open_model
from restore.errors import BadOption
from restore.planner import Planner
from restore.steps import open_tools
from restore.web.colorize import ColorizeTab
from restore.web.denoise import DenoiseTab
from restore.web.digits import DigitsTab
from restore.web.steps import StepsTab
from restore.web.unwatermark import UnwatermarkTab

MAX_FILE_BYTES = 500 * 2**20

#: Seconds between two clean-ups, and the age at which uploaded and restored photos are deleted.
_CLEAN_UP = (600, 3600)

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
    # Beside a model of the user's own only what it is for; else every task that has a model here.
    tasks = {entry.task for entry in store.entries()} if model == "denoise" else set()
    marks = _open_tiers("unwatermark", device=device, threads=threads) if "unwatermark" in tasks else {}
    colours = open_colorizer("colorize", device=device, threads=threads) if "colorize" in tasks else None
    reader = open_model("classify", kind=Classifier, device=device, threads=threads) if "classify" in tasks else None
    tools = open_tools(device=device, threads=threads) if tasks else {}
    planner = open_model("plan", kind=Planner, device=device, threads=threads) if "plan" in tasks else None
    app = gr.Blocks(title="Restore", analytics_enabled=False, delete_cache=_CLEAN_UP)
    with app:
        gr.Markdown("# Restore\nGives back damaged photos. Everything happens on this computer: no photo leaves it.")
        with gr.Tabs():
            with gr.Tab("Denoise"):
                DenoiseTab(tiers)
            if marks:
                with gr.Tab("Unwatermark"):
                    UnwatermarkTab(marks)
            if colours:
                with gr.Tab("Colorize"):
                    ColorizeTab(colours)
            if len(tools) > 1:
                with gr.Tab("Restore"):
                    StepsTab(tools, planner)
            if reader:
                with gr.Tab("Digits"):
                    DigitsTab(reader)
        opened = [*tiers.values(), *marks.values(), colours, reader, planner]
        names = ", ".join(one.spec.name for one in opened if one)
        about = f"Restore {__version__} · {names} · works without a network"
        gr.Markdown(about, elem_id="about")
    app.queue(default_concurrency_limit=1)
    return app


def _open_tiers(model: str | Path, *, device: str, threads: int | None) -> dict[str, Restorer]:
    """The model by its tier, and beside a task's own the task's other tiers, by the names that the page shows."""
    first = open_model(model, kind=Restorer, device=device, threads=threads)
    names = [e.name for e in store.entries() if e.task == first.spec.task and e.name != first.spec.name]
    others = [
        open_model(name, kind=Restorer, device=device, threads=threads) for name in names if model == first.spec.task
    ]
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
                f"Try --port {port + 1 if port < 65_535 else port - 1}, or leave --host out."
            ) from None
        print(f"Restore is at {app.local_url}\nPress Ctrl-C to stop.", file=sys.stderr, flush=True)
        with suppress(KeyboardInterrupt):
            threading.Event().wait()
        app.close(verbose=False)
