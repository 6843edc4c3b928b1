"""Many pictures in one go: the jobs that `restore.jobs` planned are done one after the other."""

from __future__ import annotations

import errno
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np

from restore.engine import Restored, Restorer, TileSize
from restore.errors import NotEnoughMemory, UnreadableImage, WriteFailed, WrongMask
from restore.image import Image, copy, encode, format_for, losses, read, write
from restore.jobs import Job

#: What is read only becomes PNG.
_READ_ONLY = frozenset({"GIF", "PPM"})

Work = Callable[[Image, Callable[[float], None]], Restored]
#: Behind what is told of how a file was read, where nothing of it was to be mended.
_COPIED = "that is how it was looked at; the file was copied as it is, with what was not looked at"


class Saved(NamedTuple):
    """Whether the source was copied byte for byte, and what the user should be told."""

    copied: bool
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What became of a job; `found` is on the [0, 1] scale, `notes` are sentences for the user.

    An unchanged picture is `copied` byte for byte, or converted where its output has another format.
    """

    job: Job
    status: Literal["done", "unchanged", "failed", "skipped"]
    seconds: float
    found: Mapping[str, float] = field(default_factory=dict)
    copied: bool = False
    notes: tuple[str, ...] = ()
    error: str | None = None


def read_source(source: Path | None) -> Image:
    """The picture in a file, or for None that on standard input. Raises as `read`."""
    return read(_read_input()) if source is None else read(source)


def contents(source: Path | None) -> Path | bytes:
    """What a picture is to be read from as often as needed: its path, or the bytes of a pipe or standard input.

    Raises UnreadableImage where nothing came on standard input.
    """
    if source is None:
        return _read_input()
    # What is wrong with a path, `read` explains.
    with suppress(OSError, ValueError), source.open("rb") as file:
        if not file.seekable():
            # It gives its bytes once, and a copy of an unchanged picture is a second reading.
            return file.read()
    return source


@contextmanager
def explained(name: str) -> Iterator[None]:
    """Give errors the name of the picture at work; raises NotEnoughMemory and WrongMask."""
    try:
        yield
    except NotEnoughMemory as error:
        raise NotEnoughMemory(f"{name}: {error}") from error
    except WrongMask as error:
        raise WrongMask(f"{name}: {error}") from error
    except MemoryError as error:
        raise NotEnoughMemory(f"{name}: not enough memory for it. Close other programs.") from error


def run(
    jobs: Iterable[Job],
    restorer: Restorer,
    params: Mapping[str, float],
    on_progress: Callable[[Job, float], None] | None = None,
    *,
    tile: TileSize = "auto",
    strength: float = 1.0,
    chroma_strength: float = 1.0,
    mask: np.ndarray | None = None,
    masks: Mapping[Job, Path] | None = None,
    self_ensemble: int = 1,
) -> Iterator[Result]:
    """Do the jobs in order; a failed one does not stop the rest, and leaves nothing behind.

    `params` are on the network's scale; the other options are `Restorer`'s, but for `masks`: where the
    mask that a job's answer came with is written. `on_progress` gets the finished share of each job, from 0 to 1.
    A picture in which nothing was found to mend is copied byte for byte where its format stays.
    """
    options: dict[str, Any] = {"strength": strength, "chroma_strength": chroma_strength, **params}

    def work(image: Image, tick: Callable[[float], None]) -> Restored:
        return restorer(image, tile=tile, progress=tick, mask=mask, self_ensemble=self_ensemble, **options)

    return run_each(jobs, work, on_progress, masks=masks)


def run_each(
    jobs: Iterable[Job],
    work: Work,
    on_progress: Callable[[Job, float], None] | None = None,
    *,
    masks: Mapping[Job, Path] | None = None,
    load: Callable[[Path | None], Path | bytes] = contents,
) -> Iterator[Result]:
    """As `run`, with any `work`: from a picture, and who is told the finished share, to what was made of it.

    `load` is `contents`, or what keeps its answer for several jobs with one source.
    """
    for job in jobs:
        if job.is_done:
            yield Result(job=job, status="skipped", seconds=0.0)
            continue
        start = time.perf_counter()

        def tick(share: float, job: Job = job) -> None:
            if on_progress:
                on_progress(job, share)

        tick(0.0)
        try:
            with explained(job.source_name):
                source = load(job.source)
            image = read(source, name=job.source_name)
            with explained(job.source_name):
                restored = work(image, tick)
            mask = masks.get(job) if masks and restored.mask is not None else None
            copied, notes = _save_both(job, source, image, restored, mask)
        except (UnreadableImage, WriteFailed, NotEnoughMemory, WrongMask) as error:
            yield Result(job=job, status="failed", seconds=time.perf_counter() - start, error=str(error))
            continue
        status: Literal["done", "unchanged"] = "done" if restored.changed(image) else "unchanged"
        spent = time.perf_counter() - start
        yield Result(job=job, status=status, seconds=spent, found=restored.found, copied=copied, notes=notes)


def _save_both(job: Job, source: Path | bytes, image: Image, restored: Restored, mask: Path | None) -> Saved:
    """The answer and, where it has a place, its mask: both or neither. Raises WriteFailed.

    The mask appears first. Where a run is stopped between the two, a mask is there without its picture, as the next
    run with --skip-existing expects; a picture without its mask would count as done.
    """
    if mask is None:
        return save(job, source, image, restored)
    shape = restored.mask
    assert shape is not None
    _refuse_newcomer(mask, may_replace=job.overwrite or job.resumes)
    return save(
        job,
        source,
        image,
        restored,
        beside=lambda: write(Image(shape), mask, format=format_for(mask), mode_of=job.source),
    )


def _refuse_newcomer(path: Path, *, may_replace: bool) -> None:
    if not may_replace and os.path.lexists(path):
        raise WriteFailed(f"{path}: came into being while the picture was restored. It was not replaced.")


def save(
    job: Job,
    source: Path | bytes,
    image: Image,
    restored: Restored,
    *,
    beside: Callable[[], None] = lambda: None,
) -> Saved:
    """Put the answer where the job says, and what `beside` writes with it, as `write` does. Raises WriteFailed."""
    if job.output is None:
        kind = "PNG" if image.format in _READ_ONLY else image.format
    else:
        kind = format_for(job.output)
        _refuse_newcomer(job.output, may_replace=job.overwrite)
    if not restored.changed(image) and kind == image.format:
        if job.output is None:
            _write_output(source if isinstance(source, bytes) else source.read_bytes())
            beside()
        else:
            copy(source, job.output, beside=beside, mode_of=job.source)
        return Saved(copied=True, notes=(*image.notes, _COPIED) if image.notes else ())
    if job.output is None:
        _write_output(encode(restored.image, kind))
        beside()
    else:
        write(restored.image, job.output, beside=beside, mode_of=job.source)
    converted = () if restored.changed(image) else (f"converted from {image.format} to {kind}",)
    return Saved(copied=False, notes=restored.image.notes + losses(restored.image, kind) + converted)


def _read_input() -> bytes:
    data = sys.stdin.buffer.read()
    if not data:
        raise UnreadableImage("standard input: no picture came. Send a file there: < photo.jpg")
    return data


def _write_output(data: bytes) -> None:
    try:
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        full = error.errno in {errno.ENOSPC, errno.EDQUOT}
        reason = "the disk is full. Make room." if full else f"cannot be written: {error.strerror}."
        raise WriteFailed(f"standard output: {reason}") from error
