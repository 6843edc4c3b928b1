"""Masks as files: white is mark, black is not; as large as the upright picture."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from restore.batch import Job
from restore.errors import BadOption
from restore.image import Image, format_for, read, write

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
    """Where each job's mask goes: the file `where`, or for several jobs NAME-mask.png in that folder.

    Jobs that are done get none. Raises BadOption for what would overwrite something, collide, or lose pixels; but what
    a stopped run left in the place of a job that resumes it is replaced.
    """
    if where is None:
        return {}
    path = Path(where)
    if len(jobs) > 1 or os.path.isdir(path) or where.endswith(("/", os.sep)):
        if path.suffix and not os.path.isdir(path) and not where.endswith(("/", os.sep)):
            raise BadOption(f"--mask {where}: several masks need a folder. If this is to be one, write {where}/")
        masks = {job: path / f"{_stem(job)}-mask.png" for job in jobs if not job.is_done}
    else:
        if format_for(path) not in _LOSSLESS:
            raise BadOption(f"--mask {where}: such a file would blur the mask. Use .png, .tif or .bmp.")
        masks = {job: path for job in jobs if not job.is_done}
    _refuse_unsafe(masks)
    return masks


def _stem(job: Job) -> str:
    return Path(job.output or job.source or "picture").stem


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
