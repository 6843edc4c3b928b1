"""How good watermark removers are, against inpainting with the true mask and against doing nothing, in one run.

Four sets, made by seed from photos, logos and fonts of one split: "clwd", 256 x 256 with one coloured logo each, as
CLWD is made (Liu et al. 2021, arXiv:2012.07616); "hard", any marks on whole photos, then JPEG; "large", the same
enlarged; "sent", as pictures are that are sent on: the same, resized by 0.5 to 1.5, then JPEG again. Answers are 8 bit,
as users get them. Unmarked photos are counted: how many come back bit for bit.
"""

from __future__ import annotations

import argparse
import functools
import json
import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from rich.console import Console
from torch import Tensor

from restore.engine import Restored, Restorer, open_model
from restore.ensemble import check_count
from restore.image import Image, read
from training import TrainingError
from training.data import Member, find_photos
from training.mark_assets import Assets
from training.metrics import mask_f1, mask_iou, psnr, rmse, ssim
from training.sheets import sheet
from training.tracking import tracked
from training.watermarks import MarkedPair, mark_photo

#: The pictures of `clwd` are squares of so many pixels.
_CLWD_SIDE = 256
#: OpenCV's inpainting looks so far around a pixel; 3 is its examples' value.
_INPAINT_RADIUS = 3
#: What an answer that equals the truth counts as in a mean, in dB, instead of infinity.
_MOST_DB = 100.0

#: A marked picture (H, W, 3) uint8 and its true mask (H, W) bool -> the answer and the mask found, uint8.
Remover = Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]


class Scores(NamedTuple):
    """Of one picture, or the mean over pictures; errors on the 0-255 scale, `rmse_inside` where the mark truly is."""

    psnr: float
    ssim: float
    rmse: float
    rmse_inside: float
    f1: float
    iou: float
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One method on one set; `model` is set where a network found the mark itself, at its first look."""

    method: str
    scores: Scores
    model: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """Photos without a mark: how many came back bit for bit; `model` as a row's."""

    method: str
    identical: int
    photos: int
    model: str | None = None


@dataclass(slots=True, kw_only=True)
class MarkReport:
    """All that one run measured: rows by set."""

    command: str
    split: str
    pictures: dict[str, int] = field(default_factory=dict)
    rows: dict[str, list[Row]] = field(default_factory=dict)
    kept: list[Kept] = field(default_factory=list)
    #: Pixels that a network changed although its mask is 0 there, over all pictures: must be 0.
    strayed: int = 0

    def published(self) -> dict[str, dict[str, float]]:
        """By model: PSNR and the mask's F1 and IoU for each set, and the share of unmarked photos that were kept."""
        figures: dict[str, dict[str, float]] = {}
        for name, rows in self.rows.items():
            for row in rows:
                if row.model:
                    found = {"psnr": row.scores.psnr, "f1": row.scores.f1, "iou": row.scores.iou}
                    figures.setdefault(row.model, {}).update({f"{k}/{name}": round(v, 3) for k, v in found.items()})
        for kept in self.kept:
            if kept.model:
                figures.setdefault(kept.model, {})["kept/unmarked"] = round(kept.identical / kept.photos, 4)
        return figures

    def to_json(self) -> str:
        """Everything, for machines."""
        plain = {"command": self.command, "split": self.split, "pictures": self.pictures, "strayed": self.strayed}
        rows = {
            name: [asdict(row) | {"scores": _plain(row.scores)} for row in some] for name, some in self.rows.items()
        }
        more = {"rows": rows, "kept": [asdict(kept) for kept in self.kept]}
        texts = {"markdown": self.to_markdown(), "published": self.published()}
        return json.dumps(plain | more | texts, indent=2) + "\n"

    def to_markdown(self) -> str:
        """One pipe table a set, and a line on unmarked photos."""
        lines = []
        for name, rows in self.rows.items():
            lines += [
                f"Set `{name}`: {self.pictures[name]} pictures; photos, logos and fonts of the split `{self.split}`.",
                "",
                "| method | PSNR, dB | SSIM | RMSE | RMSE inside the mark | F1 | IoU | s a picture |",
                "|---|---|---|---|---|---|---|---|",
                *(f"| {row.method} | {_cells(row.scores)} |" for row in rows),
                "",
            ]
        for kept in self.kept:
            share = kept.identical / kept.photos
            lines.append(
                f"Photos without a mark that {kept.method} gives back bit for bit: "
                f"{kept.identical} of {kept.photos} ({share:.1%})."
            )
        lines.append(f"Pixels changed where the mask is 0, over all pictures: {self.strayed}.")
        return "\n".join(lines)


def _plain(scores: Scores) -> dict[str, float | None]:
    """JSON knows no nan."""
    return {key: None if math.isnan(value) else value for key, value in scores._asdict().items()}


def _cells(scores: Scores) -> str:
    mask = "- | -" if math.isnan(scores.f1) else f"{scores.f1:.3f} | {scores.iou:.3f}"
    return (
        f"{scores.psnr:.2f} | {scores.ssim:.4f} | {scores.rmse:.2f} | {scores.rmse_inside:.2f} | "
        f"{mask} | {scores.seconds:.2f}"
    )


def add_flags(parser: argparse.ArgumentParser) -> None:
    """The flags of eval unwatermark."""
    parser.add_argument("--data", type=Path, required=True, metavar="FOLDER", help="photos, with their SOURCES.tsv")
    parser.add_argument("--marks", type=Path, required=True, metavar="FOLDER", help="with fonts/ and logos/")
    parser.add_argument(
        "--model", nargs="*", default=["unwatermark"], metavar="NAME_OR_PATH", help="(default: the shipped one)"
    )
    parser.add_argument("--split", choices=("val", "test"), default="test", help="(default: test)")
    parser.add_argument("--clwd", type=int, default=1000, metavar="N", help="pictures as CLWD has them (default: 1000)")
    parser.add_argument("--hard", type=int, default=100, metavar="N", help="photos with any marks (default: 100)")
    parser.add_argument("--large", type=int, default=0, metavar="N", help="of these enlarged (default: 0)")
    parser.add_argument("--sent", type=int, default=0, metavar="N", help="of these as sent on (default: 0)")
    parser.add_argument("--megapixels", type=float, default=12.0, metavar="N", help="of an enlarged one (default: 12)")
    parser.add_argument("--unmarked", type=int, default=500, metavar="N", help="photos left as they are (default: 500)")
    parser.add_argument(
        "--baselines", action="store_true", help="doing nothing, and OpenCV's inpainting, told the mask"
    )
    parser.add_argument(
        "--self-ensemble", type=int, nargs="+", default=[1], metavar="N",
        help="looks at each picture, mirrored and turned: 1, 2, 4 or 8; several for a row each (default: 1)",
    )  # fmt: skip
    parser.add_argument("--told", action="store_true", help="also the models when they are told the true mask")
    parser.add_argument(
        "--sheets", type=Path, metavar="FOLDER", help="write contact sheets: marked, answer, mask, truth"
    )


def measure(args: argparse.Namespace, command: str) -> MarkReport:
    """Run all that the flags ask for. Raises TrainingError or RestoreError for what cannot be opened."""
    for flag in ("clwd", "hard", "large", "sent", "unmarked"):
        if getattr(args, flag) < 0:
            raise TrainingError(f"--{flag} must be 0 or more.")
    opened = {name: open_model(name, threads=args.threads) for name in args.model}
    for name, restorer in opened.items():
        if not restorer.finds_marks:
            raise TrainingError(f"--model {name}: {restorer.spec.name} is for the task {restorer.spec.task}.")
    own = [restorer.spec.name for restorer in opened.values()]
    # Two files can hold networks of one name: they are then told apart by what was given.
    restorers = {r.spec.name if own.count(r.spec.name) == 1 else name: r for name, r in opened.items()}
    for looks in args.self_ensemble:
        check_count(looks)
    networks = [_Network(name, r, looks) for name, r in restorers.items() for looks in sorted(set(args.self_ensemble))]
    photos = spread([member for member in find_photos(args.data) if member.split == args.split])
    if not photos:
        raise TrainingError(f"{args.data}: no photo of the split {args.split!r}")
    assets = Assets.load(args.marks, args.split)
    report = MarkReport(command=command, split=args.split)
    sides = {"large": args.megapixels * 1e6}
    for name in ("clwd", "hard", "large", "sent"):
        if count := getattr(args, name):
            made = functools.partial(_pairs, name, photos, assets, count, pixels=sides.get(name))
            _measure_set(report, name, count=count, made=made, networks=networks, args=args)
    for network in networks:
        if args.unmarked:
            chosen = photos[: args.unmarked]
            images = tracked(map(_read, chosen), "unmarked", len(chosen))
            identical = sum(not network.answer(image).changed(image) for image in images)
            kept = Kept(method=network.text, identical=identical, photos=len(chosen), model=network.published_as)
            report.kept.append(kept)
    return report


class _Network(NamedTuple):
    """A model and how often it looks."""

    name: str
    restorer: Restorer
    looks: int

    @property
    def text(self) -> str:
        """What its rows are called."""
        return f"`{self.name}`" if self.looks == 1 else f"`{self.name}`, {self.looks} looks"

    @property
    def published_as(self) -> str | None:
        """The model whose figures these are: those of a single look."""
        return self.name if self.looks == 1 else None

    def answer(self, image: Image, **options: Any) -> Restored:
        return self.restorer(image, self_ensemble=self.looks, **options)


def spread(photos: Sequence[Member]) -> list[Member]:
    """The photos in a fixed order in which neighbours by name, often of one source, lie far apart."""
    order = np.random.default_rng(0).permutation(len(photos))
    return [photos[index] for index in order]


def _pairs(
    name: str, photos: Sequence[Member], assets: Assets, count: int, *, pixels: float | None
) -> Iterator[MarkedPair]:
    for index in range(count):
        photo = torch.from_numpy(_read(photos[index % len(photos)]).pixels).permute(2, 0, 1).float().div(255)
        if name == "clwd":
            photo = _crop(photo, np.random.default_rng([1, index]))
        size = None
        if pixels:
            scale = math.sqrt(pixels / (photo.shape[1] * photo.shape[2]))
            size = (round(photo.shape[1] * scale), round(photo.shape[2] * scale))
        yield mark_photo(photo, assets, seed=index, style="hard" if name == "large" else name, size=size)


def _read(member: Member) -> Image:
    image = read(member.path)
    return image.with_pixels(np.repeat(image.pixels[..., None], 3, axis=2)) if image.is_grey else image


def _crop(photo: Tensor, rng: np.random.Generator) -> Tensor:
    """A square of `_CLWD_SIDE`; of a photo that is smaller, enlarged."""
    height, width = photo.shape[1:]
    short = min(height, width)
    if short < _CLWD_SIDE:
        scale = _CLWD_SIDE / short
        photo = torch.nn.functional.interpolate(photo[None], scale_factor=scale * 1.001, mode="bilinear")[0]
        height, width = photo.shape[1:]
    top, left = (int(rng.integers(side - _CLWD_SIDE + 1)) for side in (height, width))
    return photo[:, top : top + _CLWD_SIDE, left : left + _CLWD_SIDE]


def _measure_set(
    report: MarkReport,
    name: str,
    *,
    count: int,
    made: Callable[[], Iterator[MarkedPair]],
    networks: Sequence[_Network],
    args: argparse.Namespace,
) -> None:
    """Every method on every picture of one set; a picture is made once for all."""
    methods: dict[str, Remover] = {}
    if args.baselines:
        methods = {"nothing done": _nothing, "Telea, told the mask": _inpaint, "Navier-Stokes, told the mask": _flow}
    names = {network.text: network.published_as for network in networks}
    methods |= {network.text: functools.partial(_by_network, network) for network in networks}
    for network in networks:
        if any(param.name == "certainty" for param in network.restorer.spec.params):
            methods[f"{network.text}, certainty 0"] = functools.partial(_by_network, network, certainty=0.0)
    if args.told:
        for network in networks:
            methods[f"{network.text}, told the mask"] = functools.partial(_by_network, network, told=True)
    scores: dict[str, list[Scores]] = {method: [] for method in methods}
    shown: list[tuple[Tensor, ...]] = []
    for pair in tracked(made(), name, count):
        marked = _levels(pair.inputs["image"])
        truth = pair.mask[0, 0].numpy() > 0
        for method, remove in methods.items():
            started = time.perf_counter()
            answer, found = remove(marked, truth)
            seconds = time.perf_counter() - started
            scores[method].append(_score(answer, found, pair, seconds, finds="`" in method and "told" not in method))
            if method in names:
                report.strayed += int((answer != marked).any(axis=2)[found == 0].sum())
                if args.sheets and len(shown) < 60:
                    shown.append(_cell(pair, answer, found))
    report.pictures[name] = count
    report.rows[name] = [Row(method=m, scores=_mean(found), model=names.get(m)) for m, found in scores.items()]
    for row in report.rows[name]:
        Console(stderr=True).print(f"{name}, {row.method}: {row.scores.psnr:.2f} dB", highlight=False)
    if args.sheets and shown:
        sheet([torch.cat(column) for column in zip(*shown, strict=True)], args.sheets / f"{name}.png", columns=3)


def _levels(picture: Tensor) -> np.ndarray:
    """(1, 3, H, W) in [0, 1] -> (H, W, 3) uint8."""
    levels: np.ndarray = picture[0].mul(255).round().byte().permute(1, 2, 0).numpy()
    return np.ascontiguousarray(levels)


def _score(answer: np.ndarray, found: np.ndarray, pair: MarkedPair, seconds: float, *, finds: bool) -> Scores:
    restored = torch.from_numpy(answer).permute(2, 0, 1)[None].float().div(255)
    mask = torch.from_numpy(found)[None, None].float().div(255)
    nan = math.nan
    return Scores(
        min(float(psnr(restored, pair.clean)), _MOST_DB),
        float(ssim(restored, pair.clean)),
        float(rmse(restored, pair.clean)),
        float(rmse(restored, pair.clean, pair.mask)),
        float(mask_f1(mask, pair.mask)) if finds else nan,
        float(mask_iou(mask, pair.mask)) if finds else nan,
        seconds,
    )


def _mean(scores: Sequence[Scores]) -> Scores:
    """The mean of each figure; pictures whose mark covers nothing have no error inside it."""
    with np.errstate(all="ignore"):
        columns = [np.asarray(column, float) for column in zip(*scores, strict=True)]
    return Scores(*(float(np.nanmean(column)) if not np.isnan(column).all() else math.nan for column in columns))


def _nothing(marked: np.ndarray, truth: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return marked, np.zeros(truth.shape, np.uint8)


def _inpaint(marked: np.ndarray, truth: np.ndarray, *, flow: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """OpenCV's inpainting: fast marching (Telea 2004), or along the flow (Bertalmio et al. 2001)."""
    import cv2

    mask = truth.astype(np.uint8) * 255
    how = cv2.INPAINT_NS if flow else cv2.INPAINT_TELEA
    return cv2.inpaint(marked, mask, _INPAINT_RADIUS, how), mask


def _flow(marked: np.ndarray, truth: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return _inpaint(marked, truth, flow=True)


def _by_network(
    network: _Network, marked: np.ndarray, truth: np.ndarray, *, told: bool = False, **params: Any
) -> tuple[np.ndarray, np.ndarray]:
    done = network.answer(Image(marked), mask=truth if told else None, **params)
    assert done.mask is not None, "a model that finds marks gives its mask"
    return done.image.pixels, done.mask


def _cell(pair: MarkedPair, answer: np.ndarray, found: np.ndarray) -> tuple[Tensor, ...]:
    """Marked, answer, mask found, true mask and truth, (1, 3, 256, 256) each."""
    restored = torch.from_numpy(answer).permute(2, 0, 1)[None].float().div(255)
    mask = torch.from_numpy(found)[None, None].float().div(255)
    planes = (pair.inputs["image"], restored, mask.expand(-1, 3, -1, -1), pair.mask.expand(-1, 3, -1, -1), pair.clean)
    return tuple(torch.nn.functional.interpolate(p, (256, 256), mode="area") for p in planes)
