"""How far something long has come, for whoever looks on or reads a log."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

from rich.console import Console
from rich.progress import track

T = TypeVar("T")

#: Seconds between two lines where no terminal is.
_PAUSE = 60.0


def tracked(items: Iterable[T], text: str, total: int) -> Iterator[T]:
    """The `total` items, with a bar on stderr while they last; where that is no terminal, a line a minute."""
    console = Console(stderr=True)
    if console.is_terminal:
        yield from track(items, text, total=total, console=console, transient=True)
        return
    said = time.monotonic()
    for done, item in enumerate(items, start=1):
        yield item
        if time.monotonic() - said >= _PAUSE:
            said = time.monotonic()
            console.print(f"{text}: {done} of {total}", highlight=False)
