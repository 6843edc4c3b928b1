"""Exported graphs: what the recipe says of inputs and outputs is what the file takes and gives."""

from __future__ import annotations

import numpy as np
import onnxruntime
import pytest
import torch
from torch import Tensor, nn

from models.lenet import LeNet
from restore.contract import TensorInput
from training.graphs import exported, halve_weights, take_any_size, upsample_by_shuffling, without_conditions
from training.recipes import Output, find_recipe


def picture(name: str, channels: int) -> TensorInput:
    return TensorInput(name=name, shape=("N", channels, "H", "W"), min=0.0, max=1.0, default=0.0)


def session(network, inputs, outputs, multiple_of=1):
    model = exported(network.eval(), inputs, outputs, multiple_of)
    take_any_size(model, inputs, outputs, multiple_of)
    halve_weights(model)
    return onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])


class Means(nn.Module):
    """Means over 4 x 4 cells of a picture, plus `more` times a mask; its sides must be multiples of 4."""

    def forward(self, image: Tensor, mask: Tensor, more: Tensor) -> tuple[Tensor, Tensor]:
        grown = nn.functional.interpolate(nn.functional.avg_pool2d(image, 4), scale_factor=4)
        return grown + more.view(-1, 1, 1, 1) * mask, mask.sum(dim=(1, 2, 3))


def test_pictures_are_mirrored_at_their_ends_and_answers_cropped_and_clamped():
    inputs = (picture("image", 3), picture("mask", 1), TensorInput(name="more", shape=("N",), min=0, max=9, default=0))
    outputs = (Output("restored"), Output("area", None, None, per_pixel=False))
    run = session(Means(), inputs, outputs, multiple_of=4)
    image = np.zeros((2, 3, 2, 5), np.float32)
    image[:, :, 1, 4] = 1.0
    mask = np.zeros((2, 1, 2, 5), np.float32)
    mask[1, 0, 0, 0] = 1.0
    restored, area = run.run(None, {"image": image, "mask": mask, "more": np.array([5, 5], np.float32)})
    assert restored.shape == (2, 3, 2, 5)
    # Rows go 0 1 0 1, and columns 4-7 are 4 3 2 1 of the picture: two pixels of that cell's sixteen are 1.
    np.testing.assert_allclose(restored[0, 0], [[0, 0, 0, 0, 0.125], [0, 0, 0, 0, 0.125]])
    # 0 + 5 is clamped to 1.
    assert restored[1, 0, 0, 0] == 1.0
    # Row 0 comes once more, as row 2; column 0 does not.
    assert area.tolist() == [0.0, 2.0]


class Itself(nn.Module):
    """What it is given, and how large that is: sides that are multiples of 8."""

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        return image + 0.0, image.flatten(1)


@pytest.mark.parametrize(("height", "width"), [(1, 1), (1, 9), (2, 3), (5, 8), (8, 5), (16, 8), (17, 23)])
def test_pictures_of_any_size_are_mirrored_as_numpy_does(height, width):
    run = session(Itself(), (picture("image", 3),), (Output("same"), Output("all", None, None, per_pixel=False)), 8)
    image = np.random.default_rng(0).random((2, 3, height, width), dtype=np.float32)
    same, everything = run.run(None, {"image": image})
    np.testing.assert_array_equal(same, image)
    whole = np.pad(image, ((0, 0), (0, 0), (0, -height % 8), (0, -width % 8)), mode="reflect")
    np.testing.assert_array_equal(everything, whole.reshape(2, -1))


class MarkedOnly(nn.Module):
    """Works, through a transposed convolution, where a mask has anything; leaves the picture alone where not."""

    def __init__(self) -> None:
        super().__init__()
        self.down = nn.Conv2d(3, 2, 2, stride=2)
        self.up = nn.ConvTranspose2d(2, 3, 2, stride=2)

    def forward(self, image: Tensor, mask: Tensor) -> tuple[Tensor]:
        if not torch.compiler.is_exporting():
            return (self._work(image, mask) if mask.any() else image,)
        return (torch.cond((mask > 0).any(), self._work, lambda image, mask: image.clone(), (image, mask)),)

    def _work(self, image: Tensor, mask: Tensor) -> Tensor:
        return image + mask * self.up(self.down(image))


@pytest.mark.parametrize("marked", [False, True])
def test_a_condition_is_decided_by_the_picture_and_its_branches_are_changed_as_the_rest_is(marked):
    torch.manual_seed(0)
    network = MarkedOnly().eval()
    inputs, outputs = (picture("image", 3), picture("mask", 1)), (Output("restored", None, None),)
    model = exported(network, inputs, outputs, 2)
    upsample_by_shuffling(model)
    take_any_size(model, inputs, outputs, 2)
    run = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    image, mask = torch.rand(2, 3, 4, 6), torch.zeros(2, 1, 4, 6)
    mask[1, :, 1:3] = float(marked)
    (restored,) = run.run(None, {"image": image.numpy(), "mask": mask.numpy()})
    with torch.no_grad():
        np.testing.assert_allclose(restored, network(image, mask)[0].numpy(), atol=1e-6)
    assert [node.op_type for node in model.graph.node].count("If") == 1
    inside = [node.op_type for node in without_conditions(model).graph.node]
    assert "If" not in inside
    assert "ConvTranspose" not in inside
    assert (inside.count("Conv"), inside.count("DepthToSpace")) == (2, 1)


def test_a_network_of_one_fixed_size_answers_with_scores_per_picture():
    torch.manual_seed(0)
    network = LeNet()
    inputs = (TensorInput(name="image", shape=("N", 1, 28, 28), min=0.0, max=1.0, default=0.0),)
    run = session(network, inputs, (Output("scores", None, None, per_pixel=False),))
    digits = np.random.default_rng(0).random((3, 1, 28, 28), dtype=np.float32)
    with torch.no_grad():
        wanted = network(torch.from_numpy(digits)).numpy()
    # 1e-3: the file's weights are float16.
    np.testing.assert_allclose(run.run(None, {"image": digits})[0], wanted, atol=1e-3)


class Table(nn.Module):
    """A row of a table for each token, plus the sum of a sequence whose length is free."""

    def __init__(self) -> None:
        super().__init__()
        self.rows = nn.Embedding(4, 2)
        with torch.no_grad():
            self.rows.weight.copy_(torch.arange(8.0).view(4, 2))

    def forward(self, previous: Tensor, seen: Tensor) -> Tensor:
        return self.rows(previous) + seen.sum(dim=1, keepdim=True)


def test_whole_numbers_and_other_free_axes_are_taken():
    previous = TensorInput(name="previous", shape=("N",), min=0, max=3, default=0, dtype="int64")
    seen = TensorInput(name="seen", shape=("N", "K"), min=0, max=1, default=0)
    run = session(Table(), (previous, seen), (Output("state", None, None, per_pixel=False),))
    given = {"previous": np.array([3, 0, 1]), "seen": np.ones((3, 7), np.float32)}
    # Rows 3, 0 and 1 of the table, and 7.
    assert run.run(None, given)[0].tolist() == [[13.0, 14.0], [7.0, 8.0], [9.0, 10.0]]


@pytest.mark.parametrize(
    ("recipe", "names"),
    [("denoise", ["image", "sigma"]), ("unwatermark", ["image", "certainty", "mask_in", "use_mask"])],
)
def test_a_recipe_lists_its_inputs_in_the_networks_order(recipe, names):
    assert [tensor.name for tensor in find_recipe(recipe).inputs] == names
