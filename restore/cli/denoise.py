"""restore denoise."""

from __future__ import annotations

from typing import Annotated

import typer

from restore.cli.options import (
    MODEL_HELP,
    DeviceOption,
    InputsArgument,
    JsonOption,
    OverwriteOption,
    Quality,
    QualityOption,
    QuietOption,
    SelfEnsembleOption,
    SkipExistingOption,
    ThreadsOption,
    TileOption,
    denoiser_of,
    number,
    open_for,
    refuse_terminals,
)
from restore.errors import BadOption


def denoise(
    *,
    inputs: InputsArgument,
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
            "For less of an effect see --strength. `models show` tells the range.",
        ),
    ] = "auto",
    quality: QualityOption = Quality.fast,
    strength: Annotated[
        float, typer.Option(metavar="0..1", min=0, max=1, help="How much of the luma noise (grain) goes.")
    ] = 1.0,
    chroma_strength: Annotated[
        float, typer.Option(metavar="0..1", min=0, max=1, help="How much of the colour noise (blotches) goes.")
    ] = 1.0,
    model: Annotated[
        str | None, typer.Option(metavar="NAME_OR_PATH", help=f"{MODEL_HELP} [default: by --quality]")
    ] = None,
    self_ensemble: SelfEnsembleOption = 1,
    tile: TileOption = None,
    device: DeviceOption = "auto",
    threads: ThreadsOption = None,
    overwrite: OverwriteOption = False,
    skip_existing: SkipExistingOption = False,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Take the noise out of photos; clean ones are left alone.

    Example: restore denoise night.jpg -o clean.jpg

    Example: restore denoise photos/ -o clean/ --strength 0.8
    """
    from restore import batch
    from restore.ensemble import check_count
    from restore.jobs import plan
    from restore.screen import Screen

    jobs = plan(inputs, output, suffix="-denoised", overwrite=overwrite, skip_existing=skip_existing)
    refuse_terminals(jobs)
    check_count(self_ensemble)
    if model and quality is not Quality.fast:
        raise BadOption("--quality chooses between the models that are installed, and --model names one. Choose one.")
    restorer = open_for("denoise", model or denoiser_of(quality), device, threads)
    restorer.check_tile("auto" if tile is None else tile)
    params = {} if sigma == "auto" else {"sigma": number("sigma", sigma, restorer)}
    with Screen(jobs, restorer.spec, params, as_json=as_json, quiet=quiet) as screen:
        results = batch.run(
            jobs,
            restorer,
            params,
            screen.progress,
            tile="auto" if tile is None else tile,
            strength=strength,
            chroma_strength=chroma_strength,
            self_ensemble=self_ensemble,
        )
        for result in results:
            screen.show(result)
    if screen.failed:
        raise typer.Exit(1)
