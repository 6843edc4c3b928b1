"""The layers that are found in an exported file are those that torch has."""

from __future__ import annotations

import io

import numpy as np
import onnx
import torch
from torch import nn

from models.colorizer import GlobalBlock
from models.lenet import LeNet
from restore.layers import PICTURE, table
from restore.session import Session
from training.layer_list import layers_of


def exported(network: nn.Module, image: torch.Tensor) -> onnx.ModelProto:
    program = torch.onnx.export(network.eval(), (image,), input_names=["image"], dynamo=True, verbose=False)
    assert program is not None
    file = io.BytesIO()
    program.save(file)
    return onnx.load_from_string(file.getvalue())


def found(network: nn.Module, shape: tuple[int, ...]):
    return layers_of(exported(network, torch.zeros(shape)), {"image": np.zeros(shape, np.float32)})


def test_lenet_has_the_layers_of_its_textbook():
    layers = found(LeNet(), (1, 1, 28, 28))
    assert [layer.op for layer in layers] == ["Conv", "MaxPool", "Conv", "MaxPool", "Gemm", "Gemm", "Gemm"]
    assert [layer.inputs for layer in layers] == [(PICTURE,), (0,), (1,), (2,), (3,), (4,), (5,)]
    # 5*5*1*6+6, 5*5*6*16+16, 256*120+120, 120*84+84, 84*10+10: 44,426 in all.
    assert [layer.parameters for layer in layers] == [156, 0, 2416, 0, 30840, 10164, 850]
    assert [row.output for row in table(layers, height=28, width=28)][:4] == [(24, 24), (12, 12), (8, 8), (4, 4)]


def test_shuffles_skips_and_names_are_found():
    class Small(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first = nn.Conv2d(12, 12, 3, padding=1)
            self.second = nn.Conv2d(12, 12, 3, padding=1)

        def forward(self, image: torch.Tensor) -> torch.Tensor:
            x = self.first(nn.functional.pixel_unshuffle(image, 2))
            return nn.functional.pixel_shuffle(x + self.second(torch.relu(x)), 2)

    layers = found(Small(), (1, 3, 8, 8))
    assert [layer.op for layer in layers] == ["SpaceToDepth", "Conv", "Conv", "DepthToSpace"]
    assert [layer.name for layer in layers[1:3]] == ["first", "second"]
    # The shuffle reads the sum, and so both convolutions.
    assert layers[3].inputs == (1, 2)
    assert [(layer.channels, layer.filters) for layer in layers] == [(3, 12), (12, 12), (12, 12), (12, 3)]


def test_repeating_and_bilinear_enlarging_are_told_apart():
    class Enlarged(nn.Module):
        def forward(self, image: torch.Tensor) -> torch.Tensor:
            repeated = nn.functional.interpolate(image, scale_factor=2.0, mode="nearest")
            return nn.functional.interpolate(repeated, scale_factor=3.0, mode="bilinear")

    layers = found(Enlarged(), (1, 3, 4, 4))
    assert [(layer.op, layer.stride) for layer in layers] == [("Repeat", (2, 2)), ("Resize", (3, 3))]


def test_attention_is_seen_to_look_everywhere():
    layers = found(GlobalBlock(8, heads=2), (1, 8, 4, 6))
    assert [layer.op for layer in layers].count("Attention") == 2
    rows = table(layers, height=4, width=6)
    # Scores for 24 * 24 pairs of places, 8 products each, and as many to weigh the values.
    assert [row.multiply_adds for row in rows if row.layer.op == "Attention"] == [24 * 24 * 8] * 2
    assert rows[-1].field is None
    # 8*24+24, 8*8+8, 8*16+16, 16*8+8; a MatMul's own bias is a sum behind it.
    weights = [layer.parameters for layer in layers if layer.op == "MatMul"]
    assert weights in ([192, 64, 128, 128], [216, 72, 144, 136])


def test_an_exported_file_lists_its_layers(tiny_denoiser):
    model = Session(tiny_denoiser, device="cpu")
    rows = table(model.layers(), height=64, width=64, multiple_of=model.spec.multiple_of)
    assert rows[-1].output == (64, 64)
    # The spec's reach is a radius that holds at every place, the field what one place sees: see test_denoiser.
    field = rows[-1].field
    assert field is not None
    assert field[0] <= 2 * model.spec.reach + 1
    assert field[0] > model.spec.reach


def test_what_is_computed_from_the_last_learnt_answer_is_no_layer():
    class Solved(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.only = nn.Conv2d(3, 12, 3, padding=1)

        def forward(self, image: torch.Tensor) -> torch.Tensor:
            answer = nn.functional.pixel_shuffle(self.only(nn.functional.avg_pool2d(image, 2)), 2)
            laplacian = torch.tensor([[0.0, 1.0, 0.0], [1.0, -4.0, 1.0], [0.0, 1.0, 0.0]]).expand(3, 1, 3, 3)
            return nn.functional.conv2d(nn.functional.avg_pool2d(answer, 2), laplacian, padding=1, groups=3)

    layers = found(Solved(), (1, 3, 8, 8))
    assert [layer.op for layer in layers] == ["AveragePool", "Conv", "DepthToSpace"]
