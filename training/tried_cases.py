"""Damaged photos on which everything was tried once: kept on disk, since trying costs more than learning from it.

A file holds some dozens of cases of one split. It says which restorers were tried, and on what; it is made again once
others are installed, or the cases are others.
"""

from __future__ import annotations

import hashlib
import json
import multiprocessing
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from restore import store
from restore.steps import Tool
from training import TrainingError
from training.data import PhotoSet
from training.planner_photos import VERSION, CaseMaker
from training.trying import MARGIN, ORDERS, STEPS, Order, Trial, tools_to_try, try_out, wanted
from training.weights import digest_of

#: Cases in one file: lost, at the most, where the making is stopped.
_PER_FILE = 50


class TriedCase(NamedTuple):
    """A damaged photo and what trying said; see `Case` and `Trial`."""

    damages: Order
    sigma: float
    trial: Trial

    @property
    def grey(self) -> bool:
        """Whether it lost its colour."""
        return "colorize" in self.damages

    @property
    def steps(self) -> Order:
        """What it needs."""
        return self.after(())

    def after(self, taken: Order, margin: float = MARGIN) -> Order:
        """What it still needs after some steps; see `wanted`."""
        return wanted(self.trial.scores, taken, grey=self.grey, margin=margin)


def restorers() -> dict[str, str]:
    """A digest of what each model that is tried computes, by its name: not the colorizer's, which follows a rule.

    What the file says for people to read does not count: a model that is published after trying is the same.
    """
    tried = (e for e in store.entries() if e.task in STEPS[:-1] and e.tier == store.DEFAULT_TIER)
    return {entry.name: digest_of(entry.path) for entry in tried}


def sources(photos: PhotoSet, bank: Path) -> dict[str, str]:
    """What cases are made of: digests of the photos' names and sizes and of the marks, and the maker's version."""
    listed = json.dumps([photos.names, photos.sizes.tolist()])
    names = hashlib.sha256(listed.encode()).hexdigest()
    return {"photos": names, "marks": store.sha256(bank), "maker": str(VERSION)}


def fill(
    maker: CaseMaker,
    open_tools: Callable[[], Mapping[str, Tool]],
    folder: Path,
    *,
    number: int,
    seed: int,
    made_from: Mapping[str, str],
    workers: int = 1,
) -> Iterator[Path]:
    """Make and try so many cases, in `workers` processes side by side; yields each file as it is there.

    Each process opens the restorers for itself. `made_from` is what `sources` says of the maker. Files that are there
    already, made with the same seed and restorers from the same, are kept; others go, and so do those beyond `number`:
    `load` reads all that is there. Raises TrainingError where a restorer is missing, and for several workers on a
    system without fork.
    """
    if workers > 1 and "fork" not in multiprocessing.get_all_start_methods():
        raise TrainingError("--workers: this system cannot fork, and only so can processes share the photos. Use 1.")
    folder.mkdir(parents=True, exist_ok=True)
    installed = restorers()
    files: list[_File] = []
    for start in range(0, number, _PER_FILE):
        indices = range(start, min(number, start + _PER_FILE))
        made_of = {"restorers": installed, "seed": seed, "from": dict(made_from), "cases": len(indices)}
        files.append(_File(folder / f"{start:06d}.npz", indices, made_of))
    asked = {file.path: file for file in files}
    for path in folder.glob("*.npz"):
        if path not in asked or _about(path)["made_of"] != asked[path].made_of:
            path.unlink()
    if workers == 1:
        yield from map(_Trier(maker, open_tools), files)
        return
    context = multiprocessing.get_context("fork")
    with ProcessPoolExecutor(workers, context, _start_worker, (maker, open_tools)) as pool:
        yield from pool.map(_in_worker, files)


class _File(NamedTuple):
    path: Path
    indices: range
    made_of: Mapping[str, Any]


class _Trier:
    """Fills one file after another. The restorers are opened when the first file needs them."""

    def __init__(self, maker: CaseMaker, open_tools: Callable[[], Mapping[str, Tool]]) -> None:
        self._maker = maker
        self._open_tools = open_tools
        self._tools: Mapping[str, Tool] | None = None

    def __call__(self, file: _File) -> Path:
        if not file.path.is_file():
            seed = file.made_of["seed"]
            _write(file.path, file.made_of, [self._tried(np.random.default_rng([seed, i])) for i in file.indices])
        return file.path

    def _tried(self, rng: np.random.Generator) -> TriedCase:
        if self._tools is None:
            self._tools = tools_to_try(self._open_tools())
        case = self._maker(rng)
        return TriedCase(case.damages, case.sigma, try_out(case.picture, case.truth, self._tools))


#: What a worker process fills files with: one, from its start on. Photos are too many to be sent with every file.
_of_worker: list[_Trier] = []


def _start_worker(maker: CaseMaker, open_tools: Callable[[], Mapping[str, Tool]]) -> None:
    _of_worker.append(_Trier(maker, open_tools))


def _in_worker(file: _File) -> Path:
    return _of_worker[0](file)


def _write(path: Path, made_of: Mapping[str, Any], cases: list[TriedCase]) -> None:
    rows, parts, at = [], [], 0
    for case in cases:
        places: dict[int, list[int]] = {}
        for picture in case.trial.pictures.values():
            if id(picture) not in places:
                places[id(picture)] = [at, *picture.shape[:2]]
                parts.append(picture.reshape(-1))
                at += picture.size
        orders = {",".join(o): [s, *places[id(case.trial.pictures[o])]] for o, s in case.trial.scores.items()}
        rows.append({"damages": case.damages, "sigma": case.sigma, "orders": orders})
    partial = path.with_suffix(".partial")
    with partial.open("wb") as file:
        np.savez(file, about=np.array(json.dumps({"made_of": made_of, "cases": rows})), pixels=np.concatenate(parts))
    partial.replace(path)


def _about(path: Path) -> dict[str, Any]:
    with np.load(path) as held:
        about: dict[str, Any] = json.loads(str(held["about"]))
    return about


def load(folder: Path) -> list[TriedCase]:
    """All cases of a folder that `fill` filled, in their order.

    Raises TrainingError where there is none, and where others than the installed restorers were tried.
    """
    paths = sorted(folder.glob("*.npz"))
    if not paths:
        raise TrainingError(f"{folder}: no tried photos here. Make some: python -m training try --data PACKS")
    installed = restorers()
    for path in paths:
        if _about(path)["made_of"]["restorers"] != installed:
            raise TrainingError(f"{path}: other restorers than the installed ones were tried. Run `try` again.")
    return [case for path in paths for case in _read(path)]


def _read(path: Path) -> Iterator[TriedCase]:
    with np.load(path) as held:
        about, pixels = json.loads(str(held["about"])), held["pixels"]
    for row in about["cases"]:
        scores: dict[Order, float] = {}
        pictures: dict[Order, np.ndarray] = {}
        shared: dict[int, np.ndarray] = {}
        for order in ORDERS:
            if ",".join(order) not in row["orders"]:
                continue
            score, at, height, width = row["orders"][",".join(order)]
            scores[order] = score
            picture = pixels[at : at + height * width * 3].reshape(height, width, 3)
            pictures[order] = shared.setdefault(at, picture)
        yield TriedCase(tuple(row["damages"]), row["sigma"], Trial(scores, pictures))
