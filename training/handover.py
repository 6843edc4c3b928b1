"""What a borrowed machine hands back: the exported network, its figures, and the run in parts small enough to send."""

from __future__ import annotations

import glob
import json
from pathlib import Path

from training.data import PhotoSet
from training.export import export_checkpoint
from training.loop import load_network
from training.recipes import find_recipe

#: Bytes of a part: some ways of sending take no more than 16 MiB a file.
PART_BYTES = 15 * 2**20


def hand_over(best: Path, run: Path, out: Path, *, val: PhotoSet | None) -> list[Path]:
    """Write into `out` log.txt, last.pt in parts, figures.json and NAME.onnx; the most wanted is returned first.

    The figures are the recipe's, on the crops of `val` that training looks at. The parts are named
    last.pt.00, last.pt.01, ...; joined in this order (`cat last.pt.* > last.pt`) they are `run/last.pt`.
    Raises ExportError if the exported file does not answer as torch does: all else is there by then.
    """
    out.mkdir(parents=True, exist_ok=True)
    log = out / "log.txt"
    log.write_bytes((run / "log.txt").read_bytes())
    parts = split_file(run / "last.pt", out)
    network, state = load_network(best, device=val.pixels.device if val else None)
    recipe = find_recipe(state["recipe"])
    figures = recipe.figures(network, val.held_out()) if val else {}
    told = out / "figures.json"
    told.write_text(json.dumps({"recipe": recipe.name, "figures": figures, **state["progress"]}), "utf-8")
    return [export_checkpoint(best, out), told, log, *parts]


def split_file(path: Path, out: Path, *, size: int = PART_BYTES) -> list[Path]:
    """The file in parts of at most `size` bytes: `out/NAME.00`, `out/NAME.01`, ..., and none of an older one."""
    for older in out.glob(f"{glob.escape(path.name)}.[0-9][0-9]"):
        older.unlink()
    parts: list[Path] = []
    with path.open("rb") as file:
        while content := file.read(size):
            part = out / f"{path.name}.{len(parts):02d}"
            part.write_bytes(content)
            parts.append(part)
    return parts
