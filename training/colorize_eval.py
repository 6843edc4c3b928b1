"""How good colours are: PSNR, CIEDE2000 and colourfulness on photos made grey, with and without hints.

Each photo of the split is made grey (8 bits, equal L*) and coloured at its own size. Hints are the mean colours of
7 x 7 patches of the truth, 8 bits, at places drawn by `numpy.random.default_rng([seed, photo])`, the same for every
row; photos count from 0 in the order of their names. PSNR is over 8-bit sRGB, CIEDE2000 over one pixel of four, both
means of the photos' means; colourfulness is the mean of the answers' over that of the photos. The palette is that of
the photo itself.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image as PillowImage
from rich.console import Console

from restore import color
from restore.chroma import Hint, working_shape
from restore.colorizer import Colorizer, open_colorizer
from restore.image import Image
from training import TrainingError
from training.color_metrics import ciede2000, colourfulness
from training.data import SPLITS, decode, find_photos
from training.sheets import sheet
from training.tracking import tracked

HINTS = (0, 1, 5, 10, 50, 100)
#: Half of a hint's patch, in pixels.
_HALF = 3
#: a* and b* of what is called sepia.
_SEPIA = (6.0, 18.0)
#: The joint bilateral filter's reach, a share of the longer side, and its L*: of 16 pairs the best on the val split.
_BILATERAL = (0.1, 6.0)
#: One training photo of so many gives the mean colour.
_EVERY = 10
#: On the sheets: photos, the hints that are shown, and the side of a cell.
_SHOWN, _SHEET_HINTS, _CELL = 24, (0, 5, 50), 224

Method = Callable[["Photo", Sequence[Hint]], np.ndarray]


@dataclass(frozen=True, slots=True)
class Photo:
    """A photo and what is known of it: (H, W, 3) uint8, its CIELAB, the grey to colour, (H, W) uint8, and its L*."""

    name: str
    truth: np.ndarray
    lab: np.ndarray
    grey: np.ndarray
    luma: np.ndarray

    @classmethod
    def of(cls, name: str, truth: np.ndarray) -> Photo:
        lab = color.to_lab(truth)
        grey = np.ascontiguousarray(color.join(lab[..., 0], np.zeros_like(lab[..., 1:]), np.uint8)[..., 0])
        return cls(name, truth, lab, grey, color.luma_of(grey))


class Score(NamedTuple):
    """Of a row: dB, CIEDE2000, and colourfulness over the truth's."""

    psnr: float
    ciede2000: float
    colourfulness: float


@dataclass(frozen=True, slots=True)
class Report:
    """All that one run measured: rows by name, in order."""

    data: str
    photos: int
    seed: int
    rows: dict[str, Score]
    model: str
    command: str = ""
    hints: Sequence[int] = field(default=HINTS)

    def to_markdown(self) -> str:
        """One pipe table."""
        lines = [
            f"{self.photos} photos of {self.data} made grey, hints of seed {self.seed}.",
            "",
            "| method | PSNR, dB | CIEDE2000 | colourfulness, of the truth's |",
            "|---|---|---|---|",
            *(
                f"| {name} | {s.psnr:.2f} | {s.ciede2000:.2f} | {s.colourfulness:.2f} |"
                for name, s in self.rows.items()
            ),
        ]
        return "\n".join(lines)

    def published(self) -> dict[str, dict[str, float]]:
        """By model: its PSNR with each number of hints and with the palette, and by how many percent it is nearer."""
        own = {name.removeprefix(f"{self.model}, "): s for name, s in self.rows.items() if name.startswith(self.model)}
        figures = {f"psnr/{name}": round(score.psnr, 3) for name, score in own.items()}
        if automatic := own.get("automatic"):
            figures["nearer"] = round(100 * (1 - automatic.ciede2000 / self.rows["grey as it is"].ciede2000), 3)
        return {self.model: figures}

    def to_json(self) -> str:
        """Everything, for machines."""
        plain = {
            "command": self.command,
            "markdown": self.to_markdown(),
            "published": self.published(),
            "data": self.data,
            "photos": self.photos,
            "seed": self.seed,
            "rows": {name: score._asdict() for name, score in self.rows.items()},
            "made_with": {"numpy": np.__version__, "torch": torch.__version__},
        }
        return json.dumps(plain, indent=2) + "\n"


def add_flags(parser: argparse.ArgumentParser) -> None:
    """The flags of `eval colorize`."""
    parser.add_argument("--data", type=Path, required=True, metavar="FOLDER", help="photos, with their SOURCES.tsv")
    parser.add_argument("--split", choices=SPLITS, default="test", help="(default: test)")
    parser.add_argument("--model", default="colorize", metavar="NAME_OR_PATH", help="(default: the shipped one)")
    parser.add_argument("--strength", type=float, default=1.0, metavar="X", help="0 to 1.5 (default: 1)")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of the hints' places (default: 0)")
    parser.add_argument("--limit", type=int, metavar="N", help="so many photos, evenly taken (default: all)")
    parser.add_argument(
        "--hints", type=int, nargs="+", default=list(HINTS), metavar="N", help="(default: 0 1 5 10 50 100)"
    )
    parser.add_argument("--sheet", type=Path, metavar="PNG", help="also a contact sheet of 24 photos")


def measure(args: argparse.Namespace, command: str) -> Report:
    """Evaluate a model and what must be beaten. Raises RestoreError or TrainingError for what cannot be opened."""
    colorizer = open_colorizer(args.model, threads=args.threads)
    photos = list(read_photos(args.data, args.split, limit=args.limit))
    mean = mean_colour(args.data)
    name = colorizer.spec.name
    flat: dict[str, Method] = {
        "grey as it is": _constant(0.0, 0.0),
        f"mean colour of the training photos ({mean[0]:.1f}, {mean[1]:.1f})": _constant(*mean),
        "sepia": _constant(*_SEPIA),
    }
    rows = {title: score(photos, method, 0, seed=args.seed, title=title) for title, method in flat.items()}
    spread, network = bilateral(colorizer.longest), answer(colorizer, strength=args.strength)
    for count in args.hints:
        if count:
            title = f"joint bilateral, {_hints(count)}"
            rows[title] = score(photos, spread, count, seed=args.seed, title=title)
        title = f"{name}, {_hints(count)}"
        rows[title] = score(photos, network, count, seed=args.seed, title=title)
    told = answer(colorizer, strength=args.strength, palette=True)
    rows[f"{name}, the truth's palette"] = score(photos, told, 0, seed=args.seed, title="palette")
    if args.sheet:
        contact_sheet(photos, network, args.sheet, seed=args.seed)
    data = f"{args.data.name}, split {args.split}"
    return Report(data, len(photos), args.seed, rows, name, command, tuple(args.hints))


def _hints(count: int) -> str:
    return "automatic" if count == 0 else f"{count} hint{'s' * (count > 1)}"


def read_photos(folder: Path, split: str, *, limit: int | None = None) -> Iterator[Photo]:
    """The photos of a split by name, `limit` of them evenly taken. Raises TrainingError if there is none."""
    members = [member for member in find_photos(folder) if member.split == split]
    if not members:
        raise TrainingError(f"{folder}: no photo of the split {split!r}")
    picked = range(len(members)) if limit is None else np.linspace(0, len(members) - 1, min(limit, len(members)))
    for at in picked:
        member = members[int(at)]
        yield Photo.of(member.name, decode(member.path.read_bytes()))


def mean_colour(folder: Path) -> tuple[float, float]:
    """Mean a* and b* over one of ten photos of the split train; 0 and 0 where there is none."""
    members = [member for member in find_photos(folder) if member.split == "train"][::_EVERY]
    means = [color.to_lab(decode(m.path.read_bytes())[::4, ::4])[..., 1:].mean(axis=(0, 1)) for m in members]
    a, b = np.mean(means, axis=0) if means else (0.0, 0.0)
    return float(a), float(b)


def draw(photo: Photo, count: int, rng: np.random.Generator) -> list[Hint]:
    """Hints from the truth: the mean colour of 7 x 7 patches at random places, cut at the edges."""
    height, width = photo.luma.shape
    hints = []
    for y, x in zip(rng.integers(0, height, count), rng.integers(0, width, count), strict=True):
        patch = np.s_[max(0, y - _HALF) : y + _HALF + 1, max(0, x - _HALF) : x + _HALF + 1]
        red, green, blue = np.rint(photo.truth[patch].reshape(-1, 3).mean(axis=0)).astype(int)
        hints.append(Hint(int(x), int(y), (int(red), int(green), int(blue))))
    return hints


def score(photos: Sequence[Photo], method: Method, count: int, *, seed: int, title: str) -> Score:
    """Mean scores of a method, with `count` hints a photo."""
    console = Console(stderr=True)
    found = []
    for index, photo in enumerate(tracked(photos, title, len(photos))):
        # A prefix of the same places for every number: more hints are the fewer ones and others.
        hints = draw(photo, max(*HINTS, count), np.random.default_rng([seed, index]))[:count]
        found.append(_score(photo, method(photo, hints)))
    psnr, difference, colours, true_colours = np.mean(found, axis=0)
    console.print(f"{title}: {psnr:.2f} dB, CIEDE2000 {difference:.2f}", highlight=False)
    return Score(float(psnr), float(difference), float(colours / true_colours))


def _score(photo: Photo, made: np.ndarray) -> tuple[float, float, float, float]:
    error = np.square(made.astype(np.float32) / 255 - photo.truth.astype(np.float32) / 255).mean()
    difference = ciede2000(color.to_lab(made[::2, ::2]), photo.lab[::2, ::2]).mean()
    psnr = -10 * np.log10(max(float(error), 1e-10))
    return psnr, float(difference), colourfulness(made), colourfulness(photo.truth)


def _constant(a: float, b: float) -> Method:
    ab = np.zeros((1, 1, 2), np.float32)
    ab[...] = a, b
    return lambda photo, _: color.join(photo.luma, np.broadcast_to(ab, (*photo.luma.shape, 2)), np.uint8)


def answer(colorizer: Colorizer, *, strength: float = 1.0, palette: bool = False) -> Method:
    """What users get, from the engine; with `palette` it is told the truth's."""

    def method(photo: Photo, hints: Sequence[Hint]) -> np.ndarray:
        told = color.palette_of(photo.lab[..., 1:]) if palette else None
        made = colorizer(Image(photo.grey), hints=hints, palette=told, strength=strength, note=False)
        return made.image.pixels

    return method


def bilateral(longest: int, sigmas: tuple[float, float] = _BILATERAL) -> Method:
    """Hints spread without a network, at the same working size: by nearness in place and luma (joint bilateral)."""
    reach, luma_reach = sigmas

    def method(photo: Photo, hints: Sequence[Hint]) -> np.ndarray:
        small = color.shrink(photo.luma, *working_shape(photo.luma.shape[0], photo.luma.shape[1], longest))
        ab = np.zeros((*small.shape, 2), np.float32)
        if hints:
            scale = small.shape[0] / photo.luma.shape[0]
            lab = color.to_lab(np.array([[hint.rgb for hint in hints]], np.uint8))[0]
            y, x = np.mgrid[0 : small.shape[0], 0 : small.shape[1]] + 0.5
            near = np.stack(
                [
                    -((y - hint.y * scale) ** 2 + (x - hint.x * scale) ** 2) / (2 * (reach * max(small.shape)) ** 2)
                    - (small - colour[0]) ** 2 / (2 * luma_reach**2)
                    for hint, colour in zip(hints, lab, strict=True)
                ]
            )
            # Less the largest: far from every hint the nearest one still rules.
            weights = np.exp(near - near.max(axis=0))
            ab = (np.einsum("khw,kc->hwc", weights, lab[:, 1:]) / weights.sum(axis=0)[..., None]).astype(np.float32)
        return color.colour_in(photo.luma, ab, small, np.uint8)

    return method


def contact_sheet(photos: Sequence[Photo], method: Method, out: Path, *, seed: int) -> Path:
    """Truth, grey, automatic, 5 and 50 hints of 24 photos, two a row, each on a square."""
    picked = sorted({int(at) for at in np.linspace(0, len(photos) - 1, min(_SHOWN, len(photos)))})
    columns: list[list[torch.Tensor]] = [[] for _ in range(2 + len(_SHEET_HINTS))]
    for index in picked:
        photo = photos[index]
        hints = draw(photo, max(HINTS), np.random.default_rng([seed, index]))
        made = [method(photo, hints[:count]) for count in _SHEET_HINTS]
        for column, pixels in zip(columns, (photo.truth, np.repeat(photo.grey[..., None], 3, 2), *made), strict=True):
            column.append(_cell(pixels))
    return sheet([torch.stack(column) for column in columns], out, columns=2)


def _cell(pixels: np.ndarray) -> torch.Tensor:
    """A picture in the middle of a grey square of _CELL, (3, _CELL, _CELL)."""
    picture = PillowImage.fromarray(pixels)
    picture.thumbnail((_CELL, _CELL), PillowImage.Resampling.LANCZOS)
    square = PillowImage.new("RGB", (_CELL, _CELL), (128, 128, 128))
    square.paste(picture, ((_CELL - picture.width) // 2, (_CELL - picture.height) // 2))
    return torch.from_numpy(np.array(square)).permute(2, 0, 1).float().div_(255)
