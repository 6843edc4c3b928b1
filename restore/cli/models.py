"""restore models list, show and verify."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from restore.cli.options import MODEL_HELP, parse_size, print_table
from restore.errors import BadOption, ModelNotFound, UnsupportedModel

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
    print_table(rows)


@app.command("show")
def show_model(
    name: Annotated[str, typer.Argument(metavar="NAME_OR_PATH", help=MODEL_HELP)],
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object instead.")] = False,
    layers: Annotated[bool, typer.Option("--layers", help="Print the network's layers instead.")] = False,
    size: Annotated[
        str | None,
        typer.Option(metavar="WIDTHxHEIGHT", help="With --layers: of the picture. [default: 512x512]"),
    ] = None,
) -> None:
    """Describe a model: what it does, what it takes, how it was made and how good it is.

    Example: restore models show denoise-fast

    Example: restore models show denoise --layers --size 1920x1080

    With --layers: each layer's filters K, their size F, stride S and padding P, what comes out of it,
    (W - F + 2P)/S + 1 along each side, its parameters F^2*C*K + K, its multiply-adds, and the side of the part of the
    picture that one of its outputs sees.
    """
    if size and not layers:
        raise BadOption("--size is for --layers: restore models show denoise --layers --size 512x512")
    if layers:
        _show_layers(name, size, as_json=as_json)
        return
    from restore import store
    from restore.session import Session

    path = store.find(name)
    model = Session(path, device="cpu")
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


#: Height and width of what is classified.
_DIGIT = (28, 28)


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


def _show_layers(name: str, size: str | None, *, as_json: bool) -> None:
    from restore import store
    from restore.layers import HEADINGS, table
    from restore.session import Session

    model = Session(store.find(name), device="cpu")
    if model.spec.answer == "steps":
        raise BadOption(f"{model.spec.name} looks at several pictures of several sizes: its layers have no one size.")
    height, width = parse_size("size", size) if size else (512, 512)
    if model.spec.answer == "labels":
        if size and (height, width) != _DIGIT:
            raise BadOption(f"--size {size}: {model.spec.name} takes 28x28 pixels alone.")
        height, width = _DIGIT
    rows = table(model.layers(), height=height, width=width, multiple_of=model.spec.multiple_of)
    if as_json:
        typer.echo(
            json.dumps({"name": model.spec.name, "size": [width, height], "layers": [r.as_json() for r in rows]})
        )
        return
    print_table([HEADINGS, *(row.cells() for row in rows)])
    parameters, products = sum(row.layer.parameters for row in rows), sum(row.multiply_adds for row in rows)
    typer.echo(f"\n{parameters:,} parameters, {products:,} multiply-adds for {width}x{height} pixels.")


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
