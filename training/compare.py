"""Which network for the money, and what each part of the training brings: variants on an equal budget.

Networks are held against the time that they take; ways of training against the recipe's own.
"""

from __future__ import annotations

import dataclasses
import json
import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from restore.engine import Restorer, open_model
from restore.image import Image
from training import TrainingError
from training.bench import SIZES, Yardstick
from training.data import PhotoSet
from training.export import ExportError, export_checkpoint
from training.loop import fit, load_network
from training.recipes import Recipe
from training.settings import Settings

#: The denoisers that were tried: what differs from `_BASE`, by name.
_BASE: Mapping[str, Any] = {
    "stem": 2, "channels": (32, 64, 128, 256), "blocks": (2, 2, 2, 3), "upsampling": "nearest",
}  # fmt: skip
VARIANTS: dict[str, Mapping[str, Any]] = {
    "base": {},
    "transposed upsampling": {"upsampling": "transposed"},
    "shallow bottom": {"blocks": (2, 2, 2, 2)},
    "stem 4": {"stem": 4, "channels": (64, 128, 256), "blocks": (3, 3, 2)},
    "three levels": {"channels": (32, 64, 160), "blocks": (2, 2, 6)},
    "deep top": {"blocks": (3, 2, 1, 2)},
    "wide top": {"channels": (48, 80, 128, 192), "blocks": (1, 2, 2, 2)},
    "no biases": {"bias": False},
    "leaky ReLU": {"activation": "leaky"},
    "SiLU": {"activation": "silu"},
    "large kernels at the bottom": {"large_kernels": True, "blocks": (2, 2, 2, 5)},
    "edge kernels, folded": {"edge_kernels": True},
    "best: deep": {"blocks": (7, 6, 4, 3)},
    "best: wide": {"channels": (64, 96, 144, 256), "blocks": (3, 3, 2, 2)},
}
#: The ways of training that were tried: what differs from the recipe's settings, by name.
TRAININGS: dict[str, Mapping[str, Any]] = {
    "as the recipe": {},
    "L1": {"loss": "l1"},
    "mean squared error": {"loss": "mse"},
    "faint noise not weighted": {"weight_by_sigma": False},
    "small crops": {"patches": (64,)},
    "large crops": {"patches": (128,)},
    "weights not averaged": {"ema": 0.0},
    "gradient not clipped": {"clip": 0.0},
    "rate not lowered": {"final_rate": 0.99},
    "AdamW alone": {"optimizer": "adamw"},
    "colours varied": {"augment": True},
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What one variant reached and costs."""

    name: str
    figures: Mapping[str, float]
    parameters: int
    reach: int
    tile_ms: float  # milliseconds a megapixel, one tile of 2 megapixels
    photo_ms: float  # the same over a photo of 24 megapixels, halos and all
    tile_r: float  # the tile's time over the yardstick's


def train_variants(
    recipe: Recipe, settings: Settings, photos: PhotoSet, val: PhotoSet, *, names: Sequence[str], run: Path
) -> None:
    """Train each variant that `run` does not hold yet, one after the other; raises TrainingError for an unknown one."""
    _demand_known(names, VARIANTS)
    for name in names:
        folder = _folder(run, name)
        if (folder / "figures.json").is_file():
            continue
        variant = dataclasses.replace(recipe, hparams={**_BASE, **VARIANTS[name]})
        best = fit(variant, settings, photos, run=folder, device=torch.device("cpu"), val=val)
        network, state = load_network(best)
        figures = recipe.figures(network, val.held_out())
        parameters = sum(p.numel() for p in network.parameters())
        told = {"name": name, "figures": figures, "parameters": parameters, "hparams": state["hparams"]}
        try:
            export_checkpoint(best, folder)
        except ExportError:
            # Weights that grew without end answer nothing twice alike; the table says so, and the others go on.
            told["diverged"] = True
        (folder / "figures.json").write_text(json.dumps(told), "utf-8")


def train_ways(
    recipe: Recipe, settings: Settings, photos: PhotoSet, val: PhotoSet, *, names: Sequence[str], run: Path
) -> dict[str, Mapping[str, float]]:
    """The figures of each way of training, by name; what `run` holds already is not trained again.

    Raises TrainingError for an unknown one.
    """
    _demand_known(names, TRAININGS)
    found = {}
    for name in names:
        told = _folder(run, name) / "figures.json"
        if not told.is_file():
            changed = dataclasses.replace(settings, **TRAININGS[name])
            best = fit(recipe, changed, photos, run=told.parent, device=torch.device("cpu"), val=val)
            told.write_text(json.dumps(recipe.figures(load_network(best)[0], val.held_out())), "utf-8")
        found[name] = json.loads(told.read_text("utf-8"))
    return found


def ways_to_markdown(found: Mapping[str, Mapping[str, float]]) -> str:
    """One row a way of training."""
    names = list(next(iter(found.values())))
    rows = (f"| {name} | {' | '.join(f'{figures[n]:.2f}' for n in names)} |" for name, figures in found.items())
    return "\n".join([f"| training | {' | '.join(names)} |", "|---" * (len(names) + 1) + "|", *rows])


def _demand_known(names: Sequence[str], known: Mapping[str, object]) -> None:
    unknown = [name for name in names if name not in known]
    if unknown:
        raise TrainingError(f"no variant is called {unknown[0]!r}; there are: {', '.join(known)}")


def _folder(run: Path, name: str) -> Path:
    return run / name.replace(" ", "-").replace(":", "").replace(",", "")


def time_variants(run: Path, *, rounds: int, threads: int) -> tuple[list[Outcome], list[str]]:
    """Time every variant that `run` holds against the yardstick, all in one process and taking turns.

    Returns what came of it, and the names of those whose training diverged.
    """
    found = {path.parent: json.loads(path.read_text("utf-8")) for path in sorted(run.glob("*/figures.json"))}
    if not found:
        raise TrainingError(f"{run}: no trained variant. Leave out --time-only first.")
    diverged = sorted(told["name"] for told in found.values() if told.get("diverged"))
    found = {folder: told for folder, told in found.items() if not told.get("diverged")}
    if not found:
        raise TrainingError(f"{run}: all variants diverged. Try a lower --muon-learning-rate, in another --run.")
    models = {folder: open_model(next(folder.glob("*.onnx")), device="cpu", threads=threads) for folder in found}
    yardstick = Yardstick(threads=threads)
    rng = np.random.default_rng(0)
    tile, photo = (rng.integers(0, 256, (*size, 3), np.uint8) for size in SIZES)
    tensor = np.ascontiguousarray(tile.transpose(2, 0, 1)[None], np.float32) / 255
    seconds: dict[Path | None, list[float]] = {None: [], **{folder: [] for folder in found}}
    for _ in range(rounds + 1):
        seconds[None].append(_timed(lambda: yardstick.run(tensor)))
        for folder, model in models.items():
            seconds[folder].append(_timed(lambda m=model: _one_tile(m, tensor)))
    medians = {folder: statistics.median(times[1:]) for folder, times in seconds.items()}
    outcomes = []
    for folder, told in found.items():
        whole = _timed(lambda m=models[folder]: m(Image(photo), sigma=25 / 255))
        outcomes.append(
            Outcome(
                name=told["name"],
                figures=told["figures"],
                parameters=told["parameters"],
                reach=models[folder].spec.reach or 0,
                tile_ms=medians[folder] * 1e9 / (tile.size / 3),
                photo_ms=whole * 1e9 / (photo.size / 3),
                tile_r=medians[folder] / medians[None],
            )
        )
    return sorted(outcomes, key=lambda o: list(VARIANTS).index(o.name)), diverged


def _one_tile(model: Restorer, tensor: np.ndarray) -> None:
    model.run_batch({"image": tensor, "sigma": np.array([25 / 255], np.float32)})


def _timed(run: Any) -> float:
    started = time.perf_counter()
    run()
    return time.perf_counter() - started


def to_markdown(outcomes: Sequence[Outcome], diverged: Sequence[str] = ()) -> str:
    """One row a variant; those that diverged are named below."""
    names = list(outcomes[0].figures)
    lines = [
        f"| variant | {' | '.join(names)} | parameters | reach | ms/MP, tile | ms/MP, 24 MP | R |",
        "|---" * (len(names) + 6) + "|",
    ]
    for o in outcomes:
        figures = " | ".join(f"{value:.3f}" for value in o.figures.values())
        lines.append(
            f"| {o.name} | {figures} | {o.parameters / 1e6:.2f} M | {o.reach} "
            f"| {o.tile_ms:.0f} | {o.photo_ms:.0f} | {o.tile_r:.3f} |"
        )
    if diverged:
        lines += ["", f"Diverged: {', '.join(diverged)}."]
    return "\n".join(lines)


def plot(outcomes: Sequence[Outcome], path: Path, *, figure: str = "psnr/25") -> None:
    """A figure's PSNR against milliseconds a megapixel, for a tile and for a large photo, as a picture."""
    from matplotlib.figure import Figure

    canvas = Figure(figsize=(11, 5), layout="constrained")
    for axes, title, times in zip(
        canvas.subplots(1, 2, sharey=True),
        ("one tile of 2 megapixels", "a photo of 24 megapixels, with halos"),
        ([o.tile_ms for o in outcomes], [o.photo_ms for o in outcomes]),
        strict=True,
    ):
        axes.scatter(times, [o.figures[figure] for o in outcomes])
        for o, at in zip(outcomes, times, strict=True):
            axes.annotate(o.name, (at, o.figures[figure]), xytext=(4, 4), textcoords="offset points", fontsize=8)
        axes.set(xlabel="milliseconds per megapixel", title=title)
        axes.margins(x=0.2)
        axes.grid(alpha=0.3)
    canvas.axes[0].set_ylabel(f"PSNR in dB, {figure.partition('/')[2]}, val split")
    path.parent.mkdir(parents=True, exist_ok=True)
    canvas.savefig(path, dpi=90)
