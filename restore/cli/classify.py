"""restore classify."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from restore.cli.options import MODEL_HELP, DeviceOption, InputsArgument, ThreadsOption, find_sources, talk
from restore.errors import NotEnoughMemory, UnreadableImage

if TYPE_CHECKING:
    from restore.classifier import Reading


def classify(
    *,
    inputs: InputsArgument,
    model: Annotated[str, typer.Option(metavar="NAME_OR_PATH", help=MODEL_HELP)] = "classify",
    device: DeviceOption = "auto",
    threads: ThreadsOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object a file, with all labels.")] = False,
) -> None:
    """Read a handwritten digit in each picture; a line a file: path, digit, probability.

    Example: restore classify digits/*.png

    One digit a picture, a scan, a photo or a drawing, in any colours and of any size; it is found, centred and scaled.
    """
    from restore import batch
    from restore.classifier import Classifier
    from restore.engine import open_model
    from restore.screen import summary

    sources = find_sources(inputs)
    read_digit = open_model(model, kind=Classifier, device=device, threads=threads)
    failed: list[str] = []
    for source in sources:
        shown = "-" if source is None else str(source)
        try:
            image = batch.read_source(source)
            with batch.explained(shown):
                reading = read_digit(image)
        except (UnreadableImage, NotEnoughMemory) as error:
            failed.append(shown)
            _tell_failure(shown, source, str(error), as_json=as_json)
            continue
        typer.echo(_as_row(shown, reading) if as_json else f"{shown}\t{reading.label}\t{reading.probability:.4f}")
    if failed and len(sources) > 1 and not as_json:
        talk(summary({"read": len(sources) - len(failed), "failed": len(failed)}, failed))
    if failed:
        raise typer.Exit(1)


def _tell_failure(shown: str, source: Path | None, error: str, *, as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps({"source": shown, "status": "failed", "error": error}))
        return
    # What cannot be decoded is named by its path already, what holds no digit is not.
    talk(f"Error: {error if source is not None and error.startswith(shown) else f'{shown}: {error}'}")


def _as_row(shown: str, reading: Reading) -> str:
    chances = {label: round(chance, 6) for label, chance in reading.probabilities.items()}
    facts = {"source": shown, "status": "done", "label": reading.label, "probability": chances[reading.label]}
    return json.dumps(facts | {"probabilities": chances})
