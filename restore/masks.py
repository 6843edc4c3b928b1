"""Masks as files: white is mark, black is not; as large as the upright picture."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from restore.errors import BadOption
from restore.image import Image, format_for, read, write
from restore.jobs import Job

#: Files of these formats keep each pixel of a mask.
_LOSSLESS = frozenset({"PNG", "TIFF", "BMP"})


def read_mask(path: Path) -> np.ndarray:
    """Where the mask in a file is white and not transparent: (H, W) bool. Raises UnreadableImage."""
    image = read(path)
    levels = image.pixels if image.is_grey else image.pixels.mean(axis=2)
    half = np.iinfo(image.pixels.dtype).max / 2
    marked: np.ndarray = levels > half
    return marked if image.alpha is None else marked & (image.alpha > half)


def write_mask(mask: np.ndarray, path: Path) -> None:
    """Write a mask, (H, W) uint8, whole or not at all. Raises WriteFailed."""
    write(Image(mask), path)


def plan_masks(jobs: Sequence[Job], where: str | None) -> dict[Job, Path]:
    """Where each job's mask goes: the file `where`, or NAME-mask.png below that folder, which several need.

    A folder that was named counts as several, and its sub-folders are kept, as `jobs.plan` does. NAME is the output's,
    with its suffix where that alone tells two apart.
    Jobs that are done get none. Raises BadOption for what would overwrite something, collide, or lose pixels; but what
    a stopped run left in the place of a job that resumes it is replaced.
    """
    if where is None:
        return {}
    path = Path(where)
    is_folder = os.path.isdir(path) or where.endswith(("/", os.sep))
    several = len(jobs) > 1 or any(job.below for job in jobs)
    if several and path.suffix and not is_folder:
        raise BadOption(f"--mask {where}: several masks need a folder. If this is to be one, write {where}/")
    if several or is_folder or not (path.suffix or os.path.exists(path)):
        masks = {job: path / name for job, name in _name(jobs).items()}
    else:
        _check_format(path)
        masks = dict.fromkeys(jobs, path)
    masks = {job: mask for job, mask in masks.items() if not job.is_done}
    _refuse_unsafe(masks)
    return masks


def _name(jobs: Sequence[Job]) -> dict[Job, Path]:
    """Each job's mask below a folder. Those that are done count too: the others are called the same in each run."""
    pictures = {job: Path(job.output or job.source or "picture") for job in jobs}
    folders = {job: job.below.parent if job.below else Path() for job in jobs}
    plain = {job: folders[job] / f"{picture.stem}-mask.png" for job, picture in pictures.items()}
    times = Counter(str(path).casefold() for path in plain.values())
    return {
        job: path if times[str(path).casefold()] == 1 else folders[job] / f"{pictures[job].name}-mask.png"
        for job, path in plain.items()
    }


def _check_format(path: Path) -> None:
    try:
        kind = format_for(path)
    except BadOption as error:
        raise BadOption(f"--mask {error}") from None
    if kind not in _LOSSLESS:
        raise BadOption(f"--mask {path}: such a file would blur the mask. Use .png, .tif or .bmp.")


def _refuse_unsafe(masks: Mapping[Job, Path]) -> None:
    taken: dict[str, str] = {}
    pictures = {os.path.realpath(p) for job in masks for p in (job.source, job.output) if p is not None}
    for job, path in masks.items():
        first = taken.setdefault(str(path).casefold(), job.source_name)
        if first != job.source_name:
            raise BadOption(f"--mask: those of {first} and {job.source_name} would both become {path}.")
        if os.path.realpath(path) in pictures:
            raise BadOption(f"--mask {path}: the same file as an input or an output. Choose another name.")
        if os.path.isdir(path):
            raise BadOption(f"{path}: a folder of this name is in the way. Choose another name for --mask.")
        if os.path.lexists(path) and not (job.overwrite or job.resumes):
            raise BadOption(f"{path} is there already. Replace it with --overwrite, or choose another name for --mask.")
