"""The layers of an exported graph, as `restore.layers` describes them: found in the file, and not in the code."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from onnx import helper

import restore.session  # noqa: F401 - before onnxruntime, which it keeps from reporting to its maker
from restore.layers import PICTURE, Layer, Pair

#: Inputs of the graph that are pictures have so many axes: N, C, H, W.
_PICTURE_AXES = 4
#: A pixel unshuffle is exported as a transposition between two changes of shape.
_UNSHUFFLE = [0, 1, 3, 5, 2, 4]
#: How a file calls what was trained: after torch's parameter, whether stored in half or not.
_LEARNT = re.compile(r"\.(weight|bias)\w*(/half)?$")
Shapes = Mapping[str, tuple[int, ...]]


def layers_of(model: onnx.ModelProto, inputs: Mapping[str, np.ndarray]) -> tuple[Layer, ...]:
    """Every layer of the graph in its order, with what it reads.

    `inputs` are some that the graph takes, pictures of (N, C, H, W): it is run once, to learn what shape each tensor
    has. Normalisation, activations, sums and whatever else works place by place are no layers of their own; nor is
    what is computed, by fixed rules, from the answers of the last layers that learnt something, shuffles excepted.
    """
    walk = _Walk(model, _shapes(model, inputs))
    for node in model.graph.node:
        walk.visit(node)
    return tuple(walk.layers)


def _shapes(model: onnx.ModelProto, inputs: Mapping[str, np.ndarray]) -> Shapes:
    import onnxruntime as ort

    open_model = onnx.ModelProto()
    open_model.CopyFrom(model)
    del open_model.graph.output[:]
    named = [name for node in model.graph.node for name in node.output if name]
    open_model.graph.output.extend(onnx.ValueInfoProto(name=name) for name in named)
    options = ort.SessionOptions()
    options.log_severity_level = 3
    # Optimised away, a tensor could not be asked for.
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = ort.InferenceSession(open_model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    answers = session.run(named, dict(inputs))
    shapes = {name: tuple(answer.shape) for name, answer in zip(named, answers, strict=True)}
    constants = {tensor.name: tuple(tensor.dims) for tensor in model.graph.initializer}
    return constants | shapes | {name: tuple(value.shape) for name, value in inputs.items()}


class _Walk:
    """Goes through the nodes once and keeps, for each tensor, which layers made it."""

    def __init__(self, model: onnx.ModelProto, shapes: Shapes) -> None:
        self.layers: list[Layer] = []
        self._shapes = shapes
        self._weights = {tensor.name: tuple(tensor.dims) for tensor in model.graph.initializer}
        self._leads_to_learnt = _leading_to_learnt(model)
        self._made_by: dict[str, tuple[int, ...]] = {
            value.name: (PICTURE,) for value in model.graph.input if len(shapes[value.name]) == _PICTURE_AXES
        }

    def visit(self, node: onnx.NodeProto) -> None:
        if node.op_type == "Cast" and node.input[0] in self._weights:
            # Weights are stored in half, with a cast behind them.
            self._weights[node.output[0]] = self._weights[node.input[0]]
            return
        sources: tuple[int, ...] = ()
        if node.op_type != "Shape":  # a size is no content
            sources = tuple(sorted({at for name in node.input for at in self._made_by.get(name, ())}))
        layer = self._layer(node, sources)
        if layer:
            self.layers.append(layer)
            sources = (len(self.layers) - 1,)
        for name in node.output:
            self._made_by[name] = sources

    def _layer(self, node: onnx.NodeProto, sources: tuple[int, ...]) -> Layer | None:
        """The layer that a node is, or None for one that moves or changes values place by place."""
        settings = {a.name: helper.get_attribute_value(a) for a in node.attribute}
        name = self._name(node)
        if node.op_type not in {"DepthToSpace", "Transpose"} and not self._leads_to_learnt.issuperset(node.output):
            return None
        if node.op_type in {"Conv", "ConvTranspose"}:
            return self._convolution(node, sources, settings, name)
        if node.op_type in {"Gemm", "MatMul"}:
            return self._product(node, sources, settings, name)
        return self._moving(node, sources, settings, name) if sources else None

    def _moving(
        self, node: onnx.NodeProto, sources: tuple[int, ...], settings: Mapping[str, Any], name: str
    ) -> Layer | None:
        """The layers without weights: pooling, shuffles, resizing."""
        before, after = self._shapes[node.input[0]], self._shapes[node.output[0]]
        flat = len(before) == _PICTURE_AXES
        window: dict[str, Any] = {}
        op: str = node.op_type
        filters = after[1] if len(after) > 1 else before[1]
        match node.op_type:
            case "MaxPool" | "AveragePool":
                window = {"size": _pair(settings["kernel_shape"]), "padding": _padding(settings)}
                factor = int(settings.get("strides", [1])[0])
            case "DepthToSpace":
                factor = int(settings["blocksize"])
            case "Transpose" if list(settings.get("perm", ())) == _UNSHUFFLE:
                op, name, factor = "SpaceToDepth", "unshuffle", before[3]
                filters = before[1] * factor**2
            case "Resize" if flat:
                op = "Repeat" if settings.get("mode", b"nearest") == b"nearest" else "Resize"
                factor = after[2] // before[2]
            case "GlobalAveragePool" | "ReduceMean" if flat and before[2:] != (1, 1) and after[2:] in {(1, 1), ()}:
                op, factor = "GlobalAveragePool", 1
            case _:
                return None
        return Layer(
            op=op, name=name, inputs=sources, channels=before[1], filters=filters, stride=(factor, factor), **window
        )

    def _name(self, node: onnx.NodeProto) -> str:
        """As the network calls the weights, or else the node."""
        known = [name for name in node.input if name in self._weights and name.endswith("weight")]
        name: str = known[0].removesuffix(".weight") if known else node.name or node.output[0]
        return name.removeprefix("net/").removeprefix("node_")

    def _convolution(
        self, node: onnx.NodeProto, sources: tuple[int, ...], settings: Mapping[str, Any], name: str
    ) -> Layer:
        weights = self._weights[node.input[1]]
        groups = int(settings.get("group", 1))
        inside, outside = self._shapes[node.input[0]][1], self._shapes[node.output[0]][1]
        return Layer(
            op=node.op_type, name=name, inputs=sources, channels=inside, filters=outside, size=_pair(weights[2:]),
            stride=_pair(settings.get("strides", [1, 1])), padding=_padding(settings),
            dilation=_pair(settings.get("dilations", [1, 1])), groups=groups, parameters=self._count(node),
        )  # fmt: skip

    def _product(
        self, node: onnx.NodeProto, sources: tuple[int, ...], settings: Mapping[str, Any], name: str
    ) -> Layer | None:
        left, right = (self._made_by.get(side, ()) for side in node.input[:2])
        weights = self._weights.get(node.input[1])
        if weights is None:
            # Both sides computed from the picture: each place weighs all others.
            before, by = self._shapes[node.input[0]], self._shapes[node.input[1]]
            channels = int(np.prod(before)) * by[-1] // before[-2] ** 2
            if left and right:
                return Layer(op="Attention", name=name, inputs=sources, channels=channels, filters=channels)
            return None
        inside, outside = weights[::-1] if settings.get("transB") else weights
        flat = node.op_type == "Gemm" or len(self._shapes[node.input[0]]) <= 2
        return Layer(
            op="Gemm" if flat else "MatMul", name=name, inputs=sources, channels=inside, filters=outside,
            parameters=self._count(node),
        )  # fmt: skip

    def _count(self, node: onnx.NodeProto) -> int:
        return sum(int(np.prod(self._weights[name])) for name in node.input if name in self._weights)


def _leading_to_learnt(model: onnx.ModelProto) -> set[str]:
    """The tensors that a layer with weights makes, or reads directly or by others; all where there is no such layer."""
    learnt = {tensor.name for tensor in model.graph.initializer if _LEARNT.search(tensor.name)}
    # In the file's order a cast from half comes before the layer that reads it.
    for node in model.graph.node:
        if node.op_type == "Cast" and node.input[0] in learnt:
            learnt.update(node.output)
    leading: set[str] = set()
    for node in reversed(model.graph.node):
        if (node.op_type != "Cast" and not learnt.isdisjoint(node.input)) or not leading.isdisjoint(node.output):
            leading.update(node.input, node.output)
    return leading or {name for node in model.graph.node for name in node.output}


def _pair(values: Sequence[int]) -> Pair:
    height, width = (int(value) for value in values)
    return height, width


def _padding(settings: Mapping[str, Any]) -> tuple[int, int, int, int]:
    top, left, bottom, right = (int(value) for value in settings.get("pads", [0, 0, 0, 0]))
    return top, left, bottom, right
