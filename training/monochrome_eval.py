"""How often the rule "is it black-and-white?" errs, over pictures made from photos: in colour, grey, toned."""

from __future__ import annotations

import argparse
import io
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from PIL import Image

from restore.monochrome import judge
from training import TrainingError
from training.data import decode, find_photos

#: The split that figures are made from; thresholds were set on the others.
MEASURED = ("test",)
#: JPEG quality, from and to; always 4:2:0, which smears what chroma there is.
QUALITY = (60, 95)


@dataclass(frozen=True, slots=True)
class Made:
    """One picture to judge: the photo that it was made from, what was made of it, and its pixels."""

    name: str
    kind: str
    pixels: np.ndarray
    """(H, W, 3) uint8, as it comes out of the JPEG."""


def make_pictures(folder: Path, count: int, seed: int, *, splits: Sequence[str] = MEASURED) -> Iterator[Made]:
    """`count` pictures from the photos of `splits` below `folder`, each of KINDS equally often.

    Each photo serves before one serves twice, and serves each kind in turn. Raises TrainingError without a photo.
    """
    members = [member for member in find_photos(folder) if member.split in splits]
    if not members:
        raise TrainingError(f"{folder}: no photo of the splits {', '.join(splits)}")
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(members))
    kinds = list(KINDS)
    for number in range(count):
        turn, place = divmod(number, len(members))
        member = members[order[place]]
        kind = kinds[(place + turn) % len(kinds)]
        photo = decode(member.path.read_bytes()).astype(np.float32) / 255
        yield Made(member.name, kind, _through_jpeg(KINDS[kind](photo, rng), rng))


def _through_jpeg(picture: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """(H, W, 3) float in [0, 1] as 8-bit pixels after a JPEG of a random quality."""
    levels = np.rint(np.clip(picture, 0, 1) * 255).astype(np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(levels).save(
        buffer, "JPEG", quality=int(rng.integers(QUALITY[0], QUALITY[1] + 1)), subsampling="4:2:0"
    )
    return decode(buffer.getvalue())


def _in_colour(photo: np.ndarray, _: np.random.Generator) -> np.ndarray:
    return photo


def _grey_plane(photo: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """(H, W): the picture on a film of random colour response, contrast and fading."""
    plane = photo @ rng.dirichlet((3, 6, 1.5)).astype(np.float32)
    plane = plane ** rng.uniform(0.7, 1.4)
    black, white = rng.uniform(0, 0.2), rng.uniform(0.8, 1)
    return np.asarray(black + (white - black) * plane, np.float32)


def _scanned(picture: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """With the faint noise of a scanner, which differs from channel to channel, in half of the pictures."""
    level = rng.uniform(0, 4 / 255) * (rng.random() < 0.5)
    return np.asarray(picture + rng.normal(0, level, picture.shape), np.float32)


def _grey(photo: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return _scanned(np.repeat(_grey_plane(photo, rng)[..., None], 3, axis=2), rng)


def _through_curves(plane: np.ndarray, colours: np.ndarray) -> np.ndarray:
    """Grey as tones: `colours` (K, 3) are those of K equal steps from black to white."""
    steps = np.linspace(0, 1, len(colours))
    return np.stack([np.interp(plane, steps, colours[:, channel]) for channel in range(3)], axis=-1).astype(np.float32)


def _sepia(photo: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Brown: yellow-brown lights, brown shadows, more or less of it; or the matrix of many photo programs."""
    plane = _grey_plane(photo, rng)
    if rng.random() < 0.3:
        # Its rows add up to more than 1 in red and green: the lights are cut, as those programs do.
        rows = np.array([[0.393, 0.769, 0.189], [0.349, 0.686, 0.168], [0.272, 0.534, 0.131]], np.float32)
        return _scanned(np.minimum(photo @ rows.T, 1), rng)
    powers = 1 + np.array([-0.5, 0, 0.8]) * rng.uniform(0.25, 1) + rng.normal(0, 0.05, 3)
    paper = np.array([1, rng.uniform(0.9, 0.98), rng.uniform(0.7, 0.95)])
    return _scanned((plane[..., None] ** powers * paper).astype(np.float32), rng)


def _toned(photo: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Cyanotype, selenium, gold, platinum or green; or two tones, one for the shadows and one for the lights."""
    tones = {
        "cyanotype": ([0.03, 0.10, 0.28], [0.25, 0.48, 0.68], [0.92, 0.96, 0.97]),
        "selenium": ([0.12, 0.07, 0.10], [0.52, 0.46, 0.48], [0.98, 0.96, 0.94]),
        "gold": ([0.08, 0.07, 0.12], [0.47, 0.48, 0.55], [0.97, 0.95, 0.92]),
        "platinum": ([0.10, 0.09, 0.08], [0.54, 0.50, 0.45], [0.97, 0.95, 0.90]),
        "green": ([0.04, 0.09, 0.06], [0.42, 0.52, 0.44], [0.93, 0.97, 0.93]),
        "two": (rng.uniform(0, 0.2, 3), rng.uniform(0.4, 0.6, 3), rng.uniform(0.8, 1, 3)),
    }
    colours = np.array(tones[list(tones)[rng.integers(len(tones))]])
    grey = np.array([[0.0], [0.5], [1.0]])
    strength = rng.uniform(0.4, 1.2)
    return _scanned(_through_curves(_grey_plane(photo, rng), grey + strength * (colours - grey)), rng)


def _yellowed(photo: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A grey or brown print under yellow that lies unevenly: more at the edges, in clouds, and in a few stains."""
    base = _grey(photo, rng) if rng.random() < 0.5 else _sepia(photo, rng)
    height, width = base.shape[:2]
    y, x = np.meshgrid(np.linspace(-1, 1, height), np.linspace(-1, 1, width), indexing="ij")
    clouds = _smooth_noise(height, width, int(rng.integers(2, 6)), rng)
    amount = rng.uniform(0.2, 1) + rng.uniform(0, 0.4) * np.maximum(abs(x), abs(y)) ** 2 + rng.uniform(0, 0.4) * clouds
    for _ in range(rng.integers(0, 4)):
        centre, radius = rng.uniform(-1, 1, 2), rng.uniform(0.1, 0.5)
        distance = np.hypot(y - centre[0], x - centre[1]) / radius
        amount = amount + rng.uniform(0, 0.4) / (1 + np.exp((distance - 1) * 8))
    # Yellow paper takes away blue, some green and hardly any red.
    density = np.array([rng.uniform(0, 0.05), rng.uniform(0.06, 0.15), rng.uniform(0.25, 0.5)])
    return _scanned((base * np.exp(-amount[..., None] * density)).astype(np.float32), rng)


def _smooth_noise(height: int, width: int, cells: int, rng: np.random.Generator) -> np.ndarray:
    """(height, width) in about [-1, 1], without detail smaller than the picture over `cells`."""
    coarse = Image.fromarray(rng.uniform(-1, 1, (cells, cells)).astype(np.float32))
    return np.asarray(coarse.resize((width, height), Image.Resampling.BICUBIC))


KINDS: dict[str, Callable[[np.ndarray, np.random.Generator], np.ndarray]] = {
    "colour": _in_colour,
    "grey": _grey,
    "sepia": _sepia,
    "toned": _toned,
    "yellowed": _yellowed,
}


@dataclass(frozen=True, slots=True)
class Report:
    """How often the rule erred: for each kind, how many pictures were judged, and those that were called wrong."""

    counts: dict[str, int]
    wrong: dict[str, tuple[str, ...]]
    """Names of the photos whose picture was called colour where it is none, or the other way round."""
    command: str = ""

    @property
    def error(self) -> float:
        """The share that was called wrong, in percent."""
        return 100 * sum(map(len, self.wrong.values())) / max(1, sum(self.counts.values()))

    def to_markdown(self) -> str:
        """A row a kind and one for all."""
        rows = [(kind, self.counts[kind], len(self.wrong[kind])) for kind in self.counts]
        rows.append(("all", sum(self.counts.values()), sum(map(len, self.wrong.values()))))
        lines = [f"| {kind} | {count} | {wrong} | {100 * wrong / max(1, count):.2f} |" for kind, count, wrong in rows]
        return "\n".join(["| kind | pictures | wrong | % |", "|---|---|---|---|", *lines])

    def to_json(self) -> str:
        """Everything, for machines; there is no model whose figures could be published."""
        plain = {"markdown": self.to_markdown(), "published": {}, "counts": self.counts, "wrong": self.wrong}
        return json.dumps(plain | {"percent": self.error, "command": self.command}, indent=2) + "\n"


def add_flags(parser: argparse.ArgumentParser) -> None:
    """The flags of `eval monochrome`."""
    parser.add_argument("--data", type=Path, required=True, metavar="FOLDER", help="photos, with their SOURCES.tsv")
    parser.add_argument("--count", type=int, default=2000, metavar="N", help="pictures to make (default: 2000)")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="(default: 0)")


def measure_as_told(args: argparse.Namespace, command: str) -> Report:
    """`measure` over the split test, as the flags say."""
    return replace(measure(args.data, args.count, args.seed), command=command)


def measure(folder: Path, count: int, seed: int, *, splits: Sequence[str] = MEASURED) -> Report:
    """Judge `count` pictures made from the photos below `folder`. Grey and toned count as one answer.

    The same folder, count and seed give the same report. Raises TrainingError without a photo of `splits`.
    """
    counts = dict.fromkeys(KINDS, 0)
    wrong: dict[str, list[str]] = {kind: [] for kind in KINDS}
    for made in make_pictures(folder, count, seed, splits=splits):
        counts[made.kind] += 1
        if judge(made.pixels).is_monochrome != (made.kind != "colour"):
            wrong[made.kind].append(made.name)
    return Report(counts, {kind: tuple(names) for kind, names in wrong.items()})
