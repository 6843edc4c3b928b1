"""Weights that were trained before: read a checkpoint, or start a network from one or from an exported file."""

from __future__ import annotations

import hashlib
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from models.blocks import NearestUp
from restore.session import Session
from training import TrainingError


def load_checkpoint(path: Path, device: torch.device) -> dict[str, Any]:
    """All that a checkpoint holds. Raises TrainingError if the file is not a checkpoint of ours."""
    try:
        state = torch.load(path, map_location=device, weights_only=True)
    except FileNotFoundError:
        raise TrainingError(f"{path}: no such checkpoint") from None
    except (pickle.UnpicklingError, RuntimeError, EOFError):
        state = None
    if not isinstance(state, dict) or "ema" not in state or "recipe" not in state:
        raise TrainingError(f"{path}: not a checkpoint of python -m training train")
    return state


def start_from(path: Path, network: nn.Module) -> None:
    """Put the weights of a checkpoint (.pt, the averaged ones) or of an exported file (.onnx) into `network`.

    The network may be deeper or wider than the file's: blocks that the file lacks stay as they were
    made, and where a layer is wider the old features keep their places, with the new inputs' weights
    zero, so that the answer is at first the file's own (Net2Net, Chen et al. 2016, arXiv:1511.05641).
    Where the file has a transposed convolution and the network repeats values, the mean over the four
    phases is taken: near the file's answer, not equal.
    Raises TrainingError if a weight of the file has no place in the network, or the file is not ours.
    """
    places = network.state_dict()
    for name, old in weights_of(path, network).items():
        new = places.get(name)
        if new is None or new.ndim != old.ndim or any(a < b for a, b in zip(new.shape, old.shape, strict=True)):
            has = "no such weight" if new is None else f"one of {tuple(new.shape)}"
            raise TrainingError(f"{path}: {name} of {tuple(old.shape)}, where the network has {has}.")
        _put(old.to(new), new, inputs_first=name.rpartition(".")[0] in _layers(network, nn.ConvTranspose2d))


def weights_of(path: Path, network: nn.Module) -> Mapping[str, Tensor]:
    """The weights of a checkpoint (.pt, the averaged ones) or of an exported file (.onnx), by the names of `network`.

    Raises TrainingError if the file is not ours.
    """
    return _from_onnx(path, network) if path.suffix == ".onnx" else _from_checkpoint(path, network)


def holds(path: Path, network: nn.Module) -> bool:
    """Whether an exported file holds the weights of `network`, to the half precision that it stores."""
    ours = network.state_dict()
    theirs = _from_onnx(path, network)
    return all(
        name in ours and ours[name].shape == value.shape and torch.equal(ours[name].half(), value.half())
        for name, value in theirs.items()
    )


def digest_of(path: Path) -> str:
    """SHA-256 of what an exported file computes, its parameters' defaults too, but not what it says for people."""
    import onnx

    graph: bytes = onnx.load(path).graph.SerializeToString(deterministic=True)
    params = Session(path, device="cpu").spec.params
    return hashlib.sha256(graph + repr(params).encode()).hexdigest()


def weights_digest(path: Path) -> str:
    """SHA-256 of an exported file's weights, in the half precision that they are shipped in, whatever their names.

    Equal for every export of one checkpoint, also where the graph around the weights or the texts in the file have
    changed. A number that stands alone, as the planner's caution, is not counted as a weight.
    """
    import onnx
    from onnx import numpy_helper

    values = [numpy_helper.to_array(tensor) for tensor in onnx.load(path).graph.initializer if tensor.dims]
    learnt = [value.astype(np.float16) for value in values if np.issubdtype(value.dtype, np.floating)]
    parts = sorted(hashlib.sha256(repr(value.shape).encode() + value.tobytes()).digest() for value in learnt)
    return hashlib.sha256(b"".join(parts)).hexdigest()


def _put(old: Tensor, new: Tensor, *, inputs_first: bool) -> None:
    """Write `old` into the first places of `new`, and zeros where its features would read new inputs."""
    if new.ndim > 1 and inputs_first:
        new[:, : old.shape[1]] = 0
    elif new.ndim > 1:
        new[: old.shape[0]] = 0
    new[tuple(slice(side) for side in old.shape)] = old


def _layers(network: nn.Module, kind: type[nn.Module]) -> set[str]:
    return {name for name, part in network.named_modules() if isinstance(part, kind)}


def _from_checkpoint(path: Path, network: nn.Module) -> Mapping[str, Tensor]:
    weights: dict[str, Tensor] = load_checkpoint(path, torch.device("cpu"))["ema"]
    for layer in _layers(network, NearestUp):
        name = f"{layer}.weight"
        if name in weights and weights[name].shape[2:] == (2, 2):
            weights[name] = weights[name].mean(dim=(2, 3), keepdim=True).transpose(0, 1)
    return weights


def _from_onnx(path: Path, network: nn.Module) -> Mapping[str, Tensor]:
    """The exported weights under their torch names; what export folded is unfolded again."""
    import onnx
    from onnx import numpy_helper

    if not path.is_file():
        raise TrainingError(f"{path}: no such file")
    try:
        model = onnx.load(path)
    except Exception:  # noqa: BLE001 - protobuf's DecodeError, without a dependency on protobuf for its name
        raise TrainingError(f"{path}: not an ONNX file") from None
    places = network.state_dict()
    transposed, repeated = (_layers(network, kind) for kind in (nn.ConvTranspose2d, NearestUp))
    weights = {}
    for tensor in model.graph.initializer:
        name = tensor.name.removeprefix("net/").removesuffix("/half")
        layer, _, kind = name.rpartition(".")
        # A weight without a place in the network is kept, so that it can be refused.
        if name not in places and kind not in {"weight", "bias"}:
            continue
        values = numpy_helper.to_array(tensor).astype(np.float32)
        if layer in transposed:
            values = _unshuffled(values, network.get_submodule(layer))
        elif layer in repeated and len(values) > len(places[f"{layer}.weight"]):
            # The file's phases lie side by side: see `training.graphs.upsample_by_shuffling`.
            values = values.reshape(-1, 4, *values.shape[1:]).mean(axis=1)
        weights[name] = torch.from_numpy(values.copy())
    if not weights:
        raise TrainingError(f"{path}: holds no weight under a name of ours")
    return weights


def _unshuffled(values: np.ndarray, layer: nn.Module) -> np.ndarray:
    """A transposed convolution's weight or bias, from the 1x1 convolution that export puts in its place."""
    height, width = layer.kernel_size  # type: ignore[misc]
    if values.ndim == 1:
        return values[:: int(height) * int(width)]
    mixed = values.reshape(-1, int(height), int(width), values.shape[1])
    return np.ascontiguousarray(mixed.transpose(3, 0, 1, 2))
