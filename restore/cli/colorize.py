"""restore colorize."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from restore.cli.options import (
    MODEL_HELP,
    DeviceOption,
    InputsArgument,
    JsonOption,
    OverwriteOption,
    QuietOption,
    SkipExistingOption,
    ThreadsOption,
    named_by,
    refuse_terminals,
)
from restore.errors import BadOption

if TYPE_CHECKING:
    import numpy as np

    from restore.batch import Work
    from restore.colorizer import Colorizer
    from restore.jobs import Job

#: More versions than a person compares.
_MOST_CANDIDATES = 12
_WORDS = {
    "done": "colours computed",
    "unchanged": "in colour already (--force takes its colours away and computes new ones)",
}


def colorize(
    *,
    inputs: InputsArgument,
    output: Annotated[
        str | None,
        typer.Option(
            "--output",
            "-o",
            metavar="FILE_OR_FOLDER",
            help="Where to write; - for stdout. [default: NAME-colorized.SUFFIX beside each input]",
        ),
    ] = None,
    hint: Annotated[
        list[str] | None,
        typer.Option(
            metavar="X,Y=#RRGGBB",
            help="The colour of the thing at a pixel, counted from the left and the top; as often as needed.",
        ),
    ] = None,
    hints: Annotated[
        Path | None,
        typer.Option(metavar="PNG", help="A transparent picture of the same size with coloured dots or strokes."),
    ] = None,
    like: Annotated[
        Path | None, typer.Option(metavar="PHOTO", help="Take the palette of this photo, which is in colour.")
    ] = None,
    strength: Annotated[
        float, typer.Option(metavar="0..1.5", min=0, max=1.5, help="How strong the guessed colours are.")
    ] = 1.0,
    candidates: Annotated[
        int,
        typer.Option(
            metavar="N", min=1, max=_MOST_CANDIDATES, help="Write so many different versions, -1 to -N after the name."
        ),
    ] = 1,
    seed: Annotated[int, typer.Option(metavar="N", min=0, help="Another seed draws other candidates.")] = 0,
    force: Annotated[bool, typer.Option("--force", help="Colour a photo anew that is in colour already.")] = False,
    note: Annotated[
        bool, typer.Option("--note/--no-note", help="Say in the XMP that the colours were computed.")
    ] = True,
    model: Annotated[str, typer.Option(metavar="NAME_OR_PATH", help=MODEL_HELP)] = "colorize",
    device: DeviceOption = "auto",
    threads: ThreadsOption = None,
    overwrite: OverwriteOption = False,
    skip_existing: SkipExistingOption = False,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Give colour to black-and-white photos; those in colour are left alone.

    The colours are a guess, not a record: hints put right what you know.

    Example: restore colorize grandmother.jpg -o out.jpg --hint 410,220=#7b2d26

    Example: restore colorize album/ -o coloured/ --strength 1.2
    """
    from restore import batch
    from restore.colorizer import open_colorizer
    from restore.jobs import plan
    from restore.screen import Screen

    jobs = plan(
        inputs, output, suffix="-colorized", overwrite=overwrite, skip_existing=skip_existing, copies=candidates
    )
    refuse_terminals(jobs)
    _refuse_shared_hints(jobs, hint or hints)
    if like and candidates > 1:
        raise BadOption("--like is one palette, and --candidates differ in theirs. Choose one of the two.")
    colorizer = open_colorizer(model, device=device, threads=threads)
    work = _Work(colorizer, hint or (), hints, like, strength=strength, force=force, note=note)
    params: dict[str, float] = {}
    # A pipe gives its bytes once, and each candidate is made of them.
    load = lru_cache(maxsize=1)(batch.contents)
    with Screen(jobs, colorizer.spec, params, as_json=as_json, quiet=quiet, words=_WORDS) as screen:
        in_colour = False
        for place, job in enumerate(jobs):
            number = place % candidates
            if number and in_colour:
                # A picture that is left alone has no versions.
                continue
            version = work.version(job, number, of=candidates, seed=seed)
            for result in batch.run_each([job], version, screen.progress, load=load):
                screen.show(result)
                in_colour = result.status == "unchanged"
    if screen.failed:
        raise typer.Exit(1)


def _refuse_shared_hints(jobs: Sequence[Job], hints: object) -> None:
    """Raise BadOption where hints are given for several pictures: they are places in one."""
    if hints and len({job.source for job in jobs}) > 1:
        raise BadOption("hints are places in one picture, and several were given. Colour them one after the other.")


class _Work:
    """What is done to each picture, with hints and reference read once."""

    def __init__(
        self,
        colorizer: Colorizer,
        texts: Sequence[str],
        dots: Path | None,
        like: Path | None,
        *,
        strength: float,
        force: bool,
        note: bool,
    ) -> None:
        from restore.chroma import Hint
        from restore.image import read

        self._colorizer = colorizer
        self._typed = [Hint.parse(text) for text in texts]
        with named_by("--hints"):
            self._dots = None if dots is None else read(dots)
        self._palette = None if like is None else self._palette_in(like)
        self._strength, self._force, self._note = strength, force, note
        #: The palettes of all versions of the picture that was searched last.
        self._found: list[np.ndarray | None] = []
        self._searched: Path | None = None

    def _palette_in(self, like: Path) -> np.ndarray:
        from restore.image import read

        with named_by("--like"):
            photo = read(like)
        try:
            return self._colorizer.palette_of(photo)
        except BadOption as error:
            raise BadOption(f"--like {like}: {error}") from None

    def version(self, job: Job, number: int, *, of: int, seed: int) -> Work:
        """The work for version `number` of `of` of a picture; the first is the plain one."""
        from restore.engine import Restored
        from restore.image import Image

        def work(image: Image, tick: Callable[[float], None]) -> Restored:
            hints = list(self._typed)
            if self._dots is not None:
                hints += self._colorizer.hints_in(self._dots, image)
            palette = self._palette
            if number:
                # Standard input is None, and so is what was searched when nothing was.
                if not self._found or self._searched != job.source:
                    self._found = self._colorizer.candidates(image, of, hints=hints, seed=seed)
                    self._searched = job.source
                palette = self._found[number]
            return self._colorizer(
                image,
                hints=hints,
                palette=palette,
                strength=self._strength,
                force=self._force,
                note=self._note,
                progress=tick,
            )

        return work
