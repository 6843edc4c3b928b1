"""A picture from a small code alone, what the code costs beside JPEG, and how unlike the training photos it is."""

from __future__ import annotations

import dataclasses
import io
import json
import math
import zlib
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from PIL import Image as PillowImage

from restore.contract import to_pixels, to_tensor
from restore.engine import Restorer
from restore.errors import UnsupportedModel
from restore.image import Image, to_8_bits
from restore.tiles import best_window, plan_tiles, run_tiled

#: In the file's metadata: what photos are like, see `Typical`.
TYPICAL_KEY = "restore.typical"
#: As large as the training photos: how unlike them a picture is does not depend on its size in pixels.
_LONGEST = 512
_TILE_PIXELS = 4_000_000
#: The share of the pixels whose error counts as the worst one's: single ones say little.
_WORST = 0.99
_LEAST = 1e-6


class Reproduction(NamedTuple):
    """What came back, and what it cost; PSNR in dB over all 8-bit values.

    `jpeg_psnr` is that of a JPEG of as many bytes at the most, None where the smallest one is larger. `unlike` is the
    share of held-out photos that are more like the training photos, None where the file does not say what these are.
    """

    image: Image
    psnr: float
    code_bytes: int
    jpeg_psnr: float | None
    unlike: float | None


@dataclasses.dataclass(frozen=True, slots=True)
class Typical:
    """How photos' `traits` spread: a normal distribution, and percentiles 0 to 100 of held-out photos' distances."""

    mean: tuple[float, ...]
    precision: tuple[tuple[float, ...], ...]
    percentiles: tuple[float, ...]

    @classmethod
    def of(cls, known: np.ndarray, held_out: np.ndarray) -> Typical:
        """From the traits of photos, (N, 3) each: to fit the distribution, and to see how far others lie from it."""
        precision = np.linalg.inv(np.cov(known.T) + _LEAST * np.eye(known.shape[1]))
        plain = cls(tuple(known.mean(0).tolist()), tuple(map(tuple, precision.tolist())), ())
        distances = [plain.distance(row) for row in held_out]
        return dataclasses.replace(plain, percentiles=tuple(np.percentile(distances, np.arange(101)).tolist()))

    def distance(self, found: np.ndarray) -> float:
        """How far traits lie from the middle, in standard deviations (Mahalanobis 1936)."""
        away = found - np.array(self.mean)
        return math.sqrt(float(away @ np.array(self.precision) @ away))

    def share_below(self, found: np.ndarray) -> float:
        """The share of held-out photos that lie nearer to the middle."""
        return float(np.interp(self.distance(found), self.percentiles, np.linspace(0, 1, 101)))

    def to_json(self) -> str:
        """What is written under `TYPICAL_KEY`."""
        return json.dumps(dataclasses.asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Typical:
        """Read what `to_json` wrote. Raises UnsupportedModel for anything else."""
        try:
            plain = json.loads(text)
            mean, percentiles = (tuple(map(float, plain[key])) for key in ("mean", "percentiles"))
            precision = tuple(tuple(map(float, row)) for row in plain["precision"])
        except (ValueError, KeyError, TypeError) as error:
            raise UnsupportedModel(
                f"what photos are like cannot be read ({error!r}). Export the model again."
            ) from None
        if len(percentiles) != 101 or {len(precision), *map(len, precision)} != {len(mean)}:
            raise UnsupportedModel("what photos are like has a wrong size. Export the model again.")
        return cls(mean, precision, percentiles)


def reproduce(model: Restorer, image: Image, *, progress: Callable[[float], None] | None = None) -> Reproduction:
    """The picture from its code: same size, depth, alpha, profile and metadata.

    Raises UnsupportedModel for a model without a code, NotEnoughMemory.
    """
    pixels, code = _through(model, image.pixels, progress)
    original, came_back = to_8_bits(image.pixels), to_8_bits(pixels)
    size = len(pack(code))
    jpeg = jpeg_within(original, size)
    told = model.metadata(TYPICAL_KEY)
    return Reproduction(
        image=image.with_pixels(pixels),
        psnr=psnr(original, came_back),
        code_bytes=size,
        jpeg_psnr=None if jpeg is None else psnr(original, np.asarray(PillowImage.open(io.BytesIO(jpeg)))),
        unlike=Typical.from_json(told).share_below(traits(model, image.pixels)) if told else None,
    )


def _through(
    model: Restorer, pixels: np.ndarray, progress: Callable[[float], None] | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """The reproduced pixels, and the code (K, h, w) int8: one place for each `multiple_of` pixels along an axis."""
    height, width = pixels.shape[:2]
    step, reach = model.spec.multiple_of, model.spec.reach or 0
    window = best_window(height, width, pixels=_TILE_PIXELS, reach=reach, multiple_of=step)
    out = np.empty_like(pixels)
    codes: dict[tuple[int, int], np.ndarray] = {}

    def run(part: tuple[slice, slice]) -> dict[str, np.ndarray]:
        answers = model.run_batch({"image": to_tensor(pixels[part])})
        if "code" not in answers:
            raise UnsupportedModel(f"{model.spec.name}: a model without a code. Take one for the task reproduce.")
        # As large as the picture, so that the tiles' cores cut it too.
        code = answers["code"].repeat(step, axis=2).repeat(step, axis=3)
        return {"restored": answers["restored"], "code": code[..., : part[0].stop, : part[1].stop]}

    def keep(core: tuple[slice, slice], answers: dict[str, np.ndarray]) -> None:
        out[core] = to_pixels(answers["restored"], out.dtype, grey=pixels.ndim == 2)
        codes[core[0].start, core[1].start] = np.rint(answers["code"][0, :, ::step, ::step]).astype(np.int8)

    # A tile and its core begin on multiples of `step`.
    run_tiled(plan_tiles(height, width, window=window, reach=reach, multiple_of=step), run, keep, progress)
    rows = sorted({row for row, _ in codes})
    joined = [np.concatenate([codes[at] for at in sorted(codes) if at[0] == row], axis=2) for row in rows]
    return out, np.concatenate(joined, axis=1)


def pack(code: np.ndarray) -> bytes:
    """The code (K, h, w) int8 as bytes, plane by plane, deflated: all that is needed beside the picture's size."""
    return min((_deflated(code, strategy) for strategy in (zlib.Z_DEFAULT_STRATEGY, zlib.Z_HUFFMAN_ONLY)), key=len)


def _deflated(code: np.ndarray, strategy: int) -> bytes:
    packer = zlib.compressobj(9, zlib.DEFLATED, -15, 9, strategy)
    return packer.compress(np.ascontiguousarray(code, np.int8).tobytes()) + packer.flush()


def jpeg_within(pixels: np.ndarray, size: int) -> bytes | None:
    """The best JPEG of 8-bit pixels that takes at most `size` bytes; None where there is none."""
    best, low, high = None, 1, 95
    while low <= high:
        quality = (low + high) // 2
        file = io.BytesIO()
        PillowImage.fromarray(pixels).save(file, "JPEG", quality=quality, optimize=True)
        if file.tell() <= size:
            best, low = file.getvalue(), quality + 1
        else:
            high = quality - 1
    return best


def psnr(first: np.ndarray, second: np.ndarray) -> float:
    """In dB, of two pictures of 8 bits; equal ones give inf."""
    error = float(np.square(first.astype(np.float32) - second).mean(dtype=np.float64))
    return math.inf if error == 0 else 10 * math.log10(255**2 / error)


def traits(model: Restorer, pixels: np.ndarray) -> np.ndarray:
    """What tells photos from other pictures, (3,): logarithms of the error, of the worst pixels' error, of the detail.

    Of the picture shrunk to the size of the training photos: squares of the error of its reproduction, on average and
    at the 99th percentile, and of the differences between neighbours. Drawings and noise are reproduced better
    or worse than their detail would let one expect.
    """
    small = _shrunk(to_8_bits(pixels))
    came_back, _ = _through(model, small)
    error = np.square((came_back.astype(np.float32) - small) / 255)
    values = small.astype(np.float32) / 255
    detail = sum(float(np.square(np.diff(values, axis=axis)).mean()) if small.shape[axis] > 1 else 0 for axis in (0, 1))
    pixel_error = error if error.ndim == 2 else error.mean(axis=2)
    found: Sequence[float] = (float(error.mean()), float(np.quantile(pixel_error, _WORST)), detail)
    return np.log(np.maximum(found, _LEAST))


def _shrunk(pixels: np.ndarray) -> np.ndarray:
    picture = PillowImage.fromarray(pixels)
    scale = _LONGEST / max(picture.size)
    if scale >= 1:
        return pixels
    size = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
    return np.asarray(picture.resize(size, PillowImage.Resampling.LANCZOS, reducing_gap=3.0))
