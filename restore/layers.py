"""Convolution arithmetic: the size that comes out, parameters, multiply-adds, and what an output sees.

A model file lists its layers under `LAYERS_KEY`, so that a table of them needs nothing but this module.
Tuples are (height, width); texts are WIDTHxHEIGHT, as on the command line.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Iterable, Sequence
from typing import Any

from restore.errors import BadOption, UnsupportedModel

LAYERS_KEY = "restore.layers"
_SCHEMA = 1
#: In `Layer.inputs`: the picture itself.
PICTURE = -1

#: Those that read every place with one filter, those that sum up the whole picture, those that move pixels only, and
#: those that let every place see all others: Attention is one of its two products of computed tensors.
WINDOWS = ("Conv", "MatMul", "MaxPool", "AveragePool")
WHOLE = ("Gemm", "GlobalAveragePool")
OPS = (*WINDOWS, "ConvTranspose", *WHOLE, "DepthToSpace", "SpaceToDepth", "Repeat", "Resize", "Attention")
_GROWING = ("DepthToSpace", "ConvTranspose", "Repeat", "Resize")

Pair = tuple[int, int]
Span = tuple[int, int]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """One layer of a network, and the layers whose outputs it reads: their numbers, or `PICTURE`.

    `stride` is the factor of DepthToSpace, SpaceToDepth, Repeat and Resize (bilinear) too; `padding` is top, left,
    bottom, right. A layer that reads none but what a user sets has no inputs.
    """

    op: str
    name: str
    inputs: tuple[int, ...]
    channels: int
    filters: int
    size: Pair = (1, 1)
    stride: Pair = (1, 1)
    padding: tuple[int, int, int, int] = (0, 0, 0, 0)
    dilation: Pair = (1, 1)
    groups: int = 1
    parameters: int = 0

    def output_size(self, size: Pair) -> Pair:
        """Height and width of what comes out: (W - F + 2P) / S + 1, rounded down, for a convolution."""
        if self.op in WHOLE:
            return 1, 1
        height, width = (self._output_side(side, axis) for axis, side in enumerate(size))
        return height, width

    def _output_side(self, side: int, axis: int) -> int:
        stride, extent = self.stride[axis], self._extent(axis)
        padding = self.padding[axis] + self.padding[axis + 2]
        if self.op == "ConvTranspose":
            return (side - 1) * stride + extent - padding
        if self.op in {"DepthToSpace", "Repeat", "Resize"}:
            return side * stride
        if self.op == "SpaceToDepth":
            return side // stride
        return (side - extent + padding) // stride + 1

    def _extent(self, axis: int) -> int:
        """From the first to the last place that one filter covers."""
        return (self.size[axis] - 1) * self.dilation[axis] + 1

    def multiply_adds(self, before: Pair, after: Pair) -> int:
        """Multiplications (each with its addition) for one picture; pooling and moving pixels count as none."""
        weights = math.prod(self.size) * self.channels * self.filters // self.groups
        if self.op == "ConvTranspose":
            return math.prod(before) * weights
        if self.op == "Attention":
            return math.prod(after) ** 2 * self.channels
        return math.prod(after) * weights if self.op in {"Conv", "MatMul", "Gemm"} else 0

    def seen(self, span: Span, axis: int) -> Span:
        """First and last place of the input that the outputs from `span[0]` to `span[1]` read, along one axis."""
        first, last = span
        stride, start = self.stride[axis], self.padding[axis]
        if self.op in {"DepthToSpace", "Repeat"}:
            return first // stride, last // stride
        if self.op == "SpaceToDepth":
            return first * stride, (last + 1) * stride - 1
        if self.op == "Resize":
            # An output lies at (place + 1/2) / stride - 1/2 of the input, between two of its places or on one.
            return (2 * first + 1 - stride) // (2 * stride), -((stride - 2 * last - 1) // (2 * stride))
        if self.op == "ConvTranspose":
            return -((self._extent(axis) - 1 - start - first) // stride), (last + start) // stride
        return first * stride - start, last * stride - start + self._extent(axis) - 1


def parameters(size: Pair, channels: int, filters: int, *, groups: int = 1, bias: bool = True) -> int:
    """F^2 * C * K + K: the weights of K filters of `size` over C channels, and a bias for each."""
    return math.prod(size) * (channels // groups) * filters + (filters if bias else 0)


def to_json(layers: Iterable[Layer]) -> str:
    """What is written under `LAYERS_KEY`."""
    return json.dumps({"schema": _SCHEMA, "layers": [dataclasses.asdict(layer) for layer in layers]})


def from_json(text: str) -> tuple[Layer, ...]:
    """Read what `to_json` wrote. Raises UnsupportedModel for anything else."""
    try:
        plain = json.loads(text)
        if plain["schema"] != _SCHEMA:
            raise UnsupportedModel(
                f"the list of layers has schema {plain['schema']!r}, not {_SCHEMA}. Upgrade Restore."
            )
        layers = tuple(Layer(**{key: _frozen(value) for key, value in row.items()}) for row in plain["layers"])
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UnsupportedModel(f"the model's list of layers cannot be read ({error!r}). Export it again.") from None
    for number, layer in enumerate(layers):
        if layer.op not in OPS or not all(PICTURE <= source < number for source in layer.inputs):
            raise UnsupportedModel(f"the model's list of layers is wrong at {layer.name!r}. Export it again.")
    return layers


def _frozen(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


@dataclasses.dataclass(frozen=True, slots=True)
class Row:
    """A layer on a picture of one size: what it gives, what it costs, what one of its outputs sees of the picture."""

    layer: Layer
    output: Pair
    multiply_adds: int
    #: Height and width in pixels of the picture, the most over all places; None: all of it.
    field: Pair | None

    def cells(self) -> tuple[str, ...]:
        """Texts in the order of `HEADINGS`."""
        layer = self.layer
        top, left, bottom, right = layer.padding
        padding = _shown((top, left)) if (top, left) == (bottom, right) else ",".join(map(str, layer.padding))
        groups = f" / {layer.groups}" if layer.groups > 1 else ""
        return (
            layer.op,
            layer.name,
            f"{layer.filters}{groups}",
            _shown(layer.size),
            _shown(layer.stride),
            padding,
            f"{layer.filters} x {self.output[1]}x{self.output[0]}",
            f"{layer.parameters:,}",
            f"{self.multiply_adds:,}",
            "all" if self.field is None else _shown(self.field),
        )

    def as_json(self) -> dict[str, Any]:
        """The same for machines; sizes are [height, width], and None stands for the whole picture."""
        return dataclasses.asdict(self)


HEADINGS = ("op", "name", "K", "F", "S", "P", "output", "parameters", "multiply-adds", "sees")


def _shown(pair: Pair) -> str:
    """One number where both are equal, else WIDTHxHEIGHT."""
    height, width = pair
    return str(width) if height == width else f"{width}x{height}"


def table(layers: Sequence[Layer], *, height: int, width: int, multiple_of: int = 1) -> list[Row]:
    """One row a layer, for a picture of this size, padded first to a multiple as the graph does.

    Raises BadOption for a picture that is too small, and UnsupportedModel where joined layers differ in size.
    """
    if min(height, width) < 1:
        raise BadOption(f"--size {width}x{height} is no picture. Use 1x1 or more.")
    padded = -(-height // multiple_of) * multiple_of, -(-width // multiple_of) * multiple_of
    sizes: dict[int, Pair] = {PICTURE: padded}
    rows = []
    for number, layer in enumerate(layers):
        joined = {sizes[source] for source in layer.inputs} or {(1, 1)}
        if len(joined) > 1:
            # What is the same at every place, a setting's features for example, is laid over the picture.
            joined.discard((1, 1))
        if len(joined) > 1:
            raise UnsupportedModel(f"layer {layer.name} joins pictures of different sizes: {sorted(joined)}")
        before = joined.pop()
        after = sizes[number] = layer.output_size(before)
        if min(after) < 1:
            raise BadOption(f"--size {width}x{height} is too small: nothing is left of it after {layer.name}.")
        rows.append(Row(layer, after, layer.multiply_adds(before, after), receptive_field(layers, number)))
    return rows


def receptive_field(layers: Sequence[Layer], number: int) -> Pair | None:
    """Height and width of what one output of a layer sees, the most over all its places; None: the whole picture.

    Each way to the picture is followed backwards and the outermost counts. After upsampling it depends on the place
    on the grid, so each is tried; the picture's own edges are not thought of.
    """
    sources: set[int] = set()
    todo = [number]
    while todo:
        at = todo.pop()
        if at not in sources:
            sources.add(at)
            todo += layers[at].inputs if at != PICTURE else ()
    if any(layers[at].op in {*WHOLE, "Attention"} and _reads_picture(layers, at) for at in sources - {PICTURE}):
        return None
    order = sorted(sources - {PICTURE}, reverse=True)
    height, width = (_most_seen(layers, order, axis) for axis in (0, 1))
    return height, width


def _reads_picture(layers: Sequence[Layer], number: int) -> bool:
    return number == PICTURE or any(_reads_picture(layers, source) for source in layers[number].inputs)


def _most_seen(layers: Sequence[Layer], order: list[int], axis: int) -> int:
    grows = [layers[at].stride[axis] for at in order if layers[at].op in _GROWING]
    most = 1
    for place in range(math.prod(grows)):
        spans: dict[int, Span] = {order[0]: (place, place)}
        for at in order:
            first, last = layers[at].seen(spans[at], axis)
            for source in layers[at].inputs:
                before = spans.get(source, (first, last))
                spans[source] = min(first, before[0]), max(last, before[1])
        if PICTURE in spans:
            most = max(most, spans[PICTURE][1] - spans[PICTURE][0] + 1)
    return most


@dataclasses.dataclass(frozen=True, slots=True)
class Fit:
    """Whether a filter steps over a picture without rest: the (height, width) that comes out, or None, and why."""

    output: Pair | None
    text: str


def explain_fit(input_size: Pair, *, filter: int, stride: int = 1, padding: int = 0) -> Fit:  # noqa: A002
    """Whether (W - F + 2P) / S + 1 comes out whole on both axes, and if not, which stride or padding would do.

    Raises BadOption for numbers that no layer can have.
    """
    for name, value, least in (
        ("input", min(input_size), 1), ("filter", filter, 1), ("stride", stride, 1), ("padding", padding, 0),
    ):  # fmt: skip
        if value < least:
            raise BadOption(f"--{name} {value} cannot be. Use {least} or more.")
    asked = f"{_pixels(input_size)}, filter {filter}, stride {stride}, padding {padding}"
    output = _whole_output(input_size, filter, stride, padding)
    sides = dict.fromkeys(reversed(input_size))
    if output:
        sums = "; ".join(_sum(side, filter, stride, padding) for side in sides)
        return Fit(output, f"{asked}: gives {_pixels(output)}. {sums}.")
    if min(input_size) + 2 * padding < filter:
        why = f"The filter is larger than {min(input_size)} + 2 * {padding} pixels"
    else:
        whole = [side for side in sides if (side - filter + 2 * padding) % stride]
        why = "; ".join(f"{_sum(side, filter, stride, padding)} is no whole number" for side in whole)
    return Fit(None, f"{asked}: does not fit. {why}.\n{_ways_out(input_size, filter, stride, padding)}")


def _sum(side: int, filter: int, stride: int, padding: int) -> str:  # noqa: A002
    return f"({side} - {filter} + 2 * {padding}) / {stride} + 1 = {(side - filter + 2 * padding) / stride + 1:.4g}"


def _pixels(size: Pair) -> str:
    return f"{size[1]}x{size[0]}"


def _whole_output(size: Pair, filter: int, stride: int, padding: int) -> Pair | None:  # noqa: A002
    rests = [side - filter + 2 * padding for side in size]
    if min(rests) < 0 or any(rest % stride for rest in rests):
        return None
    return rests[0] // stride + 1, rests[1] // stride + 1


def _ways_out(size: Pair, filter: int, stride: int, padding: int) -> str:  # noqa: A002
    """The strides nearest to the asked one with this padding, and the least paddings with this stride."""
    strides = {s: out for s in range(1, 2 * stride + 1) if (out := _whole_output(size, filter, s, padding))}
    # Beyond F - 1 a filter would see padding alone.
    paddings = {p: out for p in range(max(filter, padding + 1)) if (out := _whole_output(size, filter, stride, p))}
    nearest = sorted(sorted(strides, key=lambda s: (abs(s - stride), s))[:2])
    ways = [f"Stride {s} gives {_pixels(strides[s])}." for s in nearest]
    ways += [f"Padding {p} gives {_pixels(paddings[p])}." for p in list(paddings)[:2]]
    return " ".join(ways) or "No stride and no padding below the filter's size does."
