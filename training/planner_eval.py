"""How good plans are, on photos of the test split that are damaged by seed, and on photos that need nothing.

A plan is right where its steps are those that mend the photo, in their order. Regret is the PSNR that a plan falls
short of the best order of unwatermark and denoise, tried out with the installed models; colour is not counted, since
it is a guess. Truth is the same photo without mark and noise.
"""

from __future__ import annotations

import argparse
import itertools
import json
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from PIL import Image as PillowImage
from rich.console import Console
from rich.progress import track

from restore import image as image_module
from restore.engine import Planner, open_model
from restore.image import Image
from restore.reproduce import psnr
from restore.steps import Step, Tool, carry_out, make_plan, open_tools
from training.data import PhotoSet, find_photos
from training.mark_assets import Assets
from training.marks import draw_mark
from training.planner_photos import STEPS, Case, CaseMaker, pixels_of

T = TypeVar("T")

#: Equal pictures count as so many dB.
_MOST_DB = 60.0
#: Longest side of a drawn mark, as in the pictures that are damaged.
_MARK_SIDE = 448
#: Clean photos as they are, and enlarged: files of cameras are softer than photos that were shrunk.
ENLARGED = (1, 2, 4)
_TWELVE_MEGAPIXELS = (3000, 4000, 3)
_TIMED = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanReport:
    """All that one run measured; shares in [0, 1], dB, levels of 255, milliseconds."""

    model: str
    cases: int
    exact: float
    set_f1: float
    by_step: Mapping[str, tuple[float, float]]
    #: Shares of clean photos for which a step was planned, and which `restore auto` changed with the installed models.
    harm: Mapping[str, tuple[float, float]]
    sigma_error: float
    regret: Mapping[str, float]
    tried: int
    with_tools: Sequence[str]
    milliseconds: float
    command: str

    def to_markdown(self) -> str:
        """Three pipe tables."""
        steps = [f"| {name} | {precision:.1%} | {recall:.1%} |" for name, (precision, recall) in self.by_step.items()]
        harm = [f"| {kind} | {planned:.1%} | {changed:.1%} |" for kind, (planned, changed) in self.harm.items()]
        regret = [f"| {way} | {value:.2f} |" for way, value in self.regret.items()]
        said = (
            f"{self.cases} photos of the test split, a third of them without damage: {self.exact:.1%} of the plans of "
            f"{self.model} are right to the last step; F1 of the sets of steps {self.set_f1:.3f}; the noise's level is "
            f"off by {self.sigma_error:.1f} of 255 on average; one look at 12 megapixels takes "
            f"{self.milliseconds:.0f} ms of CPU time."
        )
        return "\n".join([
            said,
            "",
            "| step | precision | recall |",
            "|---|---|---|",
            *steps,
            "",
            "Whole photos that need nothing:",
            "",
            "| photos | a step was planned | changed by `restore auto` |",
            "|---|---|---|",
            *harm,
            "",
            f"PSNR below the best order, mean over {self.tried} photos, with {', '.join(self.with_tools)}:",
            "",
            "| way | dB |",
            "|---|---|",
            *regret,
        ])  # fmt: skip

    def to_json(self) -> str:
        """Everything, for machines."""
        figures = {"exact": round(100 * self.exact, 3), "no harm": round(100 * (1 - self.harm["as they are"][0]), 3)}
        more = {"published": {self.model: figures}, "markdown": self.to_markdown()}
        return json.dumps(asdict(self) | more, indent=2) + "\n"


def add_flags(parser: argparse.ArgumentParser) -> None:
    """The flags of `eval plan`."""
    parser.add_argument(
        "--data", type=Path, required=True, metavar="FOLDER",
        help="with photos/SOURCES.tsv, logos/LOGOS.tsv and fonts/FONTS.tsv",
    )  # fmt: skip
    parser.add_argument("--model", default="plan", metavar="NAME_OR_PATH", help="(default: the shipped model)")
    parser.add_argument("--number", type=int, default=400, metavar="N", help="of damaged photos (default: 400)")
    parser.add_argument("--tried", type=int, default=40, metavar="N", help="of them with every order (default: 40)")
    parser.add_argument("--clean", type=int, metavar="N", help="photos that need nothing, at the most (default: all)")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of the damages (default: 0)")


def measure(args: argparse.Namespace, command: str) -> PlanReport:
    """Everything of the module's head, with the models that are installed as tools."""
    planner = open_model(args.model, kind=Planner, device="cpu", threads=args.threads)
    members = [m for m in find_photos(args.data / "photos", only=("large/",)) if m.split == "test"]
    photos = [image_module.read(member.path) for member in members]
    rgb = [np.dstack([photo.pixels] * 3) if photo.is_grey else photo.pixels for photo in photos]
    assets = Assets.load(args.data, "test")
    maker = CaseMaker(
        photos=PhotoSet([member.name for member in members], rgb, device=torch.device("cpu")),
        marks=lambda kind, rng: torch.from_numpy(draw_mark(assets, kind, _MARK_SIDE, rng)).permute(2, 0, 1),
    )
    every_tool = open_tools(device="cpu", threads=args.threads)
    tools = {name: tool for name, tool in every_tool.items() if name != "colorize"}
    plans: list[tuple[tuple[Step, ...], Case]] = []
    scores: dict[str, list[float]] = {}
    for number, case in enumerate(_tracked(list(maker.many(args.number, seed=args.seed)), "damaged photos")):
        image = Image(pixels_of(case.pictures[0]))
        steps = make_plan(image, planner)
        plans.append((steps, case._replace(pictures=())))
        if number < args.tried and tools:
            for way, score in _ways(image, case, steps, tools).items():
                scores.setdefault(way, []).append(score)
    best = np.array(scores.pop("best", [0.0]))
    named = [({step.name for step in steps}, set(case.steps)) for steps, case in plans]
    levels = [
        255 * abs(step.sigma - case.sigma)
        for steps, case in plans
        for step in steps
        if step.sigma is not None and case.sigma
    ]
    return PlanReport(
        model=planner.spec.name,
        cases=len(plans),
        exact=float(np.mean([tuple(step.name for step in steps) == case.steps for steps, case in plans])),
        set_f1=float(np.mean([f1(found, true) for found, true in named])),
        by_step={step: _precision_recall(named, step) for step in STEPS},
        harm={
            "as they are" if factor == 1 else f"enlarged {factor} times": _harm(
                planner, photos[: args.clean], factor, every_tool
            )
            for factor in ENLARGED
        },
        sigma_error=float(np.mean(levels)) if levels else 0.0,
        regret={way: float((best - np.array(found)).mean()) for way, found in scores.items()},
        tried=len(best) if scores else 0,
        with_tools=list(tools),
        milliseconds=_milliseconds(planner),
        command=command,
    )


def f1(found: set[str], true: set[str]) -> float:
    """Of two sets: 1 where they are equal, also where both are empty."""
    return 1.0 if not found and not true else 2 * len(found & true) / (len(found) + len(true))


def _precision_recall(named: Sequence[tuple[set[str], set[str]]], step: str) -> tuple[float, float]:
    both = sum(step in found and step in true for found, true in named)
    planned, needed = (sum(step in sets[side] for sets in named) for side in (0, 1))
    return both / max(1, planned), both / max(1, needed)


def _ways(image: Image, case: Case, steps: Sequence[Step], tools: Mapping[str, Tool]) -> dict[str, float]:
    """PSNR in dB of each way with a picture; "best" is the highest over every order of every set of tools."""
    grey = "colorize" in case.steps
    truth = pixels_of(case.pictures[-2 if grey else -1])
    made: dict[tuple[str, ...], Image] = {(): image}
    for count in range(1, len(tools) + 1):
        for order in itertools.permutations(tools, count):
            before = made[order[:-1]]
            made[order] = carry_out(before, tools, steps=[Step(order[-1])]).image
    reached = {order: min(psnr(picture.pixels, truth), _MOST_DB) for order, picture in made.items()}
    planned = tuple(step.name for step in steps if step.name in tools)
    everything = tuple(name for name in STEPS if name in tools)
    return {
        "best": max(reached.values()),
        "the plan": reached[planned],
        "everything, in the fixed order": reached[everything],
        "nothing": reached[()],
    }


def _harm(planner: Planner, photos: Sequence[Image], factor: int, tools: Mapping[str, Tool]) -> tuple[float, float]:
    """The shares of clean photos for which any step is planned, and that carrying it out changes."""
    planned = changed = 0
    for photo in _tracked(photos, f"clean photos, {factor} x"):
        large = photo
        if factor > 1:
            size = (photo.width * factor, photo.height * factor)
            large = Image(np.asarray(PillowImage.fromarray(photo.pixels).resize(size, PillowImage.Resampling.BICUBIC)))
        if make_plan(large, planner):
            planned += 1
            changed += carry_out(large, tools, planner=planner).image is not large
    return planned / len(photos), changed / len(photos)


def _milliseconds(planner: Planner) -> float:
    """CPU time of one look at a decoded photo of 12 megapixels and its plan, the median of some.

    Not by the clock, which says more of what else a machine does.
    """
    image = Image(np.random.default_rng(0).integers(0, 256, _TWELVE_MEGAPIXELS, np.uint8))
    spent = []
    for _ in range(_TIMED):
        started = time.process_time()
        make_plan(image, planner)
        spent.append(time.process_time() - started)
    return 1000 * float(np.median(spent))


def _tracked(items: Sequence[T], text: str) -> Iterator[T]:
    console = Console(stderr=True)
    yield from track(items, text, console=console, transient=True, disable=not console.is_terminal)
