"""Opens a model file and runs it on pictures: tiled, exact at the seams."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Literal, NamedTuple, TypeVar, overload

import numpy as np

from restore import store
from restore.classifier import Classifier
from restore.contract import to_pixels, to_tensor
from restore.ensemble import check_count, look_often, part_of
from restore.errors import BadOption, ModelNotFound, NotEnoughMemory, UnsupportedModel, WrongMask
from restore.image import Image
from restore.model import Model
from restore.monochrome import has_two_levels
from restore.planner import Planner
from restore.session import Session
from restore.small import Keep, Small
from restore.tiles import best_window, plan_tiles, run_tiled

TileSize = int | Literal["auto"] | None

#: Pixels of a tile where the size is chosen for the user. The 4.3-million-parameter denoiser needs
#: about 0.14 GB a megapixel, so a tile takes some 0.7 GB and a 24-megapixel photo six tiles.
_AUTO_TILE_PIXELS = 5_100_000
#: Side in pixels of the blocks in which a picture is one colour or not.
_BLOCK = 16
#: The share of the work that is done, where a picture is looked at shrunk, when the network has answered.
_LOOKING = 0.9


class Restored(NamedTuple):
    """What came out, and what was found on the way (`found`: {"sigma": 0.086}, on the [0, 1] scale).

    `mask` is where a mark was taken off, (H, W) uint8, 0 where the picture is untouched; None from models without.
    """

    image: Image
    found: Mapping[str, float]
    mask: np.ndarray | None = None

    def changed(self, source: Image) -> bool:
        """Whether anything was done at all: a picture with nothing to mend comes back as the same object."""
        return self.image is not source


Kind = TypeVar("Kind", bound=Model)


class Restorer(Model):
    """A model that answers with a picture."""

    def __call__(
        self,
        image: Image,
        *,
        tile: TileSize = "auto",
        progress: Callable[[float], None] | None = None,
        strength: float = 1.0,
        chroma_strength: float = 1.0,
        mask: np.ndarray | None = None,
        self_ensemble: int = 1,
        **params: float,
    ) -> Restored:
        """The restored picture: same size, depth, alpha, profile and metadata.

        `params` are on the network's scale (`sigma` in [0, 1]); one that is left out and has no
        default is found by the network, at each place within its reach. `tile` is the side of a tile in pixels, None
        for the whole picture at once; a network that needs the whole picture takes it shrunk, and no tiles. `strength`
        and `chroma_strength`, in [0, 1], are how much of the change in luma and in colour is made: 0 leaves it as it
        was. `progress` gets the finished share, up to 1. `mask`, (H, W) of any number type, is where to work instead of
        where the model would: above 0. `self_ensemble`, 1, 2, 4 or 8, is how often the network looks, mirrored and
        turned, for the mean of its answers (`restore.ensemble`): better, and so many times slower.
        A picture in which nothing was found to mend comes back as it is, the same object.
        Raises BadOption for a parameter that the model lacks, a value outside its range or a mask of
        another size, NotEnoughMemory.
        """
        if not isinstance(image, Image):
            raise TypeError(
                f"{type(image).__name__} where an Image is needed: restore.read(path), or restore.Image(pixels)"
            )
        check_count(self_ensemble)
        self.check_tile(tile)
        values = self._settle(params)
        for name, share in (("strength", strength), ("chroma-strength", chroma_strength)):
            if not 0.0 <= share <= 1.0:
                raise BadOption(f"--{name} {share:g} is not a share. Use 0 (leave it as it is) to 1 (all of it).")
        told = None if mask is None else self._settle_mask(mask, image)
        sought = [param for param in self.spec.params if values[param.name] == param.unknown]
        if sought and has_two_levels(image.pixels):
            # A scan in black and white without grey: each of its dots would look like noise.
            return Restored(image, {param.name: 0.0 for param in sought})
        if any(param.unknown is not None and values[param.name] == 0 for param in self.spec.params):
            # Told that there is no damage at all.
            return Restored(image, {})
        out = np.empty_like(image.pixels)
        marks = np.zeros(image.pixels.shape[:2], np.uint8) if self.finds_marks else None
        grey = image.pixels.ndim == 2
        power = weight = 0.0

        def keep(core: tuple[slice, slice], answers: dict[str, np.ndarray]) -> None:
            nonlocal power, weight
            restored = answers["restored"]
            if strength < 1.0 or chroma_strength < 1.0:
                restored = _soften(to_tensor(image.pixels[core]), restored, strength, chroma_strength)
            out[core] = to_pixels(restored, out.dtype, grey=grey)
            if "level" in answers and sought:
                shows = _shows_noise(image, core)
                power += float(np.square(answers["level"][0, 0][shows], dtype=np.float64).sum())
                weight += np.count_nonzero(shows)
            if marks is not None:
                # Upwards: what was touched at all is not 0.
                marks[core] = np.ceil(answers["mask"][0, 0] * 255)
                out[core][marks[core] == 0] = image.pixels[core][marks[core] == 0]

        self._run(image.pixels, values, keep, tile=tile, progress=progress, mask=told, looks=self_ensemble)
        if marks is not None:
            share = float(np.count_nonzero(marks)) / marks.size
            return Restored(image.with_pixels(out) if share else image, {"marked": share}, marks)
        level = math.sqrt(power / max(weight, 1))
        found = {param.name: min(level, param.max) for param in sought}
        nothing = sought and all(level < param.nothing_below for param in sought)
        return Restored(image if nothing or np.array_equal(out, image.pixels) else image.with_pixels(out), found)

    def check_tile(self, tile: TileSize) -> None:
        """Raise BadOption for a tile's side of which less than a third could be kept: the work would have no end."""
        if not isinstance(tile, int) or self.spec.reach is None:
            return
        halo = math.ceil(self.spec.reach / self.spec.multiple_of) * self.spec.multiple_of
        least = max(1, 3 * halo)
        if tile < 1:
            raise BadOption(f"--tile {tile} is not a size in pixels. Use {least} or more, or leave it out.")
        if tile < least:
            raise BadOption(
                f"--tile {tile} is too small: {self.spec.name} looks {self.spec.reach} pixels around each, and would "
                f"look at most of them many times. Use {least} or more, or leave it out."
            )

    @property
    def finds_marks(self) -> bool:
        """Whether the model says where it worked, and takes a user's mask instead."""
        return any(tensor.name == "mask_in" for tensor in self.spec.tensors)

    def _settle_mask(self, mask: np.ndarray, image: Image) -> np.ndarray:
        """A user's mask as bool. Raises BadOption."""
        if not self.finds_marks:
            raise BadOption(f"{self.spec.name} takes no mask: it is for the task {self.spec.task}.")
        if mask.shape != image.pixels.shape[:2]:
            shown = " x ".join(map(str, mask.shape[1::-1]))
            raise WrongMask(
                f"the mask has {shown} pixels, the upright picture {image.width} x {image.height}. "
                "They must have the same size."
            )
        return mask > 0

    def run_array(
        self,
        x: np.ndarray,
        *,
        tile: TileSize = None,
        mask: np.ndarray | None = None,
        self_ensemble: int = 1,
        **params: float,
    ) -> dict[str, np.ndarray]:
        """The network's answer on floats: (H, W, 3) float32, unclipped in, unquantised out.

        Returns {"restored": (H, W, 3) float32}, and beside it "level", (H, W) float32, where the
        network says how strong the damage is, or "mask", where the mark was. Parameters as in
        `__call__`; `mask` is (H, W) bool.
        """
        check_count(self_ensemble)
        out: dict[str, np.ndarray] = {}

        def keep(core: tuple[slice, slice], answers: dict[str, np.ndarray]) -> None:
            for name, answer in answers.items():
                part = answer[0].transpose(1, 2, 0)
                whole = out.setdefault(name, np.empty((*x.shape[:2], part.shape[2]), np.float32))
                whole[core] = part

        self._run(x, self._settle(params), keep, tile=tile, mask=mask, looks=self_ensemble)
        return {name: answer[..., 0] if answer.shape[2] == 1 else answer for name, answer in out.items()}

    def _settle(self, params: Mapping[str, float]) -> dict[str, float]:
        """Every parameter's value; `Param.unknown` for one that the network is to find."""
        for name, value in params.items():
            param = self.spec.param(name)
            if not param.min <= value <= param.max * (1 + 1e-6):
                raise BadOption(
                    f"{name} {value:g} is not in {self.spec.name}'s range, {param.min:g} to {param.max:.4g}"
                    + (f" (25 of {param.scale:g} is 25 / {param.scale:g})." if param.scale != 1 else ".")
                )
        values: dict[str, float] = {}
        for param in self.spec.params:
            usual = param.unknown if param.default is None else param.default
            assert usual is not None, "a spec that passed its check has one of the two"
            values[param.name] = params.get(param.name, usual)
        return values

    def _run(
        self,
        pixels: np.ndarray,
        values: Mapping[str, float],
        keep: Keep,
        *,
        tile: TileSize,
        progress: Callable[[float], None] | None = None,
        mask: np.ndarray | None = None,
        looks: int = 1,
    ) -> None:
        scalars = {name: np.array([value], np.float32) for name, value in values.items()}
        look = partial(self._look, scalars=scalars, tile=tile)
        small = None
        if self.spec.reach is None:
            assert self.spec.working_size is not None, "a spec that passed its check has one of the two"
            small = Small.of(pixels, mask, working_size=self.spec.working_size, soft_size=self.spec.soft_size)
        if small is None:
            look_often(look, pixels, mask, keep, count=looks, progress=progress)
            return
        looked = part_of(progress, 0.0, _LOOKING)
        look_often(look, small.pixels, small.mask, small.take, count=looks, progress=looked)
        small.enlarge_into(keep, part_of(progress, _LOOKING, 1.0))

    def _look(
        self,
        pixels: np.ndarray,
        mask: np.ndarray | None,
        keep: Keep,
        progress: Callable[[float], None] | None,
        *,
        scalars: Mapping[str, np.ndarray],
        tile: TileSize,
    ) -> None:
        """Run the network on a picture, in tiles where it has a reach."""
        height, width = pixels.shape[:2]

        def run(part: tuple[slice, slice]) -> dict[str, np.ndarray]:
            image = to_tensor(pixels[part])
            try:
                return self._session.run({"image": image, **scalars, **self._masks(mask, part, image)})
            except NotEnoughMemory as error:
                if self.spec.reach is None:
                    raise
                raise NotEnoughMemory(f"{error} Try smaller tiles: restore {self.spec.task} --tile 1024") from None

        if self.spec.reach is None:
            tiles = plan_tiles(height, width, window=None, reach=0, multiple_of=1)
        else:
            window = _window(tile, height, width, self.spec.reach, self.spec.multiple_of)
            tiles = plan_tiles(height, width, window=window, reach=self.spec.reach, multiple_of=self.spec.multiple_of)
        run_tiled(tiles, run, keep, progress)

    def _masks(self, mask: np.ndarray | None, part: tuple[slice, slice], image: np.ndarray) -> dict[str, np.ndarray]:
        """What the model's tensors get for a window: the user's mask, or that there is none."""
        if not self.finds_marks:
            return {}
        if mask is None:
            given = np.zeros((1, 1, *image.shape[2:]), np.float32)
        else:
            given = np.ascontiguousarray(mask[part], np.float32)[None, None]
        return {"mask_in": given, "use_mask": np.array([mask is not None], np.float32)}


def _window(tile: TileSize, height: int, width: int, reach: int, multiple_of: int) -> tuple[int, int] | None:
    """Height and width of a tile; None for the whole picture at once."""
    if tile == "auto":
        return best_window(height, width, pixels=_AUTO_TILE_PIXELS, reach=reach, multiple_of=multiple_of)
    return None if tile is None else (tile, tile)


def _shows_noise(image: Image, core: tuple[slice, slice]) -> np.ndarray:
    """Where in a part of a picture noise would show, (H, W) bool: not where it is hidden, nor where all is one colour.

    A frame, a canvas or a white sky has no noise whatever the rest has, and would make that of the rest look less.
    """
    pixels = image.pixels[core].reshape(*image.pixels[core].shape[:2], -1)
    height, width = pixels.shape[:2]
    filled = np.pad(pixels, ((0, -height % _BLOCK), (0, -width % _BLOCK), (0, 0)), mode="edge")
    # Each row of a block against its first, and that against its first pixel: a tenth of the time of its extremes.
    rows = filled.reshape(filled.shape[0] // _BLOCK, _BLOCK, filled.shape[1] // _BLOCK, -1)
    first = rows[:, 0].reshape(rows.shape[0], rows.shape[2], _BLOCK, -1)
    varied = (rows != rows[:, :1]).any(axis=(1, 3)) | (first != first[:, :, :1]).any(axis=(2, 3))
    shows: np.ndarray = varied.repeat(_BLOCK, axis=0).repeat(_BLOCK, axis=1)[:height, :width]
    return shows if image.alpha is None else shows & (image.alpha[core] > 0)


def _soften(source: np.ndarray, restored: np.ndarray, strength: float, chroma_strength: float) -> np.ndarray:
    """`strength` of the change in luma (Rec. 601, as JPEG has it) and `chroma_strength` of the rest of it.

    Both (1, 3, H, W) float32 in [0, 1], and so is the answer.
    """
    change: np.ndarray = restored - source
    luma = np.einsum("c,nchw->nhw", np.array([0.299, 0.587, 0.114], np.float32), change)[:, None]
    change -= luma
    change *= np.float32(chroma_strength)
    change += np.float32(strength) * luma
    change += source
    return change


@overload
def open_model(name_or_path: str | Path, *, device: str = "auto", threads: int | None = None) -> Restorer: ...
@overload
def open_model(
    name_or_path: str | Path, *, kind: type[Kind], device: str = "auto", threads: int | None = None
) -> Kind: ...
def open_model(
    name_or_path: str | Path, *, kind: type[Model] | None = None, device: str = "auto", threads: int | None = None
) -> Model:
    """Open a model by name (`denoise-fast`), task (`denoise`: its tier "fast") or path to an .onnx file.

    What comes is a `Restorer`, a `Classifier` or a `Planner`, as the file says; where `kind` is given, no other.
    (A type checker, not told, takes it for a Restorer.)
    `device` is `auto` (a GPU if onnxruntime can use one, else the CPU), `cpu` or `cuda`; `threads`
    at most that many CPU threads, by default as many as this process may use.
    Raises ModelNotFound, UnsupportedModel, BadOption.
    """
    path = store.find(name_or_path)
    session = Session(path, device=device, threads=threads)
    spec = session.spec
    made = {"image": Restorer, "labels": Classifier, "steps": Planner}.get(spec.answer)
    if made is None:
        raise UnsupportedModel(f"{path}: {spec.name} answers with {spec.answer}: it is for the task {spec.task}.")
    if kind and not issubclass(made, kind):
        raise UnsupportedModel(f"{path}: {spec.name} is for the task {spec.task}: it answers with {spec.answer}.")
    if made is Planner:
        return Planner(session, open_noise_finder(device))
    opened: Model = made(session)
    return opened


def open_noise_finder(device: str) -> Model | None:
    """The installed denoiser, if it finds the level of noise itself."""
    try:
        # For so few pixels one thread does, and none is left that spins beside the planner's own.
        denoiser = Model(Session(store.find("denoise"), device=device, threads=1))
    except ModelNotFound:
        return None
    sought = [param.name for param in denoiser.spec.params if param.default is None]
    return denoiser if sought == ["sigma"] else None
