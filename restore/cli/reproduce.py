"""restore reproduce."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

from restore.cli.options import (
    MODEL_HELP,
    DeviceOption,
    InputsArgument,
    JsonOption,
    OverwriteOption,
    ThreadsOption,
    open_for,
    refuse_terminals,
    talk,
)
from restore.errors import NotEnoughMemory, UnreadableImage, WriteFailed

if TYPE_CHECKING:
    from restore.batch import Job
    from restore.engine import Restorer
    from restore.reproduce import Reproduction

_EXAMPLE = "restore reproduce - < photo.jpg > out.jpg"


def reproduce(
    *,
    inputs: InputsArgument,
    output: Annotated[
        str | None,
        typer.Option(
            "--output",
            "-o",
            metavar="FILE_OR_FOLDER",
            help="Where to write; - for stdout. [default: NAME-reproduced.SUFFIX beside each input]",
        ),
    ] = None,
    model: Annotated[str, typer.Option(metavar="NAME_OR_PATH", help=MODEL_HELP)] = "reproduce",
    device: DeviceOption = "auto",
    threads: ThreadsOption = None,
    overwrite: OverwriteOption = False,
    as_json: JsonOption = False,
) -> None:
    """Reproduce a photo from a small code by an autoencoder, and say what that cost.

    Example: restore reproduce photo.jpg -o out.png

    Said are the PSNR, the bytes of the code, JPEG's PSNR at as many bytes, and how unlike the photos that the network
    learnt from the picture is. To keep photos in, take JPEG.
    """
    from restore import batch

    jobs = batch.plan(inputs, output, suffix="-reproduced", overwrite=overwrite)
    refuse_terminals(jobs)
    opened = open_for("reproduce", model, device, threads)
    failed = 0
    for job in jobs:
        try:
            facts = _do(job, opened)
        except (UnreadableImage, WriteFailed, NotEnoughMemory) as error:
            failed += 1
            facts = {"file": job.source_name, "status": "failed", "error": str(error)}
            if not as_json:
                talk(f"Error: {error}")
                continue
        # Where the picture itself goes to standard output, nothing else may.
        typer.echo(json.dumps(facts) if as_json else _told(facts), err=job.output is None)
    if failed:
        raise typer.Exit(1)


def _do(job: Job, model: Restorer) -> dict[str, Any]:
    from restore import batch
    from restore.engine import Restored
    from restore.reproduce import reproduce

    source, image = batch.read_source(job.source, example=_EXAMPLE)
    done: Reproduction = reproduce(model, image)
    notes = batch.save(job, source, image, Restored(done.image, {}))
    return {
        "file": job.source_name,
        "status": "done",
        "output": "-" if job.output is None else str(job.output),
        "psnr": round(done.psnr, 2),
        "code_bytes": done.code_bytes,
        "bits_per_pixel": round(8 * done.code_bytes / (image.width * image.height), 3),
        "jpeg_psnr": None if done.jpeg_psnr is None else round(done.jpeg_psnr, 2),
        "unlike": None if done.unlike is None else round(done.unlike, 3),
        "notes": list(notes),
    }


def _told(facts: dict[str, Any]) -> str:
    jpeg = "no JPEG is as small" if facts["jpeg_psnr"] is None else f"{facts['jpeg_psnr']:.2f} dB"
    lines = [
        f"{facts['file']} -> {facts['output']}",
        f"  reproduced at       {facts['psnr']:.2f} dB",
        f"  its code            {facts['code_bytes']:,} bytes, {facts['bits_per_pixel']:.3f} bits a pixel",
        f"  JPEG at these bytes {jpeg}",
    ]
    if facts["unlike"] is not None:
        lines.append(f"  more unlike the photos it learnt from than {facts['unlike']:.0%} of such photos")
    return "\n".join([*lines, *(f"  {note}" for note in facts["notes"])])
