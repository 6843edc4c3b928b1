"""The comparison of variants: each trained once, timed together, as a table and a plot."""

from __future__ import annotations

import dataclasses
import json

import pytest
import torch

from training import compare
from training.__main__ import main
from training.export import ExportError
from training.recipes import find_recipe
from training.weights import load_checkpoint

QUICK = ["--steps", "1", "--patches", "16", "--pixels", "256", "--precision", "float32", "--threads", "1"]


@pytest.fixture
def two_small_variants(monkeypatch):
    monkeypatch.setattr(compare, "_BASE", {"stem": 2, "channels": (4, 4), "blocks": (1, 1)})
    monkeypatch.setattr(compare, "VARIANTS", {"base": {}, "no biases": {"bias": False}})
    # Its tiles of millions of pixels are for a quiet machine.
    monkeypatch.setattr(compare, "SIZES", ((32, 48), (64, 64)))


def test_variants_are_trained_once_and_stand_in_one_table(two_small_variants, shards, tmp_path, capsys):
    words = ["compare", "--data", str(shards), "--run", str(tmp_path), "--rounds", "1", *QUICK]
    assert main([*words, "--plot", str(tmp_path / "plot.png")]) == 0
    table = capsys.readouterr().out.splitlines()
    assert table[0].startswith("| variant | psnr/15 | psnr/25 |")
    assert [row.split(" | ")[0] for row in table[2:]] == ["| base", "| no biases"]
    assert (tmp_path / "plot.png").read_bytes().startswith(b"\x89PNG")
    told = json.loads((tmp_path / "no-biases/figures.json").read_text())
    assert told["hparams"]["bias"] is False
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("best.pt")}
    assert main([*words, "--train-only"]) == 0
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("best.pt")} == before


def test_a_variant_that_diverged_is_named_below_the_table(two_small_variants, shards, tmp_path, capsys, monkeypatch):
    export = compare.export_checkpoint

    def fails_for_one(path, folder):
        if folder.name == "no-biases":
            raise ExportError("no answer twice alike")
        return export(path, folder)

    monkeypatch.setattr(compare, "export_checkpoint", fails_for_one)
    assert main(["compare", "--data", str(shards), "--run", str(tmp_path), "--rounds", "1", *QUICK]) == 0
    table = capsys.readouterr().out.splitlines()
    assert [row.split(" | ")[0] for row in table[2:-2]] == ["| base"]
    assert table[-1] == "Diverged: no biases."


def test_an_unknown_variant_is_refused_with_those_that_there_are(two_small_variants, shards, tmp_path, capsys):
    assert main(["compare", "--data", str(shards), "--run", str(tmp_path), "--only", "huge", *QUICK]) == 2
    assert "no variant is called 'huge'; there are: base, no biases" in capsys.readouterr().err


def test_timing_nothing_is_refused(shards, tmp_path, capsys):
    assert main(["compare", "--data", str(shards), "--run", str(tmp_path), "--time-only"]) == 2
    assert "no trained variant. Leave out --time-only first." in capsys.readouterr().err


def test_ways_of_training_are_held_against_the_recipes_own(monkeypatch, shards, tmp_path, capsys):
    small = dataclasses.replace(find_recipe("denoise"), hparams={"channels": (4, 4), "blocks": (1, 1)})
    monkeypatch.setattr("training.__main__.find_recipe", lambda _: small)
    monkeypatch.setattr(compare, "TRAININGS", {"as the recipe": {}, "L1": {"loss": "l1"}})
    words = ["compare", "--ways", "--data", str(shards), "--run", str(tmp_path), *QUICK]
    assert main(words) == 0
    table = capsys.readouterr().out.splitlines()
    assert table[0].startswith("| training | psnr/15 | psnr/25 |")
    assert [row.split(" | ")[0] for row in table[2:]] == ["| as the recipe", "| L1"]
    runs = (tmp_path / name / "last.pt" for name in ("as-the-recipe", "L1"))
    settings = [load_checkpoint(path, torch.device("cpu"))["settings"] for path in runs]
    assert [s.pop("loss") for s in settings] == ["charbonnier", "l1"]
    assert settings[0] == settings[1]
    assert main([*words, "--only", "prayer"]) == 2
    assert "no variant is called 'prayer'; there are: as the recipe, L1" in capsys.readouterr().err
