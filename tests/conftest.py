"""Fixtures that every package's tests share. Pictures are made in code, from a seed."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image as PillowImage

MakePhoto = Callable[..., np.ndarray]


def draw_photo(height: int, width: int, seed: int = 0) -> np.ndarray:
    """A made-up photo: smooth colour, a few hard-edged shapes, fine texture in half of them. (H, W, 3) uint8."""
    rng = np.random.default_rng([seed, height, width])
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    # Corners of random colours, joined smoothly, as a sky or an out-of-focus wall is.
    corners = rng.uniform(0.15, 0.85, (2, 2, 3))
    v, u = (y / max(1, height - 1))[..., None], (x / max(1, width - 1))[..., None]
    picture = (1 - v) * ((1 - u) * corners[0, 0] + u * corners[0, 1]) + v * (
        (1 - u) * corners[1, 0] + u * corners[1, 1]
    )
    for index in range(6):
        centre_y, centre_x = rng.uniform(0, height), rng.uniform(0, width)
        radius_y, radius_x = rng.uniform(0.08, 0.3, 2) * (height, width)
        down, across = (y - centre_y) / max(1, radius_y), (x - centre_x) / max(1, radius_x)
        inside = (down**2 + across**2 < 1) if index % 3 else (np.maximum(abs(down), abs(across)) < 1)
        fill = np.broadcast_to(rng.uniform(0.05, 0.95, 3), picture.shape)
        if index % 2:
            stripes = np.sin(x * rng.uniform(0.2, 1.5) + y * rng.uniform(0.2, 1.5))[..., None]
            fill = fill + 0.1 * stripes
        picture = np.where(inside[..., None], fill, picture)
    return np.rint(np.clip(picture, 0, 1) * 255).astype(np.uint8)


@pytest.fixture(scope="session")
def make_photo() -> MakePhoto:
    """A function (height, width, seed=0) -> (H, W, 3) uint8: a made-up photo, the same for the same arguments."""
    return draw_photo


@pytest.fixture(scope="session")
def photo_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of six PNG photos, `large/0.png` to `5.png`, with a SOURCES.tsv: four train, one val, one test."""
    folder = tmp_path_factory.mktemp("photos")
    (folder / "large").mkdir()
    lines = ["file\tlicence\tsplit"]
    for index, split in enumerate(("train", "train", "train", "train", "val", "test")):
        name = f"large/{index}.png"
        side = 256 if split == "val" else 72
        PillowImage.fromarray(draw_photo(side, side + 16, index)).save(folder / name)
        lines.append(f"{name}\tCC0-1.0\t{split}")
    (folder / "SOURCES.tsv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder


@pytest.fixture(scope="session")
def shards(tmp_path_factory: pytest.TempPathFactory, photo_folder: Path) -> Path:
    """A folder of shards packed from `photo_folder`, for training a few steps."""
    from training.data import find_photos, pack

    out = tmp_path_factory.mktemp("shards")
    pack(find_photos(photo_folder), out)
    return out


MakeCheckpoint = Callable[..., Path]


@pytest.fixture(scope="session")
def make_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> MakeCheckpoint:
    """Writes a checkpoint of a recipe with a very small network and random weights."""

    def make(recipe: str, *, std: float, **hparams: Any) -> Path:
        import torch

        from training.recipes import find_recipe
        from training.settings import Settings

        torch.manual_seed(0)
        found = dataclasses.replace(find_recipe(recipe), hparams=hparams)
        network = found.build()
        for parameter in network.parameters():
            # Blocks start as the identity; random weights make every path, and so the whole reach, count.
            torch.nn.init.normal_(parameter, std=std)
        path = tmp_path_factory.mktemp("checkpoint") / "best.pt"
        state = {
            "recipe": found.name,
            "hparams": hparams,
            "settings": dataclasses.asdict(Settings()),
            "progress": {"step": 0, "elapsed": 0.0, "best": 0.0},
            "ema": network.state_dict(),
        }
        torch.save(state, path)
        return path

    return make


@pytest.fixture(scope="session")
def tiny_checkpoint(make_checkpoint: MakeCheckpoint) -> Path:
    """A checkpoint of the recipe denoise-fast."""
    return make_checkpoint("denoise", std=0.1, stem=2, channels=(8, 12), blocks=(1, 1))


@pytest.fixture(scope="session")
def tiny_denoiser(tmp_path_factory: pytest.TempPathFactory, tiny_checkpoint: Path) -> Path:
    """The ONNX file that the real export makes of `tiny_checkpoint`."""
    from training.export import export_checkpoint

    return export_checkpoint(tiny_checkpoint, tmp_path_factory.mktemp("models"))


@pytest.fixture(scope="session")
def smoother(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of models with `denoise-fast`: mixes a picture with its 3 x 3 mean, the more the higher sigma.

    restored = image + min(4 sigma, 1) (mean - image), so that a level that was not heeded shows. An
    unknown sigma is found: white noise differs from its mean over nine by 8/9 of its variance.
    """
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    from restore import store
    from restore.contract import SPEC_KEY, ModelSpec, Param

    sigma = Param(
        name="sigma", min=0.0, max=75 / 255, unknown=-1.0, nothing_below=1 / 255, scale=255.0, unit="of 255",
        help="how strong the noise is",
    )  # fmt: skip
    made_by = {"commit": "0000000", "seed": "0"}
    spec = ModelSpec(name="denoise-fast", task="denoise", answer="image", reach=1, params=(sigma,), made_by=made_by)
    constants = {
        "kernel": np.full((3, 1, 3, 3), 1 / 9, np.float32),
        "pads": np.array([0, 0, 1, 1, 0, 0, 1, 1], np.int64),
        "column": np.array([-1, 1, 1, 1], np.int64),
        "four": np.float32(4),
        "one": np.float32(1),
        "zero": np.float32(0),
        "nine_eighths": np.float32(9 / 8),
    }
    nodes = [
        helper.make_node("Pad", ["image", "pads"], ["padded"], mode="edge"),
        helper.make_node("Conv", ["padded", "kernel"], ["mean"], group=3),
        helper.make_node("Sub", ["mean", "image"], ["difference"]),
        helper.make_node("Mul", ["difference", "difference"], ["square"]),
        helper.make_node("ReduceMean", ["square"], ["power"], axes=[1]),
        helper.make_node("Mul", ["power", "nine_eighths"], ["variance"]),
        helper.make_node("Sqrt", ["variance"], ["level"]),
        helper.make_node("Reshape", ["sigma", "column"], ["told"]),
        helper.make_node("Less", ["told", "zero"], ["unknown"]),
        helper.make_node("Where", ["unknown", "level", "told"], ["used"]),
        helper.make_node("Mul", ["used", "four"], ["strong"]),
        helper.make_node("Min", ["strong", "one"], ["weights"]),
        helper.make_node("Mul", ["difference", "weights"], ["change"]),
        helper.make_node("Add", ["image", "change"], ["restored"]),
    ]
    picture = ["N", 3, "H", "W"]
    graph = helper.make_graph(
        nodes,
        "smoother",
        [
            helper.make_tensor_value_info("image", TensorProto.FLOAT, picture),
            helper.make_tensor_value_info("sigma", TensorProto.FLOAT, ["N"]),
        ],
        [
            helper.make_tensor_value_info("restored", TensorProto.FLOAT, picture),
            helper.make_tensor_value_info("level", TensorProto.FLOAT, ["N", 1, "H", "W"]),
        ],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    helper.set_model_props(model, {SPEC_KEY: spec.to_json()})
    folder = tmp_path_factory.mktemp("models")
    onnx.save(model, folder / "denoise-fast.onnx")
    about = {"licence": "CC0-1.0", "figures": {"psnr/25": 20.5}}
    store.publish(folder, "denoise-fast", task="denoise", tier="fast", about=about)
    return folder


def write_white_is_mark(
    folder: Path, *, reach: int | None = 0, working_size: int | None = None, soft_size: int | None = None
) -> Path:
    """A model for which white is mark: all channels 0.9 or more. What is under a mark is grey, 0.5.

    A user's mask takes the place of its own.
    """
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    from restore import store
    from restore.contract import SPEC_KEY, ModelSpec, TensorInput

    tensors = (
        TensorInput(name="mask_in", shape=("N", 1, "H", "W"), min=0, max=1, default=0),
        TensorInput(name="use_mask", shape=("N",), min=0, max=1, default=0),
    )
    spec = ModelSpec(
        name="unwatermark-fast", task="unwatermark", answer="image", reach=reach, working_size=working_size,
        soft_size=soft_size, tensors=tensors, made_by={"commit": "0000000"},
    )  # fmt: skip
    constants = {
        "white": np.float32(0.9),
        "grey": np.float32(0.5),
        "column": np.array([-1, 1, 1, 1], np.int64),
        "one": np.float32(1),
    }
    nodes = [
        helper.make_node("ReduceMin", ["image"], ["darkest"], axes=[1]),
        helper.make_node("Greater", ["darkest", "white"], ["bright"]),
        helper.make_node("Cast", ["bright"], ["own"], to=TensorProto.FLOAT),
        helper.make_node("Reshape", ["use_mask", "column"], ["told"]),
        helper.make_node("Sub", ["one", "told"], ["untold"]),
        helper.make_node("Mul", ["told", "mask_in"], ["given"]),
        helper.make_node("Mul", ["untold", "own"], ["kept"]),
        helper.make_node("Add", ["given", "kept"], ["mask"]),
        helper.make_node("Sub", ["grey", "image"], ["change"]),
        helper.make_node("Mul", ["mask", "change"], ["masked"]),
        helper.make_node("Add", ["image", "masked"], ["restored"]),
    ]
    picture, plane = ["N", 3, "H", "W"], ["N", 1, "H", "W"]
    shapes = {"image": picture, "mask_in": plane, "use_mask": ["N"]}
    graph = helper.make_graph(
        nodes,
        "white is mark",
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in shapes.items()],
        [
            helper.make_tensor_value_info("restored", TensorProto.FLOAT, picture),
            helper.make_tensor_value_info("mask", TensorProto.FLOAT, plane),
        ],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    helper.set_model_props(model, {SPEC_KEY: spec.to_json()})
    path = folder / "unwatermark-fast.onnx"
    onnx.save(model, path)
    store.publish(folder, "unwatermark-fast", task="unwatermark", tier="fast", about={"licence": "CC0-1.0"})
    return path


@pytest.fixture(scope="session")
def white_is_mark() -> Callable[..., Path]:
    """A function (folder, reach=0, ...) that puts a model for marks there and returns its path."""
    return write_white_is_mark


@pytest.fixture
def run(smoother: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """A function that runs `restore ARGS` in an empty folder, where the `smoother` is the only model."""
    from typer.testing import CliRunner, Result

    from restore import cli, store

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RESTORE_MODELS", str(smoother))
    monkeypatch.setattr(store, "BUNDLED", tmp_path / "no-models")

    def run(*args: str, stdin: bytes | None = None) -> Result:
        return CliRunner().invoke(cli.app, args, input=stdin, prog_name="restore")

    return run


@pytest.fixture(scope="session")
def painter(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of models with `colorize-fast`, which colours all alike: a* 20, b* 30, or minus these with a palette."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    from restore import store
    from restore.color import PALETTE_SIZE
    from restore.contract import SPEC_KEY, ModelSpec, TensorInput

    tensors = tuple(
        TensorInput(name=name, shape=shape, min=0.0, max=1.0, default=0.0)
        for name, shape in (
            ("hints", ("N", 3, "H", "W")), ("palette", ("N", PALETTE_SIZE)), ("use_palette", ("N",))
        )
    )  # fmt: skip
    spec = ModelSpec(
        name="colorize-fast", task="colorize", answer="chroma", reach=None, working_size=64, tensors=tensors
    )
    constants = {
        "zero": np.zeros((1, 1, 1, 1), np.float32),
        "column": np.array([-1, 1, 1, 1], np.int64),
        "channels": np.array([0, 1], np.int64),
        "usual": np.array([20, 30], np.float32).reshape(1, 2, 1, 1),
        "change": np.array([-40, -60], np.float32).reshape(1, 2, 1, 1),
        "axes": np.array([1], np.int64),
    }
    nodes = [
        helper.make_node("Reshape", ["use_palette", "column"], ["use"]),
        helper.make_node("Mul", ["use", "change"], ["changed"]),
        helper.make_node("Add", ["usual", "changed"], ["colour"]),
        helper.make_node("Gather", ["image", "channels"], ["two"], axis=1),
        helper.make_node("ReduceMax", ["hints", "axes"], ["any_hint"], keepdims=1),
        helper.make_node("ReduceMax", ["palette", "axes"], ["any_palette"], keepdims=1),
        helper.make_node("Reshape", ["any_palette", "column"], ["any_colour"]),
        helper.make_node("Add", ["any_hint", "any_colour"], ["told"]),
        # All that is fed must be used, or onnxruntime would drop it from the inputs.
        helper.make_node("Add", ["two", "told"], ["seen"]),
        helper.make_node("Mul", ["seen", "zero"], ["nothing"]),
        helper.make_node("Add", ["nothing", "colour"], ["ab"]),
    ]
    graph = helper.make_graph(
        nodes,
        "painter",
        [
            helper.make_tensor_value_info("image", TensorProto.FLOAT, ["N", 3, "H", "W"]),
            *(helper.make_tensor_value_info(t.name, TensorProto.FLOAT, list(t.shape)) for t in tensors),
        ],
        [helper.make_tensor_value_info("ab", TensorProto.FLOAT, ["N", 2, "H", "W"])],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    helper.set_model_props(model, {SPEC_KEY: spec.to_json()})
    folder = tmp_path_factory.mktemp("painter")
    onnx.save(model, folder / "colorize-fast.onnx")
    store.publish(folder, "colorize-fast", task="colorize", tier="fast", about={"licence": "CC0-1.0", "figures": {}})
    return folder


@pytest.fixture
def run_painter(painter: Path, run: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """As `run`, with the `painter` as the only model."""
    monkeypatch.setenv("RESTORE_MODELS", str(painter))
    return run
