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
from onnx import helper
from torch import nn

from restore import store
from restore.contract import CARD_KEY, SPEC_KEY, ModelSpec, TensorInput
from restore.errors import UnsupportedModel
from restore.layers import LAYERS_KEY, to_json
from restore.session import Session
from training import TrainingError
from training.cards import model_card
from training.evaluations import conditions
from training.graphs import (
    exported,
    fixed,
    halve_weights,
    is_picture,
    padded,
    take_any_size,
    upsample_by_shuffling,
    without_conditions,
)
from training.layer_list import layers_of
from training.loop import load_network
from training.recipes import NetworkRecipe, find_network
from training.tables import Published
from training.weights import holds, weights_digest

#: In values of 1, or of the largest that there can be where that is more.
_TOLERANCE = 1e-4
#: (pictures, height, width): odd, even, smaller than the padding, the smallest, long, and more than one.
_CHECKED_SIZES = ((1, 1, 1), (1, 3, 5), (1, 16, 16), (1, 33, 47), (1, 64, 96), (1, 1, 200), (2, 20, 37))
#: Of the weights, for the spec and the manifest.
LICENCE = "Apache-2.0"


@runtime_checkable
class Folding(Protocol):
    """A network that was trained in a form that `fold` turns into a cheaper one with the same answers."""

    def fold(self) -> None: ...


class ExportError(TrainingError):
    """The exported file does not do what the network does, or would be no gain; nothing was published."""


def export_checkpoint(
    checkpoint: Path, out: Path, *, published: Published | None = None, data: str = "not stated"
) -> Path:
    """Write `out/NAME.onnx` for a checkpoint of `training train`, with its spec; returns the file's path.

    The weights are rounded to float16 first, in torch too, so that the check and every figure
    hold for what is shipped. `data` (what it was
    trained on) and, with `published`, the figures and the model's card go into the file for people
    to read. The file appears only
    after it passed: onnx's checker, and equality with torch within 1e-4 in the session of `restore`,
    over odd, even and smallest sizes and a batch of two.
    Raises ExportError when it differs, ValueError when the file is not a checkpoint.
    """
    network, state = load_network(checkpoint)
    recipe = find_network(state["recipe"])
    if isinstance(network, Folding):
        network.fold()
    _round_to_half(network)
    figures = published.figures if published else {}
    spec = _spec(recipe, network, state, {"data": data, "figures": json.dumps(figures)})
    model = exported(network, recipe.inputs, recipe.outputs, spec.multiple_of)
    upsample_by_shuffling(model)
    take_any_size(model, recipe.inputs, recipe.outputs, spec.multiple_of)
    halve_weights(model)
    texts = {SPEC_KEY: spec.to_json()}
    if recipe.image:
        # Layers are listed for one size of picture; a planner sees two.
        texts[LAYERS_KEY] = to_json(layers_of(without_conditions(model), _sample(recipe, spec.multiple_of)))
    if published:
        texts |= {CARD_KEY: model_card(spec, recipe, published), **published.texts}
    helper.set_model_props(model, texts)
    onnx.checker.check_model(model, full_check=True)
    out.mkdir(parents=True, exist_ok=True)
    target = out / f"{spec.name}.onnx"
    with tempfile.TemporaryDirectory(dir=out) as folder:
        partial = Path(folder) / target.name
        onnx.save(model, partial)
        _check_against_torch(partial, network, recipe, spec.multiple_of)
        partial.replace(target)
    return target


def publish_checkpoint(
    checkpoint: Path,
    folder: Path,
    *,
    published: Published,
    data: str = "not stated",
    cards: Path | None = None,
    compared: bool = True,
) -> Path:
    """Export into `folder` and enter the file into its manifest, if its figures beat the published one's.

    Every figure of the old file must be there, measured on the same data, and together they must rise: each in shares
    of the old one (decibels and shares of pictures have no common unit). They need not rise where the weights are the
    same and were measured again; a file that this version cannot open any more is replaced in any case, and any file
    where `compared` is false. The model's card goes into the file and to `cards/NAME.md`. Raises ExportError if
    the figures are no better, cannot be compared, or are not those of the checkpoint's weights.
    """
    network, state = load_network(checkpoint)
    recipe = find_network(state["recipe"])
    name = recipe.name
    old = next((e for e in store.entries() if e.name == name and e.path.parent == folder), None)
    if old and compared and _opens(old.path):
        _demand_better(name, published, old, measured_again=holds(old.path, network))
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder) as aside:
        made = export_checkpoint(checkpoint, Path(aside), published=published, data=data)
        _demand_measured(made, published)
        path = made.replace(folder / made.name)
    about = {"licence": LICENCE, "figures": published.figures, "measured_with": published.command}
    store.publish(folder, name, task=recipe.task, tier=recipe.tier, about=about)
    if cards:
        cards.mkdir(parents=True, exist_ok=True)
        (cards / f"{name}.md").write_text(Session(path, device="cpu").card, "utf-8")
    return path


def _demand_better(name: str, published: Published, old: store.Entry, *, measured_again: bool) -> None:
    """Raise ExportError unless the figures can be compared with the old ones, and beat them or are of the same file."""
    figures, before, measured_with = published.figures, old.about.get("figures", {}), old.about.get("measured_with", "")
    way_out = "To compare nothing: --measured-otherwise."
    if missing := sorted(before.keys() - figures.keys()):
        raise ExportError(
            f"{name} is not published: the report lacks {', '.join(missing)}, figures of the old file, from: "
            f"{measured_with}. {way_out}"
        )
    then, now = (conditions(command, before) for command in (measured_with, published.command))
    if before and then != now:
        differing = [flag for flag in then | now if then.get(flag) != now.get(flag)]
        texts = [f"{flag} {now.get(flag, 'not stated')}, before {then.get(flag, 'not stated')}" for flag in differing]
        raise ExportError(f"{name} is not published: it was measured otherwise ({'; '.join(texts)}). {way_out}")
    shared = sorted(before)
    gain = sum((figures[key] - before[key]) / max(abs(before[key]), _TOLERANCE) for key in shared)
    if shared and gain <= 0 and not measured_again:
        raise ExportError(
            f"{name} is not published: its figures ({_shown(figures, shared)}) do not beat the old ones "
            f"({_shown(before, shared)})."
        )


def _demand_measured(path: Path, published: Published) -> None:
    """Raise ExportError unless the figures are those of the file's weights."""
    if not published.weights:
        raise ExportError(
            f"{path.stem} is not published: the report does not say which weights it measured. Measure again: "
            f"{published.command}"
        )
    if published.weights != weights_digest(path):
        raise ExportError(
            f"{path.stem} is not published: the report is of other weights than the checkpoint's. Export the "
            "checkpoint, and measure that file."
        )


def _opens(path: Path) -> bool:
    try:
        Session(path, device="cpu")
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


def _spec(recipe: NetworkRecipe, network: nn.Module, state: Mapping[str, Any], said: Mapping[str, str]) -> ModelSpec:
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
        answer=recipe.answer,
        multiple_of=int(getattr(network, "multiple_of", 1)),
        # A network that may see any picture whole is not tiled: its marks span more than a tile.
        reach=None if recipe.working_size else getattr(network, "reach", None),
        working_size=recipe.working_size,
        soft_size=recipe.soft_size,
        params=recipe.params,
        tensors=recipe.tensors,
        labels=recipe.labels,
        made_by=made_by,
    )


def _sample(recipe: NetworkRecipe, multiple_of: int) -> dict[str, np.ndarray]:
    """Inputs that the graph takes, with a small picture; a free axis of another kind is 1 long."""
    free = {axis: 1 for tensor in recipe.inputs for axis in tensor.shape if isinstance(axis, str)}
    sizes = free | {"H": 4 * multiple_of, "W": 4 * multiple_of}
    rng = np.random.default_rng(0)
    return {tensor.name: _drawn(tensor, sizes, rng) for tensor in recipe.inputs}


def _commit() -> str:
    done = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False)
    return done.stdout.strip() or "unknown"


def _check_against_torch(path: Path, network: nn.Module, recipe: NetworkRecipe, multiple_of: int) -> None:
    """Raise ExportError unless the file answers as torch does, in the session that users run."""
    session = Session(path, device="cpu")
    rng = np.random.default_rng(0)
    usual = {p.name: p.unknown if p.default is None else p.default for p in recipe.params}
    usual |= {tensor.name: tensor.default for tensor in recipe.tensors}
    for batch, height, width in _CHECKED_SIZES:
        axes = {
            axis: int(rng.integers(1, 9)) for tensor in recipe.inputs for axis in tensor.shape if isinstance(axis, str)
        }
        sizes = axes | {"N": batch, "H": height, "W": width}
        drawn = {tensor.name: _drawn(tensor, sizes, rng) for tensor in recipe.inputs}
        plain = {name: np.full_like(drawn[name], value) for name, value in usual.items()}
        for inputs in (drawn, drawn | plain):
            answers = session.run(inputs)
            expected = _in_torch(network, inputs, recipe, multiple_of)
            for output in recipe.outputs:
                what = f"{output.name}, {batch} of {width} x {height} pixels"
                _demand_equal(answers[output.name], expected[output.name], what, most=output.high or 1.0)


def _drawn(tensor: TensorInput, sizes: dict[str, int], rng: np.random.Generator) -> np.ndarray:
    """Random values of a tensor's range."""
    shape = fixed(tensor, sizes)
    if tensor.dtype == "int64":
        return rng.integers(int(tensor.min), int(tensor.max), shape, endpoint=True)
    return rng.uniform(tensor.min, tensor.max, shape).astype(np.float32)


def _in_torch(
    network: nn.Module, inputs: Mapping[str, np.ndarray], recipe: NetworkRecipe, multiple_of: int
) -> dict[str, np.ndarray]:
    """The torch network's answers by name, its pictures padded, cropped and clamped as the graph does it."""
    tensors = []
    height = width = 0
    for tensor in recipe.inputs:
        values = inputs[tensor.name]
        if is_picture(tensor):
            height, width = values.shape[-2:]
            values = padded(values, multiple_of)
        tensors.append(torch.from_numpy(values))
    with torch.no_grad():
        answers = network(*tensors)
    answers = (answers,) if isinstance(answers, torch.Tensor) else answers
    found = {}
    for output, answer in zip(recipe.outputs, answers, strict=True):
        cropped = answer[..., :height, :width] if output.per_pixel and height else answer
        clamped = cropped if output.low is output.high is None else cropped.clamp(output.low, output.high)
        found[output.name] = clamped.numpy()
    return found


def _demand_equal(answer: np.ndarray, expected: np.ndarray, what: str, *, most: float) -> None:
    """Raise ExportError where the two differ by more than 1e-4 of `most`, the largest value that there can be."""
    if answer.shape != expected.shape:
        raise ExportError(f"on {what} the file answers with {answer.shape}, torch with {expected.shape}: not exported.")
    worst = float(np.abs(answer - expected).max())
    if not worst <= _TOLERANCE * max(1.0, most, float(np.abs(expected).max())):
        raise ExportError(f"on {what} the file differs from torch by {worst:.2g}, above {_TOLERANCE:g}: not exported.")
