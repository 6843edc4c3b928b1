"""How good denoisers are: tables of PSNR and SSIM against baselines, on the same noise, in one run.

The noise is that of `training.white_noise`, the same for every row, where pictures count from 0 in the order of
their names. Answers are clipped to [0, 1] and not rounded to 8 bit.
"""

from __future__ import annotations

import functools
import hashlib
import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

import numpy as np
import torch
from PIL import Image as PillowImage
from rich.console import Console
from torch import Tensor, nn

from restore import image as image_module
from restore.contract import to_tensor
from restore.engine import Restorer, open_model
from restore.ensemble import check_count
from restore.image import Image
from training import TrainingError
from training.data import SUFFIXES
from training.graphs import padded
from training.levels_eval import measure_extremes, measure_levels
from training.loop import load_network
from training.metrics import psnr, registered_psnr, ssim
from training.tables import UNCHANGED_DB, CleanRow, PhotoRow, PhotoScore, Report, Row, Score
from training.tracking import tracked
from training.white_noise import add_noise

S = TypeVar("S", Score, PhotoScore)

BASELINES = ("nlm", "bm3d")
#: Strengths of non-local means that are tried, as h / sigma: 0.6 is best on a few pictures of CBSD68.
_NLM_STRENGTHS = (0.4, 0.5, 0.6, 0.7, 0.8)

#: Strengths that are tried on photos with noise of their own, on the 0-255 scale.
_PHOTO_NLM = (2, 3, 4, 5, 6, 8)
_PHOTO_BM3D = (5, 10, 15)
#: In dB: a photo that lost more counts as made worse.
_WORSE = 0.1

#: (H, W, 3) uint8 -> the same.
PhotoDenoiser = Callable[[np.ndarray], np.ndarray]
#: Noisy (H, W, 3) float32, not clipped, and the noise level on the [0, 1] scale, to the same shape.
Denoiser = Callable[[np.ndarray, float], np.ndarray]


@dataclass(frozen=True, slots=True, kw_only=True)
class Method:
    """What makes a row. `version` is set for a slow one, whose scores are worth remembering."""

    name: str
    denoise: Denoiser
    version: str | None = None
    model: str | None = None  # the spec's name, where the model was told the noise level


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
    pictures = read_pictures(folder, limit=limit, every=every)
    pairs = read_pairs(photos, limit=limit, every=every) if photos else []
    rows = evaluate(pictures, [NOISY], sigmas=sigmas, seed=seed)
    for baseline in baselines:
        try:
            rows += _baseline(baseline, pictures, sigmas=sigmas, seed=seed, cache=cache)
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

    Raises TrainingError if there is none.
    """
    if not folder.is_dir():
        raise TrainingError(f"{folder}: no such folder")
    paths = sorted(path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES)[::every][:limit]
    if not paths:
        raise TrainingError(f"{folder}: no picture in this folder ({', '.join(sorted(SUFFIXES))})")
    return [image_module.read(path) for path in paths]


def _greyed(picture: Image) -> Image:
    """Its luma (Rec. 601)."""
    return Image(np.asarray(PillowImage.fromarray(picture.pixels).convert("L")))


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
    hashes = [hashlib.sha256(clean.tobytes() + str(clean.shape).encode()).hexdigest()[:24] for clean in floats]
    rows = []
    for method in methods:
        memory = _Memory(Score, cache, method.version)
        scores = {}
        for sigma in sigmas:
            found = []
            pairs = tracked(zip(pictures, floats, strict=True), f"{method.name}, sigma {sigma}", len(pictures))
            for index, (picture, clean) in enumerate(pairs):
                key = f"{hashes[index]}/{index}/{seed}/{sigma}"
                if key not in memory.scores:
                    noisy = _noisy(picture, clean, seed=seed, index=index, sigma_255=sigma)
                    memory.keep(key, _score(method.denoise, noisy, clean, sigma / 255))
                found.append(memory.scores[key])
            scores[sigma] = Score(*(float(np.mean(column)) for column in zip(*found, strict=True)))
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
        self.scores: dict[str, S] = {}
        self._path = folder / f"{version}.json" if folder and version else None
        if self._path and self._path.is_file():
            self.scores = {key: kind(*value) for key, value in json.loads(self._path.read_text("utf-8")).items()}

    def keep(self, key: str, score: S) -> None:
        self.scores[key] = score
        if self._path:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            partial = self._path.with_suffix(".partial")
            partial.write_text(json.dumps(self.scores), "utf-8")
            partial.replace(self._path)


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
        found = []
        for picture in tracked(pictures, f"{name}, clean", len(pictures)):
            answer = restorer(picture, self_ensemble=looks).image
            error = psnr(torch.from_numpy(to_tensor(answer.pixels)), torch.from_numpy(to_tensor(picture.pixels)))
            found.append(min(float(error), UNCHANGED_DB))
        unchanged = sum(value == UNCHANGED_DB for value in found)
        rows.append(CleanRow(method=name, mean=float(np.mean(found)), lowest=min(found), unchanged=unchanged))
    return rows


def read_pairs(folder: Path, *, limit: int | None = None, every: int = 1) -> list[tuple[Path, Path]]:
    """Noisy photo and truth, *real.* and *mean.* as the PolyU set names them (Xu et al. 2018, arXiv:1804.02603).

    Raises TrainingError if there is none.
    """
    noisy = sorted(path for path in folder.glob("*real.*") if path.suffix.lower() in SUFFIXES)[::every][:limit]
    pairs = [(path, path.with_name(path.name.replace("real.", "mean."))) for path in noisy]
    if not pairs or not all(truth.is_file() for _, truth in pairs):
        raise TrainingError(f"{folder}: no pairs NAMEreal.jpg and NAMEmean.jpg in this folder")
    return pairs


@dataclass(frozen=True, slots=True, kw_only=True)
class PhotoMethod:
    """What makes a row over real photos, told nothing; `version` as in `Method`."""

    name: str
    denoise: PhotoDenoiser
    version: str | None = None
    model: str | None = None


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
    hashes = [hashlib.sha256(noisy.tobytes()).hexdigest()[:24] for noisy, _ in pictures]
    before = [_quality(noisy, truth) for noisy, truth in pictures]
    rows = []
    for method in _photo_methods(restorers, looks, baselines, console):
        memory = _Memory(PhotoScore, cache, method.version)
        found = []
        for index, (noisy, truth) in enumerate(tracked(pictures, method.name, len(pictures))):
            key = hashes[index]
            if key not in memory.scores:
                started = time.perf_counter()
                answer = method.denoise(noisy)
                seconds = time.perf_counter() - started
                memory.keep(key, _quality(answer, truth)._replace(seconds=seconds))
            found.append(memory.scores[key])
        worse = [score.psnr < old.psnr - _WORSE for score, old in zip(found, before, strict=True)]
        mean = PhotoScore(*(float(np.mean(column)) for column in zip(*found, strict=True)))
        console.print(f"{method.name}: {mean.psnr:.2f} dB", highlight=False)
        rows.append(PhotoRow(method=method.name, **mean._asdict(), worse=float(np.mean(worse)), model=method.model))
    return rows


def _photo_methods(
    restorers: Mapping[str, Restorer], looks: int, baselines: Sequence[str], console: Console
) -> Iterator[PhotoMethod]:
    yield PhotoMethod(name="noisy photo", denoise=lambda noisy: noisy)
    if "nlm" in baselines:
        import cv2

        for h in _PHOTO_NLM:
            version = f"nlm-photos-{cv2.__version__}-{h}"
            yield PhotoMethod(
                name=f"OpenCV non-local means, h = {h}", denoise=functools.partial(_nlm, h=h), version=version
            )
    if "bm3d" in baselines:
        try:
            bm3d = bm3d_method()
        except TrainingError as error:
            console.print(f"left out: {error}", highlight=False)
        else:
            for sigma in _PHOTO_BM3D:
                denoise = functools.partial(_in_8_bits, bm3d.denoise, sigma=sigma / 255)
                yield PhotoMethod(
                    name=f"BM3D, sigma {sigma}", denoise=denoise, version=f"{bm3d.version}-photos-{sigma}"
                )
    for name, restorer in restorers.items():
        model = restorer.spec.name if looks == 1 else None
        yield PhotoMethod(name=name, denoise=functools.partial(_as_users_do, restorer, looks=looks), model=model)


def _in_8_bits(denoise: Denoiser, noisy: np.ndarray, *, sigma: float) -> np.ndarray:
    answer = denoise((noisy / 255).astype(np.float32), sigma)
    levels: np.ndarray = np.rint(answer.clip(0, 1) * 255).astype(np.uint8)
    return levels


def _as_users_do(restorer: Restorer, noisy: np.ndarray, *, looks: int) -> np.ndarray:
    return restorer(Image(noisy), self_ensemble=looks).image.pixels


def _quality(answer: np.ndarray, truth: np.ndarray) -> PhotoScore:
    pair = [torch.from_numpy(to_tensor(pixels)) for pixels in (answer, truth)]
    return PhotoScore(float(psnr(*pair)), float(ssim(*pair)), float(registered_psnr(*pair)), 0.0)


#: What there was before; clipped like every answer, so a little above -20 log10 of sigma.
NOISY = Method(name="noisy picture", denoise=lambda noisy, _: noisy)


def _baseline(
    name: str, pictures: Sequence[Image], *, sigmas: Sequence[int], seed: int, cache: Path | None
) -> list[Row]:
    if name == "nlm":
        return [non_local_means(pictures, sigmas=sigmas, seed=seed, cache=cache)]
    return evaluate(pictures, [bm3d_method()], sigmas=sigmas, seed=seed, cache=cache)


def non_local_means(pictures: Sequence[Image], *, sigmas: Sequence[int], seed: int, cache: Path | None) -> Row:
    """OpenCV's fastNlMeansDenoisingColored (windows 7 and 21) on the clipped 8-bit picture, at its best.

    h, for luma and colour alike, is k times sigma; for each sigma the k of `_NLM_STRENGTHS` with the
    highest mean PSNR over these very pictures is reported, and named in the row.
    """
    import cv2

    def denoise(noisy: np.ndarray, sigma: float, *, strength: float) -> np.ndarray:
        levels = np.rint(noisy.clip(0, 1) * 255).astype(np.uint8)
        return (_nlm(levels, h=strength * sigma * 255) / 255).astype(np.float32)

    methods = [
        Method(
            name=f"OpenCV non-local means, h = {k:g} sigma",
            denoise=functools.partial(denoise, strength=k),
            version=f"nlm-{cv2.__version__}-{k:g}",
        )
        for k in _NLM_STRENGTHS
    ]
    rows = evaluate(pictures, methods, sigmas=sigmas, seed=seed, cache=cache)
    best = {sigma: max(range(len(rows)), key=lambda i, s=sigma: rows[i].scores[s].psnr) for sigma in sigmas}  # type: ignore[misc]
    strengths = " / ".join(f"{_NLM_STRENGTHS[index]:g}" for index in best.values())
    scores = {sigma: rows[index].scores[sigma] for sigma, index in best.items()}
    return Row(method=f"OpenCV non-local means, h = {strengths} sigma", scores=scores)


def _nlm(levels: np.ndarray, *, h: float) -> np.ndarray:
    """(H, W, 3) uint8 -> the same."""
    import cv2

    # It takes the channels as B, G, R: turned round, for its luma weighs them.
    turned = np.ascontiguousarray(levels[..., ::-1])
    return np.ascontiguousarray(cv2.fastNlMeansDenoisingColored(turned, None, h, h, 7, 21)[..., ::-1])


def bm3d_method() -> Method:
    """BM3D for colour (Dabov et al. 2007, doi:10.1109/ICIP.2007.4378954), told the noise level.

    Raises TrainingError where the package is missing.
    """
    from importlib.metadata import version

    try:
        import bm3d
    except ImportError:
        raise TrainingError("the baseline bm3d needs its package (non-commercial licence): pip install bm3d") from None
    return Method(name="BM3D", denoise=bm3d.bm3d_rgb, version=f"bm3d-{version('bm3d')}")


def model_methods(
    name_or_path: str, *, threads: int | None = None, looks: int = 1
) -> tuple[list[Method], Restorer | None]:
    """The rows of a model: told the noise level, and blind. A checkpoint (.pt) runs in torch, told only, one look.

    The second value is the model in the engine, None for a checkpoint.
    Raises RestoreError or TrainingError for what cannot be opened.
    """
    if name_or_path.endswith(".pt"):
        network, _ = load_network(Path(name_or_path))
        return [Method(name=f"{name_or_path}, sigma known", denoise=functools.partial(_in_torch, network))], None
    restorer = open_model(name_or_path, kind=Restorer, threads=threads)
    name = restorer.spec.name if name_or_path in (restorer.spec.name, restorer.spec.task) else name_or_path
    name += "" if looks == 1 else f", {looks} looks"
    run = functools.partial(restorer.run_array, self_ensemble=looks)
    told = Method(
        name=f"{name}, sigma known",
        denoise=lambda noisy, sigma: run(noisy, sigma=sigma)["restored"],
        model=restorer.spec.name if looks == 1 else None,
    )
    blind = Method(name=f"{name}, blind", denoise=lambda noisy, _: run(noisy)["restored"])
    takes_sigma = any(param.name == "sigma" for param in restorer.spec.params)
    return ([told, blind] if takes_sigma else [blind]), restorer


@torch.no_grad()
def _in_torch(network: nn.Module, noisy: np.ndarray, sigma: float) -> np.ndarray:
    """Mirrored to the network's multiple and cropped again, as the ONNX graph does."""
    height, width = noisy.shape[:2]
    multiple = int(getattr(network, "multiple_of", 1))
    picture = padded(noisy.transpose(2, 0, 1), multiple)
    answer: Tensor = network(torch.from_numpy(picture)[None], torch.tensor([sigma]))[0]
    return answer[0, :, :height, :width].permute(1, 2, 0).numpy()
