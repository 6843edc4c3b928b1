"""Finds the digit in a photo or scan, and centres and scales it as MNIST does.

The paper is a smooth surface of colour, fitted to the pixels that agree with it; ink is what lies off it. A table,
a frame or a shadow touches the edge of the picture and a digit does not. Where the paper is the smaller part of the
picture, the first thing found is the paper, and the digit is looked for again inside it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from restore.errors import UnreadableImage

Floats = NDArray[np.float32]
Mask = NDArray[np.bool_]

#: The side of an MNIST picture, of the box in it that the digit fills, and where the centre of its ink lies: in the
#: 60,000 digits it is 13.5 to 14.5 along each axis.
SIDE, BOX, CENTRE = 28, 20, 14
#: Longer pictures are searched and read at a whole fraction of their size.
_LONGEST = 512
#: Differences of colour are Euclidean in RGB, 1 from black to white. Below this there is no ink, only paper.
_FAINTEST = 0.1
_LEAST_NOISE = 0.005
#: Pixels, and share of the paper's longer side, that a digit has at least.
_SMALLEST, _SMALLEST_SHARE = 5, 0.05
#: In pixels of the 20 x 20 box: thinner strokes are drawn as wide as this. MNIST's are 1.5 to 4 wide.
_THINNEST = 1.5
#: Of its own length, how much of a digit may lie along the edge of the picture.
_LIGHT_CONTACT = 0.6
#: Pixels that the paper's colour is fitted to, and how often.
_SAMPLES, _ROUNDS = 4_000, 10
#: A photo of a paper on a table in a frame.
_DEEPEST = 3


def as_mnist(pixels: np.ndarray) -> Floats:
    """The one digit of a picture as MNIST shows it: (28, 28) float32 in [0, 1], ink bright.

    pixels: (H, W, 3) or (H, W), uint8, uint16, or float in [0, 1]; paper and ink of any two colours, also unevenly
    lit or with a border. The longer side of the ink is scaled to 20 pixels, and its centre of mass lies in the middle.
    Raises UnreadableImage where no digit is found.
    """
    picture = _shrunk(pixels)
    ink = _find(picture, np.ones(picture.shape[:2], np.bool_))
    if ink is None:
        height, width = pixels.shape[:2]
        raise UnreadableImage(
            f"no digit found in {width} x {height} pixels. Take one digit, darker or brighter than its paper, "
            "with some paper around it."
        )
    return _centred(_scaled(_thickened(ink)))


def _shrunk(pixels: np.ndarray) -> Floats:
    """(h, w, 3) float32 in [0, 1], at most `_LONGEST` long: means of k x k pixels."""
    colours = pixels[..., None] if pixels.ndim == 2 else pixels
    whole = np.iinfo(pixels.dtype).max if np.issubdtype(pixels.dtype, np.integer) else 1
    k = -(-max(colours.shape[:2]) // _LONGEST)
    height, width = (max(1, side // k) for side in colours.shape[:2])
    blocks = colours[: height * k, : width * k].reshape(height, -1, width, min(k, colours.shape[1]), colours.shape[2])
    means = blocks.mean((1, 3), dtype=np.float32) / np.float32(whole)
    return np.ascontiguousarray(np.broadcast_to(means, (height, width, 3)), np.float32)


def _find(picture: Floats, within: Mask, depth: int = 0) -> Floats | None:
    """How much ink there is, (H, W) in [0, 1], of the digit inside `within`; None where there is none."""
    framed = _framed(picture) if depth == 0 else None
    inner = _inside(picture, *framed, depth) if framed else None
    if inner is not None:
        return inner
    paper, noise = _paper(picture, within)
    offset = picture - paper
    distance = np.where(within, _length(offset), 0)
    levels = (max(4 * noise, 0.02), max(4 * noise, _otsu(distance[within]), _FAINTEST))
    found = [_Found.above(distance, level, within) for level in levels]
    # A frame or a table lies along the edge. The whole picture may be cut so close that the digit does too.
    for contact in (0.0, _LIGHT_CONTACT, np.inf) if depth == 0 else (0.0, _LIGHT_CONTACT):
        for parts in found:
            part = parts.digit(contact)
            if part is None:
                continue
            inner = _inside(picture, paper, part, depth)
            return _ink(offset, part, distance, noise) if inner is None else inner
    return None


def _length(offset: Floats) -> Floats:
    length: Floats = np.sqrt(np.square(offset).mean(-1))
    return length


def _paper(picture: Floats, within: Mask) -> tuple[Floats, float]:
    """The colour of the paper at every pixel, as if nothing were on it, and how far its own pixels stray from it.

    A quadratic surface for each channel, fitted again and again to the pixels that lie near it, from the median on.
    """
    height, width = within.shape
    y, x = np.meshgrid(np.linspace(-1, 1, height), np.linspace(-1, 1, width), indexing="ij")
    terms = np.stack((np.ones_like(x), x, y, x * x, x * y, y * y), axis=2).astype(np.float32)
    step = max(1, int(np.sqrt(within.sum() / _SAMPLES)))
    sample = within[::step, ::step]
    colours, at = picture[::step, ::step][sample], terms[::step, ::step][sample]
    fit = np.zeros((6, 3), np.float32)
    fit[0] = np.median(colours, axis=0)
    before = None
    for _ in range(_ROUNDS):
        stray = _length(colours - at @ fit)
        near = stray <= 2.5 * max(float(np.median(stray)), _LEAST_NOISE)
        if before is not None and (near == before).all():
            break
        before = near
        chosen = at[near].astype(np.float64)
        # So slight a pull towards zero matters only where too few places are left to say how the paper bends.
        square = chosen.T @ chosen + 1e-6 * len(chosen) * np.eye(6)
        fit = np.linalg.solve(square, chosen.T @ colours[near]).astype(np.float32)
    return terms @ fit, float(np.median(_length(colours - at @ fit)[near]))


def _otsu(values: Floats) -> float:
    """The level that best parts the values in two (Otsu 1979, doi:10.1109/TSMC.1979.4310076)."""
    counts, edges = np.histogram(values, 256)
    middles = (edges[:-1] + edges[1:]) / 2
    below = np.cumsum(counts)
    above = below[-1] - below
    sums = np.cumsum(counts * middles)
    gap = sums / np.maximum(below, 1) - (sums[-1] - sums) / np.maximum(above, 1)
    return float(edges[1 + int(np.argmax(below * above * np.square(gap)))])


@dataclass(frozen=True, slots=True)
class _Found:
    """What lies off the paper, in connected parts: 1 to n in `numbers`, 0 elsewhere; all else is (n + 1,) or longer."""

    numbers: NDArray[np.intp]
    size: NDArray[np.intp]
    #: First and last row and column: (n + 1, 2, 2).
    boxes: NDArray[np.intp]
    #: The longer side of the box.
    longest: NDArray[np.intp]
    #: The greatest distance from the paper's colour.
    contrast: Floats
    #: Pixels at the edge of where the search is, as a share of the longer side.
    contact: Floats
    smallest: float

    @classmethod
    def above(cls, distance: Floats, level: float, within: Mask) -> _Found:
        """The parts that are further from the paper's colour than `level`."""
        numbers, count = _parts((distance > level) & within)
        boxes = _boxes(numbers, count)
        longest = (boxes[:, 1] - boxes[:, 0]).max(1) + 1
        contrast = np.zeros(count + 1, np.float32)
        np.maximum.at(contrast, numbers[numbers > 0], distance[numbers > 0])
        at_edge = np.bincount(numbers[within & ~_eroded(within)], minlength=count + 1)
        contact = (at_edge / np.maximum(longest, 1)).astype(np.float32)
        smallest = max(_SMALLEST, _SMALLEST_SHARE * max(_shape(within)))
        return cls(
            numbers, np.bincount(numbers.ravel(), minlength=count + 1), boxes, longest, contrast, contact, smallest
        )

    def digit(self, contact: float) -> Mask | None:
        """The part that is most likely the digit, with the strokes near it; None where nothing is like one.

        No more than `contact` of its length may lie at the edge.
        """
        usable = (self.longest >= self.smallest) & (self.contrast >= _FAINTEST)
        usable[0] = False
        light = usable & (self.contact <= _LIGHT_CONTACT)
        # A speck of dirt must not be preferred to a digit that runs off the picture.
        usable &= (self.contact <= contact) & (self.size >= 0.15 * self.size[light].max(initial=0))
        if not usable.any():
            return None
        main = int(np.argmax(np.where(usable, self.size, 0)))
        first, last = self.boxes[:, 0], self.boxes[:, 1]
        gaps = np.maximum(first - last[main], first[main] - last).max(1)
        # A fiftieth of the digit's area: the bar of a five, yet not the dirt of a scan.
        strokes = (gaps <= 0.2 * self.longest[main]) & (self.size >= 0.02 * self.size[main])
        strokes &= (self.contrast >= 0.3 * self.contrast[main]) & (usable | (self.longest < self.smallest))
        strokes[0], strokes[main] = False, True
        part: Mask = strokes[self.numbers]
        return part


def _parts(mask: Mask) -> tuple[NDArray[np.intp], int]:
    """Number the connected parts, diagonals too: (H, W) of 1 to the count that is returned, 0 elsewhere."""
    pixels = int(mask.sum())
    number = np.full(mask.shape, pixels)
    number[mask] = np.arange(pixels)
    least_of = np.arange(pixels + 1)
    while True:
        here = least_of[number]
        around = _extreme(here, np.minimum, pixels)[mask]
        before = least_of.copy()
        # Every part hooks itself below its least neighbour, then all follow the hooks to their end.
        np.minimum.at(least_of, here[mask], around)
        while (least_of[least_of] != least_of).any():
            least_of = least_of[least_of]
        if (least_of == before).all():
            break
    roots, numbers = np.unique(least_of[:-1], return_inverse=True)
    found = np.zeros(mask.shape, np.intp)
    found[mask] = numbers + 1
    return found, len(roots)


def _extreme(values: np.ndarray, of: np.ufunc, outside: object) -> np.ndarray:
    """The least or greatest of each pixel and its eight neighbours; `outside` lies around the picture."""
    padded = np.pad(values, 1, constant_values=outside)  # type: ignore[call-overload]
    rows = of(of(padded[:-2], padded[1:-1]), padded[2:])
    result: np.ndarray = of(of(rows[:, :-2], rows[:, 1:-1]), rows[:, 2:])
    return result


def _eroded(mask: Mask, times: int = 1) -> Mask:
    for _ in range(times):
        mask = _extreme(mask, np.logical_and, outside=False)
    return mask


def _dilated(mask: Mask, times: int = 1) -> Mask:
    for _ in range(times):
        mask = _extreme(mask, np.logical_or, outside=False)
    return mask


def _boxes(numbers: NDArray[np.intp], count: int) -> NDArray[np.intp]:
    """(count + 1, 2, 2): first and last row and column of each part."""
    boxes = np.zeros((count + 1, 2, 2), np.intp)
    boxes[:, 0] = max(numbers.shape)
    for axis, places in enumerate(np.nonzero(numbers)):
        np.minimum.at(boxes[:, 0, axis], numbers[numbers > 0], places)
        np.maximum.at(boxes[:, 1, axis], numbers[numbers > 0], places)
    return boxes


def _inside(picture: Floats, ground: Floats, part: Mask, depth: int) -> Floats | None:
    """The digit in what was found, if that is a sheet of paper on the ground; None if it is the digit itself."""
    box = _box(part)
    filled = _filled(part[box])
    inner = _eroded(filled, -(-max(filled.shape) * 3 // 200))
    # A turned sheet fills half of its box.
    enough = max(0.4 * filled.size, 0.6 * filled.sum())
    if depth == _DEEPEST or min(filled.shape) < 3 * _SMALLEST or inner.sum() < enough:
        return None
    offset = (picture - ground)[box]
    rim = inner & ~_eroded(inner)
    sheet = np.median(offset[rim], axis=0)
    size = float(np.linalg.norm(sheet))
    alike = np.linalg.norm(offset - sheet, axis=2) < 0.3 * size
    # A digit is uneven along its rim, and around a nought's hole there is little of it.
    if alike[rim].mean() < 0.8 or alike[inner].mean() < 0.5:
        return None
    ink = _find(picture[box], inner, depth + 1)
    if ink is None:
        return None
    drawn = ink > 0.5
    own = np.median(offset[drawn], axis=0)
    # Where a stroke is pale or has a hole, the ground shows, or what lies between; ink on a sheet has its own colour.
    share = float(own @ sheet) / size**2
    is_other = not -0.3 < share < 1.3 or np.linalg.norm(own - share * sheet) > 0.3 * size
    if not is_other and not (_is_sheet(filled) and not _is_sheet(_filled(drawn))):
        return None
    whole = np.zeros(part.shape, np.float32)
    whole[box] = ink
    return whole


def _framed(picture: Floats) -> tuple[Floats, Mask] | None:
    """The colour of a straight frame around the picture, and what lies inside it."""
    edge = np.ones(picture.shape[:2], np.bool_)
    edge[1:-1, 1:-1] = False
    colour = np.median(picture[edge], axis=0)
    other = _length(picture - colour) > _FAINTEST / 2
    rows, columns = (np.flatnonzero(other.mean(1 - axis) > 0.05) for axis in (0, 1))
    if not rows.size or not columns.size or other[edge].mean() > 0.05:
        return None
    inside = np.zeros(other.shape, np.bool_)
    inside[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1] = True
    return colour, inside


def _box(mask: Mask) -> tuple[slice, slice]:
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    return slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)


def _shape(mask: Mask) -> tuple[int, int]:
    """Height and width of the box around what is true."""
    rows, columns = _box(mask)
    return rows.stop - rows.start, columns.stop - columns.start


def _is_sheet(filled: Mask) -> bool:
    """Whether the mask is a rectangle, turned or not, and no bar: as a sheet of paper is, and no nought or one."""
    y, x = np.nonzero(filled & ~_eroded(filled))
    angle = np.radians(np.arange(0, 90, 3))[:, None]
    down = np.ptp(y * np.cos(angle) - x * np.sin(angle), axis=1) + 1
    across = np.ptp(y * np.sin(angle) + x * np.cos(angle), axis=1) + 1
    best = int(np.argmin(down * across))
    sides = sorted((float(down[best]), float(across[best])))
    return bool(filled.sum() > 0.9 * sides[0] * sides[1] and sides[0] > 0.4 * sides[1])


def _filled(part: Mask) -> Mask:
    """The part with its holes: all that cannot be reached from the picture's edge without crossing it."""
    numbers, _ = _parts(~np.pad(part, 1))
    filled: Mask = (numbers != numbers[0, 0])[1:-1, 1:-1]
    return filled


def _ink(offset: Floats, part: Mask, distance: Floats, noise: float) -> Floats:
    """How far each pixel of the part and its rim is on the way from the paper's colour to the ink's, in [0, 1]."""
    strong = part & (distance >= 0.7 * np.quantile(distance[part], 0.98))
    direction = offset[strong].mean(0)
    along = offset @ direction / np.square(direction).sum()
    along /= np.quantile(along[strong], 0.9)
    near = _dilated(part, 1 + max(part.shape) // 200)
    floor = max(0.02, 3 * noise / max(float(np.linalg.norm(direction)), _FAINTEST))
    return np.where(near & (along > floor), along, 0).clip(0, 1).astype(np.float32)


def _thickened(ink: Floats) -> Floats:
    """Strokes that would be thinner than MNIST's, widened; others as they are."""
    drawn = ink > 0.5
    unit = max(_shape(drawn)) / BOX
    # A stroke has two edges, each as long as itself; its corners are not counted.
    inner = _eroded(np.pad(drawn, 1))[1:-1, 1:-1]
    wide = 2 * drawn.sum() / max(1, (drawn & ~inner).sum())
    times = round((_THINNEST * unit - wide) / 2)
    wider = np.pad(ink, max(0, times))
    for _ in range(times):
        wider = _extreme(wider, np.maximum, 0.0)
    return wider


def _scaled(ink: Floats) -> Floats:
    """The ink cut to its box and scaled so that the longer side is 20."""
    # The faintest pixels are ink at MNIST's own size, and the blur of an edge in a larger picture.
    unit = max(_shape(ink > 0.5)) / BOX
    box = ink[_box(ink > min(max(0.0, 0.2 * (unit - 1)), 0.2))]
    if max(box.shape) == BOX:
        return box
    height, width = (max(1, round(BOX * side / max(box.shape))) for side in box.shape)
    # When it shrinks, this is a mean over the pixels that fall together, weighted by their nearness.
    scaled = Image.fromarray(box).resize((width, height), Image.Resampling.BICUBIC)
    return np.asarray(scaled, np.float32).clip(0, 1)


def _centred(ink: Floats) -> Floats:
    """28 x 28 with the centre of mass at (14, 14), to the nearest pixel; nothing is cut off."""
    picture = np.zeros((SIDE, SIDE), np.float32)
    corner = []
    for axis, side in enumerate(ink.shape):
        mass = ink.sum(1 - axis, dtype=np.float64)
        middle = float((mass * np.arange(side)).sum() / mass.sum())
        corner.append(min(max(0, round(CENTRE - middle)), SIDE - side))
    picture[corner[0] : corner[0] + ink.shape[0], corner[1] : corner[1] + ink.shape[1]] = ink
    return picture
