"""What the commands share: the options that they all take, and what is done with them."""

from __future__ import annotations

import enum
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from restore.errors import BadOption, UnreadableImage

if TYPE_CHECKING:
    from restore.engine import Restorer
    from restore.jobs import Job

MODEL_HELP = "A model's name, its task, or the path of an .onnx file."
DEVICE_HELP = "auto, cpu or cuda; auto takes a GPU if onnxruntime can use one."
_NO_KEYBOARD = "- is a picture on standard input. Send a file there: < photo.jpg"
THREADS_HELP = "CPU threads at most. [default: as many as this process may use]"


class Quality(enum.StrEnum):
    """The tiers that a task's models come in."""

    fast = "fast"
    best = "best"


QualityOption = Annotated[
    Quality, typer.Option(help="Of the denoiser: fast, or best: finer and slower, where weights for it are installed.")
]
ModelOption = Annotated[str, typer.Option(metavar="NAME_OR_PATH", help=MODEL_HELP)]
PlannerOption = Annotated[str, typer.Option("--model", metavar="NAME_OR_PATH", help=f"The planner: {MODEL_HELP}")]
DeviceOption = Annotated[str, typer.Option(metavar="DEVICE", help=DEVICE_HELP)]
ThreadsOption = Annotated[int | None, typer.Option(metavar="N", help=THREADS_HELP)]
TileOption = Annotated[
    int | None,
    typer.Option(
        metavar="PX",
        help="A tile's side in pixels, as 1024; less takes less memory and more time. [default: about 5 megapixels]",
    ),
]
SelfEnsembleOption = Annotated[
    int,
    typer.Option(
        metavar="1|2|4|8",
        help="How often to look, mirrored and turned; the mean of the answers is better, and takes so many times as "
        "long.",
    ),
]
InputsArgument = Annotated[
    list[str], typer.Argument(metavar="INPUT", help="Files, folders (with their sub-folders), or - for stdin.")
]
SkipExistingOption = Annotated[
    bool, typer.Option("--skip-existing", help="Keep outputs that exist: go on where a stopped run was.")
]
OverwriteOption = Annotated[bool, typer.Option("--overwrite", help="Replace outputs that exist.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON object a file instead of talk.")]
QuietOption = Annotated[bool, typer.Option("--quiet", help="Print errors only.")]


def open_for(task: str, model: str, device: str, threads: int | None) -> Restorer:
    """The model of this name. Raises BadOption if it is for another task than the command's."""
    from restore.engine import Restorer, open_model
    from restore.model import Model

    restorer = open_model(model, kind=Model, device=device, threads=threads)
    if restorer.spec.task != task:
        raise BadOption(f"--model {model}: {restorer.spec.name} is for the task {restorer.spec.task}, not {task}.")
    assert isinstance(restorer, Restorer), f"the task {task} answers with pictures"
    return restorer


def number(name: str, text: str, restorer: Restorer) -> float:
    """The network's value of an option's text."""
    try:
        value = float(text)
    except ValueError:
        raise BadOption(f"--{name} {text} is neither a number nor auto.") from None
    return restorer.spec.param(name).from_user(value, model=restorer.spec.name)


def refuse_terminals(jobs: Sequence[Job]) -> None:
    """Raise BadOption where a person would have to type a picture or to read one."""
    if any(job.source is None for job in jobs) and sys.stdin.isatty():
        raise BadOption(_NO_KEYBOARD)
    if any(job.output is None for job in jobs) and sys.stdout.isatty():
        raise BadOption("a picture cannot be shown on a terminal. Write it to a file: -o clean.jpg")


@contextmanager
def named_by(option: str) -> Iterator[None]:
    """Turn what is wrong with a picture that an option names into BadOption: without it nothing is done."""
    try:
        yield
    except UnreadableImage as error:
        raise BadOption(f"{option} {error}") from None


def find_sources(inputs: Sequence[str]) -> list[Path | None]:
    """The pictures that a command looks at, None for standard input; BadOption where that is a keyboard."""
    from restore.jobs import find

    sources = find(inputs)
    if None in sources and sys.stdin.isatty():
        raise BadOption(_NO_KEYBOARD)
    return sources


def parse_size(name: str, text: str) -> tuple[int, int]:
    """(height, width) of an option's WIDTHxHEIGHT. Raises BadOption for anything else."""
    sides = text.lower().split("x")
    if len(sides) != 2 or not all(side.strip().isdecimal() for side in sides):
        raise BadOption(f"--{name} {text} is not a size. Write WIDTHxHEIGHT in pixels, 1920x1080 for example.")
    width, height = (int(side) for side in sides)
    return height, width


def print_table(rows: Sequence[Sequence[str]]) -> None:
    """Columns as wide as their longest text, two spaces between."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        typer.echo("  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip())


def talk(text: str) -> None:
    """A line on stderr: results alone go to stdout."""
    typer.echo(text, err=True)


def denoiser_of(quality: Quality) -> str:
    """The model of a tier. Raises BadOption where it is not installed."""
    from restore import store

    name = f"denoise-{quality.value}"
    tiers = [entry.tier for entry in store.entries() if entry.task == "denoise"]
    if tiers and quality.value not in tiers:
        raise BadOption(
            f"--quality {quality.value}: no weights for it are installed ({name}). Use --quality {tiers[0]}, or train "
            f"them from a checkout: python -m training train {name}"
        )
    return name
