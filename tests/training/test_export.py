"""Export: the file does what torch does, carries its spec, is small, and is published only if it is better."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from restore import store
from restore.engine import open_model
from restore.errors import UnsupportedModel
from training import export
from training.export import ExportError, export_checkpoint, publish_checkpoint
from training.loop import load_network
from training.tables import Published
from training.weights import weights_digest


def test_the_spec_says_what_the_engine_must_know(tiny_denoiser):
    spec = open_model(tiny_denoiser).spec
    assert (spec.name, spec.task, spec.tier, spec.answer) == ("denoise-fast", "denoise", "fast", "image")
    # A stem of 2 and two levels; the reach is worked out in test_denoiser.
    assert spec.multiple_of == 4
    (sigma,) = spec.params
    assert (sigma.name, sigma.min, sigma.default, sigma.scale) == ("sigma", 0.0, None, 255.0)
    assert sigma.max == pytest.approx(75 / 255)
    assert spec.made_by["recipe"] == "denoise-fast"


@pytest.mark.parametrize(("height", "width"), [(1, 1), (2, 3), (5, 1), (37, 64)])
def test_onnxruntime_answers_as_torch_does(tiny_checkpoint, tiny_denoiser, height, width):
    network, _ = load_network(tiny_checkpoint)
    export._round_to_half(network)
    picture = np.random.default_rng(0).random((height, width, 3)).astype(np.float32)
    rows, columns = (-height) % 4, (-width) % 4
    padded = np.pad(picture, ((0, rows), (0, columns), (0, 0)), mode="reflect")
    with torch.no_grad():
        wanted = network(torch.from_numpy(padded.transpose(2, 0, 1)[None]), torch.tensor([0.1]))[0].clamp(0, 1)
    answer = open_model(tiny_denoiser).run_array(picture, sigma=0.1)["restored"]
    np.testing.assert_allclose(answer, wanted[0].numpy().transpose(1, 2, 0)[:height, :width], atol=1e-5)


def test_weights_are_stored_in_half_and_paths_are_not(tiny_denoiser):
    model = onnx.load(tiny_denoiser)
    matrices = [t for t in model.graph.initializer if len(t.dims) == 4]
    assert matrices
    assert {t.data_type for t in matrices} == {onnx.TensorProto.FLOAT16}
    assert str(tiny_denoiser.parent).encode() not in tiny_denoiser.read_bytes()
    assert b".py" not in tiny_denoiser.read_bytes()


def test_a_file_that_differs_from_torch_is_not_left_behind(tiny_checkpoint, tmp_path, monkeypatch):
    def spoiled(model):
        for tensor in model.graph.initializer:
            if len(tensor.dims) == 4:
                tensor.CopyFrom(onnx.numpy_helper.from_array(onnx.numpy_helper.to_array(tensor) * 1.5, tensor.name))

    monkeypatch.setattr(export, "halve_weights", spoiled)
    with pytest.raises(ExportError, match="differs from torch"):
        export_checkpoint(tiny_checkpoint, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_checkpoint_of_something_else_is_refused(tmp_path):
    torch.save({"weights": torch.zeros(1)}, tmp_path / "other.pt")
    with pytest.raises(ValueError, match="not a checkpoint"):
        export_checkpoint(tmp_path / "other.pt", tmp_path)


@pytest.fixture
def shelf(tmp_path, monkeypatch):
    monkeypatch.setattr(store, "BUNDLED", tmp_path)
    monkeypatch.delenv("RESTORE_MODELS", raising=False)
    return tmp_path


def told(figures, measured, words="--data test/CBSD68"):
    """What a report says of the file that was measured."""
    command = f"python -m training eval denoise {words} --model {measured} --out report.json"
    return Published(figures, command, "| the tables |", weights=weights_digest(measured))


def test_publishing_enters_the_file_and_its_figures(tiny_checkpoint, tiny_denoiser, shelf):
    published = told({"psnr/25": 30.0}, tiny_denoiser)
    publish_checkpoint(tiny_checkpoint, shelf, published=published, data="six drawings", cards=shelf / "cards")
    (entry,) = store.entries()
    assert entry.name == "denoise-fast"
    assert entry.about["figures"] == {"psnr/25": 30.0}
    assert entry.about["measured_with"] == published.command
    assert json.loads(open_model("denoise").spec.made_by["figures"]) == {"psnr/25": 30.0}
    assert open_model("denoise").spec.made_by["data"] == "six drawings"
    card = open_model("denoise").card
    assert card.startswith("# denoise-fast\n")
    assert "| the tables |" in card
    assert "six drawings" in card
    assert (shelf / "cards/denoise-fast.md").read_text() == card
    with entry.path.open("ab") as file:
        file.write(b"x")
    with pytest.raises(UnsupportedModel, match="damaged"):
        open_model("denoise")


@pytest.fixture(scope="module")
def other_checkpoint(make_checkpoint) -> Path:
    """The network of `tiny_checkpoint` with other weights."""
    return make_checkpoint("denoise", std=0.05, stem=2, channels=(8, 12), blocks=(1, 1))


@pytest.fixture(scope="module")
def other_denoiser(other_checkpoint, tmp_path_factory) -> Path:
    return export_checkpoint(other_checkpoint, tmp_path_factory.mktemp("other"))


@pytest.fixture
def published(tiny_checkpoint, tiny_denoiser, shelf):
    """A shelf with `tiny_checkpoint` on it, of these figures, measured on all of CBSD68."""

    def publish(figures):
        publish_checkpoint(tiny_checkpoint, shelf, published=told(figures, tiny_denoiser))
        return shelf

    return publish


def test_only_better_figures_replace_a_published_file(other_checkpoint, other_denoiser, published):
    shelf = published({"psnr/25": 30.0, "psnr/50": 27.0})
    worse = told({"psnr/25": 30.1, "psnr/50": 26.8}, other_denoiser)
    with pytest.raises(ExportError, match=r"do not beat the old ones \(psnr/25 30.000, psnr/50 27.000\)"):
        publish_checkpoint(other_checkpoint, shelf, published=worse)
    better = told({"psnr/25": 30.1, "psnr/50": 27.0}, other_denoiser)
    publish_checkpoint(other_checkpoint, shelf, published=better)
    assert store.entries()[0].about["figures"]["psnr/25"] == 30.1


def test_decibels_do_not_outweigh_a_share_that_is_lost(other_checkpoint, other_denoiser, published):
    shelf = published({"psnr/clwd": 35.0, "kept/unmarked": 1.0})
    lost = told({"psnr/clwd": 36.1, "kept/unmarked": 0.1}, other_denoiser)
    with pytest.raises(ExportError, match="do not beat"):
        publish_checkpoint(other_checkpoint, shelf, published=lost)


def test_a_report_that_lacks_an_old_figure_is_refused(other_checkpoint, other_denoiser, published):
    shelf = published({"psnr/25": 30.0, "psnr/50": 27.0})
    with pytest.raises(ExportError, match="the report lacks psnr/50, figures of the old file"):
        publish_checkpoint(other_checkpoint, shelf, published=told({"psnr/25": 31.0}, other_denoiser))


@pytest.mark.parametrize(
    ("words", "differing"),
    [
        ("--data ours/Kodak", "data Kodak, before CBSD68"),
        ("--data test/CBSD68 --limit 5", "limit 5, before None"),
        ("--data test/CBSD68 --seed 1", "seed 1, before 0"),
    ],
)
def test_figures_of_other_data_are_not_compared(words, differing, other_checkpoint, other_denoiser, published):
    shelf = published({"psnr/25": 30.0})
    otherwise = told({"psnr/25": 31.0}, other_denoiser, words)
    with pytest.raises(ExportError, match=rf"measured otherwise \({differing}\)\. .*--measured-otherwise"):
        publish_checkpoint(other_checkpoint, shelf, published=otherwise)
    publish_checkpoint(other_checkpoint, shelf, published=otherwise, compared=False)
    assert store.entries()[0].about["figures"] == {"psnr/25": 31.0}


def test_what_does_not_change_the_figures_may_differ(other_checkpoint, other_denoiser, published):
    shelf = published({"psnr/25": 30.0})
    words = "--data /elsewhere/CBSD68 --sigma 25 50 --baselines nlm --clean --threads 1"
    publish_checkpoint(other_checkpoint, shelf, published=told({"psnr/25": 31.0}, other_denoiser, words))
    assert store.entries()[0].about["figures"] == {"psnr/25": 31.0}


def test_a_report_of_other_weights_is_refused(tiny_checkpoint, other_denoiser, shelf):
    with pytest.raises(ExportError, match="the report is of other weights than the checkpoint's"):
        publish_checkpoint(tiny_checkpoint, shelf, published=told({"psnr/25": 30.0}, other_denoiser))
    assert list(shelf.iterdir()) == []


def test_a_report_that_does_not_say_what_was_measured_is_refused(tiny_checkpoint, shelf):
    with pytest.raises(ExportError, match="Measure again: eval"):
        publish_checkpoint(tiny_checkpoint, shelf, published=Published({"psnr/25": 30.0}, "eval", ""))


def test_the_same_weights_may_be_measured_again_and_found_worse(published):
    published({"psnr/25": 30.0})
    published({"psnr/25": 29.0})
    assert store.entries()[0].about["figures"] == {"psnr/25": 29.0}


def test_no_transposed_convolution_is_shipped(tiny_denoiser):
    # They take a buffer that the same sums as convolution and shuffle do not need.
    assert "ConvTranspose" not in {node.op_type for node in onnx.load(tiny_denoiser).graph.node}


def test_a_file_that_this_version_cannot_open_is_replaced_whatever_its_figures(published):
    shelf = published({"psnr/25": 40.0})
    (entry,) = store.entries()
    model = onnx.load(entry.path)
    del model.metadata_props[:]
    onnx.save(model, entry.path)
    store.publish(shelf, "denoise-fast", task="denoise", tier="fast", about=entry.about)
    published({"psnr/25": 30.0})
    assert store.entries()[0].about["figures"] == {"psnr/25": 30.0}
