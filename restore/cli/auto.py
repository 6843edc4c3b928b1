"""restore auto."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

from restore.cli.options import (
    DeviceOption,
    InputsArgument,
    JsonOption,
    OverwriteOption,
    PlannerOption,
    QuietOption,
    ThreadsOption,
    refuse_terminals,
    talk,
)
from restore.errors import BadOption, NotEnoughMemory, UnreadableImage, WriteFailed

if TYPE_CHECKING:
    from restore.batch import Job
    from restore.planner import Planner
    from restore.steps import Outcome, Step, Tool

_EXAMPLE = "restore auto - < photo.jpg > out.jpg"


def auto(
    *,
    inputs: InputsArgument,
    output: Annotated[
        str | None,
        typer.Option(
            "--output",
            "-o",
            metavar="FILE_OR_FOLDER",
            help="Where to write; - for stdout. [default: NAME-restored.SUFFIX beside each input]",
        ),
    ] = None,
    steps: Annotated[
        str | None,
        typer.Option(
            "--plan", metavar="STEPS", help="Do these instead: denoise:15,colorize for example. [default: as it looks]"
        ),
    ] = None,
    model: PlannerOption = "plan",
    device: DeviceOption = "auto",
    threads: ThreadsOption = None,
    overwrite: OverwriteOption = False,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Look at photos, do what each needs in the order that works, and leave a clean one alone.

    Example: restore auto photo.jpg -o out.jpg

    Example: restore auto photo.jpg -o out.jpg --plan "denoise:15,colorize"
    """
    from restore import batch
    from restore.steps import open_tools, parse

    jobs = batch.plan(inputs, output, suffix="-restored", overwrite=overwrite)
    refuse_terminals(jobs)
    told = None if steps is None else parse(steps)
    tools = open_tools(device=device, threads=threads)
    _refuse_missing(told or (), tools)
    planner = _planner(model, device, threads) if told is None else None
    failed = 0
    for job in jobs:
        try:
            outcome, notes = _do(job, tools, told, planner)
        except (UnreadableImage, WriteFailed, NotEnoughMemory) as error:
            failed += 1
            if as_json:
                typer.echo(json.dumps({"file": job.source_name, "status": "failed", "error": str(error)}))
            else:
                talk(f"Error: {error}")
            continue
        if as_json:
            # Where the picture itself goes to standard output, nothing else may.
            typer.echo(json.dumps(_as_row(job, outcome, notes)), err=job.output is None)
        elif not quiet:
            _tell(job, outcome, notes)
    if failed:
        raise typer.Exit(1)


def _planner(model: str, device: str, threads: int | None) -> Planner:
    """Raises BadOption where none is installed, with the way out."""
    from restore import store
    from restore.engine import open_model
    from restore.planner import Planner

    if model == "plan" and not any(entry.task == "plan" for entry in store.entries()):
        raise BadOption('no planner is installed here. Say the steps yourself: --plan "unwatermark,denoise"')
    return open_model(model, kind=Planner, device=device, threads=threads)


def _refuse_missing(told: tuple[Step, ...], tools: dict[str, Tool]) -> None:
    """Raise BadOption for a step of the user's plan that has no model here."""
    for step in told:
        if step.name not in tools:
            raise BadOption(f"--plan: no model for {step.name} is installed. List the models with: restore models list")


def _do(
    job: Job, tools: dict[str, Tool], told: tuple[Step, ...] | None, planner: Planner | None
) -> tuple[Outcome, tuple[str, ...]]:
    from restore import batch
    from restore.engine import Restored
    from restore.steps import carry_out

    source, image = batch.read_source(job.source, example=_EXAMPLE)
    outcome = carry_out(image, tools, steps=told, planner=planner)
    return outcome, batch.save(job, source, image, Restored(outcome.image, {}))


def _as_row(job: Job, outcome: Outcome, notes: tuple[str, ...]) -> dict[str, Any]:
    return {
        "file": job.source_name,
        "status": "done" if outcome.taken else "unchanged",
        "output": "-" if job.output is None else str(job.output),
        "planned": [step.as_json() for step in outcome.planned],
        "steps": [step.as_json() for step in outcome.taken],
        "left_out": list(outcome.left_out),
        "notes": list(notes),
    }


def _tell(job: Job, outcome: Outcome, notes: tuple[str, ...]) -> None:
    from restore.steps import describe

    target = "" if job.output is None else f" -> {job.output}"
    talk(f"{job.source_name}: {describe(outcome.planned)}{target}")
    for step in outcome.planned:
        if step.name in outcome.left_out:
            talk(f"  {step.name} was left out: no model for it is installed")
        elif step.name not in {taken.name for taken in outcome.taken}:
            talk(f"  {step.name} was not needed after all")
    planned = {step.name for step in outcome.planned}
    if added := [step for step in outcome.taken if step.name not in planned]:
        talk(f"  seen at a later look, and done too: {describe(added)}")
    for note in notes:
        talk(f"  {note}")
