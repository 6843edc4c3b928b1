"""How good denoisers are: tables of PSNR and SSIM against baselines, on the same noise, in one run.

The noise is that of `training.white_noise`, the same for every row, where pictures count from 0 in the order of
their names. Answers are clipped to [0, 1] and not rounded to 8 bit.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Generic, TypeVar

import numpy as np
import torch
from PIL import Image as PillowImage
from rich.console import Console
from torch import Tensor

from restore import image as image_module
from restore.contract import to_tensor
from restore.engine import Restorer
from restore.ensemble import check_count
from restore.image import Image
from training import TrainingError
from training.data import SUFFIXES
from training.denoise_methods import (
    NOISY,
    Denoiser,
    Method,
    PhotoMethod,
    bm3d_method,
    model_methods,
    non_local_means,
    photo_methods,
)
from training.levels_eval import measure_extremes, measure_levels
from training.metrics import SSIM_SIDE, psnr, registered_psnr, ssim
from training.tables import UNCHANGED_DB, CleanRow, PhotoRow, PhotoScore, Report, Row, Score
from training.tracking import tracked
from training.white_noise import add_noise

S = TypeVar("S", Score, PhotoScore)

BASELINES = ("nlm", "bm3d")
#: In dB: a photo that lost more counts as made worse.
_WORSE = 0.1


def measure(
    folder: Path,
    *,
    models: Sequence[str],
    baselines: Sequence[str],
    sigmas: Sequence[int],
    seed: int = 0,
    limit: int | None = None,
    every: int = 1,
    clean: bool = False,
    grey: bool = False,
    levels: bool = False,
    photos: Path | None = None,
    threads: int | None = None,
    looks: int = 1,
    cache: Path | None = None,
    command: str = "",
) -> Report:
    """Evaluate models (as `model_methods` takes them) and `BASELINES` on the pictures of a folder.

    A baseline whose package is missing is left out, and said on stderr. `looks`: of the models, see `restore.ensemble`.
    Raises RestoreError or TrainingError for what cannot be opened.
    """
    # Models first: a name that is wrong should not cost the minutes of a baseline.
    check_count(looks)
    if levels and looks > 1:
        raise TrainingError("--levels are those of a single look. Leave --self-ensemble out.")
    opened = [model_methods(name, threads=threads, looks=looks) for name in models]
    for restorer in (restorer for _, restorer in opened if restorer):
        for param in (param for param in restorer.spec.params if param.name == "sigma"):
            param.from_user(max(sigmas), model=restorer.spec.name)
    pictures = read_pictures(folder, limit=limit, every=every)
    pairs = read_pairs(photos, limit=limit, every=every) if photos else []
    rows = evaluate(pictures, [NOISY], sigmas=sigmas, seed=seed)
    for baseline in baselines:
        try:
            rows.append(measure_baseline(baseline, pictures, sigmas=sigmas, seed=seed, cache=cache))
        except TrainingError as error:
            Console(stderr=True).print(f"left out: {error}", highlight=False)
    of_models = [method for methods, _ in opened for method in methods]
    rows += evaluate(pictures, of_models, sigmas=sigmas, seed=seed)
    restorers = {methods[-1].name: restorer for methods, restorer in opened if restorer}
    return Report(
        data=folder.name,
        pictures=len(pictures),
        seed=seed,
        rows=rows,
        clean=evaluate_clean(pictures, restorers, looks=looks) if clean else [],
        grey=evaluate(list(map(_greyed, pictures)), [NOISY, *of_models], sigmas=sigmas, seed=seed) if grey else [],
        photos=evaluate_photos(pairs, restorers, looks=looks, baselines=baselines, cache=cache) if pairs else [],
        photo_data=f"{photos.name}, {len(pairs)} pairs" if photos else "",
        levels=measure_levels(pictures, pairs, restorers, seed=seed) if levels else [],
        extremes={name: measure_extremes(pictures, r, seed=seed) for name, r in restorers.items()} if levels else {},
        command=command,
    )


def read_pictures(folder: Path, *, limit: int | None = None, every: int = 1) -> list[Image]:
    """The pictures that lie in `folder`, by name: one of `every`, the first `limit` of these.

    Raises TrainingError if there is none, or one is too small to be compared.
    """
    if not folder.is_dir():
        raise TrainingError(f"{folder}: no such folder")
    paths = sorted(path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES)[::every][:limit]
    if not paths:
        raise TrainingError(f"{folder}: no picture in this folder ({', '.join(sorted(SUFFIXES))})")
    return [_large_enough(path) for path in paths]


def _large_enough(path: Path) -> Image:
    picture = image_module.read(path)
    if min(picture.pixels.shape[:2]) < SSIM_SIDE:
        raise TrainingError(f"{path}: smaller than the {SSIM_SIDE} pixels a side that SSIM looks at. Move it away.")
    return picture


def _greyed(picture: Image) -> Image:
    """Its luma (Rec. 601), in 8 bits."""
    return Image(np.asarray(PillowImage.fromarray(image_module.to_8_bits(picture.pixels)).convert("L")))


def evaluate(
    pictures: Sequence[Image],
    methods: Sequence[Method],
    *,
    sigmas: Sequence[int],
    seed: int = 0,
    cache: Path | None = None,
) -> list[Row]:
    """One row a method: mean scores over the pictures, at each sigma (0-255 scale).

    A grey picture has the same noise in all three channels.

    Scores of methods with a version are kept in the folder `cache` and read from there.
    """
    console = Console(stderr=True)
    floats = [to_tensor(picture.pixels)[0].transpose(1, 2, 0) for picture in pictures]
    hashes = [_digest(clean) for clean in floats]
    rows = []
    for method in methods:
        memory = _Memory(Score, cache, method.version)
        scores = {}
        for sigma in sigmas:

            def score(index: int, method: Method = method, sigma: int = sigma) -> Score:
                noisy = _noisy(pictures[index], floats[index], seed=seed, index=index, sigma_255=sigma)
                return _score(method.denoise, noisy, floats[index], sigma / 255)

            keys = [f"{digest}/{index}/{seed}/{sigma}" for index, digest in enumerate(hashes)]
            scores[sigma] = Score(*_means(memory.scored(keys, score, label=f"{method.name}, sigma {sigma}")))
            console.print(f"{method.name}, sigma {sigma}: {scores[sigma].psnr:.2f} dB", highlight=False)
        rows.append(Row(method=method.name, scores=scores, model=method.model))
    return rows


def _noisy(picture: Image, clean: np.ndarray, *, seed: int, index: int, sigma_255: int) -> np.ndarray:
    if not picture.is_grey:
        return add_noise(clean, seed=seed, index=index, sigma_255=sigma_255)
    return np.repeat(add_noise(clean[..., :1], seed=seed, index=index, sigma_255=sigma_255), 3, axis=2)


class _Memory(Generic[S]):
    """One method's scores, of the type `kind`, by picture, seed and sigma; on disk for a method with a version."""

    def __init__(self, kind: type[S], folder: Path | None, version: str | None) -> None:
        self._scores: dict[str, S] = {}
        self._path = folder / f"{version}.json" if folder and version else None
        if self._path and self._path.is_file():
            self._scores = {key: kind(*value) for key, value in json.loads(self._path.read_text("utf-8")).items()}

    def scored(self, keys: Sequence[str], score: Callable[[int], S], *, label: str) -> list[S]:
        """The score of each key, from memory or from `score` of its place, with a progress bar."""
        found = []
        for index, key in enumerate(tracked(keys, label, len(keys))):
            if key not in self._scores:
                self._keep(key, score(index))
            found.append(self._scores[key])
        return found

    def _keep(self, key: str, score: S) -> None:
        self._scores[key] = score
        if self._path:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            partial = self._path.with_suffix(".partial")
            partial.write_text(json.dumps(self._scores), "utf-8")
            partial.replace(self._path)


def _digest(*pictures: np.ndarray) -> str:
    """Of what a score was made from: the pictures and their shapes."""
    made_from = hashlib.sha256()
    for picture in pictures:
        made_from.update(picture.tobytes() + str(picture.shape).encode())
    return made_from.hexdigest()[:24]


def _means(scores: Sequence[Sequence[float]]) -> list[float]:
    """Of each column."""
    return [float(np.mean(column)) for column in zip(*scores, strict=True)]


def _score(denoise: Denoiser, noisy: np.ndarray, clean: np.ndarray, sigma: float) -> Score:
    started = time.perf_counter()
    restored = denoise(noisy, sigma)
    seconds = time.perf_counter() - started
    pair = _batch(restored.clip(0, 1)), _batch(clean)
    return Score(float(psnr(*pair)), float(ssim(*pair)), seconds)


def _batch(picture: np.ndarray) -> Tensor:
    return torch.from_numpy(to_tensor(np.asarray(picture, np.float32)))


def evaluate_clean(pictures: Sequence[Image], restorers: Mapping[str, Restorer], *, looks: int = 1) -> list[CleanRow]:
    """What each model, left to estimate the noise, does to pictures that have none."""
    rows = []
    for name, restorer in restorers.items():
        found, unchanged = [], 0
        for picture in tracked(pictures, f"{name}, clean", len(pictures)):
            answer = restorer(picture, self_ensemble=looks).image
            error = psnr(torch.from_numpy(to_tensor(answer.pixels)), torch.from_numpy(to_tensor(picture.pixels)))
            found.append(min(float(error), UNCHANGED_DB))
            # Not by the dB: two samples off by one are above 100 too.
            unchanged += np.array_equal(answer.pixels, picture.pixels)
        rows.append(CleanRow(method=name, mean=float(np.mean(found)), lowest=min(found), unchanged=unchanged))
    return rows


def read_pairs(folder: Path, *, limit: int | None = None, every: int = 1) -> list[tuple[Path, Path]]:
    """Noisy photo and truth, *real.* and *mean.* as the PolyU set names them (Xu et al. 2018, arXiv:1804.02603).

    Raises TrainingError if there is none, or the two differ in size.
    """
    noisy = sorted(path for path in folder.glob("*real.*") if path.suffix.lower() in SUFFIXES)[::every][:limit]
    pairs = [(path, path.with_name(path.name.replace("real.", "mean."))) for path in noisy]
    if not pairs or not all(truth.is_file() for _, truth in pairs):
        raise TrainingError(f"{folder}: no pairs NAMEreal.jpg and NAMEmean.jpg in this folder")
    for photo, truth in pairs:
        sizes = {image_module.probe_size(path) for path in (photo, truth)}
        if len(sizes) > 1 or min(min(size) for size in sizes) < SSIM_SIDE:
            raise TrainingError(f"{photo}: not of the same size as {truth.name}, or smaller than {SSIM_SIDE} pixels")
    return pairs


def evaluate_photos(
    pairs: Sequence[tuple[Path, Path]],
    restorers: Mapping[str, Restorer],
    *,
    looks: int = 1,
    baselines: Sequence[str] = (),
    cache: Path | None = None,
) -> list[PhotoRow]:
    """One row a method over pairs of noisy photo and truth: the noisy photos, baselines at each strength, models."""
    console = Console(stderr=True)
    pictures = [tuple(image_module.read(path).pixels for path in pair) for pair in pairs]
    hashes = [_digest(*pair) for pair in pictures]
    before = [_quality(noisy, truth) for noisy, truth in pictures]
    rows = []
    for method in photo_methods(restorers, looks, baselines, console):

        def score(index: int, method: PhotoMethod = method) -> PhotoScore:
            noisy, truth = pictures[index]
            started = time.perf_counter()
            answer = method.denoise(noisy)
            seconds = time.perf_counter() - started
            return _quality(answer, truth)._replace(seconds=seconds)

        found = _Memory(PhotoScore, cache, method.version).scored(hashes, score, label=method.name)
        worse = [score.psnr < old.psnr - _WORSE for score, old in zip(found, before, strict=True)]
        mean = PhotoScore(*_means(found))
        console.print(f"{method.name}: {mean.psnr:.2f} dB", highlight=False)
        rows.append(PhotoRow(method=method.name, **mean._asdict(), worse=float(np.mean(worse)), model=method.model))
    return rows


def _quality(answer: np.ndarray, truth: np.ndarray) -> PhotoScore:
    pair = [torch.from_numpy(to_tensor(pixels)) for pixels in (answer, truth)]
    return PhotoScore(float(psnr(*pair)), float(ssim(*pair)), float(registered_psnr(*pair)), 0.0)


def measure_baseline(
    name: str, pictures: Sequence[Image], *, sigmas: Sequence[int], seed: int, cache: Path | None
) -> Row:
    """A baseline's row; of non-local means for each sigma the strength that is best over these very pictures.

    Raises TrainingError where its package is missing.
    """
    if name == "bm3d":
        return evaluate(pictures, [bm3d_method()], sigmas=sigmas, seed=seed, cache=cache)[0]
    methods = non_local_means()
    rows = evaluate(pictures, list(methods.values()), sigmas=sigmas, seed=seed, cache=cache)
    by_strength = dict(zip(methods, rows, strict=True))
    best = {sigma: max(by_strength, key=lambda k, s=sigma: by_strength[k].scores[s].psnr) for sigma in sigmas}  # type: ignore[misc]
    strengths = " / ".join(f"{k:g}" for k in best.values())
    scores = {sigma: by_strength[k].scores[sigma] for sigma, k in best.items()}
    return Row(method=f"OpenCV non-local means, h = {strengths} sigma", scores=scores)
