"""The settings of a training run: one frozen dataclass, overridden by flags made from its fields."""

from __future__ import annotations

import argparse
import dataclasses
import json
import typing
from collections.abc import Mapping
from typing import Any, Literal

from training import TrainingError
from training.losses import LossName


def _setting(text: str, *, default: Any) -> Any:
    return dataclasses.field(default=default, metadata={"help": text})


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """How long, how fast and on what a network is trained. Raises TrainingError for values that cannot be."""

    steps: int = _setting("optimiser steps at the most", default=20_000)
    minutes: float = _setting(
        "wall-clock minutes at the most, resumed time counted in; the schedule shrinks to fit; 0: no limit", default=0.0
    )
    pixels: int = _setting("pixels in one step and process; the batch is pixels / patch^2", default=147_456)
    patches: tuple[int, ...] = _setting("sides of the square crops, each for an equal share of the run", default=(96,))
    augment: bool = _setting(
        "vary the colours too (channels swapped, brighter, duller, some grey), with torchvision; "
        "crops are flipped and turned in any case",
        default=False,
    )
    optimizer: Literal["adamw", "muon"] = _setting(
        "muon turns only the 3x3 convolutions, adamw the rest", default="muon"
    )
    learning_rate: float = _setting("AdamW's, at its highest", default=1e-3)
    muon_learning_rate: float = _setting("Muon's, at its highest", default=0.02)
    final_rate: float = _setting("share of the rate left at the end", default=0.005)
    warmup: float = _setting("share of the run in which the rate rises", default=0.01)
    weight_decay: float = _setting("decoupled, as AdamW's", default=0.0)
    clip: float = _setting("largest norm of the gradient; 0: unclipped", default=1.0)
    ema: float = _setting("decay of the averaged weights, which are what is exported", default=0.999)
    weight_by_sigma: bool = _setting(
        "divide each sample's loss by its expected error, so that faint noise counts too", default=True
    )
    loss: LossName = _setting("per pixel; psnr, decibels, goes with --no-weight-by-sigma", default="charbonnier")
    told_loss: Literal["same", LossName] = _setting("of what a denoiser is told the noise of", default="same")
    precision: Literal["auto", "float32", "bfloat16"] = _setting(
        "auto: bfloat16 where the hardware multiplies it faster", default="auto"
    )
    part: str = _setting("train the part of the network of this name alone, the rest stays; empty: all", default="")
    workers: int = _setting(
        "processes that draw ahead what need not wait for the photos (the watermarks); 0: drawn step by step",
        default=0,
    )
    compile: bool = _setting("torch.compile the network", default=False)
    record: bool = _setting(
        "on one GPU: record a step's forward and backward pass as a CUDA graph and replay it", default=True
    )
    seed: int = _setting("of weights, crops and noise", default=0)
    validate_every: int = _setting("steps between looks at the val split", default=1_000)
    save_every: float = _setting("minutes between checkpoints", default=5.0)

    def __post_init__(self) -> None:
        for name in ("steps", "pixels", "validate_every"):
            _demand(getattr(self, name) >= 1, name, getattr(self, name), "1 or more")
        for name in (
            "workers",
            "minutes",
            "learning_rate",
            "muon_learning_rate",
            "weight_decay",
            "clip",
            "save_every",
            "seed",
        ):
            _demand(getattr(self, name) >= 0, name, getattr(self, name), "0 or more")
        for name in ("final_rate", "warmup", "ema"):
            _demand(0 <= getattr(self, name) < 1, name, getattr(self, name), "at least 0 and below 1")
        _demand(min(self.patches, default=0) >= 1, "patches", self.patches, "one or more sizes of 1 or more pixels")


def _demand(holds: bool, name: str, value: object, allowed: str) -> None:
    if not holds:
        raise TrainingError(f"{_flag(name)} {_shown(value)} cannot be. Use {allowed}.")


def add_flags(parser: argparse.ArgumentParser, defaults: Settings) -> None:
    """Give the parser one `--flag` for each field, with the recipe's default in its help."""
    group = parser.add_argument_group("settings")
    hints = typing.get_type_hints(Settings)
    for field in dataclasses.fields(Settings):
        default = getattr(defaults, field.name)
        text = f"{field.metadata['help']} (default: {_shown(default)})"
        flag = _flag(field.name)
        if isinstance(default, bool):
            group.add_argument(flag, action=argparse.BooleanOptionalAction, default=None, help=text)
        elif isinstance(default, tuple):
            group.add_argument(flag, type=int, nargs="+", default=None, metavar="N", help=text)
        elif choices := typing.get_args(hints[field.name]):
            group.add_argument(flag, choices=choices, default=None, help=text)
        else:
            group.add_argument(flag, type=type(default), default=None, metavar="N", help=text)


def overridden(defaults: Settings, flags: Mapping[str, Any]) -> Settings:
    """The settings with each flag that was given put in place of its default; other keys are let be."""
    given: dict[str, Any] = {
        field.name: tuple(value) if isinstance(value, list) else value
        for field in dataclasses.fields(Settings)
        if (value := flags.get(field.name)) is not None
    }
    return dataclasses.replace(defaults, **given)


def to_json(settings: Settings) -> str:
    """One line of JSON."""
    return json.dumps(dataclasses.asdict(settings), sort_keys=True)


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")


def _shown(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return " ".join(map(str, value)) if isinstance(value, tuple) else str(value)


#: The planner's own: it learns from looks at whole photos, so neither pixels nor patches count.
PLANNER = Settings(
    minutes=0.0, steps=2_000, optimizer="adamw", learning_rate=1.5e-3, weight_decay=1e-3, warmup=0.03, ema=0.995,
    validate_every=200, pixels=48, patches=(48,),
)  # fmt: skip
