"""What an evaluation's command says of its figures."""

from __future__ import annotations

import argparse

import pytest

from training.evaluations import EVALUATIONS, conditions

FIGURES = ("psnr/clwd", "f1/clwd", "kept/unmarked")


def of(words, figures=FIGURES):
    return conditions(f"python -m training eval unwatermark --data a/photos --marks a {words}", figures)


def test_the_conditions_are_the_flags_that_decide_what_a_figure_is_of():
    assert of("--model x --threads 2 --told --out report.json") == {
        "data": "photos", "marks": "a", "split": "test", "megapixels": "12.0", "clwd": "1000", "unmarked": "500",
    }  # fmt: skip
    assert of("--split val --clwd 7")["clwd"] == "7"


def test_a_set_that_no_figure_is_of_may_be_of_any_size():
    assert of("--sent 5") == of("--sent 0")
    assert of("--sent 5", [*FIGURES, "psnr/sent"]) != of("--sent 0", [*FIGURES, "psnr/sent"])


@pytest.mark.parametrize("command", ["eval", "", "python -m training eval denoise --data a --gone 3", "it's broken"])
def test_a_command_that_is_not_known_is_its_own_condition(command):
    assert conditions(command, FIGURES) == {"command": command}


@pytest.mark.parametrize("task", EVALUATIONS)
def test_what_decides_is_a_flag(task):
    parser = argparse.ArgumentParser()
    EVALUATIONS[task].add_flags(parser)
    flags = {action.dest for action in parser._actions}
    assert {*EVALUATIONS[task].decisive, *EVALUATIONS[task].counts} <= flags
