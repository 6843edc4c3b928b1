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
    SkipExistingOption,
    ThreadsOption,
    open_for,
    refuse_terminals,
    talk,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from restore.batch import Result
    from restore.engine import Restored
    from restore.image import Image
    from restore.reproduce import Reproduction


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
    skip_existing: SkipExistingOption = False,
    as_json: JsonOption = False,
) -> None:
    """Reproduce a photo from a small code by an autoencoder, and say what that cost.

    Example: restore reproduce photo.jpg -o out.png

    Said are the PSNR, the bytes of the code, JPEG's PSNR at as many bytes, and how unlike the photos that the network
    learnt from the picture is. To keep photos in, take JPEG.
    """
    from restore import batch
    from restore.engine import Restored
    from restore.jobs import plan
    from restore.reproduce import reproduce
    from restore.screen import batch_summary

    jobs = plan(inputs, output, suffix="-reproduced", overwrite=overwrite, skip_existing=skip_existing)
    refuse_terminals(jobs)
    opened = open_for("reproduce", model, device, threads)
    done: list[Reproduction] = []

    def work(image: Image, tick: Callable[[float], None]) -> Restored:
        # The last one alone: the pictures of a folder would fill the memory.
        done[:] = [reproduce(opened, image, progress=tick)]
        return Restored(done[-1].image, {})

    results: list[Result] = []
    for result in batch.run_each(jobs, work):
        if result.status == "failed" and not as_json:
            talk(f"Error: {result.error}")
        elif result.status == "done" or as_json:
            facts = _facts(result, done[-1] if result.status == "done" else None)
            # Where the picture itself goes to standard output, nothing else may.
            typer.echo(json.dumps(facts) if as_json else _told(facts), err=result.job.output is None)
        results.append(result)
    if not as_json and (said := batch_summary(jobs, results)):
        talk(said)
    if any(result.status == "failed" for result in results):
        raise typer.Exit(1)


def _facts(result: Result, done: Reproduction | None) -> dict[str, Any]:
    facts: dict[str, Any] = {
        "source": result.job.source_name,
        "output": result.job.output_name,
        "status": result.status,
        "error": result.error,
        "notes": list(result.notes),
    }
    if done is None:
        return facts | dict.fromkeys(("psnr", "code_bytes", "bits_per_pixel", "jpeg_psnr", "unlike"))
    return facts | {
        "psnr": round(done.psnr, 2),
        "code_bytes": done.code_bytes,
        "bits_per_pixel": round(8 * done.code_bytes / (done.image.width * done.image.height), 3),
        "jpeg_psnr": None if done.jpeg_psnr is None else round(done.jpeg_psnr, 2),
        "unlike": None if done.unlike is None else round(done.unlike, 3),
    }


def _told(facts: dict[str, Any]) -> str:
    jpeg = "no JPEG is as small" if facts["jpeg_psnr"] is None else f"{facts['jpeg_psnr']:.2f} dB"
    lines = [
        f"{facts['source']} -> {facts['output']}",
        f"  reproduced at       {facts['psnr']:.2f} dB",
        f"  its code            {facts['code_bytes']:,} bytes, {facts['bits_per_pixel']:.3f} bits a pixel",
        f"  JPEG at these bytes {jpeg}",
    ]
    if facts["unlike"] is not None:
        lines.append(f"  more unlike the photos it learnt from than {facts['unlike']:.0%} of such photos")
    return "\n".join([*lines, *(f"  {note}" for note in facts["notes"])])
