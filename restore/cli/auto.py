"""restore auto."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from restore.cli.options import (
    DeviceOption,
    InputsArgument,
    JsonOption,
    OverwriteOption,
    PlannerOption,
    Quality,
    QualityOption,
    QuietOption,
    SelfEnsembleOption,
    SkipExistingOption,
    ThreadsOption,
    denoiser_of,
    refuse_terminals,
)
from restore.errors import BadOption

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from restore.batch import Result
    from restore.engine import Restored
    from restore.image import Image
    from restore.jobs import Jobs
    from restore.planner import Planner
    from restore.screen import Screen
    from restore.steps import Outcome, Step, Tool


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
    quality: QualityOption = Quality.fast,
    self_ensemble: SelfEnsembleOption = 1,
    model: PlannerOption = "plan",
    device: DeviceOption = "auto",
    threads: ThreadsOption = None,
    overwrite: OverwriteOption = False,
    skip_existing: SkipExistingOption = False,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Look at photos, do what each needs in the order that works, and leave a clean one alone.

    Example: restore auto photo.jpg -o out.jpg

    Example: restore auto photo.jpg -o out.jpg --plan "denoise:15,colorize"
    """
    from restore import batch
    from restore.engine import Restored
    from restore.jobs import plan
    from restore.steps import carry_out, open_tools, parse

    jobs = plan(inputs, output, suffix="-restored", overwrite=overwrite, skip_existing=skip_existing)
    refuse_terminals(jobs)
    told = None if steps is None else parse(steps)
    if told == ():
        raise BadOption("--plan is empty. Name a step, denoise for example, or leave it out.")
    denoiser = {"denoise": denoiser_of(quality)}
    tools = open_tools(
        device=device,
        threads=threads,
        self_ensemble=self_ensemble,
        models=denoiser,
        marks_are_known=told is not None,
    )
    _refuse_impossible(told or (), tools, denoiser)
    planner = _planner(model, device, threads) if told is None else None
    outcomes: list[Outcome] = []

    def work(image: Image, tick: Callable[[float], None]) -> Restored:
        # The last one alone: the pictures of a folder would fill the memory.
        outcomes[:] = [carry_out(image, tools, steps=told, planner=planner, progress=tick)]
        return Restored(outcomes[-1].image, {})

    with _screen(jobs, outcomes, as_json=as_json, quiet=quiet) as screen:
        for result in batch.run_each(jobs, work, screen.progress):
            screen.show(result)
    if screen.failed:
        raise typer.Exit(1)


def _screen(jobs: Jobs, outcomes: Sequence[Outcome], *, as_json: bool, quiet: bool) -> Screen:
    """One that tells the last of the outcomes with each result."""
    from restore.screen import Screen

    class StepsScreen(Screen):
        def as_row(self, result: Result) -> dict[str, Any]:
            return _as_row(result, outcomes[-1] if result.status in ("done", "unchanged") else None)

        def as_lines(self, result: Result) -> list[str]:
            return _as_lines(result, outcomes[-1])

    return StepsScreen(jobs, None, {}, as_json=as_json, quiet=quiet)


def _planner(model: str, device: str, threads: int | None) -> Planner:
    """Raises BadOption where none is installed, with the way out."""
    from restore import store
    from restore.engine import open_model
    from restore.planner import Planner

    if model == "plan" and not any(entry.task == "plan" for entry in store.entries()):
        raise BadOption('no planner is installed here. Say the steps yourself: --plan "unwatermark,denoise"')
    return open_model(model, kind=Planner, device=device, threads=threads)


def _refuse_impossible(told: tuple[Step, ...], tools: dict[str, Tool], models: Mapping[str, str]) -> None:
    """Raise BadOption for a step of the user's plan that has no model here, or a level that it cannot take.

    `models` as in `open_tools`.
    """
    from restore.engine import open_model

    for step in told:
        if step.name not in tools:
            raise BadOption(f"--plan: no model for {step.name} is installed. List the models with: restore models list")
        if step.sigma is not None:
            denoiser = open_model(models.get(step.name, step.name), device="cpu", threads=1).spec
            sigma = denoiser.param("sigma")
            try:
                sigma.from_user(step.sigma * sigma.scale, model=denoiser.name)
            except BadOption as error:
                raise BadOption(f"--plan: {error}") from None


def _as_row(result: Result, outcome: Outcome | None) -> dict[str, Any]:
    return {
        "source": result.job.source_name,
        "output": result.job.output_name,
        "status": result.status,
        "error": result.error,
        "planned": [step.as_json() for step in outcome.planned] if outcome else [],
        "steps": [step.as_json() for step in outcome.taken] if outcome else [],
        "left_out": list(outcome.left_out) if outcome else [],
        "notes": list(result.notes),
    }


def _as_lines(result: Result, outcome: Outcome) -> list[str]:
    from restore.steps import describe

    target = "" if result.job.output is None else f" -> {result.job.output}"
    # What was taken knows the level that the denoiser found; both are in the plan's order.
    taken = list(outcome.taken)
    shown, lines = [], []
    for step in outcome.planned:
        if taken and taken[0].name == step.name:
            shown.append(taken.pop(0))
            continue
        shown.append(step)
        if step.name in outcome.left_out:
            lines.append(f"  {step.name} was left out: no model for it is installed")
        else:
            lines.append(f"  {step.name} was not needed after all")
    return [f"{result.job.source_name}: {describe(shown)}{target}, {result.seconds:.1f} s", *lines]
