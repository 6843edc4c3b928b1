"""What an autoencoder's code costs and gives, and whether its error tells photos from other pictures.

The other pictures: logos and lines of text on white (of the test split's fonts), handwritten digits enlarged, noise.
AUROC is the chance that one of them is called more unlike photos than a test photo is; 0.5 is guessing.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from restore import image as image_module
from restore.engine import Restorer, open_model
from restore.image import Image as Photo
from restore.reproduce import TYPICAL_KEY, Reproduction, Typical, reproduce, traits
from training.data import Member, find_photos
from training.mark_assets import Assets
from training.mnist import read_mnist
from training.tracking import tracked

#: The side of a picture that is no photo, as the training crops are.
_SIDE = 256
_WORDS = "the quick brown fox jumps over a lazy dog while seven wizards quietly mix black jade"
#: Error on average, at the worst pixels, and detail: see `restore.reproduce.traits`.
_ERROR = 0


class BesideJpeg(NamedTuple):
    """Of the photos of which there is a JPEG as small as the code: their number and both PSNR; None without any."""

    photos: int
    code: float | None
    jpeg: float | None

    @classmethod
    def of(cls, done: Sequence[Reproduction]) -> BesideJpeg:
        both = [(one.psnr, one.jpeg_psnr) for one in done if one.jpeg_psnr is not None]
        code, jpeg = np.mean(both, axis=0).tolist() if both else (None, None)
        return cls(len(both), code, jpeg)

    def rows(self) -> list[str]:
        """Of the pipe table, under that of the code on all photos."""
        if self.code is None or self.jpeg is None:
            return ["| JPEG at the same bytes or less: there is none | - | |"]
        return [
            f"| the code, on the {self.photos} photos that have a JPEG of the same bytes or less | {self.code:.2f} | |",
            f"| that JPEG | {self.jpeg:.2f} | |",
        ]


@dataclass(frozen=True, slots=True, kw_only=True)
class ReproduceReport:
    """All that one run measured; `auroc` by kind of picture: of the plain error, and of what `restore` says."""

    model: str
    photos: int
    psnr: float
    bits_per_pixel: float
    beside_jpeg: BesideJpeg
    better_than_jpeg: float
    auroc: Mapping[str, tuple[float, float]]
    alarms: float
    typical: str
    command: str

    def to_markdown(self) -> str:
        """Two pipe tables."""
        rows = [f"| {kind} | {plain:.3f} | {told:.3f} |" for kind, (plain, told) in self.auroc.items()]
        return "\n".join([
            f"{self.photos} photos of the test split, means.",
            "",
            "| from | PSNR | bits a pixel |",
            "|---|---|---|",
            f"| the code of {self.model} | {self.psnr:.2f} | {self.bits_per_pixel:.3f} |",
            *self.beside_jpeg.rows(),
            "",
            f"The code gives more than JPEG on {self.better_than_jpeg:.0%} of the photos.",
            "",
            "How well other pictures are told from test photos, as AUROC:",
            "",
            "| pictures | by the error alone | by error and detail, as `restore reproduce` says |",
            "|---|---|---|",
            *rows,
            "",
            f"{self.alarms:.1%} of the test photos are said to be more unlike than 95 % of such photos.",
        ])  # fmt: skip

    def to_json(self) -> str:
        """Everything, for machines, and what the exported file is to hold."""
        figures = {"psnr": round(self.psnr, 3)} | {f"auroc/{k}": round(v[1], 4) for k, v in self.auroc.items()}
        more: dict[str, Any] = {"published": {self.model: figures}, "texts": {TYPICAL_KEY: self.typical}}
        more |= {"beside_jpeg": self.beside_jpeg._asdict(), "markdown": self.to_markdown()}
        return json.dumps(asdict(self) | more, indent=2) + "\n"


def add_flags(parser: argparse.ArgumentParser) -> None:
    """The flags of `eval reproduce`."""
    parser.add_argument(
        "--data", type=Path, required=True, metavar="FOLDER",
        help="with photos/SOURCES.tsv, logos/LOGOS.tsv, fonts/FONTS.tsv and mnist",
    )  # fmt: skip
    parser.add_argument("--model", default="reproduce", metavar="NAME_OR_PATH", help="(default: the shipped model)")
    parser.add_argument("--limit", type=int, default=200, metavar="N", help="pictures of a kind (default: 200)")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of what is chosen and drawn (default: 0)")


def measure(args: argparse.Namespace, command: str) -> ReproduceReport:
    """Fit what photos are like on training photos and val photos, then measure on test photos and other pictures."""
    model = open_model(args.model, kind=Restorer, device="cpu", threads=args.threads)
    rng = np.random.default_rng(args.seed)
    members = find_photos(args.data / "photos")
    chosen = {split: _chosen(members, split, args.limit, rng) for split in ("train", "val", "test")}
    known, held_out = (_traits(model, _read(chosen[split]), split) for split in ("train", "val"))
    typical = Typical.of(known, held_out)
    photos = list(_read(chosen["test"]))
    done = [reproduce(model, photo) for photo in tracked(photos, "test photos, reproduced", len(photos))]
    bits = [8 * one.code_bytes / (photo.width * photo.height) for one, photo in zip(done, photos, strict=True)]
    beaten = [one.jpeg_psnr is None or one.psnr > one.jpeg_psnr for one in done]
    usual = _traits(model, photos, "test photos")
    auroc = {}
    for kind, pictures in others(args.data, number=args.limit, rng=rng).items():
        found = _traits(model, pictures, kind)
        distances = [np.array([typical.distance(row) for row in rows]) for rows in (usual, found)]
        auroc[kind] = area(usual[:, _ERROR], found[:, _ERROR]), area(*distances)
    return ReproduceReport(
        model=model.spec.name,
        photos=len(photos),
        psnr=float(np.mean([one.psnr for one in done])),
        bits_per_pixel=float(np.mean(bits)),
        beside_jpeg=BesideJpeg.of(done),
        better_than_jpeg=float(np.mean(beaten)),
        auroc=auroc,
        alarms=float(np.mean([typical.share_below(row) > 0.95 for row in usual])),
        typical=typical.to_json(),
        command=command,
    )


def _chosen(members: Sequence[Member], split: str, number: int, rng: np.random.Generator) -> list[Member]:
    of_split = [member for member in members if member.split == split]
    return [of_split[index] for index in rng.permutation(len(of_split))[:number]]


def _read(members: Sequence[Member]) -> Iterator[Photo]:
    return (image_module.read(member.path) for member in members)


def _traits(model: Restorer, photos: Iterator[Photo] | Sequence[Photo], text: str) -> np.ndarray:
    """(N, 3)."""
    chosen = list(photos)
    return np.stack([traits(model, photo.pixels) for photo in tracked(chosen, text, len(chosen))])


def others(data: Path, *, number: int, rng: np.random.Generator) -> dict[str, list[Photo]]:
    """Pictures that are no photos, by kind."""
    assets = Assets.load(data, "test")
    digits = read_mnist(data / "mnist", "train").images.numpy()
    makers: dict[str, Callable[[int], np.ndarray]] = {
        "logos": lambda index: _logo(assets, index),
        "text": lambda _: _text(assets, rng),
        "digits": lambda index: _digit(digits[-1 - index]),
        "noise": lambda index: _noise(index, rng),
    }
    return {kind: [Photo(make(index)) for index in range(number)] for kind, make in makers.items()}


def _logo(assets: Assets, index: int) -> np.ndarray:
    """A logo in the middle of white."""
    page = Image.new("RGBA", (_SIDE, _SIDE), "white")
    with Image.open(assets.logos[index % len(assets.logos)].path) as file:
        logo = file.convert("RGBA")
    logo.thumbnail((_SIDE * 9 // 10, _SIDE * 9 // 10))
    page.alpha_composite(logo, ((_SIDE - logo.width) // 2, (_SIDE - logo.height) // 2))
    return np.asarray(page.convert("RGB"))


def _text(assets: Assets, rng: np.random.Generator) -> np.ndarray:
    """Lines of words, black on white."""
    page = Image.new("RGB", (_SIDE, _SIDE), "white")
    pen, size = ImageDraw.Draw(page), int(rng.integers(11, 26))
    font = ImageFont.truetype(assets.fonts[int(rng.integers(len(assets.fonts)))].path, size)
    for top in range(4, _SIDE, round(1.3 * size)):
        pen.text((6, top), " ".join(rng.choice(_WORDS.split(), 8)), font=font, fill="black")
    return np.asarray(page)


def _digit(digit: np.ndarray) -> np.ndarray:
    return np.asarray(Image.fromarray(digit).resize((_SIDE, _SIDE), Image.Resampling.BICUBIC).convert("RGB"))


def _noise(index: int, rng: np.random.Generator) -> np.ndarray:
    """White noise: in turn any value alike, and normal around grey."""
    shape = (_SIDE, _SIDE, 3)
    if index % 2:
        return np.clip(np.rint(128 + rng.normal(0, rng.uniform(10, 60), shape)), 0, 255).astype(np.uint8)
    return rng.integers(0, 256, shape, np.uint8)


def area(usual: np.ndarray, other: np.ndarray) -> float:
    """Area under the ROC curve: the chance that one of `other` is larger than one of `usual`, ties counting half."""
    above = other[:, None] > usual[None]
    equal = other[:, None] == usual[None]
    return float(above.mean() + equal.mean() / 2)
