"""A model file in onnxruntime, with its spec: threaded as the machine allows, its errors made ours."""

from __future__ import annotations

import functools
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

# onnxruntime reports to its maker unless this is set before it is imported (seen with 1.32: an
# event database in the home folder, and a look-up of a host). Restore works offline and tells nobody.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

import onnxruntime as ort

from restore.contract import CARD_KEY, SPEC_KEY, ModelSpec
from restore.errors import BadOption, NotEnoughMemory, UnsupportedModel
from restore.layers import LAYERS_KEY, Layer
from restore.layers import from_json as layers_from_json

DEVICES = ("auto", "cpu", "cuda")


class Session:
    """One onnxruntime session and its spec; onnxruntime's exceptions are translated here and nowhere else."""

    def __init__(self, path: Path, *, device: str = "auto", threads: int | None = None) -> None:
        if threads is not None and threads < 1:
            raise BadOption(f"--threads {threads} is not a number of threads. Use 1 or more.")
        options = ort.SessionOptions()
        options.log_severity_level = 3
        options.intra_op_num_threads = min(threads or available_cpus(), available_cpus())
        options.inter_op_num_threads = 1
        # From its second run on a pattern takes one block beside what the first had: 511 MB in place of 340 for a tile
        # of 1104 x 1144 pixels, and no second is saved.
        options.enable_mem_pattern = False
        _share_thrifty_arena()
        options.add_session_config_entry("session.use_env_allocators", "1")
        try:
            self._session = ort.InferenceSession(str(path), options, providers=_providers(device))
        except BadOption:
            raise
        except Exception as error:  # noqa: BLE001 - onnxruntime's errors share no base but Exception
            raise UnsupportedModel(f"{path}: not a model that onnxruntime can load ({_first_line(error)}).") from None
        self.metadata: dict[str, str] = self._session.get_modelmeta().custom_metadata_map
        text = self.metadata.get(SPEC_KEY)
        if text is None:
            raise UnsupportedModel(
                f"{path}: an ONNX file without the entry {SPEC_KEY}. Export it with: python -m training export"
            )
        try:
            self.spec = ModelSpec.from_json(text)
        except UnsupportedModel as error:
            raise UnsupportedModel(f"{path}: {error}") from None
        self._check_inputs(path)
        self.provider: str = self._session.get_providers()[0]
        if device == "cuda" and self.provider != "CUDAExecutionProvider":
            raise BadOption(
                "--device cuda: onnxruntime has a CUDA provider but could not start it, for lack of a GPU, its driver "
                "or CUDA's libraries. Use --device cpu, or ask: restore doctor"
            )
        self._outputs: list[str] = [output.name for output in self._session.get_outputs()]

    def _check_inputs(self, path: Path) -> None:
        image = () if self.spec.answer == "steps" else ("image",)
        said = {*image, *(p.name for p in self.spec.params), *(t.name for t in self.spec.tensors)}
        has = {i.name for i in self._session.get_inputs()}
        if said != has:
            raise UnsupportedModel(
                f"{path}: its spec names the inputs {', '.join(sorted(said))}, its graph has {', '.join(sorted(has))}."
            )
        sought = [p.name for p in self.spec.params if p.default is None]
        if sought and "level" not in {o.name for o in self._session.get_outputs()}:
            raise UnsupportedModel(f"{path}: its graph must find {', '.join(sought)} but has no output `level`.")

    @property
    def card(self) -> str:
        """What the file says of itself to people, in markdown; empty where it says nothing."""
        return self.metadata.get(CARD_KEY, "")

    def layers(self) -> tuple[Layer, ...]:
        """The network's layers, as the file lists them. Raises UnsupportedModel for a file without such a list."""
        listed = self.metadata.get(LAYERS_KEY)
        if not listed:
            raise UnsupportedModel(
                f"{self.spec.name}: the file does not list its layers. Export it again with: python -m training export"
            )
        return layers_from_json(listed)

    def run(self, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """The answers by name to tensors as the contract names and shapes them."""
        try:
            answers = self._session.run(None, dict(inputs))
        except Exception as error:
            text = str(error)
            if any(word in text.lower() for word in ("allocat", "memory", "bad_alloc")):
                height, width = inputs["image"].shape[-2:] if "image" in inputs else (0, 0)
                raise NotEnoughMemory(f"the memory does not suffice for {width} x {height} pixels at once.") from None
            raise
        return dict(zip(self._outputs, answers, strict=True))


@functools.cache
def _share_thrifty_arena() -> None:
    """Give all sessions one CPU arena that grows by what is asked for, once in a process.

    onnxruntime's own doubles instead: a tile of five megapixels then peaks at 1.03 GB in place of 0.82.
    """
    memory = ort.OrtMemoryInfo("Cpu", ort.OrtAllocatorType.ORT_ARENA_ALLOCATOR, 0, ort.OrtMemType.DEFAULT)
    no_limit, as_requested, default = 0, 1, -1
    ort.create_and_register_allocator(memory, ort.OrtArenaCfg(no_limit, as_requested, default, default))


def _providers(device: str) -> list[Any]:
    if device not in DEVICES:
        raise BadOption(f"--device {device} is not known. Use one of: {', '.join(DEVICES)}.")
    has_cuda = "CUDAExecutionProvider" in ort.get_available_providers()
    if device == "cuda" and not has_cuda:
        raise BadOption(
            "--device cuda: this onnxruntime has no CUDA provider. Use --device cpu, or install the GPU build: "
            'pip uninstall onnxruntime && pip install "onnxruntime-gpu[cuda,cudnn]"'
        )
    if device != "cpu" and has_cuda:
        ort.preload_dlls()  # CUDA's libraries from the wheels beside onnxruntime-gpu
        return ["CUDAExecutionProvider", "CPUExecutionProvider"]
    return ["CPUExecutionProvider"]


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__


def available_providers() -> list[str]:
    """The onnxruntime providers of this installation, best first."""
    return list(ort.get_available_providers())


def available_cpus() -> int:
    """CPUs that this process may use: its affinity, cut to its control group's quota (at least 1).

    Threads above a container's quota are put to sleep in the middle of their work, and the rest wait.
    """
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = _cgroup_quota(Path("/sys/fs/cgroup"))
    return max(1, min(count, math.ceil(quota)) if quota else count)


def _cgroup_quota(root: Path) -> float | None:
    """CPUs that control group v2, or v1, grants; None without a limit."""
    try:
        quota, period = (root / "cpu.max").read_text().split()
    except (OSError, ValueError):
        try:
            quota = (root / "cpu/cpu.cfs_quota_us").read_text().strip()
            period = (root / "cpu/cpu.cfs_period_us").read_text().strip()
        except OSError:
            return None
    if quota in ("max", "-1"):
        return None
    try:
        return int(quota) / int(period)
    except (ValueError, ZeroDivisionError):
        return None
