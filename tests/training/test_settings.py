"""Settings and the flags made from them."""

from __future__ import annotations

import argparse
import dataclasses
import json

import pytest

from training import TrainingError
from training.settings import Settings, add_flags, overridden, to_json


def parsed(*words: str, defaults: Settings | None = None) -> Settings:
    defaults = defaults or Settings()
    parser = argparse.ArgumentParser()
    add_flags(parser, defaults)
    return overridden(defaults, vars(parser.parse_args(words)))


def test_without_flags_the_recipes_settings_stay():
    recipe = Settings(steps=7, patches=(32, 64), weight_by_sigma=False)
    assert parsed(defaults=recipe) == recipe


def test_a_flag_overrides_its_field_and_no_other():
    recipe = Settings(steps=7)
    assert parsed("--learning-rate", "1e-3", defaults=recipe) == Settings(steps=7, learning_rate=1e-3)


def test_flags_of_each_kind_are_read_as_their_fields_are_typed():
    changed = parsed("--patches", "64", "96", "--no-weight-by-sigma", "--augment", "--loss", "l1", "--minutes", "2")
    assert changed == Settings(patches=(64, 96), weight_by_sigma=False, augment=True, loss="l1", minutes=2.0)


def test_every_field_has_a_flag_and_its_help_shows_the_recipes_default():
    parser = argparse.ArgumentParser()
    add_flags(parser, Settings(steps=123, patches=(32, 48)))
    text = " ".join(parser.format_help().split())
    for field in dataclasses.fields(Settings):
        assert f"--{field.name.replace('_', '-')}" in text
    assert "(default: 123)" in text
    assert "(default: 32 48)" in text


def test_a_value_outside_the_choices_is_refused(capsys):
    with pytest.raises(SystemExit):
        parsed("--optimizer", "sgd")
    assert "invalid choice: 'sgd'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--steps", "0"], r"--steps 0 cannot be\. Use 1 or more"),
        (["--minutes", "-1"], r"--minutes -1.0 cannot be\. Use 0 or more"),
        (["--ema", "1"], r"--ema 1.0 cannot be\. Use at least 0 and below 1"),
        (["--patches", "64", "0"], r"--patches 64 0 cannot be"),
    ],
)
def test_a_value_that_cannot_be_is_refused_by_its_flag(words, message):
    with pytest.raises(TrainingError, match=message):
        parsed(*words)


def test_settings_are_one_line_of_json():
    text = to_json(Settings(patches=(64, 96)))
    assert "\n" not in text
    assert json.loads(text)["patches"] == [64, 96]
