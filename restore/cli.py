"""The command `restore`. Only typer and the standard library load at the start; the rest waits in its command."""

from __future__ import annotations

import enum
import errno
import importlib.util
import ipaddress
import json
import os
import signal
import sys
from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from restore import __version__
from restore.errors import BadOption, ModelNotFound, RestoreError, UnsupportedModel

if TYPE_CHECKING:
    from restore.batch import Job
    from restore.contract import Param
    from restore.engine import Restorer
    from restore.store import Entry


class _Commands(TyperGroup):
    """Ends every command with one plain sentence and its exit code, unless the error is our bug."""

    def invoke(self, ctx: Any) -> Any:
        try:
            answer = super().invoke(ctx)
            # Here, and not when Python ends, a full disk or a closed pipe can still be told.
            sys.stdout.flush()
        except RestoreError as error:
            _talk(f"Error: {error}")
            code = error.exit_code
        except KeyboardInterrupt:
            _talk("Stopped. Every finished file is whole, and nothing is half-written.")
            code = 130
        except OSError as error:
            if error.errno not in {errno.EPIPE, errno.ENOSPC}:
                raise
            if error.errno == errno.ENOSPC:
                _talk("Error: standard output: the disk is full. Make room.")
            code = 1
        else:
            return answer
        _forget_output()
        raise typer.Exit(code)


app = typer.Typer(
    cls=_Commands,
    add_completion=False,
    pretty_exceptions_enable=False,
    # Plain help: 0.09 s of CPU time here, 0.16 s with rich's.
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
models_app = typer.Typer(cls=TyperGroup, rich_markup_mode=None)
app.add_typer(models_app, name="models")

_MODEL_HELP = "A model's name, its task, or the path of an .onnx file."
_DEVICE_HELP = "auto, cpu or cuda; auto takes a GPU if onnxruntime can use one."
_THREADS_HELP = "CPU threads at most. [default: as many as this process may use]"


class Quality(enum.StrEnum):
    """The tiers that a task's models come in."""

    fast = "fast"
    best = "best"


ModelOption = Annotated[str, typer.Option(metavar="NAME_OR_PATH", help=_MODEL_HELP)]
DeviceOption = Annotated[str, typer.Option(metavar="DEVICE", help=_DEVICE_HELP)]
ThreadsOption = Annotated[int | None, typer.Option(metavar="N", help=_THREADS_HELP)]


def main() -> None:
    """The entry point."""
    # A stop by the system is cleaned up after as Ctrl-C is.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    # A file's name may hold what the terminal cannot show.
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(errors="backslashreplace")
    app()


def _show_version(asked: bool) -> None:
    if asked:
        typer.echo(f"restore {__version__}")
        raise typer.Exit


@app.callback(invoke_without_command=True)
def _start(
    ctx: typer.Context,
    _version: Annotated[
        bool, typer.Option("--version", help="Show the version and exit.", is_eager=True, callback=_show_version)
    ] = False,
) -> None:
    """Give back damaged photos, offline and on the CPU.

    Example: restore denoise night.jpg -o clean.jpg
    """
    if ctx.invoked_subcommand is None:
        typer.echo(ctx.get_help())


@app.command()
def denoise(
    *,
    inputs: Annotated[
        list[str], typer.Argument(metavar="INPUT", help="Files, folders (with their sub-folders), or - for stdin.")
    ],
    output: Annotated[
        str | None,
        typer.Option(
            "--output",
            "-o",
            metavar="FILE_OR_FOLDER",
            help="Where to write; - for stdout. [default: NAME-denoised.SUFFIX beside each input]",
        ),
    ] = None,
    sigma: Annotated[
        str,
        typer.Option(
            metavar="LEVEL",
            help="White noise of a known level, on the 0-255 scale; auto finds noise of any kind. "
            "`models show` tells the range.",
        ),
    ] = "auto",
    quality: Annotated[
        Quality, typer.Option(help="fast, or best: finer, in about two and a half times the time.")
    ] = Quality.fast,
    strength: Annotated[
        float, typer.Option(metavar="0..1", min=0, max=1, help="How much of the luma noise (grain) goes.")
    ] = 1.0,
    chroma_strength: Annotated[
        float, typer.Option(metavar="0..1", min=0, max=1, help="How much of the colour noise (blotches) goes.")
    ] = 1.0,
    model: Annotated[
        str | None, typer.Option(metavar="NAME_OR_PATH", help=f"{_MODEL_HELP} [default: by --quality]")
    ] = None,
    tile: Annotated[
        int | None,
        typer.Option(
            metavar="PX", help="A tile's side in pixels; less takes less memory. [default: about 5 megapixels]"
        ),
    ] = None,
    device: DeviceOption = "auto",
    threads: ThreadsOption = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace outputs that exist.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object a file instead of talk.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="Print errors only.")] = False,
) -> None:
    """Take the noise out of photos; clean ones are left alone.

    Example: restore denoise night.jpg -o clean.jpg

    Example: restore denoise photos/ -o clean/ --quality best --strength 0.8
    """
    from restore import batch
    from restore.screen import Screen

    jobs = batch.plan(inputs, output, suffix="-denoised", overwrite=overwrite)
    _refuse_terminals(jobs)
    if tile is not None and tile < 1:
        raise BadOption(f"--tile {tile} is not a size in pixels. Use 256 or more, or leave it out.")
    restorer = _open("denoise", model or f"denoise-{quality.value}", device, threads)
    params = {} if sigma == "auto" else {"sigma": _number("sigma", sigma, restorer)}
    with Screen(jobs, restorer.spec, params, as_json=as_json, quiet=quiet) as screen:
        results = batch.run(
            jobs,
            restorer,
            params,
            screen.progress,
            tile=tile or "auto",
            strength=strength,
            chroma_strength=chroma_strength,
        )
        for result in results:
            screen.show(result)
    if screen.failed:
        raise typer.Exit(1)


@app.command()
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
        _talk(f"Warning: whoever can reach {host}:{port} can use the page; it asks for no password.")
    from restore import web

    web.serve(host=host, port=port, model=model, device=device, threads=threads, open_browser=open_browser)


@models_app.callback(invoke_without_command=True)
def _models(ctx: typer.Context) -> None:
    """List, describe and check the models.

    Example: restore models list
    """
    if ctx.invoked_subcommand is None:
        typer.echo(ctx.get_help())


@models_app.command("list")
def list_models() -> None:
    """List the models that are installed, and where they come from.

    Example: restore models list
    """
    rows = [("NAME", "TASK", "TIER", "SIZE", "LICENCE", "FOLDER")]
    for entry in _entries():
        licence = str(entry.about.get("licence", "not stated"))
        rows.append((entry.name, entry.task, entry.tier, _megabytes(entry.size), licence, str(entry.path.parent)))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        typer.echo("  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip())


@models_app.command("show")
def show_model(
    name: Annotated[str, typer.Argument(metavar="NAME_OR_PATH", help=_MODEL_HELP)],
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object instead.")] = False,
) -> None:
    """Describe a model: what it does, what it takes, how it was made and how good it is.

    Example: restore models show denoise-fast
    """
    from restore import engine, store

    path = store.find(name)
    model = engine.open_model(path, device="cpu")
    spec = model.spec
    entry = next((e for e in store.entries() if e.path == path), None)
    about = dict(entry.about) if entry else {}
    if as_json:
        facts = {"path": str(path), "size": path.stat().st_size, "sha256": store.sha256(path), "card": model.card}
        typer.echo(json.dumps(facts | {"spec": json.loads(spec.to_json()), "about": about}))
        return
    size = _megabytes(path.stat().st_size)
    lines = {
        "file": f"{path}, {size}",
        "task": f"{spec.task}, tier {spec.tier}",
        "answer": spec.answer,
        "reach": "the whole picture" if spec.reach is None else f"{spec.reach} px",
        "multiple of": f"{spec.multiple_of} px",
    }
    lines |= {f"--{param.name}": _describe(param) for param in spec.params}
    lines |= {key.replace("_", " "): _flat(value) for key, value in about.items()}
    lines |= {f"made by {key}": value for key, value in spec.made_by.items() if key not in about}
    typer.echo(spec.name)
    for key, text in lines.items():
        typer.echo(f"  {key:<{max(map(len, lines))}}  {text}")
    if model.card:
        typer.echo(f"\n{model.card.rstrip()}")


@models_app.command("verify")
def verify_models() -> None:
    """Check every model's file against the SHA-256 in its manifest.

    Example: restore models verify
    """
    from restore import store

    damaged = False
    for entry in _entries():
        try:
            store.verify(entry)
        except UnsupportedModel as error:
            damaged = True
            typer.echo(f"FAULT  {error}")
        else:
            typer.echo(f"ok     {entry.path}")
    if damaged:
        raise typer.Exit(1)


@app.command()
def doctor() -> None:
    """Check the installation, down to a small picture restored.

    Example: restore doctor
    """
    from restore.doctor import examine

    faults = 0
    for finding in examine():
        faults += not finding.ok
        typer.echo(f"{'ok   ' if finding.ok else 'FAULT'}  {finding.text}")
    if faults:
        _talk(f"{faults} fault{'s' * (faults > 1)} found: see the lines that begin with FAULT.")
        raise typer.Exit(1)


def _open(task: str, model: str, device: str, threads: int | None) -> Restorer:
    from restore.engine import open_model

    restorer = open_model(model, device=device, threads=threads)
    if restorer.spec.task != task:
        raise BadOption(f"--model {model}: {restorer.spec.name} is for the task {restorer.spec.task}, not {task}.")
    return restorer


def _number(name: str, text: str, restorer: Restorer) -> float:
    """The network's value of an option's text."""
    try:
        value = float(text)
    except ValueError:
        raise BadOption(f"--{name} {text} is neither a number nor auto.") from None
    return restorer.spec.param(name).from_user(value, model=restorer.spec.name)


def _refuse_terminals(jobs: Sequence[Job]) -> None:
    """Raise BadOption where a person would have to type a picture or to read one."""
    if any(job.source is None for job in jobs) and sys.stdin.isatty():
        raise BadOption("- is a picture on standard input: restore denoise - < night.jpg > clean.jpg")
    if any(job.output is None for job in jobs) and sys.stdout.isatty():
        raise BadOption("a picture cannot be shown on a terminal. Write it to a file: -o clean.jpg")


def _entries() -> list[Entry]:
    from restore import store

    found = store.entries()
    if not found:
        raise ModelNotFound(f"there are no models in {', '.join(map(str, store.folders()))}. Install Restore again.")
    return found


def _describe(param: Param) -> str:
    low, high = param.min * param.scale, param.max * param.scale
    default = "found in the picture" if param.default is None else f"{param.default * param.scale:g}"
    return f"{low:g} to {high:g} {param.unit}, default {default}: {param.help}"


def _flat(value: Any) -> str:
    return ", ".join(f"{k} {v}" for k, v in value.items()) if isinstance(value, dict) else str(value)


def _megabytes(size: int) -> str:
    return f"{size / 1e6:.1f} MB"


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _talk(text: str) -> None:
    typer.echo(text, err=True)


def _forget_output() -> None:
    """Leave what stdout still holds: Python would try to write it again at its end, and complain."""
    with suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
