"""The fonts and logos that marks are drawn with, each in one split only."""

from __future__ import annotations

import csv
import hashlib
from dataclasses import dataclass
from pathlib import Path

from training import TrainingError


@dataclass(frozen=True, slots=True)
class Font:
    """A font file and its category: serif, handwriting, ..."""

    path: Path
    category: str


@dataclass(frozen=True, slots=True)
class Logo:
    """A picture with transparency; `mono` ones are a shape in a single grey."""

    path: Path
    mono: bool


@dataclass(frozen=True, slots=True)
class Assets:
    """The fonts and logos of one split: nothing that one split draws with is in another."""

    fonts: tuple[Font, ...]
    logos: tuple[Logo, ...]

    @classmethod
    def load(cls, folder: Path, split: str) -> Assets:
        """What `folder/fonts/FONTS.tsv` and `folder/logos/LOGOS.tsv` give to `split`: train, val or test.

        Logos have a column for it; a font goes where the hash of its family's name sends it.
        Raises TrainingError where a split has no font or no logo.
        """
        fonts = tuple(
            Font(folder / "fonts" / row["file"], row["category"])
            for row in _rows(folder / "fonts" / "FONTS.tsv")
            if family_split(row["family"]) == split
        )
        logos = tuple(
            Logo(folder / "logos" / row["file"], row["kind"] == "mono")
            for row in _rows(folder / "logos" / "LOGOS.tsv")
            if row["split"] == split
        )  # fmt: skip
        if not fonts or not logos:
            raise TrainingError(f"{folder}: {len(fonts)} fonts and {len(logos)} logos of the split {split!r}")
        return cls(fonts, logos)


def _rows(table: Path) -> list[dict[str, str]]:
    if not table.is_file():
        raise TrainingError(f"{table}: no such table. It lists the fonts or logos that marks are drawn with.")
    with table.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))


def family_split(family: str) -> str:
    """The split of a font family, by a hash of its name: a tenth test, a tenth val, the rest train."""
    first = int.from_bytes(hashlib.sha256(family.encode()).digest()[:8], "big") % 10
    return {0: "test", 1: "val"}.get(first, "train")
