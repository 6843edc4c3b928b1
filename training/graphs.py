"""What is done to an exported graph: any size of picture, no transposed convolution, weights in float16."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import nn

from restore.contract import TensorInput
from training.recipes import Output

_OPSET = 20
#: How the axes of a picture are called in a shape: these are padded to the network's multiple and cropped again.
SIDES = ("H", "W")


def is_picture(tensor: TensorInput) -> bool:
    """Whether a tensor has the picture's height and width, and is padded as it is."""
    return tensor.shape[-2:] == SIDES


def exported(
    network: nn.Module, inputs: Sequence[TensorInput], outputs: Sequence[Output], multiple_of: int
) -> onnx.ModelProto:
    """The bare network as ONNX; its forward takes `inputs` and answers with `outputs`, in these orders.

    The sides of pictures are multiples of `multiple_of`; axes of one name have one size.
    """
    axes = {name for tensor in inputs for name in tensor.shape if isinstance(name, str)}
    # Sizes that differ and a batch above 1: what equals 1 or another size would be frozen into the graph.
    sizes = {name: 5 + index for index, name in enumerate(sorted(axes))}
    sizes |= {"N": 2, "H": 3 * multiple_of, "W": 4 * multiple_of}
    free = {name: torch.export.Dim(f"axis_{name}", min=1, max=4096) for name in axes - {*SIDES}}
    free |= {name: multiple_of * torch.export.Dim(f"axis_{name}", min=1, max=4096) for name in axes & {*SIDES}}
    program = torch.onnx.export(
        network,
        tuple(torch.zeros(fixed(tensor, sizes), dtype=getattr(torch, tensor.dtype)) for tensor in inputs),
        input_names=[tensor.name for tensor in inputs],
        output_names=[output.name for output in outputs],
        dynamic_shapes=tuple(
            {axis: free[name] for axis, name in enumerate(tensor.shape) if isinstance(name, str)} for tensor in inputs
        ),
        opset_version=_OPSET,
        dynamo=True,
        verbose=False,
    )
    assert program is not None
    model: onnx.ModelProto = program.model_proto
    for graph in _graphs(model.graph):
        # The exporter notes its own Python stack on every node: half a megabyte of this machine's paths.
        for noted in (graph, *graph.node, *graph.input, *graph.output):
            del noted.metadata_props[:]
        del graph.value_info[:]
    _drop_unread(model)
    model.producer_name = "restore"
    return model


def _drop_unread(model: onnx.ModelProto) -> None:
    """Take out constants that no node reads: onnxruntime would say so at each load."""
    read = {name for graph in _graphs(model.graph) for node in graph.node for name in node.input}
    kept = [tensor for tensor in model.graph.initializer if tensor.name in read]
    del model.graph.initializer[:]
    model.graph.initializer.extend(kept)


def fixed(tensor: TensorInput, sizes: dict[str, int]) -> tuple[int, ...]:
    """A tensor's shape with a size for each of its names."""
    return tuple(sizes[axis] if isinstance(axis, str) else axis for axis in tensor.shape)


def take_any_size(
    model: onnx.ModelProto, inputs: Sequence[TensorInput], outputs: Sequence[Output], multiple_of: int
) -> None:
    """Pad pictures to the multiple before the network; crop and clamp its answers behind it.

    They are mirrored, as photos go on: an edge that is repeated makes stripes of its noise, and what an untold denoiser
    takes for a picture's stripes stays. By indices, because onnxruntime's own reflection fails on sides shorter than
    the pad.
    """
    graph = model.graph
    pictures = [tensor for tensor in inputs if is_picture(tensor)]
    before, after = [], []
    if pictures and multiple_of > 1:
        before += _padding(model, [tensor.name for tensor in pictures], multiple_of)
        _free_sides(graph.input, [tensor.name for tensor in pictures])
    for output in outputs:
        cropped = bool(output.per_pixel and pictures and multiple_of > 1)
        whole = f"{output.name}/whole"
        steps = _cropping_and_clamping(output, whole, cropped=cropped)
        if steps:
            _rename(graph.node, output.name, whole)
            after += steps
        if cropped:
            _free_sides(graph.output, [output.name])
    nodes = [*before, *graph.node, *after]
    del graph.node[:]
    graph.node.extend(nodes)


def padded(picture: np.ndarray, multiple_of: int) -> np.ndarray:
    """A picture (..., H, W) as the graph pads it: mirrored at its lower and right end up to the multiple."""
    height, width = picture.shape[-2:]
    sides = (0, -height % multiple_of), (0, -width % multiple_of)
    return np.pad(picture, (*[(0, 0)] * (picture.ndim - 2), *sides), mode="reflect")


def _padding(model: onnx.ModelProto, names: Sequence[str], multiple_of: int) -> list[onnx.NodeProto]:
    """Nodes that make NAME/padded of each name, which the network then takes instead; `pad/size` is what to keep."""
    _constants(
        model,
        {
            "pad/multiple": [multiple_of],
            "pad/starts": [0, 0],
            "pad/axes": [-2, -1],
            "pad/none": 0,
            "pad/one": 1,
            "pad/two": 2,
        },
    )
    nodes = [
        helper.make_node("Shape", [names[0]], ["pad/size"], start=-2),
        helper.make_node("Neg", ["pad/size"], ["pad/negative"]),
        helper.make_node("Mod", ["pad/negative", "pad/multiple"], ["pad/extra"]),
        helper.make_node("Add", ["pad/size", "pad/extra"], ["pad/whole"]),
        *_mirrored("pad/none", "pad/rows"),
        *_mirrored("pad/one", "pad/columns"),
    ]
    for name in names:
        _rename(model.graph.node, name, f"{name}/padded")
        nodes += [
            helper.make_node("Gather", [name, "pad/rows"], [f"{name}/below"], axis=-2),
            helper.make_node("Concat", [name, f"{name}/below"], [f"{name}/tall"], axis=-2),
            helper.make_node("Gather", [f"{name}/tall", "pad/columns"], [f"{name}/beside"], axis=-1),
            helper.make_node("Concat", [f"{name}/tall", f"{name}/beside"], [f"{name}/padded"], axis=-1),
        ]
    return nodes


def _mirrored(axis: str, name: str) -> list[onnx.NodeProto]:
    """Nodes that make `name`, the indices of what is mirrored behind a side's end, to and fro.

    `axis` is the constant that says which of `pad/size` the side is.
    """
    part = f"{name}/{{}}".format
    return [
        helper.make_node("Gather", ["pad/size", axis], [part("side")]),
        helper.make_node("Gather", ["pad/whole", axis], [part("end")]),
        helper.make_node("Range", [part("side"), part("end"), "pad/one"], [part("run")]),
        helper.make_node("Sub", [part("side"), "pad/one"], [part("last")]),
        helper.make_node("Mul", [part("last"), "pad/two"], [part("back")]),
        # A side of one pixel has nothing to turn back over.
        helper.make_node("Max", [part("back"), "pad/one"], [part("period")]),
        helper.make_node("Mod", [part("run"), part("period")], [part("forth")]),
        helper.make_node("Sub", [part("period"), part("forth")], [part("fro")]),
        helper.make_node("Min", [part("forth"), part("fro")], [name]),
    ]


def _constants(model: onnx.ModelProto, values: dict[str, int | list[int]]) -> None:
    model.graph.initializer.extend(numpy_helper.from_array(np.array(v, np.int64), name) for name, v in values.items())


def _cropping_and_clamping(output: Output, whole: str, *, cropped: bool) -> list[onnx.NodeProto]:
    clamped = output.low is not None or output.high is not None
    nodes = []
    if cropped:
        target = f"{output.name}/cropped" if clamped else output.name
        nodes.append(helper.make_node("Slice", [whole, "pad/starts", "pad/size", "pad/axes"], [target]))
        whole = target
    if clamped:
        ends = [f"{output.name}/{end}" if value is not None else "" for end, value in _ends(output)]
        nodes += [
            helper.make_node("Constant", [], [name], value_float=value)
            for name, (_, value) in zip(ends, _ends(output), strict=True)
            if name
        ]
        nodes.append(helper.make_node("Clip", [whole, *ends], [output.name]))
    return nodes


def _ends(output: Output) -> tuple[tuple[str, float | None], tuple[str, float | None]]:
    return ("low", output.low), ("high", output.high)


def _rename(nodes: Sequence[onnx.NodeProto], old: str, new: str) -> None:
    # A condition's branches read what lies around them by its name.
    for branch in _branches(nodes):
        _rename(branch.node, old, new)
    for node in nodes:
        for names in (node.input, node.output):
            for index, name in enumerate(names):
                if name == old:
                    names[index] = new


def _free_sides(values: Sequence[onnx.ValueInfoProto], names: Sequence[str]) -> None:
    """Say that pictures may have any height and width."""
    for value in values:
        if value.name in names:
            for axis, name in zip((-2, -1), ("height", "width"), strict=True):
                value.type.tensor_type.shape.dim[axis].dim_param = name


def upsample_by_shuffling(model: onnx.ModelProto) -> None:
    """Put a 1x1 convolution and a pixel shuffle in place of each transposed convolution whose kernel is its stride.

    The sums are the same. onnxruntime computes the first in its blocked layout, without the buffer
    of unfolded columns that the transposed convolution takes: 0.16 GB less for five megapixels.
    """
    weights = {tensor.name: tensor for tensor in model.graph.initializer}
    for graph in _graphs(model.graph):
        nodes = [new for node in graph.node for new in _shuffling(node, weights)]
        del graph.node[:]
        graph.node.extend(nodes)


def _graphs(graph: onnx.GraphProto) -> Iterator[onnx.GraphProto]:
    """A graph, and the branches of its conditions."""
    yield graph
    for branch in _branches(graph.node):
        yield from _graphs(branch)


def _branches(nodes: Iterable[onnx.NodeProto]) -> list[onnx.GraphProto]:
    return [attribute.g for node in nodes if node.op_type == "If" for attribute in node.attribute]


def _shuffling(node: onnx.NodeProto, weights: Mapping[str, onnx.TensorProto]) -> list[onnx.NodeProto]:
    if node.op_type != "ConvTranspose":
        return [node]
    kernel = weights[node.input[1]]
    values = numpy_helper.to_array(kernel)
    inside, outside, size = values.shape[:3]
    strides = next(list(a.ints) for a in node.attribute if a.name == "strides")
    assert values.shape[2:] == (size, size) == tuple(strides), "a transposed convolution that overlaps"
    mixed = values.transpose(1, 2, 3, 0).reshape(outside * size**2, inside, 1, 1)
    kernel.CopyFrom(numpy_helper.from_array(np.ascontiguousarray(mixed), kernel.name))
    for name in node.input[2:]:
        repeated = np.repeat(numpy_helper.to_array(weights[name]), size**2)
        weights[name].CopyFrom(numpy_helper.from_array(repeated, name))
    output = node.output[0]
    conv = helper.make_node("Conv", list(node.input), [f"{output}/mixed"], kernel_shape=[1, 1])
    return [conv, helper.make_node("DepthToSpace", [f"{output}/mixed"], [output], blocksize=size, mode="CRD")]


def without_conditions(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy in which of each condition stands the branch that does most, for who wants to see all nodes in a row."""
    flat = onnx.ModelProto()
    flat.CopyFrom(model)
    while any(node.op_type == "If" for node in flat.graph.node):
        nodes = [new for node in flat.graph.node for new in _unfolded(node)]
        del flat.graph.node[:]
        flat.graph.node.extend(nodes)
    return flat


def _unfolded(node: onnx.NodeProto) -> list[onnx.NodeProto]:
    if node.op_type != "If":
        return [node]
    branch = max(_branches([node]), key=lambda graph: len(graph.node))
    names = dict(zip((value.name for value in branch.output), node.output, strict=True))
    for old, new in names.items():
        _rename(branch.node, old, new)
    return list(branch.node)


def halve_weights(model: onnx.ModelProto) -> None:
    """Store weights as float16 with a Cast behind each, which onnxruntime folds when it loads the file."""
    casts = []
    for tensor in model.graph.initializer:
        if tensor.data_type == TensorProto.FLOAT and len(tensor.dims) > 1:
            name, half = tensor.name, f"{tensor.name}/half"
            tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor).astype(np.float16), half))
            casts.append(helper.make_node("Cast", [half], [name], to=TensorProto.FLOAT))
    nodes = [*casts, *model.graph.node]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
