"""restore models list, show and verify."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from restore.cli.options import MODEL_HELP
from restore.errors import ModelNotFound, UnsupportedModel

if TYPE_CHECKING:
    from restore.contract import Param
    from restore.store import Entry

app = typer.Typer(cls=TyperGroup, rich_markup_mode=None)


@app.callback(invoke_without_command=True)
def _models(ctx: typer.Context) -> None:
    """List, describe and check the models.

    Example: restore models list
    """
    if ctx.invoked_subcommand is None:
        typer.echo(ctx.get_help())


@app.command("list")
def list_models() -> None:
    """List the models that are installed, and where they come from.

    Example: restore models list
    """
    rows = [("NAME", "TASK", "TIER", "SIZE", "LICENCE", "FOLDER")]
    for entry in _entries():
        licence = str(entry.about.get("licence", "not stated"))
        rows.append((entry.name, entry.task, entry.tier, _megabytes(entry.size), licence, str(entry.path.parent)))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        typer.echo("  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip())


@app.command("show")
def show_model(
    name: Annotated[str, typer.Argument(metavar="NAME_OR_PATH", help=MODEL_HELP)],
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object instead.")] = False,
) -> None:
    """Describe a model: what it does, what it takes, how it was made and how good it is.

    Example: restore models show denoise-fast
    """
    from restore import engine, store

    path = store.find(name)
    model = engine.open_model(path, device="cpu")
    spec = model.spec
    entry = next((e for e in store.entries() if e.path == path), None)
    about = dict(entry.about) if entry else {}
    if as_json:
        facts = {"path": str(path), "size": path.stat().st_size, "sha256": store.sha256(path), "card": model.card}
        typer.echo(json.dumps(facts | {"spec": json.loads(spec.to_json()), "about": about}))
        return
    size = _megabytes(path.stat().st_size)
    lines = {
        "file": f"{path}, {size}",
        "task": f"{spec.task}, tier {spec.tier}",
        "answer": spec.answer,
        "reach": "the whole picture" if spec.reach is None else f"{spec.reach} px",
        "multiple of": f"{spec.multiple_of} px",
    }
    lines |= {f"--{param.name}": _describe(param) for param in spec.params}
    lines |= {key.replace("_", " "): _flat(value) for key, value in about.items()}
    lines |= {f"made by {key}": value for key, value in spec.made_by.items() if key not in about}
    typer.echo(spec.name)
    for key, text in lines.items():
        typer.echo(f"  {key:<{max(map(len, lines))}}  {text}")
    if model.card:
        typer.echo(f"\n{model.card.rstrip()}")


@app.command("verify")
def verify_models() -> None:
    """Check every model's file against the SHA-256 in its manifest.

    Example: restore models verify
    """
    from restore import store

    damaged = False
    for entry in _entries():
        try:
            store.verify(entry)
        except UnsupportedModel as error:
            damaged = True
            typer.echo(f"FAULT  {error}")
        else:
            typer.echo(f"ok     {entry.path}")
    if damaged:
        raise typer.Exit(1)


def _entries() -> list[Entry]:
    from restore import store

    found = store.entries()
    if not found:
        raise ModelNotFound(f"there are no models in {', '.join(map(str, store.folders()))}. Install Restore again.")
    return found


def _describe(param: Param) -> str:
    low, high = param.min * param.scale, param.max * param.scale
    default = "found in the picture" if param.default is None else f"{param.default * param.scale:g}"
    return f"{low:g} to {high:g} {param.unit}, default {default}: {param.help}"


def _flat(value: Any) -> str:
    return ", ".join(f"{k} {v}" for k, v in value.items()) if isinstance(value, dict) else str(value)


def _megabytes(size: int) -> str:
    return f"{size / 1e6:.1f} MB"
