"""restore plan."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from restore.cli.options import DeviceOption, InputsArgument, PlannerOption, ThreadsOption, find_sources, talk
from restore.errors import NotEnoughMemory, UnreadableImage


def plan(
    *,
    inputs: InputsArgument,
    model: PlannerOption = "plan",
    device: DeviceOption = "auto",
    threads: ThreadsOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object a file.")] = False,
) -> None:
    """Say what a photo needs, and do nothing: the plan that `restore auto` would follow.

    Example: restore plan photo.jpg --json
    """
    from restore import batch
    from restore.engine import open_model
    from restore.planner import Planner
    from restore.screen import summary
    from restore.steps import describe, make_plan

    sources = find_sources(inputs)
    planner = open_model(model, kind=Planner, device=device, threads=threads)
    failed: list[str] = []
    for source in sources:
        shown = "-" if source is None else str(source)
        try:
            image = batch.read_source(source)
            with batch.explained(shown):
                steps = make_plan(image, planner)
        except (UnreadableImage, NotEnoughMemory) as error:
            failed.append(shown)
            if as_json:
                typer.echo(json.dumps({"source": shown, "error": str(error)}))
            else:
                talk(f"Error: {error}")
            continue
        if as_json:
            typer.echo(json.dumps({"source": shown, "steps": [step.as_json() for step in steps]}))
        else:
            typer.echo(f"{shown}: {describe(steps)}" if len(sources) > 1 else describe(steps))
    if failed and len(sources) > 1 and not as_json:
        talk(summary({"looked at": len(sources) - len(failed), "failed": len(failed)}, failed))
    if failed:
        raise typer.Exit(1)
