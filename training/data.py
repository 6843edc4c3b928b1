"""Photos for training: folders to packed shards, shards to seeded crops.

A shard is a plain tar file of at most 16 MB that holds the pictures as they were encoded, each
under `SPLIT/...`, so that it travels to another machine and is decoded there once.
"""

from __future__ import annotations

import collections
import csv
import io
import os
import re
import tarfile
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from training import TrainingError

SHARD_BYTES = 16_000_000
#: What tar adds at the most: a header and padding for each member; two empty blocks and a record's rest at the end.
_MEMBER_BYTES = 512 + 512
_END_BYTES = 2 * 512 + 10_240
_VALIDATION_SIDE = 256
_VALIDATION_PHOTOS = 24
SPLITS = ("train", "val", "test")
SUFFIXES = {".webp", ".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp"}


@dataclass(frozen=True, slots=True)
class Member:
    """One photo to pack: where it lies, and the name and split that it gets."""

    path: Path
    name: str
    split: str


def find_photos(folder: Path, *, only: Sequence[str] = ()) -> list[Member]:
    """Every picture below `folder`, sorted by name, with its split.

    The split comes from the `file` and `split` columns of a SOURCES.tsv in the folder or its
    parent, where there is one; a file that it does not list is refused, and without it all is
    `train`. `only` keeps the names that start with one of its prefixes.
    Raises TrainingError if nothing is left, and for a file without a split.
    """
    if not folder.is_dir():
        raise TrainingError(f"{folder}: no such folder")
    table = next((t for t in (folder / "SOURCES.tsv", folder.parent / "SOURCES.tsv") if t.is_file()), None)
    root = table.parent if table else folder
    splits = _read_column(table, "split") if table else None
    members = []
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(root).as_posix()
        if path.suffix.lower() not in SUFFIXES or (only and not name.startswith(tuple(only))):
            continue
        split = "train" if splits is None else splits.get(name)
        if split is None:
            raise TrainingError(
                f"{path}: {table} has no row for {name}. Add one, with its split, or move the file away."
            )
        if split not in SPLITS:
            raise TrainingError(f"{path}: {table} gives it the split {split!r}. Use one of: {', '.join(SPLITS)}.")
        members.append(Member(path, name, split))
    if not members:
        wanted = f" whose name starts with {' or '.join(only)}" if only else ""
        raise TrainingError(f"{folder}: no picture{wanted} below this folder ({', '.join(sorted(SUFFIXES))})")
    return members


def _read_column(table: Path, column: str) -> dict[str, str]:
    """One column of a SOURCES.tsv, by file."""
    with table.open(encoding="utf-8", newline="") as file:
        rows = csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE)
        if not {"file", column} <= set(rows.fieldnames or ()):
            raise TrainingError(f"{table}: it needs the columns file and {column}, parted by tabs")
        return {row["file"]: row[column] for row in rows}


def pack(
    members: Iterable[Member], out: Path, *, prefix: str = "photos", webp_quality: int | None = None
) -> list[Path]:
    """Write the photos into `out/PREFIX-00000.tar`, ... of at most 16 MB; returns the files' paths.

    The bytes stay as they are, or are encoded again as WebP of `webp_quality` (0-100) where that
    is smaller. Older shards of this prefix are replaced when all new ones are complete.
    Raises TrainingError for a picture that no shard can hold.
    """
    out.mkdir(parents=True, exist_ok=True)
    of_prefix = re.compile(re.escape(prefix) + r"-\d{5}\.tar")
    with tempfile.TemporaryDirectory(dir=out) as aside:
        made = _write_shards(members, Path(aside), prefix, webp_quality)
        older = {path for path in out.iterdir() if of_prefix.fullmatch(path.name)}
        shards = [shard.replace(out / shard.name) for shard in made]
    for path in older - set(shards):
        path.unlink()
    return shards


def _write_shards(members: Iterable[Member], out: Path, prefix: str, webp_quality: int | None) -> list[Path]:
    shards: list[Path] = []
    batch: list[tuple[str, bytes]] = []
    size = 0

    def flush() -> None:
        nonlocal batch, size
        if batch:
            shards.append(_write_shard(out / f"{prefix}-{len(shards):05d}.tar", batch))
        batch, size = [], 0

    for member in members:
        payload = member.path.read_bytes()
        if webp_quality is not None:
            payload = min(payload, _as_webp(payload, webp_quality), key=len)
        cost = _MEMBER_BYTES + len(payload)
        if cost + _END_BYTES > SHARD_BYTES:
            raise TrainingError(f"{member.path}: {len(payload)} bytes are too many for one shard. Try --webp 90.")
        if size + cost + _END_BYTES > SHARD_BYTES:
            flush()
        batch.append((f"{member.split}/{member.name}", payload))
        size += cost
    flush()
    return shards


def _as_webp(payload: bytes, quality: int) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(decode(payload)).save(buffer, "WEBP", quality=quality, method=6)
    return buffer.getvalue()


def _write_shard(path: Path, members: Iterable[tuple[str, bytes]]) -> Path:
    with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as tar:
        for name, payload in members:
            info = tarfile.TarInfo(name)
            info.size = len(payload)
            tar.addfile(info, io.BytesIO(payload))
    return path


def read_shards(paths: Sequence[Path], split: str) -> Iterator[tuple[str, bytes]]:
    """(name, encoded picture) for each photo of `split` in shards or folders of shards, sorted by shard.

    Raises TrainingError where there is no shard, and for a file that is none.
    """
    for path in _shards(paths):
        try:
            with tarfile.open(path) as tar:
                for info in tar:
                    file = tar.extractfile(info) if info.name.startswith(split + "/") else None
                    if file is not None:
                        yield info.name.removeprefix(split + "/"), file.read()
        except tarfile.TarError as error:
            raise TrainingError(f"{path}: not a shard ({error}). Pack it again.") from None


def _shards(paths: Sequence[Path]) -> list[Path]:
    found: list[Path] = []
    for path in paths:
        shards = sorted(path.glob("*.tar")) if path.is_dir() else [path] if path.is_file() else []
        if not shards:
            raise TrainingError(f"{path}: no shard here. Make some with: python -m training pack FOLDER --out DIR")
        found += shards
    return found


def decode(payload: bytes) -> np.ndarray:
    """The upright picture as (H, W, 3) uint8."""
    with Image.open(io.BytesIO(payload)) as image:
        return np.array(ImageOps.exif_transpose(image).convert("RGB"))


class PhotoSet:
    """Photos of one split, decoded once into a single uint8 buffer on the training device.

    Pictures differ in size, so they lie end to end in one (pixels, 3) tensor with their offsets:
    a batch of crops is then one gather, on the CPU and on a GPU alike.
    """

    def __init__(self, names: Sequence[str], photos: Sequence[np.ndarray], *, device: torch.device) -> None:
        if not photos:
            raise TrainingError("a set of photos needs one at least")
        self.names = list(names)
        self.sizes = torch.tensor([p.shape[:2] for p in photos], device=device)
        counts = self.sizes[:, 0] * self.sizes[:, 1]
        self.offsets = torch.cumsum(counts, 0) - counts
        self.pixels = torch.cat([torch.from_numpy(p.reshape(-1, 3)) for p in photos]).to(device)
        #: How often a photo is drawn, beside what its area says; see `balance`.
        self.weights = torch.ones(len(photos), dtype=torch.float64, device=device)

    def __len__(self) -> int:
        return len(self.names)

    @staticmethod
    def decode(payload: bytes) -> np.ndarray:
        """An encoded photo as this kind of set keeps it: (H, W, 3) uint8. Raises OSError for a broken one."""
        return decode(payload)

    @classmethod
    def load(cls, shards: Sequence[Path], split: str, *, device: torch.device) -> Self:
        """Decode every photo of `split` in parallel. Raises TrainingError when there is none, or one is broken."""

        def decoded(member: tuple[str, bytes]) -> np.ndarray:
            name, payload = member
            try:
                return cls.decode(payload)
            except OSError as error:
                raise TrainingError(f"{name}: not a picture that can be read ({error})") from None

        found = list(read_shards(shards, split))
        if not found:
            raise TrainingError(f"{', '.join(map(str, shards))}: no photo of the split {split!r}")
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            photos = list(pool.map(decoded, found))
        return cls([name for name, _ in found], photos, device=device)

    def balance(self, table: Path) -> None:
        """Draw evenly from all sources: one with n photos counts as much as the root of n.

        Without it flowers and groceries would be a third of all that is seen. `table` has the columns `file` and
        `repository`, parted by tabs. Raises TrainingError if it lacks them, or a photo.
        """
        sources = _read_column(table, "repository")
        missing = next((name for name in self.names if name not in sources), None)
        if missing is not None:
            raise TrainingError(f"{table}: it has no row for {missing}, which the shards hold")
        counts = collections.Counter(sources[name] for name in self.names)
        weights = [counts[sources[name]] ** -0.5 for name in self.names]
        self.weights = torch.tensor(weights, dtype=torch.float64, device=self.pixels.device)

    def held_out(self) -> Tensor:
        """The middle of the first photos that are large enough, (N, 3, 256, 256) in [0, 1], to validate on.

        Raises TrainingError if there is none.
        """
        crops = []
        for index in range(len(self)):
            photo = self.photo(index)
            height, width = photo.shape[-2:]
            if min(height, width) < _VALIDATION_SIDE:
                continue
            top, left = (height - _VALIDATION_SIDE) // 2, (width - _VALIDATION_SIDE) // 2
            crops.append(photo[:, top : top + _VALIDATION_SIDE, left : left + _VALIDATION_SIDE])
        if not crops:
            raise TrainingError(f"every photo of the val split is smaller than {_VALIDATION_SIDE} px")
        return torch.stack(crops[:_VALIDATION_PHOTOS]).float().div_(255)

    def photo(self, index: int) -> Tensor:
        """One whole photo: (3, H, W) uint8."""
        height, width = self.sizes[index].tolist()
        start = int(self.offsets[index])
        return self.pixels[start : start + height * width].view(height, width, 3).permute(2, 0, 1)

    def crops(self, rng: torch.Generator, *, batch: int, size: int) -> Tensor:
        """Random square crops, each flipped and turned at random: (batch, 3, size, size) float32 in [0, 1].

        A photo is drawn with a chance proportional to its area, so every pixel counts alike.
        Photos smaller than `size` are never drawn; TrainingError if all are.
        """
        device = self.pixels.device
        fits = (self.sizes >= size).all(dim=1)
        if not bool(fits.any()):
            raise TrainingError(f"every photo is smaller than the crop of {size} px. Take smaller --patches.")
        weights = torch.where(fits, self.sizes.prod(dim=1), 0).double() * self.weights
        chosen = torch.multinomial(weights, batch, replacement=True, generator=rng)
        heights, widths = self.sizes[chosen].unbind(dim=1)
        chance = torch.rand(5, batch, device=device, generator=rng)
        top = (chance[0] * (heights - size + 1)).long()
        left = (chance[1] * (widths - size + 1)).long()
        line = torch.arange(size, device=device)
        flip_y, flip_x, turn = (chance[2:] < 0.5).unbind(dim=0)
        rows = torch.where(flip_y[:, None], size - 1 - line, line) + top[:, None]
        columns = torch.where(flip_x[:, None], size - 1 - line, line) + left[:, None]
        index = self.offsets[chosen][:, None, None] + rows[:, :, None] * widths[:, None, None] + columns[:, None, :]
        index = torch.where(turn[:, None, None], index.transpose(1, 2), index)
        return self.pixels[index].permute(0, 3, 1, 2).float().div_(255)


def vary_colours(clean: Tensor, rng: torch.Generator) -> Tensor:
    """Each picture with its channels swapped, brighter or duller, some grey: (N, 3, H, W) in [0, 1], as before.

    torchvision draws from torch's one global generator; it is seeded from `rng` meanwhile and put
    back, so that a resumed run varies as the whole one would. Raises TrainingError without torchvision.
    """
    try:
        from torchvision.transforms import v2
    except ImportError:
        raise TrainingError("--augment needs torchvision, which is not installed here. Leave --augment out.") from None
    vary = v2.Compose(
        [v2.RandomChannelPermutation(), v2.ColorJitter(brightness=0.2, saturation=0.4), v2.RandomGrayscale(p=0.1)]
    )
    seed = int(torch.randint(2**62, (), generator=rng, device=rng.device))
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        return torch.stack([vary(picture) for picture in clean])
