"""Starting from trained weights: the same answers at first, in a network as large or larger."""

from __future__ import annotations

import pytest
import torch

import models
from models.denoiser import ResidualDenoiser
from training import TrainingError
from training.export import export_checkpoint
from training.loop import load_network
from training.tables import Published
from training.weights import start_from, weights_digest

#: What `tiny_checkpoint` has.
SMALL = {"channels": (8, 12), "blocks": (1, 1)}


def answers(network):
    rng = torch.Generator().manual_seed(0)
    image = torch.rand(2, 3, 16, 16, generator=rng)
    with torch.no_grad():
        return network(image, torch.tensor([0.1, -1.0]))


@pytest.mark.parametrize(
    "hparams",
    [SMALL, {"channels": (8, 12), "blocks": (3, 2)}, {"channels": (16, 20), "blocks": (2, 1)}],
    ids=["same", "deeper", "wider and deeper"],
)
def test_a_larger_network_answers_at_first_as_the_one_that_it_started_from(tiny_checkpoint, hparams):
    network = models.build("denoiser", **hparams)
    start_from(tiny_checkpoint, network)
    # Float32 rounding of sums with more, zero, terms.
    torch.testing.assert_close(answers(network), answers(load_network(tiny_checkpoint)[0]), atol=1e-5, rtol=1e-5)


def test_new_features_of_a_wider_network_are_not_dead(tiny_checkpoint):
    network = ResidualDenoiser(channels=(16, 20), blocks=(1, 1))
    start_from(tiny_checkpoint, network)
    network(torch.rand(1, 3, 16, 16), torch.tensor([0.1]))[0].square().mean().backward()
    # What a new feature is read by is zero at first, and learns at once.
    assert network.body.tail.weight.grad[:, 8:].abs().max() > 0


def test_an_exported_file_gives_the_weights_back(tiny_checkpoint, tmp_path):
    path = export_checkpoint(tiny_checkpoint, tmp_path)
    network = models.build("denoiser", **SMALL)
    start_from(path, network)
    # Weights are stored as float16: 11 bits.
    expected = load_network(tiny_checkpoint)[0].state_dict()
    for name, value in network.state_dict().items():
        torch.testing.assert_close(value, expected[name], atol=1e-6, rtol=2**-11)


def test_a_digest_is_of_the_weights_whatever_else_the_file_says(tiny_checkpoint, make_checkpoint, tmp_path):
    other = make_checkpoint("denoise", std=0.1001, stem=2, channels=(8, 12), blocks=(1, 1))
    said = Published({"psnr/25": 30.0}, "eval", "| tables |")
    files = [
        export_checkpoint(tiny_checkpoint, tmp_path / "a"),
        export_checkpoint(tiny_checkpoint, tmp_path / "b", published=said, data="others"),
        export_checkpoint(other, tmp_path / "c"),
    ]
    first, again, changed = map(weights_digest, files)
    assert first == again != changed
    assert files[0].read_bytes() != files[1].read_bytes()


@pytest.mark.parametrize("exported", [False, True])
def test_repeated_values_begin_with_the_mean_of_the_four_phases(tiny_checkpoint, tmp_path, exported):
    path = export_checkpoint(tiny_checkpoint, tmp_path) if exported else tiny_checkpoint
    network = models.build("denoiser", **SMALL, upsampling="nearest")
    start_from(path, network)
    old = load_network(tiny_checkpoint)[0].body.ups[0]
    phases = [old.weight[:, :, y, x].T for y in (0, 1) for x in (0, 1)]
    torch.testing.assert_close(network.body.ups[0].weight[:, :, 0, 0], sum(phases) / 4, atol=1e-4, rtol=2**-10)
    torch.testing.assert_close(network.body.ups[0].bias, old.bias)


@pytest.mark.parametrize("hparams", [{"channels": (8, 8), "blocks": (1, 1)}, {"channels": (8, 12), "blocks": (0, 1)}])
def test_a_network_with_no_place_for_a_weight_is_refused(tiny_checkpoint, hparams):
    with pytest.raises(TrainingError, match=r"where the network has (no such weight|one of)"):
        start_from(tiny_checkpoint, models.build("denoiser", **hparams))


def test_what_holds_no_weights_is_refused(tmp_path):
    network = models.build("denoiser", **SMALL)
    with pytest.raises(TrainingError, match=r"gone\.onnx: no such file"):
        start_from(tmp_path / "gone.onnx", network)
    (tmp_path / "text.onnx").write_text("not a model")
    with pytest.raises(TrainingError, match=r"text\.onnx: not an ONNX file"):
        start_from(tmp_path / "text.onnx", network)
