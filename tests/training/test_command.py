"""python -m training: what it prints, what it refuses, and how it exits."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import torch
from PIL import Image

from restore import store
from training.__main__ import main
from training.data import Member, pack, read_shards
from training.weights import weights_digest

QUICK = ["--patches", "16", "--pixels", "256", "--precision", "float32", "--device", "cpu"]


@pytest.mark.parametrize(
    "words",
    [["pack"], ["train", "denoise"], ["palettes"], ["eval", "denoise"], ["marks"], ["preview"], ["export"], ["bench"]],
)
def test_every_command_shows_an_example(words, capsys):
    with pytest.raises(SystemExit) as exit_:
        main([*words, "--help"])
    assert exit_.value.code == 0
    assert f"example:\n  python -m training {words[0]} " in capsys.readouterr().out


def test_the_help_of_a_recipe_shows_its_own_defaults(capsys):
    with pytest.raises(SystemExit):
        main(["train", "denoise-fast", "--help"])
    text = " ".join(capsys.readouterr().out.split())
    assert re.search(r"--patches .*?\(default: 64 96 128\)", text)
    assert "the run is resumed" in text


def test_pack_prints_the_shards_and_counts_on_stderr(photo_folder, tmp_path, capsys):
    assert main(["pack", str(photo_folder), "--out", str(tmp_path), "--only", "large/0", "--name", "few"]) == 0
    shown = capsys.readouterr()
    assert shown.out == f"{tmp_path / 'few-00000.tar'}\n"
    assert "1 photos in 1 shards" in shown.err
    assert len(list(read_shards([tmp_path], "train"))) == 1


def test_training_from_the_command_line_writes_a_checkpoint(shards, tmp_path, capsys):
    words = ["train", "denoise", "--data", str(shards), "--run", str(tmp_path), "--steps", "2", *QUICK]
    assert main(words) == 0
    shown = capsys.readouterr()
    assert shown.out == f"{tmp_path / 'best.pt'}\n"
    assert re.search(r"step 2 .* 100\.0 % .* loss .* s/step .* 0 min left", shown.err)
    assert "val psnr/15" in shown.err
    assert torch.load(tmp_path / "last.pt", weights_only=True)["settings"]["steps"] == 2
    assert "val psnr/15" in (tmp_path / "log.txt").read_text()
    assert main([*words[:-1], "cpu", "--steps", "3"]) == 0
    assert f"resumed {tmp_path / 'last.pt'} at step 2" in capsys.readouterr().err


def test_a_colorizer_is_trained_made_otherwise_and_exported(shards, tmp_path, capsys):
    from restore.colorizer import open_colorizer

    small = ["--hparam", "channels=[8,8]", "blocks=[1,1]", "attention=0"]
    words = ["train", "colorize", "--data", str(shards), "--run", str(tmp_path), "--steps", "2", *QUICK]
    assert main([*words, *small]) == 0
    assert "val psnr/0" in capsys.readouterr().err
    assert main(["export", "colorize", str(tmp_path / "best.pt"), "--out", str(tmp_path)]) == 0
    spec = open_colorizer(tmp_path / "colorize-fast.onnx").spec
    assert (spec.answer, spec.reach, spec.multiple_of) == ("chroma", None, 8)


def test_a_hyperparameter_that_is_not_json_is_refused(shards, capsys):
    assert main(["train", "colorize", "--data", str(shards), "--hparam", "channels=wide"]) == 2
    assert "--hparam channels=wide is not NAME=JSON, as in channels=[32,64]" in capsys.readouterr().err


def test_without_a_val_split_training_says_what_it_keeps(photo_folder, tmp_path, capsys):
    assert main(["pack", str(photo_folder), "--out", str(tmp_path / "packed"), "--only", "large/0"]) == 0
    data = str(tmp_path / "packed")
    assert main(["train", "denoise", "--data", data, "--run", str(tmp_path / "run"), "--steps", "1", *QUICK]) == 0
    assert "no photo of the split 'val': best.pt will be the last weights" in capsys.readouterr().err


def test_eval_prints_a_table_and_writes_json(photo_folder, tiny_denoiser, tmp_path, capsys):
    words = ["eval", "denoise", "--data", str(photo_folder / "large"), "--limit", "1", "--sigma", "25"]
    out = tmp_path / "deep" / "report.json"
    assert main([*words, "--model", str(tiny_denoiser), "--clean", "--out", str(out)]) == 0
    shown = capsys.readouterr()
    assert "| method | sigma 25 | s a picture |" in shown.out
    assert shown.out.count(f"| {tiny_denoiser}, blind |") == 2
    plain = json.loads(out.read_text())
    assert plain["command"].startswith("python -m training eval denoise --data ")
    assert plain["weights"] == {"denoise-fast": weights_digest(tiny_denoiser)}


def test_what_was_exported_and_measured_is_published_and_nothing_else(
    photo_folder, tiny_checkpoint, tiny_denoiser, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(store, "BUNDLED", tmp_path / "shelf")
    monkeypatch.delenv("RESTORE_MODELS", raising=False)
    measure = f"eval denoise --data {photo_folder}/large --limit 1 --sigma 25 --out report.json --model"
    publish = f"export denoise {tiny_checkpoint} --publish report.json --data drawings"
    assert main([*measure.split(), str(tiny_checkpoint), str(tiny_denoiser)]) == 0
    assert main(publish.split()) == 0
    assert main([*measure.replace("--limit 1", "--limit 2").split(), str(tiny_denoiser)]) == 0
    capsys.readouterr()
    assert main(publish.split()) == 2
    assert "measured otherwise (limit 2, before 1)" in capsys.readouterr().err
    assert main([*publish.split(), "--measured-otherwise"]) == 0
    (entry,) = store.entries()
    assert "--limit 2" in entry.about["measured_with"]


def test_export_writes_the_file_and_prints_its_path(tiny_checkpoint, tmp_path, capsys):
    assert main(["export", "denoise", str(tiny_checkpoint), "--out", str(tmp_path)]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == str(tmp_path / "denoise-fast.onnx")
    assert (tmp_path / "denoise-fast.onnx").is_file()


def test_preview_writes_truth_and_damage_side_by_side(shards, tmp_path, capsys):
    out = tmp_path / "deep" / "sheet.png"
    words = ["preview", "denoise", "--data", str(shards), "--out", str(out), "--number", "3", "--size", "48"]
    assert main(words) == 0
    assert capsys.readouterr().out.strip() == str(out)
    with Image.open(out) as sheet:
        # Four cells a row, the last one empty; 6 pixels between the cells.
        assert sheet.size == (4 * (2 * 48 + 6), 48 + 6)


@pytest.fixture
def places(tmp_path, photo_folder, shards, tiny_checkpoint, tiny_denoiser) -> dict[str, Path]:
    only_val = tmp_path / "only_val"
    pack([Member(photo_folder / "large/0.png", "0.png", "val")], only_val)
    (tmp_path / "empty").mkdir()
    made = {"photos": photo_folder, "shards": shards, "checkpoint": tiny_checkpoint, "onnx": tiny_denoiser}
    return made | {"tmp": tmp_path, "empty": tmp_path / "empty", "only_val": only_val}


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("pack {tmp}/gone --out {tmp}/out", "gone: no such folder"),
        ("pack {empty} --out {tmp}/out", "no picture below this folder"),
        ("pack {photos} --out {tmp}/out --only small/", "no picture whose name starts with small/"),
        ("train denoise --data {tmp}/gone", "no shard here. Make some with: python -m training pack"),
        ("train denoise --data {only_val}", "no photo of the split 'train'"),
        ("train denoise --data {shards} --run {tmp}/run --patches 20", "--patches 20 is not a multiple of 16"),
        ("train denoise --data {shards} --run {tmp}/run --patches 512", "smaller than the crop of 512 px"),
        ("train denoise --data {shards} --steps 0", "--steps 0 cannot be. Use 1 or more."),
        ("train denoise --data {shards} --threads 0", "--threads 0 cannot be. Use 1 or more."),
        ("eval denoise --data {empty} --model {onnx}", "no picture in this folder"),
        ("eval denoise --data {photos}/large --model nothing", "no model is called 'nothing'"),
        ("eval denoise --data {photos}/large --sigma 0 --model {onnx}", "--sigma must be 1 or more."),
        ("eval colorize --data {photos} --limit 0", "--limit must be 1 or more."),
        ("eval colorize --data {photos} --hints 0 -1", "--hints must be 0 or more."),
        ("eval colorize --data {photos} --seed -1", "--seed must be 0 or more."),
        ("eval monochrome --data {photos} --seed -1", "--seed must be 0 or more."),
        ("marks {empty}", "FONTS.tsv: no such table"),
        ("marks {empty} --number 3", "--number 3 is too few. Use 10 or more."),
        ("preview denoise --data {shards} --out {tmp}/a.png --number 0", "--number must be 1 or more."),
        ("preview denoise --data {empty} --out {tmp}/a.png", "no shard here"),
        ("export denoise {tmp}/gone.pt", "gone.pt: no such checkpoint"),
        ("export denoise {onnx}", "not a checkpoint of python -m training train"),
        ("export denoise {checkpoint} --publish {tmp}/gone.json", "not a report of python -m training eval --out"),
    ],
)
def test_what_a_user_gets_wrong_is_one_sentence_and_exit_2(command, message, places, capsys):
    assert main(command.format(**places).split()) == 2
    error = capsys.readouterr().err
    assert message in error
    last = error.splitlines()[-1]
    assert last.startswith("Error: ")
    assert "Traceback" not in error


def test_a_system_error_is_one_sentence_and_exit_1(photo_folder, tmp_path, capsys):
    (tmp_path / "file").write_text("in the way")
    assert main(["pack", str(photo_folder), "--out", str(tmp_path / "file" / "out")]) == 1
    assert capsys.readouterr().err.startswith("Error: ")


def test_an_unknown_recipe_is_wrong_usage(capsys):
    with pytest.raises(SystemExit) as exit_:
        main(["train", "sharpen", "--data", "x"])
    assert exit_.value.code == 2
    assert "invalid choice: 'sharpen'" in capsys.readouterr().err
