"""restore doctor."""

from __future__ import annotations

import typer

from restore.cli.options import talk


def doctor() -> None:
    """Check the installation, down to a small picture restored.

    Example: restore doctor
    """
    from restore.doctor import examine

    faults = 0
    for finding in examine():
        faults += not finding.ok
        typer.echo(f"{'ok   ' if finding.ok else 'FAULT'}  {finding.text}")
    if faults:
        talk(f"{faults} fault{'s' * (faults > 1)} found: see the lines that begin with FAULT.")
        raise typer.Exit(1)
