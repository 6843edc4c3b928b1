"""A plan for a photo, step by step, and carrying it out: what `restore auto` does."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

from restore import store
from restore.engine import Restored, Restorer, open_model
from restore.ensemble import check_count
from restore.errors import BadOption
from restore.image import Image
from restore.planner import Planner

#: In the order in which they work: a mark is noise to a denoiser, and noise is colour to a colorizer.
NAMES = ("unwatermark", "denoise", "colorize")
_SCALE = 255.0
#: What a photo that needs the step has, for people.
_WORDS = {"unwatermark": "watermark", "denoise": "noise", "colorize": "black and white"}
_MOST_STEPS = 8


@dataclass(frozen=True, slots=True)
class Step:
    """One step; `sigma` is the noise's deviation on the [0, 1] scale, None where the denoiser is to find it."""

    name: str
    sigma: float | None = None

    def as_json(self) -> dict[str, Any]:
        """For machines; sigma as users read it."""
        plain: dict[str, Any] = {"step": self.name}
        return plain if self.sigma is None else plain | {"sigma": round(self.sigma * _SCALE, 1)}


def parse(text: str) -> tuple[Step, ...]:
    """A plan as a user writes it: `unwatermark,denoise:15,colorize`; nothing at all is an empty one.

    Raises BadOption for a step that there is not.
    """
    steps = []
    for word in filter(None, (part.strip() for part in text.split(","))):
        name, _, level = word.partition(":")
        if name not in NAMES:
            raise BadOption(f"--plan {text}: no step is called {name!r}. There are: {', '.join(NAMES)}.")
        if level and name != "denoise":
            raise BadOption(f"--plan {text}: {name} takes no level; denoise:15 does.")
        steps.append(Step(name, _sigma(level, text) if level else None))
    if len(steps) > _MOST_STEPS:
        raise BadOption(f"--plan {text}: {len(steps)} steps are too many. Use {_MOST_STEPS} or fewer.")
    return tuple(steps)


def _sigma(level: str, text: str) -> float:
    try:
        value = float(level)
    except ValueError:
        value = math.nan
    if not value >= 0:
        raise BadOption(f"--plan {text}: {level} is no level of noise. Write denoise:15, or denoise alone.")
    return value / _SCALE


def describe(steps: Sequence[Step]) -> str:
    """The plan for people: "watermark; noise, sigma about 22; black and white"."""
    words = []
    for step in steps:
        level = "" if step.sigma is None else f", sigma about {step.sigma * _SCALE:.0f}"
        words.append(_WORDS[step.name] + level)
    return "; ".join(words) or "nothing to mend"


#: What carries out a step: a picture, `progress` and what the step is told -> what came out.
Tool = Callable[..., Restored]


class Outcome(NamedTuple):
    """What became of a picture: the same object where nothing was done. `left_out` are steps without a model here."""

    image: Image
    planned: tuple[Step, ...]
    taken: tuple[Step, ...]
    left_out: tuple[str, ...]


def open_tools(
    *,
    device: str = "auto",
    threads: int | None = None,
    self_ensemble: int = 1,
    models: Mapping[str, str] | None = None,
    marks_are_known: bool = False,
) -> dict[str, Tool]:
    """The tools of the steps for which a model is installed, opened when they are first used.

    `self_ensemble` is how often remover and denoiser look. `models` names others than the usual ones, by step:
    {"denoise": "denoise-best"}. `marks_are_known`: somebody saw the mark, so that the remover need not be sure of one.
    Raises BadOption for a number that cannot be.
    """
    check_count(self_ensemble)
    there = {entry.task for entry in store.entries()}
    names = dict(zip(NAMES, NAMES, strict=True)) | dict(models or {})
    return {
        step: _Late(step, names[step], device, threads, self_ensemble, marks_are_known=marks_are_known)
        for step in NAMES
        if step in there
    }


class _Late:
    """A tool whose model is opened at its first use: most photos do not need all."""

    def __init__(
        self, task: str, model: str, device: str, threads: int | None, self_ensemble: int, *, marks_are_known: bool
    ) -> None:
        self._task, self._model, self._device, self._threads = task, model, device, threads
        self._self_ensemble, self._marks_are_known = self_ensemble, marks_are_known
        self._tool: Tool | None = None

    def __call__(self, image: Image, *, progress: Callable[[float], None] | None = None, **params: float) -> Restored:
        if self._tool is None:
            self._tool = self._opened()
        return self._tool(image, progress=progress, **params)

    def _opened(self) -> Tool:
        if self._task == "colorize":
            from restore.colorizer import open_colorizer

            return open_colorizer(self._model, device=self._device, threads=self._threads)
        restorer = open_model(self._model, kind=Restorer, device=self._device, threads=self._threads)
        known = self._marks_are_known and any(param.name == "certainty" for param in restorer.spec.params)
        params = {"certainty": 0.0} if known else {}
        return partial(restorer, self_ensemble=self._self_ensemble, **params)  # type: ignore[arg-type]


def make_plan(image: Image, planner: Planner | None) -> tuple[Step, ...]:
    """What the planner proposes at one look."""
    assert planner is not None, "a plan, or somebody who makes one"
    return tuple(Step(name, sigma) for name, sigma in planner(image))


def _still_due(step: str, now: Image, before: Sequence[str], planner: Planner) -> bool:
    """Whether a step that was planned at the first look is still to be taken, after those `before`.

    A restorer can make another needless: noise that goes takes a faint mark with it. Colour is never needless for that:
    what is black-and-white stays so.
    """
    return step == "colorize" or planner.still_wants(now, before, step)


def carry_out(
    image: Image,
    tools: Mapping[str, Tool],
    *,
    steps: Sequence[Step] | None = None,
    planner: Planner | None = None,
    progress: Callable[[float], None] | None = None,
) -> Outcome:
    """Do the steps of a plan, or, without one, those that the planner proposes.

    Of a plan of the planner's own a step is left out that it no longer wants when it looks at the picture again; no
    step is added. How strong the noise is, the denoiser finds itself unless a user's plan says it.
    """
    told = steps is not None
    planned = tuple(steps) if steps is not None else make_plan(image, planner)
    taken: list[Step] = []
    left_out: list[str] = []
    now = image
    for number, step in enumerate(planned):
        if step.name not in tools:
            left_out.append(step.name)
            continue
        before = [earlier.name for earlier in planned[:number]]
        if taken and not told and planner and not _still_due(step.name, now, before, planner):
            continue

        def tick(share: float, number: int = number) -> None:
            if progress:
                progress((number + share) / len(planned))

        params = {"sigma": step.sigma} if told and step.sigma is not None else {}
        done = tools[step.name](now, progress=tick, **params)
        found = done.found.get("sigma", step.sigma)
        if done.changed(now):
            taken.append(Step(step.name, found if step.name == "denoise" else None))
        now = done.image
    if progress:
        progress(1.0)
    return Outcome(now, planned, tuple(taken), tuple(left_out))
