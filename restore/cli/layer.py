"""restore layer."""

from __future__ import annotations

from typing import Annotated

import typer

from restore.cli.options import parse_size


def layer(
    *,
    input_size: Annotated[
        str, typer.Option("--input", metavar="WIDTHxHEIGHT", help="Of the picture that the layer reads.")
    ],
    filter_size: Annotated[int, typer.Option("--filter", metavar="F", help="The side of its filters.")],
    stride: Annotated[int, typer.Option(metavar="S", help="By how many pixels a filter steps on.")] = 1,
    padding: Annotated[int, typer.Option(metavar="P", help="Pixels added on each side.")] = 0,
) -> None:
    """Say whether a convolution fits a picture, and what comes out: (W - F + 2P)/S + 1 along each side.

    Example: restore layer --input 7x7 --filter 3 --stride 3

    Where it does not fit, the strides and paddings that would are named, and the exit code is 1.
    """
    from restore.layers import explain_fit

    fit = explain_fit(parse_size("input", input_size), filter=filter_size, stride=stride, padding=padding)
    typer.echo(fit.text)
    if fit.output is None:
        raise typer.Exit(1)
