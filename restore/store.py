"""From a model's name to its file: a path, a folder of $RESTORE_MODELS, or the bundled weights."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from restore.errors import ModelNotFound, UnsupportedModel

BUNDLED = Path(__file__).parent / "weights"
MANIFEST = "manifest.json"
DEFAULT_TIER = "fast"


@dataclass(frozen=True, slots=True)
class Entry:
    """One model as its manifest describes it; `about` holds licence and figures, for people."""

    name: str
    path: Path
    task: str
    tier: str
    sha256: str
    size: int
    about: Mapping[str, Any]


def folders() -> list[Path]:
    """Where models are looked for: each folder of $RESTORE_MODELS, then the bundled weights.

    Raises ModelNotFound for one that is not there: what was to be taken from it would come from the next in silence.
    """
    extra = [Path(part) for part in os.environ.get("RESTORE_MODELS", "").split(os.pathsep) if part]
    if missing := [str(folder) for folder in extra if not os.path.isfile(folder / MANIFEST)]:
        raise ModelNotFound(f"RESTORE_MODELS: no folder of models, with a {MANIFEST} in it: {', '.join(missing)}")
    return [*extra, BUNDLED]


def entries() -> list[Entry]:
    """Every model of every manifest, first folder first; a name that an earlier folder has hides later ones."""
    found: dict[str, Entry] = {}
    for folder in folders():
        for entry in _read_manifest(folder):
            found.setdefault(entry.name, entry)
    return list(found.values())


def find(name_or_path: str | Path) -> Path:
    """The file of a model: a path to an .onnx file, a name (`denoise-fast`), or a task (its tier "fast").

    A file with an entry in a manifest is checked against its sha256.
    Raises ModelNotFound, and UnsupportedModel for a damaged file.
    """
    path = Path(name_or_path)
    if path.suffix == ".onnx" or len(path.parts) > 1:
        if not os.path.isfile(path):
            raise ModelNotFound(f"{path}: no such model file. List the models with: restore models list")
        return path
    name = str(name_or_path)
    known = entries()
    for entry in known:
        if name in (entry.name, entry.task) and (name == entry.name or entry.tier == DEFAULT_TIER):
            verify(entry)
            return entry.path
    names = ", ".join(entry.name for entry in known) or "none"
    raise ModelNotFound(
        f"no model is called {name!r}. There are: {names}. Looked in: {', '.join(map(str, folders()))} "
        "(set RESTORE_MODELS to add a folder)."
    )


def verify(entry: Entry) -> None:
    """Raise UnsupportedModel unless the file is there and has the manifest's sha256."""
    if not os.path.isfile(entry.path):
        raise UnsupportedModel(
            f"{entry.path}: the manifest lists this model but the file is missing. Install Restore again."
        )
    if sha256(entry.path) != entry.sha256:
        raise UnsupportedModel(
            f"{entry.path}: the file is damaged (its sha256 is not the one in {MANIFEST}). Install Restore again."
        )


def sha256(path: Path) -> str:
    """The file's SHA-256, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def publish(folder: Path, name: str, *, task: str, tier: str, about: Mapping[str, Any]) -> Entry:
    """Enter the file `folder/NAME.onnx` into the folder's manifest, in place of an older entry."""
    path = folder / f"{name}.onnx"
    row = {"task": task, "tier": tier, "sha256": sha256(path), "size": path.stat().st_size, **about}
    rows = {entry.name: _row(entry) for entry in _read_manifest(folder)} | {name: row}
    partial = folder / f"{MANIFEST}.partial"
    partial.write_text(json.dumps({"models": dict(sorted(rows.items()))}, indent=2, ensure_ascii=False) + "\n", "utf-8")
    partial.replace(folder / MANIFEST)
    return next(entry for entry in _read_manifest(folder) if entry.name == name)


def _row(entry: Entry) -> dict[str, Any]:
    return {"task": entry.task, "tier": entry.tier, "sha256": entry.sha256, "size": entry.size, **entry.about}


def _read_manifest(folder: Path) -> Iterator[Entry]:
    manifest = folder / MANIFEST
    if not os.path.isfile(manifest):
        return
    try:
        rows = json.loads(manifest.read_text("utf-8"))["models"]
        for name, row in rows.items():
            about = {k: v for k, v in row.items() if k not in ("task", "tier", "sha256", "size")}
            yield Entry(name, folder / f"{name}.onnx", row["task"], row["tier"], row["sha256"], row["size"], about)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UnsupportedModel(f"{manifest}: not a manifest of models ({error!r}).") from None
