"""The contract between training, ONNX files and engine: ModelSpec, and the pixels <-> tensor code that obeys it.

A file carries its spec as one JSON string in the ONNX metadata under `SPEC_KEY`. `image` is float32
(N, 3, H, W), sRGB-encoded, [0, 1], any H and W from 1 up: no mean, no std, no other order.
"""

from __future__ import annotations

import dataclasses
import json
import math
import types
from collections.abc import Mapping
from typing import Any, Literal, get_args

import numpy as np

from restore.errors import BadOption, UnsupportedModel

SPEC_KEY = "restore.spec"
#: The model's card, markdown for people.
CARD_KEY = "restore.card"
SCHEMA = 1

Answer = Literal["image", "chroma", "labels", "steps"]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Param:
    """A number that a user may set: an input (N,) float32 of the network.

    `min`, `max` and `default` are on the network's scale; users read and write them times `scale`.
    Where `default` is None the network finds the value itself if it is fed `unknown`, and says at
    each place, in its output `level`, what it found; below `nothing_below`, on average over the
    picture, there is nothing to mend.
    """

    name: str
    min: float
    max: float
    default: float | None = None
    unknown: float | None = None
    nothing_below: float = 0.0
    scale: float = 1.0
    unit: str = ""
    help: str = ""

    def from_user(self, value: float, *, model: str = "the model") -> float:
        """The network's value of what a user wrote. Raises BadOption, which names `model`, outside the range."""
        shown = f"--{self.name} {value:g}"
        low, high = self.min * self.scale, self.max * self.scale
        if not math.isfinite(value):
            raise BadOption(f"{shown} is not a number. Use one from {low:g} to {high:g}.")
        # Half of the float32 rounding of `max`: 75 typed by a user is 75/255 in the spec.
        slack = 1e-6 * max(1.0, abs(high))
        if value > high + slack:
            if self.name != "sigma":
                raise BadOption(f"{shown} is above {high:g}, the most that {model} takes. Use {high:g} or less.")
            raise BadOption(
                f"{shown} is above {high:g}, the strongest noise {model} was trained on.\n"
                f"Use {high:g} or less, or list the models with: restore models list"
            )
        if value < low - slack:
            raise BadOption(f"{shown} is below {low:g}, the least that {model} takes. Use {low:g} or more.")
        return min(max(value / self.scale, self.min), self.max)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class TensorInput:
    """A further tensor that the network takes: `shape` holds sizes, or names of free axes.

    N is the batch, H and W are the picture's own height and width.
    """

    name: str
    shape: tuple[int | str, ...]
    min: float
    max: float
    default: float
    dtype: Literal["float32", "int64"] = "float32"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class ModelSpec:
    """All that the engine must know about a network; ARCHITECTURE's table says what each `answer` means."""

    schema: int = SCHEMA
    name: str
    task: str
    tier: str = "fast"
    answer: Answer
    multiple_of: int = 1
    reach: int | None
    working_size: int | None = None
    soft_size: int | None = None
    params: tuple[Param, ...] = ()
    tensors: tuple[TensorInput, ...] = ()
    labels: tuple[str, ...] = ()
    made_by: Mapping[str, str] = dataclasses.field(default_factory=lambda: types.MappingProxyType({}))

    def param(self, name: str) -> Param:
        """The parameter of this name. Raises BadOption when the model has none."""
        for param in self.params:
            if param.name == name:
                return param
        known = ", ".join(p.name for p in self.params) or "none"
        raise BadOption(f"{self.name} has no parameter {name!r}; it has: {known}.")

    def to_json(self) -> str:
        """One JSON object, keys in a fixed order."""
        plain = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        plain["params"] = [dataclasses.asdict(p) for p in self.params]
        plain["tensors"] = [dataclasses.asdict(t) for t in self.tensors]
        plain["made_by"] = dict(self.made_by)
        return json.dumps(plain, ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str) -> ModelSpec:
        """Read and check a spec. Raises UnsupportedModel with the field that is wrong."""
        try:
            plain = json.loads(text)
        except ValueError as error:
            raise UnsupportedModel(f"the model's spec is not JSON: {error}") from None
        if not isinstance(plain, dict):
            raise UnsupportedModel("the model's spec is not a JSON object")
        if plain.get("schema") != SCHEMA:
            raise UnsupportedModel(
                f"the model's spec has schema {plain.get('schema')!r}; this version reads {SCHEMA}. Upgrade Restore, "
                "or export the model again."
            )
        plain["params"] = tuple(_build(Param, p, "params") for p in _list(plain, "params"))
        try:
            tensors = [t | {"shape": tuple(t.get("shape", ()))} for t in _list(plain, "tensors")]
            plain["made_by"] = types.MappingProxyType(dict(plain.get("made_by") or {}))
            plain["tensors"] = tuple(_build(TensorInput, t, "tensors") for t in tensors)
            plain["labels"] = tuple(_list(plain, "labels"))
            spec: ModelSpec = _build(cls, plain, "spec")
            spec.check()
        except (AttributeError, TypeError, ValueError):
            raise UnsupportedModel("the model's spec is wrong: some field is of another kind than it must be") from None
        return spec

    def check(self) -> None:
        """Raise UnsupportedModel where fields contradict each other."""
        wrong = None
        if not all(isinstance(text, str) and text for text in (self.name, self.task, self.tier)):
            wrong = "name, task and tier must be texts"
        elif self.answer not in get_args(Answer):
            wrong = f"answer {self.answer!r} is none of {', '.join(get_args(Answer))}"
        elif not isinstance(self.multiple_of, int) or self.multiple_of < 1:
            wrong = f"multiple_of must be 1 or more, not {self.multiple_of!r}"
        elif self.reach is not None and (not isinstance(self.reach, int) or self.reach < 0):
            wrong = f"reach must be 0 or more, or null, not {self.reach!r}"
        elif self.answer in ("image", "chroma") and self.reach is None and not self.working_size:
            wrong = "without a finite reach it needs a working_size"
        elif self.soft_size is not None and not 0 < self.soft_size <= (self.working_size or 0):
            wrong = f"soft_size must be a working_size's at the most, not {self.soft_size!r}"
        elif len({p.name for p in self.params}) != len(self.params):
            wrong = "two params of one name"
        else:
            for p in self.params:
                if p.default is None and p.unknown is None:
                    wrong = f"param {p.name} has neither a default nor a value for unknown"
                if not p.min <= p.max or (p.default is not None and not p.min <= p.default <= p.max):
                    wrong = f"param {p.name}: min, default and max are out of order"
        if wrong:
            raise UnsupportedModel(f"the model's spec is wrong: {wrong}")


def _list(plain: dict[str, Any], key: str) -> list[Any]:
    value = plain.get(key) or []
    if not isinstance(value, list):
        raise UnsupportedModel(f"the model's spec is wrong: {key} must be a list")
    return value


def _build(kind: type[Any], plain: Any, where: str) -> Any:
    if not isinstance(plain, dict):
        raise UnsupportedModel(f"the model's spec is wrong: {where} must hold objects")
    names = {field.name for field in dataclasses.fields(kind)}
    unknown = sorted(plain.keys() - names)
    if unknown:
        raise UnsupportedModel(
            f"the model's spec has unknown fields in {where}: {', '.join(unknown)}. Upgrade Restore."
        )
    try:
        return kind(**plain)
    except TypeError as error:
        raise UnsupportedModel(f"the model's spec lacks something in {where}: {error}") from None


def to_tensor(pixels: np.ndarray) -> np.ndarray:
    """Pixels as a network's `image`: (H, W, 3) or (H, W), uint8, uint16 or float32 -> (1, 3, H, W) float32.

    Integers are divided by their type's largest value; floats pass unchanged, also outside [0, 1].
    Grey is repeated in all three channels.
    """
    planes = pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)
    if planes.shape[0] == 1:
        planes = np.broadcast_to(planes, (3, *planes.shape[1:]))
    out = np.empty((1, *planes.shape), np.float32)
    if np.issubdtype(planes.dtype, np.integer):
        np.divide(planes, np.float32(np.iinfo(planes.dtype).max), out=out[0], casting="unsafe")
    else:
        out[0] = planes
    return out


def to_pixels(image: np.ndarray, dtype: np.dtype[Any], *, grey: bool = False) -> np.ndarray:
    """A network's (1, 3, H, W) float32 as pixels of `dtype`, (H, W, 3), or (H, W) when `grey`.

    Integers are clipped to their range and rounded to the nearest level; float32 passes unchanged.
    Grey is the mean of the channels.
    """
    planes = image[0].mean(axis=0) if grey else image[0].transpose(1, 2, 0)
    if not np.issubdtype(dtype, np.integer):
        return np.ascontiguousarray(planes, dtype)
    top = np.iinfo(dtype).max
    scaled = np.multiply(planes, np.float32(top))
    np.rint(scaled, out=scaled)
    np.clip(scaled, 0, top, out=scaled)
    levels: np.ndarray = scaled.astype(dtype)
    return levels
