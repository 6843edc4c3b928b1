"""One command on a borrowed machine: train, export, measure, and hand all of it back in files that can be sent."""

from __future__ import annotations

import json
import shutil
import types

import pytest
import torch

from restore.engine import open_model
from training import TrainingError, handover
from training.__main__ import main
from training.export import ExportError
from training.loop import load_network


def test_one_command_trains_exports_measures_and_hands_the_run_back(shards, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(handover.split_file, "__kwdefaults__", {"size": 20_000})
    run, out = tmp_path / "run", tmp_path / "out"
    words = ["train", "denoise", "--data", str(shards), "--run", str(run), "--steps", "1", "--patches", "16"]
    words += ["--pixels", "256", "--precision", "float32", "--device", "cpu", "--hand-over", str(out)]
    assert main([*words, "--hparam", "channels=[4,4]", "blocks=[1,1]"]) == 0
    printed = capsys.readouterr().out.split()
    assert printed[:4] == [
        str(run / "best.pt"),
        *(str(out / n) for n in ("denoise-fast.onnx", "figures.json", "log.txt")),
    ]
    assert open_model(out / "denoise-fast.onnx").spec.made_by["steps"] == "1"
    told = json.loads((out / "figures.json").read_text())
    assert told["step"] == 1
    assert told["figures"]["psnr/25"] > 0
    parts = sorted(out.glob("last.pt.*"))
    assert len(parts) > 1
    assert b"".join(part.read_bytes() for part in parts) == (run / "last.pt").read_bytes()


@pytest.fixture
def run(tiny_checkpoint, tmp_path):
    """A run that ended."""
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "log.txt").write_text("step 1\n")
    shutil.copy(tiny_checkpoint, folder / "last.pt")
    return folder


def test_where_the_export_fails_all_else_is_there_and_a_sentence_says_so(run, tiny_checkpoint, tmp_path, monkeypatch):
    def differing(*_):
        raise ExportError("the file differs from torch")

    monkeypatch.setattr(handover, "export_checkpoint", differing)
    # What the command line turns into one sentence.
    with pytest.raises(TrainingError, match="differs from torch"):
        handover.hand_over(tiny_checkpoint, run, tmp_path / "out", val=None)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["figures.json", "last.pt.00", "log.txt"]


def test_the_network_is_measured_on_the_device_of_the_photos(run, tiny_checkpoint, tmp_path, monkeypatch):
    elsewhere = torch.empty(0, 3, dtype=torch.uint8, device="meta")
    photos = types.SimpleNamespace(pixels=elsewhere, held_out=lambda: torch.rand(1, 3, 32, 32))
    asked = []

    def loaded(path, *, device=None):
        asked.append(device)
        return load_network(path)

    monkeypatch.setattr(handover, "load_network", loaded)
    monkeypatch.setattr(handover, "export_checkpoint", lambda *_: tmp_path / "out/x.onnx")
    handover.hand_over(tiny_checkpoint, run, tmp_path / "out", val=photos)
    assert asked == [elsewhere.device]


def test_parts_are_full_but_for_the_last(tmp_path):
    (tmp_path / "a.bin").write_bytes(bytes(range(10)))
    parts = handover.split_file(tmp_path / "a.bin", tmp_path, size=4)
    assert [(p.name, p.read_bytes()) for p in parts] == [
        ("a.bin.00", bytes([0, 1, 2, 3])),
        ("a.bin.01", bytes([4, 5, 6, 7])),
        ("a.bin.02", bytes([8, 9])),
    ]


def test_parts_of_an_older_and_longer_file_go(tmp_path):
    for length in (12, 5):
        (tmp_path / "a.bin").write_bytes(bytes(length))
        handover.split_file(tmp_path / "a.bin", tmp_path, size=4)
    assert sorted(path.name for path in tmp_path.glob("a.bin.*")) == ["a.bin.00", "a.bin.01"]


def test_the_help_says_how_parts_are_joined(capsys):
    with pytest.raises(SystemExit):
        main(["train", "denoise", "--help"])
    assert "in parts of 15 MiB that cat joins" in " ".join(capsys.readouterr().out.split())
