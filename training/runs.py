"""What a training run changes, and how it is written down: each file whole or not at all."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from training import TrainingError
from training.optimizers import Optimizers
from training.schedule import Progress
from training.settings import Settings
from training.weights import load_checkpoint


class Ema:
    """An exponential moving average of the weights; short at first, so that the start is soon forgotten."""

    def __init__(self, network: nn.Module, decay: float) -> None:
        self.decay = decay
        self.weights = {name: value.detach().clone() for name, value in network.state_dict().items()}

    @torch.no_grad()
    def update(self, network: nn.Module, step: int) -> None:
        """Move the average towards the network's weights."""
        decay = min(self.decay, (1 + step) / (10 + step))
        now = network.state_dict()
        torch._foreach_lerp_(list(self.weights.values()), [now[name] for name in self.weights], 1 - decay)


class Run:
    """All that training changes; a fresh one until it is resumed."""

    def __init__(
        self, recipe: str, hparams: Mapping[str, Any], folder: Path, settings: Settings, network: nn.Module
    ) -> None:
        self.recipe, self.hparams = recipe, dict(hparams)
        self.folder = folder
        self.settings = settings
        self.network = network
        self.optimizers = Optimizers(network, settings)
        self.ema = Ema(network, settings.ema)
        self.progress = Progress()

    def save_last(self) -> None:
        """All that exact resumption needs."""
        self._save("last.pt", network=self.network.state_dict(), optimizers=self.optimizers.state_dict())

    def save_best(self) -> None:
        """The averaged weights alone."""
        self._save("best.pt")

    def _save(self, name: str, **state: object) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        partial = (self.folder / name).with_suffix(".partial")
        about = {
            "recipe": self.recipe,
            "hparams": self.hparams,
            "settings": dataclasses.asdict(self.settings),
            "progress": dataclasses.asdict(self.progress),
            "ema": self.ema.weights,
        }
        torch.save(about | state, partial)
        partial.replace(self.folder / name)

    def resume(self, device: torch.device, *, same_settings: bool = False) -> bool:
        """Take up `last.pt` where there is one. Raises TrainingError if it is another network's.

        A run with other settings, made longer for example, is not the run that it would have been: with
        `same_settings` it is refused too.
        """
        path = self.folder / "last.pt"
        if not path.is_file():
            return False
        state = load_checkpoint(path, device)
        if state["recipe"] != self.recipe or state["hparams"] != self.hparams:
            raise TrainingError(
                f"{path}: a run of {state['recipe']} with {state['hparams']}, not of {self.recipe} "
                f"with {self.hparams}. Take another --run folder."
            )
        if same_settings and state["settings"] != dataclasses.asdict(self.settings):
            raise TrainingError(f"{path}: a run with other settings. Give the same, or take another --run folder.")
        self.network.load_state_dict(state["network"])
        self.optimizers.load_state_dict(state["optimizers"])
        self.ema.weights = state["ema"]
        self.progress = Progress(**state["progress"])
        return True
