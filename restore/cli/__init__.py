"""The command `restore`. Only typer and the standard library load at the start; the rest waits in its command."""

from __future__ import annotations

import errno
import os
import signal
import sys
from contextlib import suppress
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from restore import __version__
from restore.cli import auto, classify, colorize, denoise, doctor, layer, models, plan, reproduce, serve, unwatermark
from restore.cli.options import talk
from restore.errors import RestoreError

#: What may keep results from standard output, and is no bug of ours.
_LOST = {errno.ENOSPC: "the disk is full. Make room.", errno.EBADF: "it is closed. Send it to a file: > result.txt"}


class _Terminated(KeyboardInterrupt):
    """SIGTERM came."""


def _terminate(*_: object) -> None:
    raise _Terminated


class _Commands(TyperGroup):
    """Ends every command with one plain sentence and its exit code, unless the error is our bug."""

    def invoke(self, ctx: Any) -> Any:
        try:
            answer = super().invoke(ctx)
            # Here, and not when Python ends, a full disk or a closed pipe can still be told.
            sys.stdout.flush()
        except RestoreError as error:
            talk(f"Error: {error}")
            code = error.exit_code
        except KeyboardInterrupt as error:
            talk("Stopped. Every finished file is whole, and nothing is half-written.")
            code = 128 + (signal.SIGTERM if isinstance(error, _Terminated) else signal.SIGINT)
        except OSError as error:
            if error.filename is not None:
                talk(f"Error: {error.filename}: {error.strerror}.")
            elif error.errno in _LOST:
                talk(f"Error: standard output: {_LOST[error.errno]}")
            elif error.errno != errno.EPIPE:
                raise
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
_COMMANDS = (
    auto.auto, plan.plan, denoise.denoise, colorize.colorize, unwatermark.unwatermark, classify.classify,
    reproduce.reproduce, serve.serve, layer.layer, doctor.doctor,
)  # fmt: skip
for command in _COMMANDS:
    app.command()(command)
app.add_typer(models.app, name="models")


def main() -> None:
    """The entry point."""
    # A stop by the system is cleaned up after as Ctrl-C is.
    signal.signal(signal.SIGTERM, _terminate)
    _replace_closed_streams()
    # A file's name may hold what the terminal cannot show.
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(errors="backslashreplace")
    app()


def _replace_closed_streams() -> None:
    """For streams that the caller closed, where Python has None: stdin is empty, stdout fails, stderr is lost.

    In this order, so that each gets its own number and no picture that is opened later does.
    """
    for name, mode, flag in (("stdin", "r", os.O_RDONLY), ("stdout", "w", os.O_RDONLY), ("stderr", "w", os.O_WRONLY)):
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(os.open(os.devnull, flag), mode))


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


def _forget_output() -> None:
    """Leave what stdout still holds: Python would try to write it again at its end, and complain."""
    with suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
