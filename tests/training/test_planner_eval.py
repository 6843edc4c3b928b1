"""What plans cost, which are wrong, and what `restore auto` takes of them."""

from __future__ import annotations

import numpy as np
import pytest

from restore.image import Image
from restore.steps import Step, carry_out
from training.planner_eval import Planned, as_tried, confusions_of, f1, regrets
from training.planner_photos import Case
from training.trying import ORDERS, Trial

U, D, C = "unwatermark", "denoise", "colorize"
NOTHING = np.zeros((0, 0, 3), np.uint8)


def planned(damages, reached, plan, taken) -> Planned:
    scores = dict(zip(ORDERS, reached, strict=True))
    return Planned(Case(damages, 0.0, NOTHING, NOTHING), Trial(scores, {}), tuple(Step(name) for name in plan), taken)


@pytest.fixture
def three() -> list[Planned]:
    return [
        # A mark that only helps behind the denoiser; the plan does both, `restore auto` stops behind the first.
        planned((U, D, C), (20.0, 20.0, 22.0, 22.0, 24.0), (D, U, C), (D,)),
        # A mark that cannot be taken off.
        planned((U,), (30.0, 25.0, 30.0, 25.0, 25.0), (U,), (U,)),
        planned((), (60.0, 60.0, 40.0, 40.0, 40.0), (), ()),
    ]


def test_regret_is_what_a_way_stays_below_the_best_order_on_average(three):
    found = regrets(three)
    # 0, 5 and 0 dB below 24, 30 and 60.
    assert found["the plan"] == pytest.approx(5 / 3)
    assert found["the plan, followed by `restore auto`"] == pytest.approx((2 + 5 + 0) / 3)
    assert found["what trying asks for"] == 0
    assert found["what was done to the photo"] == pytest.approx((2 + 5 + 0) / 3)
    assert found["everything, in the fixed order"] == pytest.approx((2 + 5 + 20) / 3)
    assert found["nothing"] == pytest.approx((4 + 0 + 0) / 3)


def test_wrong_plans_are_counted_by_what_was_needed_and_planned(three):
    assert confusions_of(three) == [("nothing", "unwatermark", 1)]
    assert confusions_of([*three, three[1]]) == [("nothing", "unwatermark", 2)]


class LooksAgain:
    """Proposes a plan, and wants a step of it as long as the picture is dark."""

    def __init__(self, *plan):
        self.plan = [(step, None) for step in plan]

    def __call__(self, image):
        return self.plan

    def still_wants(self, image, before, step):
        return image.pixels.max() < 100


def taken(pictures, *plan):
    """The names of the steps that `restore auto` takes of a plan."""
    outcome = carry_out(Image(pictures[()]), as_tried(pictures), planner=LooksAgain(*plan))
    return tuple(step.name for step in outcome.taken)


def test_a_plan_is_followed_but_for_what_the_planner_no_longer_wants():
    dark, bright = (np.full((2, 2, 3), level, np.uint8) for level in (0, 200))
    pictures = dict(zip(ORDERS, (dark, dark + 1, bright, dark + 2, bright), strict=True))
    assert taken(pictures, U, D, C) == (U, D, C)
    # Colour stays due, whatever came before it.
    assert taken(pictures, D, U, C) == (D, C)
    assert taken(pictures) == ()


def test_a_step_that_changes_nothing_is_not_taken():
    noisy, clear = (np.full((2, 2, 3), level, np.uint8) for level in (0, 200))
    # The remover finds nothing, before the denoiser or behind it.
    pictures = dict(zip(ORDERS, (noisy, noisy, clear, clear, clear), strict=True))
    assert taken(pictures, U, D) == (D,)
    assert taken(pictures, D, U) == (D,)


def test_f1_of_two_sets_of_steps():
    assert f1(set(), set()) == 1
    assert f1({"denoise"}, set()) == 0
    # One of two found, nothing too much: 2 * 1 / (1 + 2).
    assert f1({"denoise"}, {"denoise", "colorize"}) == pytest.approx(2 / 3)
