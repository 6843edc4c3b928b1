"""restore unwatermark."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from restore.cli.options import (
    DeviceOption,
    InputsArgument,
    JsonOption,
    ModelOption,
    OverwriteOption,
    QuietOption,
    SelfEnsembleOption,
    SkipExistingOption,
    ThreadsOption,
    named_by,
    number,
    open_for,
    refuse_terminals,
)
from restore.errors import BadOption


def unwatermark(
    *,
    inputs: InputsArgument,
    output: Annotated[
        str | None,
        typer.Option(
            "--output",
            "-o",
            metavar="FILE_OR_FOLDER",
            help="Where to write; - for stdout. [default: NAME-unmarked.SUFFIX beside each input]",
        ),
    ] = None,
    mask: Annotated[
        str | None,
        typer.Option(
            metavar="FILE_OR_FOLDER",
            help="Also write where the mark was, white on black: a .png, or for several inputs a folder.",
        ),
    ] = None,
    mask_in: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Work where this picture is white, and nowhere else; it has the upright photo's size. "
            "Several photos may share it, as those with one camera's date do.",
        ),
    ] = None,
    certainty: Annotated[
        float | None,
        typer.Option(
            metavar="0..1",
            help="How sure the network must be that there is a mark. 0 where you know of one: it finds more then, "
            "and more that is none. [default: the model's, so that photos without a mark stay as they are]",
        ),
    ] = None,
    self_ensemble: SelfEnsembleOption = 1,
    model: ModelOption = "unwatermark",
    device: DeviceOption = "auto",
    threads: ThreadsOption = None,
    overwrite: OverwriteOption = False,
    skip_existing: SkipExistingOption = False,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Take visible marks (text, logos, signatures, dates) off photos; every other pixel stays as it was.

    For marks on pictures that you own or may edit: removing others' ownership marks can be against the law.

    Example: restore unwatermark photo.jpg -o out.jpg --mask mask.png

    Example: restore unwatermark photo.jpg -o out.jpg --mask-in brushed.png
    """
    from restore import batch
    from restore.ensemble import check_count
    from restore.jobs import plan
    from restore.masks import plan_masks, read_mask
    from restore.screen import Screen

    jobs = plan(inputs, output, suffix="-unmarked", overwrite=overwrite, skip_existing=skip_existing)
    masks = plan_masks(jobs, mask)
    refuse_terminals(jobs)
    check_count(self_ensemble)
    if mask_in is not None and certainty is not None:
        raise BadOption("--certainty is for finding a mark, and --mask-in says where it is. Choose one of the two.")
    with named_by("--mask-in"):
        told = None if mask_in is None else read_mask(mask_in)
    restorer = open_for("unwatermark", model, device, threads)
    params = {} if certainty is None else {"certainty": number("certainty", str(certainty), restorer)}
    with Screen(jobs, restorer.spec, params, as_json=as_json, quiet=quiet) as screen:
        for result in batch.run(
            jobs, restorer, params, screen.progress, mask=told, masks=masks, self_ensemble=self_ensemble
        ):
            screen.show(result)
    if screen.failed:
        raise typer.Exit(1)
