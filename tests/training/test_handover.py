"""One command on a borrowed machine: train, export, measure, and hand all of it back in files that can be sent."""

from __future__ import annotations

import json

import pytest

from restore.engine import open_model
from training import handover
from training.__main__ import main


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


def test_parts_are_full_but_for_the_last(tmp_path):
    (tmp_path / "a.bin").write_bytes(bytes(range(10)))
    parts = handover.split_file(tmp_path / "a.bin", tmp_path, size=4)
    assert [(p.name, p.read_bytes()) for p in parts] == [
        ("a.bin.00", bytes([0, 1, 2, 3])),
        ("a.bin.01", bytes([4, 5, 6, 7])),
        ("a.bin.02", bytes([8, 9])),
    ]


def test_the_help_says_how_parts_are_joined(capsys):
    with pytest.raises(SystemExit):
        main(["train", "denoise", "--help"])
    assert "in parts of 15 MiB that cat joins" in " ".join(capsys.readouterr().out.split())
