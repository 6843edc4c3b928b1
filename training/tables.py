"""What an evaluation found, as a table for people and as JSON for `export --publish`."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
import torch

from training import TrainingError
from training.levels_eval import Extremes, LevelRow, levels_markdown

#: What an answer that equals its picture counts as in a mean, in dB, instead of infinity.
UNCHANGED_DB = 100.0


class Score(NamedTuple):
    """Of one picture, or the mean over pictures; `seconds` for a picture, on this machine."""

    psnr: float
    ssim: float
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A method's mean scores, by sigma on the 0-255 scale."""

    method: str
    scores: Mapping[int, Score]
    model: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CleanRow:
    """What a model does to pictures without noise: dB between answer and picture."""

    method: str
    mean: float  # unchanged pictures count as UNCHANGED_DB
    lowest: float
    unchanged: int


class PhotoScore(NamedTuple):
    """Of one photo with noise of its own, or the mean over photos; `registered` as `metrics.registered_psnr` has it."""

    psnr: float
    ssim: float
    registered: float
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class PhotoRow:
    """What a method, told nothing, does to photos with noise of their own, whose truth is known."""

    method: str
    psnr: float
    ssim: float
    registered: float
    worse: float  # share of pictures made worse by more than 0.1 dB
    seconds: float
    model: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """All that one run measured."""

    data: str
    pictures: int
    seed: int
    rows: Sequence[Row]
    clean: Sequence[CleanRow] = ()
    #: As `rows`, on the same pictures in grey.
    grey: Sequence[Row] = ()
    photos: Sequence[PhotoRow] = ()
    photo_data: str = ""
    levels: Sequence[LevelRow] = ()
    extremes: Mapping[str, Extremes] = field(default_factory=dict)
    command: str = ""
    made_with: Mapping[str, str] = field(default_factory=lambda: {"torch": torch.__version__, "numpy": np.__version__})

    def to_json(self) -> str:
        """Everything, for machines; `psnr` and `ssim` by sigma."""
        plain = asdict(self)
        for row in (*plain["rows"], *plain["grey"]):
            row["scores"] = {sigma: score._asdict() for sigma, score in row["scores"].items()}
        plain["markdown"] = self.to_markdown()
        plain["extremes"] = {name: found._asdict() for name, found in self.extremes.items()}
        plain["published"] = self.published()
        return json.dumps(plain, indent=2) + "\n"

    def published(self) -> dict[str, dict[str, float]]:
        """By model: its PSNR at each sigma, told the noise, in colour and in grey, and on photos."""
        figures: dict[str, dict[str, float]] = {}
        for rows, kind in ((self.rows, ""), (self.grey, "grey ")):
            for row in rows:
                if row.model:
                    reached = {f"psnr/{kind}{sigma}": round(score.psnr, 3) for sigma, score in row.scores.items()}
                    figures.setdefault(row.model, {}).update(reached)
        for photo in self.photos:
            if photo.model in figures:
                figures[photo.model][f"psnr/{self.photo_data.split(',')[0]}"] = round(photo.psnr, 3)
        return figures

    def to_markdown(self) -> str:
        """One pipe table for noise, one for clean pictures where they were asked for."""
        lines = [
            f"PSNR in dB / SSIM, mean over {self.pictures} pictures of {self.data}, noise of seed {self.seed}.",
            "",
            *_table(self.rows),
        ]
        if self.grey:
            lines += ["", "The same pictures in grey, with the noise of one channel.", "", *_table(self.grey)]
        if self.clean:
            lines += [
                "",
                f"Clean pictures, blind: dB between answer and picture; unchanged ones count as {UNCHANGED_DB:g}.",
                "",
                "| method | mean | lowest | unchanged |",
                "|---|---|---|---|",
                *(
                    f"| {row.method} | {row.mean:.2f} | {row.lowest:.2f} | {row.unchanged} of {self.pictures} |"
                    for row in self.clean
                ),
            ]
        if self.photos:
            lines += [
                "",
                f"Photos with noise of their own, {self.photo_data}, as they are, no parameter set by hand.",
                "Registered: PSNR after the 5 x 5 filter, one a photo, that brings the answer nearest to the truth.",
                "",
                "| method | PSNR | registered | SSIM | worse by 0.1 dB | s a picture |",
                "|---|---|---|---|---|---|",
                *(
                    f"| {row.method} | {row.psnr:.2f} | {row.registered:.2f} | {row.ssim:.4f} | {row.worse:.0%} "
                    f"| {row.seconds:.2f} |"
                    for row in self.photos
                ),
            ]
        if self.levels:
            lines += levels_markdown(self.levels, dict(self.extremes))
        return "\n".join(lines)


def _table(rows: Sequence[Row]) -> list[str]:
    sigmas = list(rows[0].scores) if rows else []
    lines = [
        f"| method | {' | '.join(f'sigma {sigma}' for sigma in sigmas)} | s a picture |",
        "|---|" + "---|" * len(sigmas) + "---|",
    ]
    for row in rows:
        cells = [f"{score.psnr:.2f} / {score.ssim:.4f}" for score in row.scores.values()]
        seconds = sum(score.seconds for score in row.scores.values()) / len(row.scores)
        lines.append(f"| {row.method} | {' | '.join(cells)} | {seconds:.2f} |")
    return lines


class Published(NamedTuple):
    """What a file says of its quality: figures by name ("psnr/25"), the higher the better; command; tables.

    `weights` is what `training.weights.weights_digest` says of the file that was measured; empty in older reports.
    """

    figures: dict[str, float]
    command: str
    tables: str
    #: Further entries for the file's metadata.
    texts: Mapping[str, str] = MappingProxyType({})
    weights: str = ""


def published_figures(report: Path, name: str) -> Published:
    """From the JSON of any task's report: what the model `name` reached.

    Raises TrainingError if the report is none, or has no figures of this model.
    """
    try:
        plain: dict[str, Any] = json.loads(report.read_text("utf-8"))
        figures: dict[str, float] | None = plain["published"].get(name)
        command, tables = str(plain["command"]), str(plain["markdown"])
        texts = {str(key): str(text) for key, text in plain.get("texts", {}).items()}
        weights = str(plain.get("weights", {}).get(name, ""))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise TrainingError(f"{report}: not a report of python -m training eval --out ({error!r})") from None
    if figures is None:
        raise TrainingError(f"{report}: no figures of {name}. Evaluate the exported .onnx file first.")
    return Published(figures, command, re.sub(rf"[^| ]*{name}\.onnx", name, tables), texts, weights)
