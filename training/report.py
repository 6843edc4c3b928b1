"""What a run tells: a progress line on stderr, a log file, TensorBoard."""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from training.schedule import Progress
from training.settings import Settings


class Report:
    """Says how a run goes, on stderr and into its folder; `quiet` on all processes but the leading one."""

    def __init__(self, folder: Path, settings: Settings, *, quiet: bool) -> None:
        self._settings = settings
        self._quiet = quiet
        self._live = sys.stderr.isatty()
        self._shown = -math.inf
        self._loss: Tensor | None = None
        self._board: Any = None
        self._log: Any = None
        if self._quiet:
            return
        folder.mkdir(parents=True, exist_ok=True)
        self._log = (folder / "log.txt").open("a", encoding="utf-8")
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError:
            self.say("TensorBoard is not installed: figures go to log.txt alone")
        else:
            self._board = SummaryWriter(str(folder))

    def say(self, text: str) -> None:
        """A line that stays, on stderr and in the log."""
        if self._quiet:
            return
        self._print(text, end="\n")
        self._log.write(text + "\n")
        self._log.flush()

    def step(self, progress: Progress, loss: Tensor) -> None:
        """The progress line: every second in place on a terminal, else every minute, and at the end."""
        if self._quiet:
            return
        self._loss = loss.detach() if self._loss is None else self._loss.lerp(loss.detach(), 0.02)
        fraction = progress.fraction(self._settings)
        if progress.elapsed - self._shown < (1.0 if self._live else 60.0) and fraction < 1:
            return
        self._shown = progress.elapsed
        left = progress.elapsed * (1 - fraction) / fraction
        text = (
            f"step {progress.step}  {100 * fraction:.1f} %  loss {float(self._loss):.5f}  "
            f"{progress.elapsed / progress.step:.3f} s/step  {left / 60:.0f} min left"
        )
        self._print(text, end="" if self._live else "\n")
        if self._board:
            self._board.add_scalar("loss", float(self._loss), progress.step)

    def figures(self, progress: Progress, figures: Mapping[str, float]) -> None:
        """What a look at the val split found."""
        shown = "  ".join(f"{name} {value:.3f}" for name, value in figures.items())
        self.say(f"step {progress.step}  {progress.elapsed / 60:.1f} min  val {shown}")
        if self._board:
            for name, value in figures.items():
                self._board.add_scalar(f"val/{name}", value, progress.step)

    def close(self) -> None:
        if self._quiet:
            return
        if self._live:
            self._print("", end="")
        self._log.close()
        if self._board:
            self._board.close()

    def _print(self, text: str, *, end: str) -> None:
        # On a terminal the line before may be a progress line, which the next one takes the place of.
        print(("\r\x1b[K" if self._live else "") + text, end=end, file=sys.stderr, flush=True)
