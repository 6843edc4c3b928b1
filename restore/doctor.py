"""Checks an installation, from versions to a small picture really restored; every fault comes with its way out."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata

from restore import __version__
from restore.errors import RestoreError

#: Both are the package `onnxruntime`, in one folder: whichever came last has overwritten parts of the other.
_RUNTIMES = ("onnxruntime", "onnxruntime-gpu")
_GPU_INSTALL = 'pip uninstall onnxruntime && pip install "onnxruntime-gpu[cuda,cudnn]"'
#: Noise of the trial picture, on the [0, 1] scale.
_TRIAL_SIGMA = 25 / 255


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the report; where `ok` is False the text says the way out."""

    ok: bool
    text: str


def examine() -> Iterator[Finding]:
    """Every finding, in the order in which one would look; later ones are left out where they cannot be had."""
    yield Finding(ok=True, text=f"Restore {__version__}, Python {platform.python_version()}, {platform.platform()}")
    runtimes = [name for name in _RUNTIMES if _version(name)]
    for name in ("numpy", "pillow", *(runtimes or _RUNTIMES[:1])):
        yield _check_package(name)
    try:
        from restore import session
    except ImportError as error:
        yield Finding(
            ok=False, text=f"a package cannot be loaded ({error}): pip install --force-reinstall restore-photos"
        )
        return
    yield _check_providers(runtimes, session.available_providers())
    yield Finding(ok=True, text=f"CPUs: {session.available_cpus()} usable of {os.cpu_count()}")
    yield from _check_models()
    yield _check_trial()
    yield _check_page()


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _check_package(name: str) -> Finding:
    version = _version(name)
    if version is None:
        return Finding(ok=False, text=f"{name} is not installed: pip install {name}")
    return Finding(ok=True, text=f"{name} {version}")


def _check_providers(runtimes: list[str], providers: list[str]) -> Finding:
    text = f"providers: {', '.join(providers)}"
    if len(runtimes) > 1:
        return Finding(
            ok=False,
            text="onnxruntime and onnxruntime-gpu are both installed and overwrite each other: "
            f"pip uninstall {' '.join(_RUNTIMES)} && pip install onnxruntime, or onnxruntime-gpu in its place",
        )
    if runtimes == ["onnxruntime-gpu"] and "CUDAExecutionProvider" not in providers:
        return Finding(ok=False, text=f"onnxruntime-gpu has no CUDA provider ({text}): {_GPU_INSTALL}")
    return Finding(ok=True, text=text)


def _check_models() -> Iterator[Finding]:
    from restore import store

    try:
        entries = store.entries()
    except RestoreError as error:
        yield Finding(ok=False, text=str(error))
        return
    if not entries:
        yield Finding(ok=False, text=f"no models in {', '.join(map(str, store.folders()))}. Install Restore again.")
    for entry in entries:
        try:
            store.verify(entry)
        except RestoreError as error:
            yield Finding(ok=False, text=str(error))
        else:
            yield Finding(ok=True, text=f"model {entry.name}: {entry.path}")


def _check_trial() -> Finding:
    """Whether the model that plain `restore denoise` takes brings a noisy picture nearer to the clean one."""
    import numpy as np

    from restore.engine import open_model

    rng = np.random.default_rng(0)
    ramp = np.linspace(0.25, 0.75, 64, dtype=np.float32)
    clean = np.stack([ramp[:, None] + 0 * ramp, ramp + 0 * ramp[:, None], np.full((64, 64), 0.5, np.float32)], axis=-1)
    noisy = (clean + rng.normal(0, _TRIAL_SIGMA, clean.shape)).astype(np.float32)
    try:
        restorer = open_model("denoise")
        restored = restorer.run_array(noisy, sigma=_TRIAL_SIGMA)["restored"]
    except Exception as error:  # noqa: BLE001 - whatever it is, a doctor names it and goes on
        return Finding(ok=False, text=f"a trial picture could not be restored: {error}")
    before, after = (255 * float(np.sqrt(np.mean((x - clean) ** 2))) for x in (noisy, restored))
    said = f"trial picture on {restorer.provider}: its noise went from {before:.1f} to {after:.1f} of 255"
    if not after < before:
        return Finding(ok=False, text=f"{said}. Install Restore again, or try another onnxruntime.")
    return Finding(ok=True, text=said)


def _check_page() -> Finding:
    version = _version("gradio")
    if version is None:
        return Finding(ok=True, text='no page: `restore serve` needs pip install "restore-photos[web]"')
    return Finding(ok=True, text=f"page: gradio {version}")
