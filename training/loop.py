"""One training loop for all tasks: bf16 where it pays, EMA, checkpoints, exact resume, DDP by torchrun."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import math
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from training import TrainingError
from training.ahead import drawn_ahead
from training.data import PhotoSet, vary_colours
from training.degrade import Pair
from training.optimizers import multiplies_bfloat16
from training.recipes import Recipe, find_network
from training.replay import Feed, Gradients
from training.report import Report
from training.runs import Ema, Run
from training.schedule import Progress, patch_at, rate_at, step_rng
from training.settings import Settings, to_json
from training.weights import load_checkpoint, start_from


@dataclasses.dataclass(frozen=True, slots=True)
class World:
    """Where this process stands among those that torchrun started; alone without it."""

    rank: int = 0
    size: int = 1

    @property
    def leads(self) -> bool:
        """Whether this process prints, validates and saves."""
        return self.rank == 0


@contextlib.contextmanager
def joined_world(device: torch.device) -> Iterator[World]:
    """Join the processes that torchrun started (gloo on CPU, nccl on GPUs) and leave them at the end."""
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1:
        yield World()
        return
    dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
    try:
        yield World(dist.get_rank(), size)
        # One that leaves while another still talks may abort it at exit.
        dist.barrier()
    finally:
        dist.destroy_process_group()


def pick_device(name: str) -> torch.device:
    """`auto`, `cpu` or `cuda`; under torchrun each process takes the GPU of its local rank."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cuda":
        device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
        torch.cuda.set_device(device)
        # The sizes of a run are few, so the fastest kernels are worth a search; TF32 would drown small differences.
        torch.backends.cudnn.benchmark, torch.backends.cudnn.allow_tf32 = True, False
        return device
    return torch.device(name)


def pick_precision(settings: Settings, device: torch.device) -> torch.dtype:
    """The type that convolutions compute in.

    A CPU that has neither AMX nor AVX512-BF16 emulates bfloat16: a step took 1.03 s instead of 0.27 s
    on such a machine, and 0.10 s instead of 0.17 s on one with AVX512-BF16.
    """
    if settings.precision == "auto":
        fast = torch.cuda.is_bf16_supported() if device.type == "cuda" else multiplies_bfloat16()
        return torch.bfloat16 if fast else torch.float32
    return torch.bfloat16 if settings.precision == "bfloat16" else torch.float32


def fit(
    recipe: Recipe,
    settings: Settings,
    photos: PhotoSet,
    *,
    run: Path,
    device: torch.device,
    world: World | None = None,
    val: PhotoSet | None = None,
    start: Path | None = None,
) -> Path:
    """Train, or take up again what `run/last.pt` holds; returns the path of the best checkpoint.

    A fresh run begins with the weights of `start`, a checkpoint or an exported file, where it is given.

    Writes `last.pt` (all that exact resumption needs) and `best.pt` (averaged weights with the
    highest `Recipe.worth` on `val`; without `val` the last ones) into `run`, each whole or not at all.
    SIGTERM and Ctrl-C save before they end the run. Raises TrainingError for what a user can mend.
    """
    world = world or World()
    state = _fresh_run(run, recipe, settings, device, start)
    resumed = state.resume(device)
    network, progress = state.network, state.progress
    held_out = val.held_out() if val and world.leads else None
    on_gpu = device.type == "cuda"
    ahead = drawn_ahead(recipe.degradation, settings, first=progress.step, rank=world.rank, pin=on_gpu)
    forward: nn.Module = network
    if settings.compile:
        forward = torch.compile(forward)  # type: ignore[assignment]
    if world.size > 1:
        forward = nn.parallel.DistributedDataParallel(forward)
    dtype = pick_precision(settings, device)
    record = on_gpu and world.size == 1 and settings.record
    gradients = Gradients(network, lambda pair: _loss(forward, pair, recipe, settings, dtype), record=record)
    make = functools.partial(_make_pair, recipe=recipe, settings=settings, photos=photos, ahead=ahead, rank=world.rank)
    feed = Feed(make, ahead=record)
    report = Report(run, settings, quiet=not world.leads)
    report.say(f"{recipe.name} on {device}, {dtype}, {len(photos)} photos, {to_json(settings)}")
    if resumed:
        report.say(f"resumed {run / 'last.pt'} at step {progress.step}, {progress.elapsed / 60:.1f} min")
    started, saved = time.monotonic() - progress.elapsed, time.monotonic()

    with _denormals_as_zero(), _stop_requested() as signals:
        stop = False
        while (fraction := progress.fraction(settings)) < 1.0 and not stop:
            loss = gradients(feed.pair(progress))
            following = dataclasses.replace(progress, step=progress.step + 1)
            if following.fraction(settings) < 1.0:
                feed.start(following, gradients.read)
            norm = float(nn.utils.clip_grad_norm_(network.parameters(), settings.clip or math.inf))
            state.optimizers.set_rate(rate_at(fraction, settings))
            # One wild gradient is enough to lose a run: Muon takes a full step whatever its length.
            state.optimizers.step(skip=not progress.plausible(norm))
            state.ema.update(network, progress.step)
            progress.step += 1
            progress.elapsed, stop = _agreed(time.monotonic() - started, bool(signals), world, device)
            report.step(progress, loss)
            ends = progress.fraction(settings) >= 1.0
            if held_out is not None and (ends or progress.step % settings.validate_every == 0):
                report.figures(progress, _look(state, recipe, held_out))
            if world.leads and time.monotonic() - saved > 60 * settings.save_every:
                state.save_last()
                saved = time.monotonic()
    if world.leads:
        state.save_last()
        if held_out is None or not (run / "best.pt").is_file():
            state.save_best()
        if stop:
            report.say(f"stopped at step {progress.step}; the same command goes on from {run / 'last.pt'}")
    report.close()
    return run / "best.pt"


def _make_pair(
    progress: Progress,
    *,
    recipe: Recipe,
    settings: Settings,
    photos: PhotoSet,
    ahead: Callable[[Tensor], Pair] | None,
    rank: int,
) -> Pair:
    """The pair of a step, the same whenever it is made; what can be drawn ahead must be asked for step by step."""
    side, batch = patch_at(progress.fraction(settings), settings)
    rng = step_rng(settings.seed, progress.step, rank, photos.pixels.device)
    clean = photos.crops(rng, batch=batch, size=side)
    if settings.augment:
        clean = vary_colours(clean, rng)
    return ahead(clean) if ahead else recipe.degradation(clean, rng)


def _fresh_run(folder: Path, recipe: Recipe, settings: Settings, device: torch.device, start: Path | None) -> Run:
    torch.manual_seed(settings.seed)
    network = recipe.build()
    if start:
        start_from(start, network)
    _freeze_all_but(network, settings.part)
    network = network.to(device).to(memory_format=torch.channels_last)
    multiple = int(getattr(network, "multiple_of", 1))
    wrong = [side for side in settings.patches if side % multiple]
    if wrong:
        raise TrainingError(f"--patches {wrong[0]} is not a multiple of {multiple}, as this network needs.")
    return Run(recipe.name, recipe.hparams, folder, settings, network)


def _freeze_all_but(network: nn.Module, name: str) -> None:
    """Let only the part of this name learn; all where it is empty. Raises TrainingError if there is no such part."""
    if name and name not in dict(network.named_modules()):
        parts = ", ".join(part for part, _ in network.named_children())
        raise TrainingError(f"--part {name}: the network has no such part; it has: {parts}")
    for parameter, value in network.named_parameters():
        value.requires_grad_(not name or parameter.startswith(name + "."))


def _loss(network: nn.Module, pair: Pair, recipe: Recipe, settings: Settings, dtype: torch.dtype) -> Tensor:
    """The batch's mean loss; the network computes in `dtype`, the loss in float32."""
    inputs = {
        name: x.contiguous(memory_format=torch.channels_last) if x.ndim == 4 else x for name, x in pair.inputs.items()
    }
    with torch.autocast(pair.clean.device.type, dtype, enabled=dtype != torch.float32):
        answers = network(**inputs)
    losses = recipe.loss(answers, pair, settings)
    return (losses * pair.weight if settings.weight_by_sigma else losses).mean()


def load_network(path: Path, *, device: torch.device | None = None) -> tuple[nn.Module, dict[str, Any]]:
    """The averaged network of a checkpoint, ready to evaluate, and what the checkpoint says of itself.

    Raises TrainingError if the file is not a checkpoint of ours.
    """
    state = load_checkpoint(path, device or torch.device("cpu"))
    recipe = dataclasses.replace(find_network(state["recipe"]), hparams=state["hparams"])
    network = recipe.build()
    network.load_state_dict(state["ema"])
    return network.to(device or "cpu").eval(), state


def _agreed(elapsed: float, stop: bool, world: World, device: torch.device) -> tuple[float, bool]:
    """The first process's clock and wish to stop, so that all end after the same step."""
    if world.size == 1:
        return elapsed, stop
    told = torch.tensor([elapsed, stop], device=device, dtype=torch.float64)
    dist.broadcast(told, 0)
    return float(told[0]), bool(told[1])


@contextlib.contextmanager
def _denormals_as_zero() -> Iterator[None]:
    """A CPU takes a hundred times as long for numbers too small to matter; torch's default comes back at the end."""
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(False)


@contextlib.contextmanager
def _stop_requested() -> Iterator[list[int]]:
    """A list that gets the signal's number once SIGTERM or SIGINT has come."""
    seen: list[int] = []
    old = {s: signal.signal(s, lambda number, _: seen.append(number)) for s in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield seen
    finally:
        for number, handler in old.items():
            signal.signal(number, handler)


def _look(state: Run, recipe: Recipe, held_out: Tensor) -> dict[str, float]:
    """Validate, and keep the weights if they are the best so far."""
    figures = _validate(recipe, state.ema, held_out)
    worth = recipe.worth(figures)
    if worth > state.progress.best:
        state.progress.best = worth
        state.save_best()
    return figures


def _validate(recipe: Recipe, ema: Ema, clean: Tensor) -> dict[str, float]:
    """The recipe's figures for the averaged weights, on fixed crops with fixed damage."""
    network = recipe.build().to(clean.device).to(memory_format=torch.channels_last)
    network.load_state_dict(ema.weights)
    return recipe.figures(network.eval(), clean)
