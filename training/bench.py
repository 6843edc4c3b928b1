"""How fast the shipped models are, as ratios measured in one run, so that they hold on any machine.

R is the time of a plain FFDNet-shaped network (Zhang et al. 2018: 12 layers of 96 channels on
pixel-unshuffle 2, random weights) in the same onnxruntime with the same threads.
"""

from __future__ import annotations

import itertools
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
from onnx import helper, numpy_helper

from restore import image as image_module
from restore.engine import Restorer, open_model
from restore.image import Image
from restore.session import available_cpus

_TWO_MEGAPIXELS = (1184, 1696)  # multiples of 32, so that nobody pays for padding
_24_MEGAPIXELS = (4000, 6000)
#: The tile and the photo that speed is measured on.
SIZES = (_TWO_MEGAPIXELS, _24_MEGAPIXELS)
_SIGMA = 25 / 255


def ffdnet_shaped(path: Path) -> None:
    """Write the yardstick network: image (1, 3, H, W) -> restored, H and W even."""
    rng = np.random.default_rng(0)
    channels = [12, *[96] * 11, 12]
    nodes = [helper.make_node("SpaceToDepth", ["image"], ["x0"], blocksize=2)]
    weights = []
    for layer, (inside, outside) in enumerate(itertools.pairwise(channels)):
        scale = (2 / (9 * inside)) ** 0.5
        weights += [
            numpy_helper.from_array(rng.normal(0, scale, (outside, inside, 3, 3)).astype(np.float32), f"w{layer}"),
            numpy_helper.from_array(np.zeros(outside, np.float32), f"b{layer}"),
        ]
        conv = helper.make_node("Conv", [f"x{layer}", f"w{layer}", f"b{layer}"], [f"y{layer}"], pads=[1, 1, 1, 1])
        nodes.append(conv)
        last = layer == len(channels) - 2
        nodes.append(helper.make_node("Identity" if last else "Relu", [f"y{layer}"], [f"x{layer + 1}"]))
    nodes.append(helper.make_node("DepthToSpace", [f"x{len(channels) - 1}"], ["restored"], blocksize=2))
    shape: list[str | int | None] = ["batch", 3, "height", "width"]
    value = [helper.make_tensor_value_info(n, onnx.TensorProto.FLOAT, shape) for n in ("image", "restored")]
    graph = helper.make_graph(nodes, "ffdnet-shaped", value[:1], value[1:], weights)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10), path)


class Yardstick:
    """The network whose time is R, in onnxruntime on so many threads."""

    def __init__(self, *, threads: int | None) -> None:
        import onnxruntime as ort  # after restore.session, which keeps it from reporting to its maker

        options = ort.SessionOptions()
        options.intra_op_num_threads = threads or available_cpus()
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "yardstick.onnx"
            ffdnet_shaped(path)
            self._session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])

    def run(self, image: np.ndarray) -> None:
        """One run over (1, 3, H, W) float32."""
        self._session.run(None, {"image": image})


def bench(model: str | Path = "denoise", *, rounds: int = 5, threads: int | None = None) -> str:
    """Measure a denoiser against R and against itself; returns a markdown table.

    The contestants take turns, and the median of `rounds` counts, so that what else the machine
    does hits all alike.
    """
    restorer = open_model(model, kind=Restorer, device="cpu", threads=threads)
    rng = np.random.default_rng(0)
    small = rng.integers(0, 256, (*_TWO_MEGAPIXELS, 3), np.uint8)
    large = rng.integers(0, 256, (*_24_MEGAPIXELS, 3), np.uint8)
    tensor = np.ascontiguousarray(small.transpose(2, 0, 1)[None], np.float32) / 255
    level = np.array([_SIGMA], np.float32)
    yardstick = Yardstick(threads=threads)
    contestants: dict[str, Callable[[], object]] = {
        "yardstick": lambda: yardstick.run(tensor),
        "session": lambda: restorer.run_batch({"image": tensor, "sigma": level}),
        "restorer": lambda: restorer(Image(small), tile=None, sigma=_SIGMA),
        "blind": lambda: restorer(Image(small), tile=None),
    }
    times = _take_turns(contestants, rounds)
    photo = _take_turns({"photo": lambda: restorer(Image(large), sigma=_SIGMA)}, max(1, rounds // 2))["photo"]
    megapixels = {"small": small.size / 3e6, "large": large.size / 3e6}
    session, whole = times["session"], times["restorer"] / megapixels["small"]
    rows = [
        ("R, FFDNet-shaped, per megapixel", f"{times['yardstick'] / megapixels['small']:.3f} s", ""),
        ("bare session / R", f"{session / times['yardstick']:.3f}", "at most 0.40"),
        ("bare session / Restorer, 2 megapixels, one tile", f"{session / times['restorer']:.3f}", "at least 0.95"),
        ("the same, sigma left out", f"{session / times['blind']:.3f}", ""),
        ("24 megapixels / 2 megapixels, per megapixel", f"{photo / megapixels['large'] / whole:.3f}", "at most 1.35"),
        ("peak memory, 24-megapixel JPEG through the command", f"{_peak_gigabytes(model):.2f} GB", "at most 1.2 GB"),
        ("CPU time of restore --help", f"{_help_seconds(rounds):.2f} s", "under 0.4 s"),
    ]
    lines = ["| what | measured | bar |", "|---|---|---|", *(f"| {a} | {b} | {c} |" for a, b, c in rows)]
    return "\n".join(lines)


def _take_turns(contestants: dict[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """Median seconds of each, the first turn of each not counted."""
    seconds: dict[str, list[float]] = {name: [] for name in contestants}
    for _ in range(rounds + 1):
        for name, run in contestants.items():
            started = time.perf_counter()
            run()
            seconds[name].append(time.perf_counter() - started)
    return {name: statistics.median(values[1:]) for name, values in seconds.items()}


def _peak_gigabytes(model: str | Path) -> float:
    """Peak resident memory of `restore denoise` on a noisy JPEG of 24 megapixels, read by a process of its own."""
    rng = np.random.default_rng(0)
    height, width = _24_MEGAPIXELS
    ramp = np.linspace(40, 215, width, dtype=np.float32)[None, :, None]
    noisy = np.empty((height, width, 3), np.uint8)
    for row in range(0, height, 500):
        strip = noisy[row : row + 500]
        strip[:] = np.clip(ramp + rng.normal(0, 20, strip.shape).astype(np.float32), 0, 255)
    code = (
        "import resource, subprocess, sys; "
        "done = subprocess.run(sys.argv[1:], capture_output=True, text=True); "
        "sys.exit(done.stderr) if done.returncode else "
        "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)"
    )
    with tempfile.TemporaryDirectory() as folder:
        source, output = Path(folder) / "noisy.jpg", Path(folder) / "clean.jpg"
        image_module.write(Image(noisy), source)
        command = [sys.executable, "-m", "restore", "denoise", str(source), "-o", str(output), "--model", str(model)]
        # A process between, because the peak over all children of this one is what the system keeps.
        done = subprocess.run([sys.executable, "-c", code, *command], capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} failed: {done.stderr.strip()}")
    unit = 1 if sys.platform == "darwin" else 1024  # ru_maxrss is in bytes there, in KiB on Linux
    return int(done.stdout) * unit / 1e9


def _help_seconds(rounds: int) -> float:
    """Median CPU seconds (user and system) of `restore --help`, once warm."""
    seconds = []
    for _ in range(rounds + 1):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([sys.executable, "-m", "restore", "--help"], capture_output=True, check=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        seconds.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    return statistics.median(seconds[1:])
