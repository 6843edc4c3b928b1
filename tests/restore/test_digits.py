"""A digit is found in any picture, and shown as MNIST shows it; `restore classify` reads it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as PillowImage
from PIL import ImageDraw

from restore.classifier import Classifier
from restore.digits import BOX, CENTRE, SIDE, as_mnist
from restore.engine import Restorer, open_model
from restore.errors import UnreadableImage, UnsupportedModel
from restore.image import Image
from restore.model import Model

WEIGHTS = Path(__file__).parents[2] / "restore/weights/classify-fast.onnx"
Draw = Callable[..., np.ndarray]


def drawn(
    digit: int, *, side: int = 120, paper: tuple[int, ...] = (255,) * 3, ink: tuple[int, ...] = (0,) * 3
) -> np.ndarray:
    """A digit drawn with a pen as wide as MNIST's: (side, side, 3) uint8."""
    picture = PillowImage.new("RGB", (side, side), paper)
    pen = ImageDraw.Draw(picture)

    def line(*points: tuple[float, float]) -> None:
        pen.line([(x * side, y * side) for x, y in points], fill=ink, width=side // 12, joint="curve")

    if digit == 0:
        pen.ellipse([0.3 * side, 0.2 * side, 0.7 * side, 0.8 * side], outline=ink, width=side // 12)
    elif digit == 1:
        line((0.5, 0.2), (0.5, 0.8))
    elif digit == 4:
        line((0.38, 0.2), (0.3, 0.55), (0.7, 0.55))
        line((0.66, 0.2), (0.62, 0.82))
    elif digit == 7:
        line((0.3, 0.22), (0.7, 0.22), (0.45, 0.8))
    else:
        raise ValueError(digit)
    return np.asarray(picture)


def test_the_longer_side_of_the_ink_is_20_and_its_mass_lies_in_the_middle():
    # A stroke 10 wide and 72 high becomes 20 high and about 3 wide.
    seen = as_mnist(drawn(1))
    assert seen.shape == (SIDE, SIDE)
    assert seen.dtype == np.float32
    rows, columns = (np.flatnonzero((seen > 0.5).any(axis)) for axis in (1, 0))
    assert rows[-1] - rows[0] + 1 == pytest.approx(BOX, abs=1)
    assert 2 <= columns[-1] - columns[0] + 1 <= 4
    y, x = np.mgrid[:SIDE, :SIDE]
    # To the nearest pixel.
    assert (y * seen).sum() / seen.sum() == pytest.approx(CENTRE, abs=0.6)
    assert (x * seen).sum() / seen.sum() == pytest.approx(CENTRE, abs=0.6)


def test_ink_is_bright_whatever_its_colour():
    dark_on_light = as_mnist(drawn(7))
    for paper, ink in (((0,) * 3, (255,) * 3), ((250, 240, 170), (20, 30, 120)), ((120, 180, 120), (200, 90, 120))):
        # Edges are mixed in 8 bits.
        np.testing.assert_allclose(as_mnist(drawn(7, paper=paper, ink=ink)), dark_on_light, atol=0.06)


def test_where_the_digit_lies_and_how_large_it_is_does_not_matter():
    usual = as_mnist(drawn(4))
    aside = np.full((300, 400, 3), 255, np.uint8)
    aside[150:270, 20:140] = drawn(4)
    np.testing.assert_allclose(as_mnist(aside), usual, atol=0.02)
    # Drawn at another size, strokes end on other pixels.
    assert np.abs(as_mnist(drawn(4, side=360)) - usual).mean() < 0.03


def test_a_border_is_not_taken_for_ink():
    bordered = np.pad(drawn(7), ((15, 15), (15, 15), (0, 0)), constant_values=128)
    np.testing.assert_allclose(as_mnist(bordered), as_mnist(drawn(7)), atol=0.05)


def test_uneven_light_is_not_taken_for_ink():
    light = np.linspace(0.55, 1.0, 120)[:, None, None]
    uneven = np.rint(drawn(7) * light).astype(np.uint8)
    assert np.abs(as_mnist(uneven) - as_mnist(drawn(7))).mean() < 0.03


def test_sixteen_bits_and_grey_are_read_alike():
    grey = drawn(7)[..., 0]
    np.testing.assert_allclose(as_mnist(grey), as_mnist(drawn(7)), atol=1e-6)
    np.testing.assert_allclose(as_mnist(grey.astype(np.uint16) * 257), as_mnist(grey), atol=1e-4)


@pytest.mark.parametrize("pixels", [np.full((40, 60, 3), 200, np.uint8), np.zeros((1, 1), np.uint8)])
def test_a_picture_without_a_digit_says_so(pixels):
    with pytest.raises(UnreadableImage, match=r"no digit found in \d+ x \d+ pixels"):
        as_mnist(pixels)


@pytest.fixture(scope="session")
def reader() -> Classifier:
    return open_model(WEIGHTS, kind=Classifier, device="cpu", threads=1)


@pytest.mark.parametrize("digit", [0, 1, 4, 7])
def test_the_shipped_network_reads_what_is_drawn(reader, digit):
    reading = reader(Image(drawn(digit)))
    assert reading.label == str(digit)
    assert reading.probability > 0.5
    assert sum(reading.probabilities.values()) == pytest.approx(1, abs=1e-5)
    assert list(reading.probabilities) == list("0123456789")


@pytest.mark.parametrize("ink", [(0, 0, 0), (255, 255, 255)], ids=["black", "white"])
def test_what_is_transparent_counts_as_paper(reader, ink):
    share = 255 - drawn(7)[..., 0]
    picture = Image(np.full((120, 120, 3), ink, np.uint8), alpha=share)
    assert reader(picture).label == "7"


def test_what_opens_is_what_the_file_answers_with(smoother):
    assert isinstance(open_model(WEIGHTS, device="cpu"), Classifier)
    assert isinstance(open_model(WEIGHTS, kind=Model, device="cpu"), Classifier)
    with pytest.raises(UnsupportedModel, match="classify-fast is for the task classify: it answers with labels"):
        open_model(WEIGHTS, kind=Restorer, device="cpu")
    with pytest.raises(UnsupportedModel, match="denoise-fast is for the task denoise: it answers with image"):
        open_model(smoother / "denoise-fast.onnx", kind=Classifier, device="cpu")


@pytest.fixture
def desk(run, tmp_path, monkeypatch):
    """`run`, in a folder with a seven and a nought, and with the shipped network."""
    (tmp_path / "models").mkdir()
    shutil.copy(WEIGHTS, tmp_path / "models")
    from restore import store

    store.publish(tmp_path / "models", "classify-fast", task="classify", tier="fast", about={})
    monkeypatch.setenv("RESTORE_MODELS", str(tmp_path / "models"))
    (tmp_path / "digits").mkdir()
    for digit in (7, 0):
        PillowImage.fromarray(drawn(digit)).save(tmp_path / f"digits/{digit}.png")
    return run


def test_the_command_prints_a_line_a_file(desk):
    result = desk("classify", "digits/7.png", "digits/0.png")
    assert result.exit_code == 0
    rows = [line.split("\t") for line in result.stdout.splitlines()]
    assert [row[:2] for row in rows] == [["digits/7.png", "7"], ["digits/0.png", "0"]]
    assert all(0.5 < float(row[2]) <= 1 for row in rows)
    assert result.stderr == ""


def test_a_folder_and_standard_input_are_read_too(desk, tmp_path):
    assert desk("classify", "digits").stdout.split("\t")[0] == "digits/0.png"
    seven = (tmp_path / "digits/7.png").read_bytes()
    assert desk("classify", "-", stdin=seven).stdout.startswith("-\t7\t")


def test_a_file_without_a_digit_does_not_stop_the_rest(desk, tmp_path):
    PillowImage.new("RGB", (40, 40), "white").save(tmp_path / "blank.png")
    (tmp_path / "text.png").write_text("no picture")
    result = desk("classify", "blank.png", "text.png", "digits/7.png")
    assert result.exit_code == 1
    assert result.stdout.startswith("digits/7.png\t7\t")
    errors = result.stderr.splitlines()
    assert errors[0].startswith("Error: blank.png: no digit found in 40 x 40 pixels.")
    assert errors[1].startswith("Error: text.png: not a picture")
    assert errors[2:4] == ["1 read, 2 failed", "Failed:"]


def test_json_holds_every_label(desk, tmp_path):
    PillowImage.new("RGB", (40, 40), "white").save(tmp_path / "blank.png")
    result = desk("classify", "digits/7.png", "blank.png", "--json")
    read, failed = (json.loads(line) for line in result.stdout.splitlines())
    assert (read["source"], read["status"], read["label"]) == ("digits/7.png", "done", "7")
    assert read["probabilities"]["7"] == read["probability"]
    assert (failed["source"], failed["status"]) == ("blank.png", "failed")
    assert (result.exit_code, result.stderr) == (1, "")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["gone.png"], "gone.png: no such file or folder."),
        (["models"], "models: no pictures in there."),
        (["digits/7.png", "--model", "nothing"], "no model is called 'nothing'."),
    ],
)
def test_wrong_usage_is_one_sentence(desk, words, message):
    result = desk("classify", *words)
    assert result.exit_code == 2
    assert result.stderr.startswith(f"Error: {message}")


def test_a_denoiser_does_not_read_digits(desk, smoother):
    result = desk("classify", "digits/7.png", "--model", str(smoother / "denoise-fast.onnx"))
    assert result.exit_code == 2
    assert "is for the task denoise: it answers with image." in result.stderr


def test_a_classifier_does_not_denoise(desk):
    result = desk("denoise", "digits/7.png", "--model", "classify")
    assert result.exit_code == 2
    assert result.stderr == "Error: --model classify: classify-fast is for the task classify, not denoise.\n"
