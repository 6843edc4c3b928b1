"""The loop: exact resumption, averaged weights, checkpoints, stopping, several processes."""

from __future__ import annotations

import dataclasses
import math
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from training import TrainingError, loop
from training.data import PhotoSet
from training.degrade import Degradation, Pair
from training.loop import fit, load_network, pick_device, pick_precision
from training.losses import l1
from training.photo_noise import DenoisingMix
from training.recipes import Recipe, find_recipe
from training.runs import Ema
from training.settings import Settings

ROOT = Path(__file__).parents[2]
CPU = torch.device("cpu")
TINY = {"stem": 2, "channels": (32, 32), "blocks": (1, 1)}
SIX_STEPS = Settings(steps=6, patches=(16, 24), pixels=1152, precision="float32", validate_every=1000)

RunFit = Callable[..., Path]


def tiny_recipe(degradation: Degradation | None = None) -> Recipe:
    recipe = dataclasses.replace(find_recipe("denoise"), hparams=TINY)
    return dataclasses.replace(recipe, degradation=degradation) if degradation else recipe


class SignalAt:
    """The denoisers' damage that sends this process SIGTERM in the step of this number."""

    def __init__(self, step: int) -> None:
        self.left = step

    def __call__(self, clean: Tensor, rng: torch.Generator) -> Pair:
        self.left -= 1
        if self.left == 0:
            os.kill(os.getpid(), signal.SIGTERM)
        return DenoisingMix()(clean, rng)


@pytest.fixture(scope="module")
def photos(shards) -> PhotoSet:
    return PhotoSet.load([shards], "train", device=CPU)


@pytest.fixture(scope="module")
def val(shards) -> PhotoSet:
    return PhotoSet.load([shards], "val", device=CPU)


def checkpoint(path: Path) -> dict:
    return torch.load(path, weights_only=True)


def assert_equal(one: object, other: object) -> None:
    if isinstance(one, Tensor):
        assert torch.equal(one, other)
    elif isinstance(one, dict):
        assert one.keys() == other.keys()
        for key in one:
            assert_equal(one[key], other[key])
    elif isinstance(one, list):
        for a, b in zip(one, other, strict=True):
            assert_equal(a, b)
    else:
        assert one == other


# Stopping and going on


@pytest.mark.parametrize("augment", [False, True])
def test_a_resumed_run_ends_as_the_whole_run_does(tmp_path, photos, augment):
    settings = dataclasses.replace(SIX_STEPS, augment=augment)
    fit(tiny_recipe(), settings, photos, run=tmp_path / "whole", device=CPU)
    fit(tiny_recipe(SignalAt(3)), settings, photos, run=tmp_path / "parts", device=CPU)
    assert checkpoint(tmp_path / "parts/last.pt")["progress"]["step"] == 3
    fit(tiny_recipe(), settings, photos, run=tmp_path / "parts", device=CPU)
    whole, parts = (checkpoint(tmp_path / run / "last.pt") for run in ("whole", "parts"))
    assert whole["progress"]["step"] == parts["progress"]["step"] == 6
    for key in ("network", "ema", "optimizers"):
        assert_equal(whole[key], parts[key])


def test_training_changes_the_weights(tmp_path, photos):
    fit(tiny_recipe(), SIX_STEPS, photos, run=tmp_path, device=CPU)
    torch.manual_seed(SIX_STEPS.seed)
    fresh = tiny_recipe().build().state_dict()
    trained = checkpoint(tmp_path / "last.pt")["network"]
    assert all(not torch.equal(fresh[name], trained[name]) for name in fresh)


def test_what_is_kept_is_the_average_of_the_weights(tmp_path, photos):
    for ema in (0.0, 0.9):
        settings = dataclasses.replace(SIX_STEPS, ema=ema)
        fit(tiny_recipe(), settings, photos, run=tmp_path / str(ema), device=CPU)
    forgetful, average = (checkpoint(tmp_path / run / "last.pt") for run in ("0.0", "0.9"))
    assert_equal(forgetful["ema"], forgetful["network"])
    torch.manual_seed(SIX_STEPS.seed)
    fresh = tiny_recipe().build().state_dict()
    name = "body.head.weight"
    assert not torch.equal(average["ema"][name], average["network"][name])
    assert not torch.equal(average["ema"][name], fresh[name])


def test_a_gradient_is_clipped_to_the_length_asked_for(tmp_path, photos):
    torch.manual_seed(SIX_STEPS.seed)
    fresh = tiny_recipe().build().state_dict()["body.head.weight"]
    moved = []
    for clip in (1.0, 1e-12):
        settings = dataclasses.replace(SIX_STEPS, clip=clip, optimizer="adamw", ema=0.0)
        fit(tiny_recipe(), settings, photos, run=tmp_path / str(clip), device=CPU)
        moved.append(float((checkpoint(tmp_path / str(clip) / "last.pt")["ema"]["body.head.weight"] - fresh).norm()))
    # Adam divides by the gradient's own size, but not below 1e-8.
    assert moved[1] < moved[0] / 100


def test_denormals_count_again_after_a_run(tmp_path, photos):
    tiny = torch.tensor(1e-30)
    fit(tiny_recipe(), SIX_STEPS, photos, run=tmp_path / "run", device=CPU)
    assert tiny * 1e-10 > 0


def test_sigterm_saves_and_says_how_to_go_on(tmp_path, photos, capsys):
    before = signal.getsignal(signal.SIGTERM)
    fit(tiny_recipe(SignalAt(2)), SIX_STEPS, photos, run=tmp_path, device=CPU)
    assert sorted(path.name for path in tmp_path.glob("*.pt")) == ["best.pt", "last.pt"]
    assert "stopped at step 2; the same command goes on" in capsys.readouterr().err
    assert signal.getsignal(signal.SIGTERM) is before
    fit(tiny_recipe(), SIX_STEPS, photos, run=tmp_path, device=CPU)
    assert "resumed" in (error := capsys.readouterr().err)
    assert "at step 2" in error
    assert not list(tmp_path.glob("*.partial"))


def test_a_finished_run_is_left_as_it_is(tmp_path, photos):
    fit(tiny_recipe(), SIX_STEPS, photos, run=tmp_path, device=CPU)
    before = checkpoint(tmp_path / "last.pt")
    fit(tiny_recipe(), SIX_STEPS, photos, run=tmp_path, device=CPU)
    assert_equal(checkpoint(tmp_path / "last.pt"), before)


def test_another_networks_run_is_not_resumed(tmp_path, photos):
    fit(tiny_recipe(), SIX_STEPS, photos, run=tmp_path, device=CPU)
    other = dataclasses.replace(tiny_recipe(), hparams=TINY | {"blocks": (2, 1)})
    with pytest.raises(TrainingError, match="Take another --run folder"):
        fit(other, SIX_STEPS, photos, run=tmp_path, device=CPU)


def test_crops_that_the_network_cannot_take_are_refused(tmp_path, photos):
    # Stem 2 and one halving: multiples of 4.
    with pytest.raises(TrainingError, match="--patches 18 is not a multiple of 4"):
        fit(tiny_recipe(), Settings(patches=(16, 18)), photos, run=tmp_path, device=CPU)


# Which weights are kept


def test_the_average_moves_by_hand():
    network = nn.Linear(1, 1, bias=False)
    nn.init.constant_(network.weight, 1.0)
    ema = Ema(network, 0.5)
    nn.init.constant_(network.weight, 2.0)
    # In the first steps the average is short: decay (1 + step) / (10 + step), here 1/10.
    ema.update(network, 0)
    assert ema.weights["weight"].item() == pytest.approx(0.1 * 1 + 0.9 * 2)
    # After many steps it is the decay that was asked for.
    ema.update(network, 1000)
    assert ema.weights["weight"].item() == pytest.approx(0.5 * 1.9 + 0.5 * 2)
    assert network.weight.item() == 2.0


def test_the_best_weights_on_the_val_split_are_kept(tmp_path, photos, val, monkeypatch):
    looks = iter([10.0, 30.0, 20.0])
    monkeypatch.setattr(loop, "_validate", lambda *_: {"psnr/25": next(looks)})
    settings = dataclasses.replace(SIX_STEPS, validate_every=2)
    best = fit(tiny_recipe(), settings, photos, run=tmp_path, device=CPU, val=val)
    assert best == tmp_path / "best.pt"
    assert checkpoint(best)["progress"]["step"] == 4
    assert checkpoint(best)["progress"]["best"] == 30.0


def test_figures_in_another_unit_do_not_choose_the_best_weights(tmp_path, photos, val, monkeypatch):
    looks = iter([{"psnr/25": 30.0, "nearer": 1.0}, {"psnr/25": 29.9, "nearer": 9.0}])
    monkeypatch.setattr(loop, "_validate", lambda *_: next(looks))
    settings = dataclasses.replace(SIX_STEPS, validate_every=3)
    best = fit(tiny_recipe(), settings, photos, run=tmp_path, device=CPU, val=val)
    assert checkpoint(best)["progress"]["step"] == 3
    assert checkpoint(best)["progress"]["best"] == 30.0


@pytest.mark.parametrize("figures", [{"psnr": 30.0}, {"psnr/clwd": 20.0, "f1/clwd": 0.9, "psnr/hard": 40.0}])
def test_figures_are_worth_the_mean_of_those_in_db(figures):
    assert find_recipe("unwatermark").worth(figures) == 30.0


def test_without_a_val_split_the_last_average_is_kept(tmp_path, photos):
    best = fit(tiny_recipe(), SIX_STEPS, photos, run=tmp_path, device=CPU)
    assert_equal(checkpoint(best)["ema"], checkpoint(tmp_path / "last.pt")["ema"])


def test_validation_measures_a_network_that_does_nothing_at_the_noise_itself(val):
    recipe = tiny_recipe()
    network = recipe.build()
    nn.init.zeros_(network.body.tail.weight)
    nn.init.zeros_(network.body.tail.bias)
    figures = loop._validate(recipe, Ema(network, 0.9), torch.full((2, 3, 64, 64), 0.5))
    # Noise of 50 on a grey of 0.5 is clipped at 2.55 sigma, which takes 2 % of its power: 0.09 dB.
    for sigma, clipped in ((15, 0.0), (25, 0.0), (50, 0.09)):
        # 24,576 samples: the variance is known to 0.9 %, which is 0.04 dB; three of these.
        assert figures[f"psnr/{sigma}"] == pytest.approx(-20 * math.log10(sigma / 255) + clipped, abs=0.12)


def test_a_val_split_of_small_photos_is_refused_before_the_first_step(tmp_path, photos):
    with pytest.raises(TrainingError, match="smaller than 256 px"):
        fit(tiny_recipe(), SIX_STEPS, photos, run=tmp_path, device=CPU, val=photos)


def test_a_checkpoint_opens_as_the_averaged_network(tmp_path, photos):
    network, state = load_network(fit(tiny_recipe(), SIX_STEPS, photos, run=tmp_path, device=CPU))
    assert state["recipe"] == "denoise-fast"
    assert not network.training
    assert_equal(dict(network.state_dict()), state["ema"])


def test_what_is_no_checkpoint_is_refused(tmp_path):
    with pytest.raises(TrainingError, match=r"gone\.pt: no such checkpoint"):
        load_network(tmp_path / "gone.pt")
    (tmp_path / "text.pt").write_text("not a checkpoint")
    torch.save({"weights": torch.zeros(1)}, tmp_path / "other.pt")
    for name in ("text.pt", "other.pt"):
        with pytest.raises(TrainingError, match=f"{name}: not a checkpoint of python -m training train"):
            load_network(tmp_path / name)


def test_samples_without_weight_by_sigma_count_alike():
    class Idle(nn.Module):
        def forward(self, image: Tensor) -> Tensor:
            return image

    recipe = dataclasses.replace(tiny_recipe(), loss=lambda answer, pair, _: l1(answer, pair.clean))
    clean = torch.zeros(2, 1, 2, 2)
    degraded = torch.tensor([0.1, 0.5]).view(2, 1, 1, 1).expand_as(clean)
    pair = Pair({"image": degraded}, clean, torch.tensor([3.0, 1.0]))
    weighted = loop._loss(Idle(), pair, recipe, Settings(), torch.float32)
    plain = loop._loss(Idle(), pair, recipe, Settings(weight_by_sigma=False), torch.float32)
    assert weighted.item() == pytest.approx((3 * 0.1 + 0.5) / 2)
    assert plain.item() == pytest.approx((0.1 + 0.5) / 2)


def test_a_run_starts_from_the_weights_that_it_is_given(tmp_path, photos):
    first = fit(tiny_recipe(), SIX_STEPS, photos, run=tmp_path / "first", device=CPU)
    none = dataclasses.replace(SIX_STEPS, steps=1, learning_rate=0.0, muon_learning_rate=0.0)
    second = fit(tiny_recipe(), none, photos, run=tmp_path / "second", device=CPU, start=first)
    assert_equal(checkpoint(second)["ema"], checkpoint(first)["ema"])


class Outlier:
    """The denoisers' damage, a million times as strong in the step of this number."""

    def __init__(self, step: int) -> None:
        self.left = step

    def __call__(self, clean: Tensor, rng: torch.Generator) -> Pair:
        self.left -= 1
        pair = DenoisingMix()(clean, rng)
        return dataclasses.replace(pair, weight=pair.weight * (1e6 if self.left == 0 else 1))


def test_a_wild_gradient_changes_no_weight(tmp_path, photos, monkeypatch):
    # One rate for both runs: their schedules differ, and in bfloat16 Muon makes much of a small difference.
    monkeypatch.setattr("training.loop.rate_at", lambda *_: 1.0)
    runs = {}
    for steps in (5, 6):
        settings = dataclasses.replace(SIX_STEPS, steps=steps, patches=(16,))
        fit(tiny_recipe(Outlier(6)), settings, photos, run=tmp_path / str(steps), device=CPU)
        runs[steps] = checkpoint(tmp_path / str(steps) / "last.pt")
    assert runs[6]["progress"]["step"] == 6
    for name, weight in runs[5]["network"].items():
        assert torch.equal(runs[6]["network"][name], weight)


# Machines


def test_bfloat16_is_taken_only_where_the_hardware_has_it(monkeypatch):
    assert pick_precision(Settings(precision="float32"), CPU) == torch.float32
    assert pick_precision(Settings(precision="bfloat16"), CPU) == torch.bfloat16
    machines = ((True, False, torch.bfloat16), (False, True, torch.bfloat16), (False, False, torch.float32))
    for amx, avx512_bf16, expected in machines:
        monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda amx=amx: amx)
        monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda avx512_bf16=avx512_bf16: avx512_bf16)
        assert pick_precision(Settings(precision="auto"), CPU) == expected


def test_a_step_in_bfloat16_trains_too(tmp_path, photos):
    settings = dataclasses.replace(SIX_STEPS, steps=1, precision="bfloat16")
    network, _ = load_network(fit(tiny_recipe(), settings, photos, run=tmp_path, device=CPU))
    assert {p.dtype for p in network.parameters()} == {torch.float32}


def test_auto_is_the_cpu_where_there_is_no_gpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert pick_device("auto") == pick_device("cpu") == CPU


_TWO_PROCESSES = """
import dataclasses, sys
from pathlib import Path
import torch
import models
from training.data import PhotoSet
from training.loop import fit, joined_world
from training.recipes import find_recipe
from training.losses import l1
from training.photo_noise import DenoisingMix
from training.settings import Settings

torch.set_num_threads(1)
sys.modules["torch.utils.tensorboard"] = None  # it takes longer to import than the rest to run
shards, out = map(Path, sys.argv[1:])
build, built = models.build, []
models.build = lambda *args, **kw: built.append(build(*args, **kw)) or built[-1]
recipe = dataclasses.replace(find_recipe("denoise"), hparams={"stem": 2, "channels": (32, 32), "blocks": (1, 1)})
settings = Settings(steps=3, patches=(16,), pixels=1024, precision="float32")
device = torch.device("cpu")
with joined_world(device) as world:
    photos = PhotoSet.load([shards], "train", device=device)
    fit(recipe, settings, photos, run=out / "run", device=device, world=world)
    torch.save(built[0].state_dict(), out / f"rank{world.rank}.pt")
"""


def test_two_processes_end_with_the_same_weights_and_one_checkpoint(tmp_path, shards):
    script = tmp_path / "two.py"
    script.write_text(_TWO_PROCESSES)
    command = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", script, shards, tmp_path]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, *map(str, command)], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    first, second = (checkpoint(tmp_path / f"rank{rank}.pt") for rank in (0, 1))
    assert_equal(first, second)
    assert_equal(checkpoint(tmp_path / "run/last.pt")["network"], first)
    assert done.stderr.count("denoise-fast on cpu") == 1
    network, state = load_network(tmp_path / "run/best.pt")
    assert state["progress"]["step"] == 3
    assert network(torch.zeros(1, 3, 8, 8), torch.zeros(1))[0].shape == (1, 3, 8, 8)


def test_one_part_alone_is_trained_and_the_rest_stays(tmp_path, photos):
    settings = dataclasses.replace(SIX_STEPS, part="body.tail")
    fit(tiny_recipe(), settings, photos, run=tmp_path, device=CPU)
    torch.manual_seed(settings.seed)
    fresh = tiny_recipe().build().state_dict()
    trained = checkpoint(tmp_path / "last.pt")["network"]
    changed = {name for name in fresh if not torch.equal(fresh[name], trained[name])}
    assert changed == {"body.tail.weight", "body.tail.bias"}


def test_a_part_that_is_none_is_refused(tmp_path, photos):
    settings = dataclasses.replace(SIX_STEPS, part="tail")
    with pytest.raises(TrainingError, match="--part tail: the network has no such part; it has: body"):
        fit(tiny_recipe(), settings, photos, run=tmp_path, device=CPU)
