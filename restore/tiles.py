"""Which windows of a picture to run, so that no seam can be seen: a pure function over sizes."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np


class Span(NamedTuple):
    """One axis of a tile: `read` start and stop is what the network sees, `core` what is kept."""

    read: tuple[int, int]
    core: tuple[int, int]


class Tile(NamedTuple):
    """A window of a picture, in pixels from its top left corner."""

    rows: Span
    columns: Span

    @property
    def read(self) -> tuple[slice, slice]:
        """What the network sees."""
        return slice(*self.rows.read), slice(*self.columns.read)

    @property
    def core(self) -> tuple[slice, slice]:
        """Where the kept part lies in the picture."""
        return slice(*self.rows.core), slice(*self.columns.core)

    @property
    def kept(self) -> tuple[slice, slice]:
        """Where the kept part lies in the network's answer."""
        return tuple(  # type: ignore[return-value]
            slice(span.core[0] - span.read[0], span.core[1] - span.read[0]) for span in (self.rows, self.columns)
        )


def plan_axis(length: int, *, window: int, reach: int, multiple_of: int) -> list[Span]:
    """The fewest windows of at most about `window` pixels that cover an axis of `length`.

    Each starts on a multiple of `multiple_of`; its core, and nothing else, is kept, and is at
    least `reach` away from every edge of the window that is not the picture's own. All windows
    are equally long but for rounding to `multiple_of`. A window too small to hold any core
    beside its two halos is enlarged to one that can.
    """
    if length <= window:
        return [Span((0, length), (0, length))]
    halo = math.ceil(reach / multiple_of) * multiple_of
    room = max(multiple_of, (window - 2 * halo) // multiple_of * multiple_of)
    # The first and last windows need a halo on one side only, so their cores may be longer.
    count = max(2, math.ceil((length - 2 * halo) / room))
    size = math.ceil((length + 2 * halo * (count - 1)) / count / multiple_of) * multiple_of
    if size >= length:
        return [Span((0, length), (0, length))]
    step = size - 2 * halo
    spans = []
    start = 0
    while True:
        stop = min(start + size, length)
        first = start + halo if start else 0
        last = length if stop == length else stop - halo
        spans.append(Span((start, stop), (first, last)))
        if stop == length:
            return spans
        start += step


def plan_tiles(height: int, width: int, *, window: tuple[int, int] | None, reach: int, multiple_of: int) -> list[Tile]:
    """Tiles, row by row, whose cores cover each pixel once. `window` (height, width) None: one tile, the picture."""
    if window is None:
        window = (height, width)
    rows = plan_axis(height, window=window[0], reach=reach, multiple_of=multiple_of)
    columns = plan_axis(width, window=window[1], reach=reach, multiple_of=multiple_of)
    return [Tile(r, c) for r in rows for c in columns]


def best_window(height: int, width: int, *, pixels: int, reach: int, multiple_of: int) -> tuple[int, int]:
    """The window (height, width) of at most `pixels` that computes the fewest pixels for this picture.

    Every count of rows by columns is tried up to the one where the windows have become small
    enough. Where even a core of one `multiple_of` beside its halos is too large for `pixels`,
    the smallest window that works is taken.
    """
    halo = 2 * math.ceil(reach / multiple_of) * multiple_of

    def cut(length: int, count: int) -> int:
        return math.ceil((length + halo * (count - 1)) / count / multiple_of) * multiple_of if count > 1 else length

    def most(length: int) -> int:
        return max(1, math.ceil((length - halo) / multiple_of))

    best: tuple[float, tuple[int, int]] | None = None
    for rows in range(1, most(height) + 1):
        window_height = cut(height, rows)
        widest = pixels // window_height
        if widest >= width:
            columns = 1
        elif widest > halo:
            columns = math.ceil((width - halo) / max(1, widest - halo))
            while cut(width, columns) > widest and columns < most(width):
                columns += 1
        else:
            continue
        window_width = cut(width, columns)
        if window_height * window_width > pixels:
            continue
        cost = rows * columns * window_height * window_width
        if best is None or cost < best[0]:
            best = (cost, (window_height, window_width))
    return best[1] if best else (min(height, halo + multiple_of), min(width, halo + multiple_of))


def run_tiled(
    tiles: Sequence[Tile],
    run: Callable[[tuple[slice, slice]], dict[str, np.ndarray]],
    keep: Callable[[tuple[slice, slice], dict[str, np.ndarray]], None],
    progress: Callable[[float], None] | None = None,
) -> None:
    """For each tile, `run` the part to read and `keep` the core of each (1, C, h, w) answer at its place.

    `progress` gets the finished share of the pixels, up to 1.
    """
    total = sum(_area(tile) for tile in tiles)
    done = 0
    for tile in tiles:
        answers = run(tile.read)
        rows, columns = tile.kept
        keep(tile.core, {name: answer[..., rows, columns] for name, answer in answers.items()})
        done += _area(tile)
        if progress:
            progress(done / total)


def _area(tile: Tile) -> int:
    (top, bottom), (left, right) = tile.rows.core, tile.columns.core
    return (bottom - top) * (right - left)
