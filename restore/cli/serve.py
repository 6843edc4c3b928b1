"""restore serve."""

from __future__ import annotations

import importlib.util
import ipaddress
from typing import Annotated

import typer

from restore.cli.options import DeviceOption, ModelOption, ThreadsOption, talk
from restore.errors import BadOption


def serve(
    *,
    host: Annotated[str, typer.Option(metavar="ADDRESS", help="The address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(metavar="N", min=1, max=65535, help="The port to listen on.")] = 7860,
    model: ModelOption = "denoise",
    device: DeviceOption = "auto",
    threads: ThreadsOption = None,
    open_browser: Annotated[bool, typer.Option("--open", help="Open the page in a browser.")] = False,
) -> None:
    """Show a page where photos are restored by drag and drop.

    Example: restore serve --port 8000
    """
    if importlib.util.find_spec("gradio") is None:
        raise BadOption('the page needs the extra "web": pip install "restore-photos[web]"')
    if not _is_loopback(host):
        talk(f"Warning: whoever can reach {host}:{port} can use the page; it asks for no password.")
    talk("Starting: the page and its models take some seconds.")
    from restore import web

    web.serve(host=host, port=port, model=model, device=device, threads=threads, open_browser=open_browser)


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
