"""From a checkpoint to a published ONNX file: export, wrap, compress, check against torch, enter into the manifest."""

from __future__ import annotations

import json
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
import onnx
import torch
from onnx import TensorProto, compose, helper, numpy_helper, parser
from torch import nn

from restore import store
from restore.contract import CARD_KEY, SPEC_KEY, ModelSpec
from restore.engine import open_model
from restore.errors import UnsupportedModel
from training.cards import model_card
from training.loop import load_network
from training.recipes import Recipe, find_recipe
from training.tables import Published

_OPSET = 20
_TOLERANCE = 1e-4
#: The denoiser's answers, in its forward's order.
OUTPUTS = ("restored", "level")
#: Odd, even, smaller than the padding, the smallest, and long: what a picture may be.
_CHECKED_SIZES = ((1, 1), (3, 5), (16, 16), (33, 47), (64, 96), (1, 200))
#: What the shipped weights were trained on, for the spec and the manifest.
LICENCE = "Apache-2.0"


@runtime_checkable
class Folding(Protocol):
    """A network that was trained in a form that `fold` turns into a cheaper one with the same answers."""

    def fold(self) -> None: ...


class ExportError(Exception):
    """The exported file does not do what the network does, or would be no gain; nothing was published."""


def export_checkpoint(
    checkpoint: Path, out: Path, *, published: Published | None = None, data: str = "not stated"
) -> Path:
    """Write `out/NAME.onnx` for a checkpoint of `training train`, with its spec; returns the file's path.

    The weights are rounded to float16 first, in torch too, so that the check and every figure
    hold for what is shipped. `data` (what it was
    trained on) and, with `published`, the figures and the model's card go into the file for people
    to read. The file appears only
    after it passed: onnx's checker, and equality with torch within 1e-4 through `restore`, over
    odd, even and smallest sizes and a batch of two.
    Raises ExportError when it differs, ValueError when the file is not a checkpoint.
    """
    network, state = load_network(checkpoint)
    recipe = find_recipe(state["recipe"])
    if isinstance(network, Folding):
        network.fold()
    _round_to_half(network)
    figures = published.figures if published else {}
    spec = _spec(recipe, network, state, {"data": data, "figures": json.dumps(figures)})
    model = _graph(network, recipe)
    _upsample_by_shuffling(model)
    model = _with_padding(model, spec)
    _halve_weights(model)
    texts = {SPEC_KEY: spec.to_json()}
    if published:
        texts[CARD_KEY] = model_card(spec, recipe, published)
    helper.set_model_props(model, texts)
    onnx.checker.check_model(model, full_check=True)
    out.mkdir(parents=True, exist_ok=True)
    target = out / f"{spec.name}.onnx"
    with tempfile.TemporaryDirectory(dir=out) as folder:
        partial = Path(folder) / target.name
        onnx.save(model, partial)
        _check_against_torch(partial, network, spec)
        partial.replace(target)
    return target


def publish_checkpoint(
    checkpoint: Path, folder: Path, *, published: Published, data: str = "not stated", cards: Path | None = None
) -> Path:
    """Export into `folder` and enter the file into its manifest, if its figures beat the published one's.

    The mean over the figures that both have must rise; a file that this version cannot open any
    more is replaced in any case. The model's card goes into the file and to `cards/NAME.md`.
    Raises ExportError if the figures are no better.
    """
    figures = published.figures
    name = find_recipe(load_network(checkpoint)[1]["recipe"]).name
    old = next((e for e in store.entries() if e.name == name and e.path.parent == folder), None)
    before: Mapping[str, float] = old.about.get("figures", {}) if old and _opens(old.path) else {}
    shared = sorted(before.keys() & figures.keys())
    gain = sum(figures[key] - before[key] for key in shared)
    if shared and gain <= 0:
        raise ExportError(
            f"{name} is not published: its figures ({_shown(figures, shared)}) do not beat the old ones "
            f"({_shown(before, shared)})."
        )
    path = export_checkpoint(checkpoint, folder, published=published, data=data)
    recipe = find_recipe(name)
    about = {"licence": LICENCE, "figures": figures, "measured_with": published.command}
    store.publish(folder, name, task=recipe.task, tier=recipe.tier, about=about)
    if cards:
        cards.mkdir(parents=True, exist_ok=True)
        (cards / f"{name}.md").write_text(open_model(path, device="cpu").card, "utf-8")
    return path


def _opens(path: Path) -> bool:
    try:
        open_model(path, device="cpu")
    except UnsupportedModel:
        return False
    return True


def _shown(figures: Mapping[str, float], names: list[str]) -> str:
    return ", ".join(f"{name} {figures[name]:.3f}" for name in names)


def _round_to_half(network: nn.Module) -> None:
    with torch.no_grad():
        for p in network.parameters():
            if p.ndim > 1:
                p.copy_(p.half().float())


def _spec(recipe: Recipe, network: nn.Module, state: Mapping[str, Any], said: Mapping[str, str]) -> ModelSpec:
    progress, settings = state["progress"], state["settings"]
    made_by = {
        "recipe": recipe.name,
        "network": f"{recipe.network} {json.dumps(state['hparams'])}",
        "commit": _commit(),
        "seed": str(settings["seed"]),
        "steps": str(progress["step"]),
        "minutes": f"{progress['elapsed'] / 60:.0f}",
        "licence": LICENCE,
        **said,
    }
    return ModelSpec(
        name=recipe.name,
        task=recipe.task,
        tier=recipe.tier,
        answer="image",
        multiple_of=int(network.multiple_of),  # type: ignore[arg-type]
        reach=int(network.reach),  # type: ignore[arg-type]
        params=recipe.params,
        made_by=made_by,
    )


def _commit() -> str:
    done = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False)
    return done.stdout.strip() or "unknown"


def _graph(network: nn.Module, recipe: Recipe) -> onnx.ModelProto:
    """The bare network as ONNX: inputs as its forward names them, sides multiples of `multiple_of`."""
    multiple = int(network.multiple_of)  # type: ignore[arg-type]
    batch = torch.export.Dim("batch")
    height, width = (multiple * torch.export.Dim(name, min=1, max=4096) for name in ("rows", "columns"))
    scalars = [p.name for p in recipe.params]
    # Two different sides and a batch above 1: what equals 1 or another size would be frozen into the graph.
    inputs = (torch.zeros(2, 3, 3 * multiple, 4 * multiple), *(torch.zeros(2) for _ in scalars))
    program = torch.onnx.export(
        network,
        inputs,
        input_names=["image", *scalars],
        output_names=list(OUTPUTS),
        dynamic_shapes=({0: batch, 2: height, 3: width}, *({0: batch} for _ in scalars)),
        opset_version=_OPSET,
        dynamo=True,
        verbose=False,
    )
    assert program is not None
    model: onnx.ModelProto = program.model_proto
    for node in model.graph.node:
        # The exporter notes its own Python stack on every node: half a megabyte of this machine's paths.
        del node.metadata_props[:]
    for value in (*model.graph.value_info, *model.graph.input, *model.graph.output):
        del value.metadata_props[:]
    del model.graph.metadata_props[:]
    del model.graph.value_info[:]
    return model


def _with_padding(model: onnx.ModelProto, spec: ModelSpec) -> onnx.ModelProto:
    """The graph for any size: edge padding to the multiple before it, cropping and clamping behind it.

    Edge padding, because onnxruntime's reflection fails on sides shorter than the pad.
    """
    before = parser.parse_model(f"""
        <ir_version: {model.ir_version}, opset_import: ["" : {_OPSET}]>
        before (float[batch, 3, height, width] image) => (float[batch, 3, rows, columns] padded, int64[2] size) {{
            size = Shape <start = 2> (image)
            negative = Neg (size)
            multiple = Constant <value_int = {spec.multiple_of}> ()
            extra = Mod (negative, multiple)
            none = Constant <value_ints = [0, 0, 0, 0, 0, 0]> ()
            pads = Concat <axis = 0> (none, extra)
            padded = Pad <mode = "edge"> (image, pads)
        }}""")
    after = parser.parse_model(f"""
        <ir_version: {model.ir_version}, opset_import: ["" : {_OPSET}]>
        after (float[batch, 3, rows, columns] whole, float[batch, 1, rows, columns] levels, int64[2] ends)
            => (float[batch, 3, height, width] restored, float[batch, 1, height, width] level) {{
            starts = Constant <value_ints = [0, 0]> ()
            axes = Constant <value_ints = [2, 3]> ()
            black = Constant <value_float = 0.0> ()
            white = Constant <value_float = 1.0> ()
            cropped = Slice (whole, starts, ends, axes)
            restored = Clip (cropped, black, white)
            cropped_level = Slice (levels, starts, ends, axes)
            level = Clip (cropped_level, black, white)
        }}""")
    core = compose.add_prefix(model, "net/")
    outputs = ["net/restored", "net/level", "size"]
    joined = compose.merge_models(before, core, io_map=[("padded", "net/image")], outputs=outputs)
    links = [("net/restored", "whole"), ("net/level", "levels"), ("size", "ends")]
    whole = compose.merge_models(joined, after, io_map=links)
    for value in whole.graph.input:
        if value.name.startswith("net/"):
            _rename_input(whole, value.name, value.name.removeprefix("net/"))
    whole.producer_name = "restore"
    return whole


def _rename_input(model: onnx.ModelProto, old: str, new: str) -> None:
    for value in model.graph.input:
        if value.name == old:
            value.name = new
            value.type.tensor_type.shape.dim[0].dim_param = "batch"
    for node in model.graph.node:
        for index, name in enumerate(node.input):
            if name == old:
                node.input[index] = new


def _upsample_by_shuffling(model: onnx.ModelProto) -> None:
    """Put a 1x1 convolution and a pixel shuffle in place of each transposed convolution whose kernel is its stride.

    The sums are the same. onnxruntime computes the first in its blocked layout, without the buffer
    of unfolded columns that the transposed convolution takes: 0.16 GB less for five megapixels.
    """
    weights = {tensor.name: tensor for tensor in model.graph.initializer}
    nodes = []
    for node in model.graph.node:
        nodes.append(node)
        if node.op_type != "ConvTranspose":
            continue
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
        shuffle = helper.make_node("DepthToSpace", [f"{output}/mixed"], [output], blocksize=size, mode="CRD")
        nodes[-1:] = [conv, shuffle]
    del model.graph.node[:]
    model.graph.node.extend(nodes)


def _halve_weights(model: onnx.ModelProto) -> None:
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


def _check_against_torch(path: Path, network: nn.Module, spec: ModelSpec) -> None:
    """Raise ExportError unless the file answers as torch does, through the engine that users run."""
    restorer = open_model(path, device="cpu")
    rng = np.random.default_rng(0)
    for height, width in _CHECKED_SIZES:
        # Beyond [0, 1] too: unclipped noise is what the network was trained on.
        picture = rng.uniform(-0.2, 1.2, (height, width, 3)).astype(np.float32)
        drawn = {p.name: float(rng.uniform(p.min, p.max)) for p in spec.params}
        for params in (drawn, {}):
            answers = restorer.run_array(picture, tile=None, **params)
            expected = _in_torch(network, picture[None], params, spec)
            for name, answer in answers.items():
                _demand_equal(answer, expected[name][0].squeeze(), f"{name}, {width} x {height} pixels")
    pictures = rng.uniform(0, 1, (2, 20, 37, 3)).astype(np.float32)
    params = {p.name: float(p.max) for p in spec.params}
    inputs = {name: np.full(2, value, np.float32) for name, value in params.items()}
    batch = restorer.run_batch({"image": np.ascontiguousarray(pictures.transpose(0, 3, 1, 2)), **inputs})["restored"]
    expected = _in_torch(network, pictures, params, spec)
    _demand_equal(batch.transpose(0, 2, 3, 1), expected["restored"], "a batch of two")


def _in_torch(
    network: nn.Module, pictures: np.ndarray, params: Mapping[str, float], spec: ModelSpec
) -> dict[str, np.ndarray]:
    """(N, H, W, 3) through the torch network, padded and cropped as the graph does: {output: (N, H, W, C)}.

    A parameter that `params` lacks is unknown to the network.
    """
    height, width = pictures.shape[1:3]
    extra = [(-side) % spec.multiple_of for side in (height, width)]
    padded = np.pad(pictures, ((0, 0), (0, extra[0]), (0, extra[1]), (0, 0)), mode="edge")
    usual = {p.name: p.unknown if p.default is None else p.default for p in spec.params}
    scalars = {name: torch.full((len(pictures),), float(value)) for name, value in ({**usual, **params}).items()}  # type: ignore[arg-type]
    with torch.no_grad():
        answers = network(torch.from_numpy(padded).permute(0, 3, 1, 2), **scalars)
    return {
        name: answer.clamp(0, 1).permute(0, 2, 3, 1).numpy()[:, :height, :width]
        for name, answer in zip(OUTPUTS, answers, strict=True)
    }


def _demand_equal(answer: np.ndarray, expected: np.ndarray, what: str) -> None:
    worst = float(np.abs(answer - expected).max())
    if not worst <= _TOLERANCE:
        raise ExportError(f"on {what} the file differs from torch by {worst:.2g}, above {_TOLERANCE:g}: not exported.")
