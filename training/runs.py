"""What a small training run writes down beside the loop for photos: each file whole or not at all."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from training import TrainingError
from training.loop import Ema
from training.optimizers import Optimizers
from training.schedule import Progress
from training.settings import Settings
from training.weights import load_checkpoint


@dataclasses.dataclass(slots=True)
class Run:
    """All that training changes. Checkpoints are those of `training.loop`, so that export reads them."""

    recipe: str
    hparams: Mapping[str, Any]
    folder: Path
    settings: Settings
    network: nn.Module
    optimizers: Optimizers
    ema: Ema
    progress: Progress = dataclasses.field(default_factory=Progress)

    def save(self, name: str, **state: object) -> None:
        """The averaged weights and what is said of them, with `state` beside."""
        about = {
            "recipe": self.recipe,
            "hparams": dict(self.hparams),
            "settings": dataclasses.asdict(self.settings),
            "progress": dataclasses.asdict(self.progress),
            "ema": self.ema.weights,
        }
        self.folder.mkdir(parents=True, exist_ok=True)
        partial = (self.folder / name).with_suffix(".partial")
        torch.save(about | state, partial)
        partial.replace(self.folder / name)

    def save_last(self) -> None:
        """All that going on needs."""
        self.save("last.pt", network=self.network.state_dict(), optimizers=self.optimizers.state_dict())

    def resume(self, device: torch.device, *, with_other_settings: bool = False) -> bool:
        """Take up `last.pt` where there is one. Raises TrainingError if it was trained otherwise.

        `with_other_settings` lets a run be made longer, which is then not the run that it would have been.
        """
        path = self.folder / "last.pt"
        if not path.is_file():
            return False
        state = load_checkpoint(path, device)
        same = with_other_settings or state["settings"] == dataclasses.asdict(self.settings)
        if state["recipe"] != self.recipe or not same:
            raise TrainingError(f"{path}: a run with other settings. Give the same, or take another --run folder.")
        self.network.load_state_dict(state["network"])
        self.optimizers.load_state_dict(state["optimizers"])
        self.ema.weights = state["ema"]
        self.progress = Progress(**state["progress"])
        return True
