"""How good plans are, on photos of the test split that are damaged by seed, and on photos that need nothing.

A plan is right where its steps are those that trying asks for, in their order: see `training.trying`. Beside it stands
how often it is what was done to the photo, which no restorer may be able to undo. Regret is the PSNR that a plan falls
short of the best order of unwatermark and denoise with the installed models; colour is not counted, since it is a
guess. Truth is the same photo without mark and noise.
"""

from __future__ import annotations

import argparse
import collections
import json
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image as PillowImage

from restore import image as image_module
from restore.engine import Restored, open_model
from restore.image import Image
from restore.planner import Planner
from restore.steps import Step, Tool, carry_out, make_plan, open_tools
from training.data import PhotoSet, find_photos
from training.mark_assets import Assets
from training.marks import draw_mark
from training.planner_photos import Case, CaseMaker
from training.tracking import tracked
from training.trying import STEPS, Order, Trial, tools_to_try, try_out, wanted

#: Longest side of a drawn mark, as in the pictures that are damaged.
_MARK_SIDE = 448
#: Clean photos as they are, and enlarged: files of cameras are softer than photos that were shrunk.
ENLARGED = (1, 2, 4)
_TWELVE_MEGAPIXELS = (3000, 4000, 3)
_TIMED = 9


#: Kinds of wrong plans that are told.
_TOLD = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanReport:
    """All that one run measured; shares in [0, 1], dB, levels of 255, milliseconds."""

    model: str
    cases: int
    #: Of photos to which nothing was done.
    whole: float
    #: Of plans from one look that are what trying asks for, for all photos and for those that were damaged; what
    #: `restore auto`, which looks again, then takes; and plans that are what was done to the photo.
    exact: float
    exact_of_damaged: float
    followed: float
    as_done: float
    set_f1: float
    by_step: Mapping[str, tuple[float, float]]
    #: The share of the photos with each damage whose plan has its step, needed or not.
    answered: Mapping[str, float]
    #: How often trying asked for one thing and another was planned, the commonest first: (asked, planned, number).
    confusions: Sequence[tuple[str, str, int]]
    #: Shares of clean photos for which a step was planned, and which `restore auto` changed with the installed models.
    harm: Mapping[str, tuple[float, float]]
    sigma_error: float
    regret: Mapping[str, float]
    with_tools: Sequence[str]
    #: Of one look at 12 megapixels: by the clock, and of CPU time.
    milliseconds: float
    cpu_milliseconds: float
    command: str

    def to_markdown(self) -> str:
        """Four pipe tables."""
        steps = [
            f"| {name} | {precision:.1%} | {recall:.1%} | {self.answered[name]:.1%} |"
            for name, (precision, recall) in self.by_step.items()
        ]
        wrong = [f"| {asked} | {planned} | {number} |" for asked, planned, number in self.confusions]
        harm = [f"| {kind} | {planned:.1%} | {changed:.1%} |" for kind, (planned, changed) in self.harm.items()]
        regret = [f"| {way} | {value:.2f} |" for way, value in self.regret.items()]
        said = (
            f"{self.cases} photos of the test split, {self.whole:.1%} of them without damage. What each needs was "
            f"found by trying every order of {' and '.join(self.with_tools)}: {self.exact:.1%} of the plans of "
            f"{self.model} are right to the last step ({self.exact_of_damaged:.1%} of those for damaged photos), "
            f"{self.followed:.1%} as `restore auto` follows them, looking again after each "
            f"step; {self.as_done:.1%} are what was done to the photo, which not all restorers can undo. F1 of the "
            f"sets of steps {self.set_f1:.3f}; the noise's level is off by {self.sigma_error:.1f} of 255 on average; "
            f"one look at 12 megapixels takes {self.milliseconds:.0f} ms, {self.cpu_milliseconds:.0f} ms of CPU time."
        )
        return "\n".join([
            said,
            "",
            "| step | planned rightly | found where needed | planned where its damage was done |",
            "|---|---|---|---|",
            *steps,
            "",
            "The commonest wrong plans:",
            "",
            "| needed | planned | photos |",
            "|---|---|---|",
            *wrong,
            "",
            "Whole photos that need nothing:",
            "",
            "| photos | a step was planned | changed by `restore auto` |",
            "|---|---|---|",
            *harm,
            "",
            "PSNR below the best order, mean over all:",
            "",
            "| way | dB |",
            "|---|---|",
            *regret,
        ])  # fmt: skip

    def to_json(self) -> str:
        """Everything, for machines."""
        # Real files are softer than ours: the enlarged ones count as much as those as they are.
        harm = float(np.mean([planned for planned, _ in self.harm.values()]))
        figures = {"exact": round(100 * self.exact, 3), "no harm": round(100 * (1 - harm), 3)}
        more = {"published": {self.model: figures}, "markdown": self.to_markdown()}
        return json.dumps(asdict(self) | more, indent=2) + "\n"


class Planned(NamedTuple):
    """A case, what trying says of it, what was planned from one look and what `restore auto` takes of that."""

    case: Case
    trial: Trial
    plan: tuple[Step, ...]
    followed: Order

    @property
    def needed(self) -> Order:
        """What trying asks for."""
        return wanted(self.trial.scores, grey=self.case.grey)

    @property
    def order(self) -> Order:
        """The names of the planned steps."""
        return tuple(step.name for step in self.plan)


def add_flags(parser: argparse.ArgumentParser) -> None:
    """The flags of `eval plan`."""
    parser.add_argument(
        "--data", type=Path, required=True, metavar="FOLDER",
        help="with photos/SOURCES.tsv, logos/LOGOS.tsv and fonts/FONTS.tsv",
    )  # fmt: skip
    parser.add_argument("--model", default="plan", metavar="NAME_OR_PATH", help="(default: the shipped model)")
    parser.add_argument("--number", type=int, default=400, metavar="N", help="of damaged photos (default: 400)")
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
    tools = tools_to_try(every_tool)
    done = [
        _planned(case, planner, tools)
        for case in tracked(maker.many(args.number, seed=args.seed), "photos", args.number)
    ]
    named = [(set(each.order), set(each.needed)) for each in done]
    levels = [
        255 * abs(step.sigma - each.case.sigma)
        for each in done
        for step in each.plan
        if step.sigma is not None and each.case.sigma
    ]
    clock, cpu = _milliseconds(planner)
    return PlanReport(
        model=planner.spec.name,
        cases=len(done),
        whole=_share(not each.case.damages for each in done),
        exact=_share(each.order == each.needed for each in done),
        exact_of_damaged=_share(each.order == each.needed for each in done if each.case.damages),
        followed=_share(each.followed == each.needed for each in done),
        as_done=_share(each.order == each.case.damages for each in done),
        set_f1=float(np.mean([f1(found, true) for found, true in named])),
        by_step={step: _precision_recall(named, step) for step in STEPS},
        answered={step: _share(step in each.order for each in done if step in each.case.damages) for step in STEPS},
        confusions=confusions_of(done),
        harm={
            "as they are" if factor == 1 else f"enlarged {factor} times": _harm(
                planner, photos[: args.clean], factor, every_tool
            )
            for factor in ENLARGED
        },
        sigma_error=float(np.mean(levels)) if levels else 0.0,
        regret=regrets(done),
        with_tools=list(tools),
        milliseconds=clock,
        cpu_milliseconds=cpu,
        command=command,
    )


def _planned(case: Case, planner: Planner, tools: Mapping[str, Tool]) -> Planned:
    trial = try_out(case.picture, case.truth, tools, all_orders=True)
    outcome = carry_out(Image(trial.pictures[()]), as_tried(trial.pictures), planner=planner)
    blank = case.picture[:0]
    return Planned(
        case._replace(picture=blank, truth=blank), trial._replace(pictures={}), outcome.planned,
        tuple(step.name for step in outcome.taken),
    )  # fmt: skip


def as_tried(pictures: Mapping[Order, np.ndarray]) -> dict[str, Tool]:
    """Tools that answer with what trying them made, (H, W, 3) uint8 by order. Colour counts, unmade, as a change."""

    def answer(step: str, image: Image, **_: object) -> Restored:
        order = next(order for order, pixels in pictures.items() if pixels is image.pixels)
        pixels = pictures[*order, step]
        return Restored(image if pixels is image.pixels else Image(pixels), {})

    tools: dict[str, Tool] = {step: partial(answer, step) for step in STEPS[:-1]}
    return tools | {"colorize": lambda image, **_: Restored(Image(image.pixels), {})}


def _share(holds: Iterable[bool]) -> float:
    return float(np.mean(list(holds) or [False]))


def confusions_of(done: Sequence[Planned]) -> list[tuple[str, str, int]]:
    """What was needed and what was planned instead, and for how many photos: the commonest first."""
    wrong = collections.Counter(
        (", ".join(each.needed) or "nothing", ", ".join(each.order) or "nothing")
        for each in done
        if each.needed != each.order
    )
    return [(*pair, number) for pair, number in wrong.most_common(_TOLD)]


def regrets(done: Sequence[Planned]) -> dict[str, float]:
    """How far below the best each way stays on average, in dB."""

    def lost(each: Planned, order: Order) -> float:
        scores = each.trial.scores
        return max(scores.values()) - scores[tuple(name for name in order if name != "colorize")]

    ways: dict[str, list[Order]] = {
        "the plan": [each.order for each in done],
        "the plan, followed by `restore auto`": [each.followed for each in done],
        "what trying asks for": [each.needed for each in done],
        "what was done to the photo": [each.case.damages for each in done],
        "everything, in the fixed order": [STEPS] * len(done),
        "nothing": [()] * len(done),
    }
    return {
        name: float(np.mean([lost(each, order) for each, order in zip(done, orders, strict=True)]))
        for name, orders in ways.items()
    }


def f1(found: set[str], true: set[str]) -> float:
    """Of two sets: 1 where they are equal, also where both are empty."""
    return 1.0 if not found and not true else 2 * len(found & true) / (len(found) + len(true))


def _precision_recall(named: Sequence[tuple[set[str], set[str]]], step: str) -> tuple[float, float]:
    both = sum(step in found and step in true for found, true in named)
    planned, needed = (sum(step in sets[side] for sets in named) for side in (0, 1))
    return both / max(1, planned), both / max(1, needed)


def _harm(planner: Planner, photos: Sequence[Image], factor: int, tools: Mapping[str, Tool]) -> tuple[float, float]:
    """The shares of clean photos for which any step is planned, and that carrying it out changes."""
    planned = changed = 0
    for photo in tracked(photos, f"clean photos, {factor} x", len(photos)):
        large = photo
        if factor > 1:
            size = (photo.width * factor, photo.height * factor)
            large = Image(np.asarray(PillowImage.fromarray(photo.pixels).resize(size, PillowImage.Resampling.BICUBIC)))
        if make_plan(large, planner):
            planned += 1
            changed += carry_out(large, tools, planner=planner).image is not large
    return planned / len(photos), changed / len(photos)


def _milliseconds(planner: Planner) -> tuple[float, float]:
    """One look at a decoded photo of 12 megapixels and its plan: by the clock at best, and the median of CPU time.

    The clock also says what else a machine does: the quickest of some looks says most of a user's.
    """
    image = Image(np.random.default_rng(0).integers(0, 256, _TWELVE_MEGAPIXELS, np.uint8))
    clock, cpu = [], []
    for _ in range(_TIMED):
        started = time.perf_counter(), time.process_time()
        make_plan(image, planner)
        clock.append(time.perf_counter() - started[0])
        cpu.append(time.process_time() - started[1])
    return 1000 * min(clock), 1000 * float(np.median(cpu))
