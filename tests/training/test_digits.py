"""MNIST's files, distortions that keep a digit a digit, training, export, and what an evaluation counts."""

from __future__ import annotations

import gzip
import json
import struct
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from restore.classifier import Classifier
from restore.engine import open_model
from training import TrainingError
from training.__main__ import main
from training.digits import train_digits
from training.digits_eval import VARIANTS
from training.mnist import Distortion, read_mnist


def stroke(label: int, rng: np.random.Generator) -> np.ndarray:
    """A made-up digit (28, 28) uint8: a bar whose direction is the label, 0 upright to 9 nearly round again."""
    y, x = np.mgrid[:28, :28] - 13.5 + rng.uniform(-1, 1, (2, 1, 1))
    angle = np.pi * label / 10
    along, across = x * np.sin(angle) + y * np.cos(angle), x * np.cos(angle) - y * np.sin(angle)
    return (255 * ((abs(along) < 9) & (abs(across) < 1.5))).astype(np.uint8)


def write_idx(path: Path, values: np.ndarray) -> None:
    header = struct.pack(f">{1 + values.ndim}I", {1: 0x0801, 3: 0x0803}[values.ndim], *values.shape)
    path.write_bytes(gzip.compress(header + values.astype(np.uint8).tobytes()))


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """600 made-up digits to learn from and 40 to test, in MNIST's four files."""
    folder = tmp_path_factory.mktemp("mnist")
    rng = np.random.default_rng(0)
    for name, count in (("train", 600), ("t10k", 40)):
        labels = np.arange(count) % 10
        write_idx(folder / f"{name}-images-idx3-ubyte.gz", np.stack([stroke(label, rng) for label in labels]))
        write_idx(folder / f"{name}-labels-idx1-ubyte.gz", labels)
    return folder


@pytest.fixture(scope="module")
def checkpoint(folder, tmp_path_factory) -> Path:
    return train_digits(folder, tmp_path_factory.mktemp("run"), epochs=12, batch=25)


def test_the_files_are_read_in_their_order(folder):
    digits = read_mnist(folder, "test")
    assert digits.images.shape == (40, 28, 28)
    assert digits.labels.tolist() == [*range(10)] * 4
    assert len(digits.part(None, 7)) == 7


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda f: (f / "t10k-labels-idx1-ubyte.gz").unlink(), "no such file"),
        (lambda f: (f / "t10k-labels-idx1-ubyte.gz").write_bytes(b"text"), "not a whole gzip file"),
        (lambda f: (f / "MD5SUMS").write_text("0" * 32 + "  t10k-images-idx3-ubyte.gz\n"), "its MD5 sum is"),
        (lambda f: write_idx(f / "t10k-labels-idx1-ubyte.gz", np.zeros(3)), "3 labels for pictures of"),
        (lambda f: write_idx(f / "t10k-labels-idx1-ubyte.gz", np.full(40, 10)), "a label says 10"),
    ],
)
def test_a_broken_file_is_refused(folder, tmp_path, spoil, message):
    for path in folder.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    spoil(tmp_path)
    with pytest.raises(TrainingError, match=message):
        read_mnist(tmp_path, "test")


def test_no_distortion_leaves_a_digit_as_it_is(folder):
    digits = read_mnist(folder, "test").images[:, None].float() / 255
    none = Distortion(degrees=0, scale=0, shear=0, shift=0, elastic=0, thickness=0)
    torch.testing.assert_close(none(digits, torch.Generator().manual_seed(0)), digits, atol=1e-5, rtol=0)


def test_a_shift_moves_by_no_more_than_it_says(folder):
    digits = read_mnist(folder, "test").images[:, None].float() / 255
    moved = Distortion(degrees=0, scale=0, shear=0, shift=2, elastic=0, thickness=0)(digits, torch.Generator())
    places = torch.arange(28.0)

    def centre(pictures: torch.Tensor) -> torch.Tensor:
        return (pictures.sum((1, 2)) * places).sum(1) / pictures.sum((1, 2, 3))

    shifts = (centre(moved) - centre(digits)).abs()
    assert shifts.max() <= 2.01
    assert shifts.max() > 1


def test_distortions_stay_in_range_and_follow_their_chance(folder):
    digits = read_mnist(folder, "test").images[:, None].float() / 255
    first, again, other = (Distortion()(digits, torch.Generator().manual_seed(seed)) for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert first.min() >= 0
    assert first.max() <= 1


def test_it_learns_and_takes_up_a_stopped_run_as_if_it_had_not_stopped(folder, tmp_path, checkpoint):
    class Stop(Exception):
        pass

    calls = 0

    class Stopping(Distortion):
        def __call__(self, digits, rng):
            nonlocal calls
            calls += 1
            if calls > 50:  # in the third epoch of 22 steps
                raise Stop
            return super().__call__(digits, rng)

    with pytest.raises(Stop):
        train_digits(folder, tmp_path, epochs=12, batch=25, distortion=Stopping())
    resumed = torch.load(train_digits(folder, tmp_path, epochs=12, batch=25), weights_only=True)
    whole = torch.load(checkpoint, weights_only=True)
    assert whole["progress"]["best"] > 0.9
    assert resumed["progress"]["step"] == whole["progress"]["step"]
    for name, weight in whole["ema"].items():
        assert torch.equal(resumed["ema"][name], weight), name


def test_a_run_with_other_settings_is_not_taken_up(folder, checkpoint):
    with pytest.raises(TrainingError, match="a run with other settings"):
        train_digits(folder, checkpoint.parent, epochs=13, batch=25)


def test_the_exported_file_reads_digits_and_says_what_it_is(folder, checkpoint, tmp_path, capsys):
    assert main(["export", "classify", str(checkpoint), "--out", str(tmp_path), "--data", "made-up strokes"]) == 0
    path = tmp_path / "classify-fast.onnx"
    reader = open_model(path, kind=Classifier, device="cpu")
    assert (reader.spec.answer, reader.spec.labels) == ("labels", tuple("0123456789"))
    assert reader.spec.made_by["data"] == "made-up strokes"
    (shape,) = [[d.dim_value for d in i.type.tensor_type.shape.dim] for i in onnx.load(path).graph.input]
    assert shape[1:] == [1, 28, 28]
    capsys.readouterr()
    report = tmp_path / "report.json"
    words = ["eval", "classify", "--data", str(folder), "--model", str(path), "--limit", "20", "--out", str(report)]
    assert main(words) == 0
    assert capsys.readouterr().out.startswith("MNIST, 20 test digits, read by classify-fast.")
    rows = json.loads(report.read_text())["rows"]
    assert [row["given"] for row in rows] == ["28 x 28 numbers", *(f"PNG, {name}" for name in VARIANTS)]
    # Bars stay bars, however they are given; those made smaller by their border are found all the same.
    assert min(row["right"] for row in rows) >= 0.9
    figures = json.loads(report.read_text())["published"]["classify-fast"]
    assert figures["accuracy/28 x 28 numbers"] == 100 * rows[0]["right"]


def test_variants_are_what_they_are_called():
    digit = np.zeros((28, 28), np.uint8)
    digit[10, 10] = 255
    assert VARIANTS["inverted"](digit, 0)[10, 10] == 0
    # The first paper and its ink.
    paper = VARIANTS["coloured paper"](digit, 0)
    assert paper[0, 0].tolist() == [250, 240, 170]
    assert paper[10, 10].tolist() == [20, 30, 120]
    assert VARIANTS["scaled by 1.5"](digit, 0).shape == (42, 42)
    bordered = VARIANTS["grey border"](digit, 0)
    assert bordered.shape == (40, 40)
    assert bordered[0, 0] == 128


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("train classify --data {tmp}", "no such file. The folder must hold the four original files of MNIST."),
        ("train classify --data {tmp} --epochs 0", "--epochs 0 and --batch 128 must both be 1 or more."),
        ("eval classify --data {tmp} --limit 0", "--limit must be 1 or more."),
    ],
)
def test_what_a_user_gets_wrong_is_one_sentence(words, message, tmp_path, capsys):
    assert main(words.format(tmp=tmp_path).split()) == 2
    assert message in capsys.readouterr().err
