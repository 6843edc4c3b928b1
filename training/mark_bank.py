"""A stock of drawn marks: drawing one takes as long as a training step, so it is done once, before."""

from __future__ import annotations

import contextlib
import functools
import io
import itertools
import multiprocessing
import os
import tarfile
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from training import TrainingError
from training.ink import Array
from training.mark_assets import Assets
from training.marks import PATTERNS, draw_logo, draw_mark, pick_kind

#: Marks of one colour logo as it is in its file: what the published sets are made of.
PLAIN = "plain"
#: Sides in pixels: a pattern fills a photo, other marks are mostly smaller, and logo files are no larger.
_PATTERN_SIDE, _MARK_SIDE, _LOGO_SIDE = 512, 384, 256
#: Marks that a process draws between two handings over.
_CHUNK = 16


@dataclass(frozen=True, slots=True)
class MarkBank:
    """Marks by their kind, each straight RGBA: (4, h, w) uint8, on the CPU."""

    marks: dict[str, tuple[Tensor, ...]]

    def __call__(self, kind: str, rng: np.random.Generator) -> Tensor:
        """One of the marks of a kind; of any kind where there is none of it."""
        some = self.marks.get(kind) or tuple(mark for marks in self.marks.values() for mark in marks)
        return some[int(rng.integers(len(some)))]


def bank_path(folder: Path, split: str) -> Path:
    """Where the bank of a split lies: each split has its own file."""
    return folder / f"marks-{split}.tar"


def fill_bank(assets: Assets, path: Path, *, marks: int, logos: int, seed: int, workers: int = 1) -> Path:
    """Draw `marks` marks of all kinds and `logos` plain colour logos into a tar file of lossless WebP.

    `workers` processes draw side by side; what they draw is the same for any number. The file appears only when it is
    complete.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    coloured = [logo.path for logo in assets.logos if not logo.mono]
    chosen = [coloured[index] for index in np.random.default_rng(seed).permutation(len(coloured))[:logos]]
    with (
        tarfile.open(partial, "w", format=tarfile.USTAR_FORMAT) as tar,
        # Fresh processes: one that torch runs threads in must not be forked.
        multiprocessing.get_context("spawn").Pool(workers) if workers > 1 else contextlib.nullcontext() as pool,
    ):
        each = functools.partial(pool.imap, chunksize=_CHUNK) if pool else map
        drawn = each(functools.partial(_drawn, assets, seed), range(marks))
        for index, (kind, picture) in enumerate(itertools.chain(drawn, each(_plain, chosen))):
            info = tarfile.TarInfo(f"{kind}/{index:05d}.webp")
            info.size = len(picture)
            tar.addfile(info, io.BytesIO(picture))
    return partial.replace(path)


def _drawn(assets: Assets, seed: int, index: int) -> tuple[str, bytes]:
    # Each mark has its own chance, so that a larger bank begins with the same marks.
    rng = np.random.default_rng([seed, index])
    kind = pick_kind(rng)
    return kind, _encoded(draw_mark(assets, kind, _PATTERN_SIDE if kind in PATTERNS else _MARK_SIDE, rng))


def _plain(logo: Path) -> tuple[str, bytes]:
    return PLAIN, _encoded(draw_logo(logo, _LOGO_SIDE))


def _encoded(mark: Array) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(mark, "RGBA").save(buffer, "WEBP", lossless=True, quality=50, method=2)
    return buffer.getvalue()


@functools.lru_cache(maxsize=4)
def open_bank(path: Path) -> MarkBank:
    """The bank that `fill_bank` wrote, decoded once. Raises TrainingError where there is none."""
    if not path.is_file():
        raise TrainingError(f"{path}: no drawn marks here. Draw some: python -m training marks ../shared/data")
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return _bank(pool.map(_decoded, _read(path)))


def _read(path: Path) -> Iterator[tuple[str, bytes]]:
    with tarfile.open(path) as tar:
        for info in tar:
            file = tar.extractfile(info)
            if file is not None:
                yield info.name.split("/")[0], file.read()


def _decoded(member: tuple[str, bytes]) -> tuple[str, Array]:
    kind, picture = member
    with Image.open(io.BytesIO(picture)) as image:
        return kind, np.asarray(image.convert("RGBA"))


def _bank(marks: Iterable[tuple[str, Array]]) -> MarkBank:
    found: dict[str, list[Tensor]] = {}
    for kind, mark in marks:
        found.setdefault(kind, []).append(torch.from_numpy(mark.copy()).permute(2, 0, 1))
    return MarkBank({kind: tuple(some) for kind, some in found.items()})
