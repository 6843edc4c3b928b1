"""What a damaged photo needs, found by trying: every order of the shipped restorers, held against the truth.

Tried are nothing, unwatermark, denoise, and both in either order. What counts is the shortest of them within 0.1 dB of
the best, and of several as short the first in the order of `STEPS`. Colour is a guess that no PSNR can judge, so
colorize follows a rule: it comes last, for a photo that went grey. It keeps the luma, so that what is right before it
is right behind it too.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from restore.image import Image
from restore.reproduce import psnr
from restore.steps import Tool
from training import TrainingError

#: The steps in the order in which the earlier of two that are as good is taken.
STEPS = ("unwatermark", "denoise", "colorize")
#: Names of steps in the order in which they are taken.
Order = tuple[str, ...]
#: All that is tried, the one to prefer first: fewer steps, then the order of STEPS.
ORDERS: tuple[Order, ...] = tuple(
    order for count in range(len(STEPS)) for order in itertools.permutations(STEPS[:-1], count)
)
#: In dB: what is less than this below the best is as good.
MARGIN = 0.1
#: Equal pictures count as so many dB.
MOST_DB = 60.0


def tools_to_try(tools: Mapping[str, Tool]) -> dict[str, Tool]:
    """Those of `restore.steps.open_tools` that are tried. Raises TrainingError where one is not installed."""
    if missing := [step for step in STEPS[:-1] if step not in tools]:
        raise TrainingError(f"no model for {' and '.join(missing)} is installed, so no plan can be tried out.")
    return {step: tools[step] for step in STEPS[:-1]}


class Trial(NamedTuple):
    """The PSNR that each order reaches, in dB, and the picture (H, W, 3) uint8 that it makes; orders may share one."""

    scores: Mapping[Order, float]
    pictures: Mapping[Order, np.ndarray]


def try_out(picture: np.ndarray, truth: np.ndarray, tools: Mapping[str, Tool], *, all_orders: bool = False) -> Trial:
    """Each order of ORDERS, carried out on a picture as `restore auto` does it.

    Both (H, W, 3) uint8. A picture that equals its truth is not tried unless `all_orders` is true: nothing can be
    better than to leave it alone.
    """
    before = Image(picture)
    made: dict[Order, Image] = {(): before}
    done: dict[tuple[str, int], Image] = {}
    if all_orders or not np.array_equal(picture, truth):
        for order in ORDERS[1:]:
            source, step = made[order[:-1]], order[-1]
            # Where a restorer found nothing, the next one sees what it saw before: it need not run twice.
            key = step, id(source)
            if key not in done:
                done[key] = tools[step](source).image
            made[order] = done[key]
    scores = {order: min(psnr(image.pixels, truth), MOST_DB) for order, image in made.items()}
    return Trial(scores, {order: image.pixels for order, image in made.items()})


def wanted(scores: Mapping[Order, float], taken: Sequence[str] = (), *, grey: bool, margin: float = MARGIN) -> Order:
    """The steps that a photo still needs after those `taken`: none where nothing that was tried goes on from there.

    `grey`: whether it lost its colour; `margin`, in dB: what is less than this below the best is as good.
    """
    start = tuple(step for step in taken if step != "colorize")
    open_to = {order: score for order, score in scores.items() if order[: len(start)] == start}
    best = max(open_to.values(), default=MOST_DB)
    order = next((order for order in ORDERS if open_to.get(order, -np.inf) > best - margin), start)
    return order[len(start) :] + (("colorize",) if grey and "colorize" not in taken else ())
