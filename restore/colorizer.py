"""Opens a model that gives colour to black-and-white pictures, and runs it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from restore import chroma, color, store
from restore.chroma import MOST_STRENGTH, Guess, Hint
from restore.contract import ModelSpec
from restore.engine import Restored
from restore.errors import BadOption, UnsupportedModel
from restore.formats import profiles
from restore.formats.tags import noted_xmp
from restore.image import Image
from restore.monochrome import judge
from restore.session import Session

#: How much nearer a palette must be to be drawn e times as often: palettes of photos are 0.4 to 3 away.
_NEARNESS = 0.06
_NO_NOTE = "its XMP cannot be added to, so that nothing in the file says that the colours are a guess"
_LIKE_SRGB = "its colour profile has no curves that are understood: it was taken for sRGB, so lightness may change"
_IN_SRGB = "its colour profile is sRGB now, in which the colours were computed"
_NOTE = "The colours of this picture were computed by Restore ({}). They are a guess, not a record."


class Colorizer:
    """A model that answers with chroma. Safe to share between threads: nothing changes after opening."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self.spec: ModelSpec = session.spec
        assert self.spec.working_size, "a spec that passed its check has one"
        #: Longest side of what the network sees, in pixels.
        self.longest: int = self.spec.working_size

    @property
    def provider(self) -> str:
        """The onnxruntime provider that computes, "CPUExecutionProvider" for example."""
        return self._session.provider

    def __call__(
        self,
        image: Image,
        *,
        hints: Sequence[Hint] = (),
        palette: np.ndarray | None = None,
        strength: float = 1.0,
        force: bool = False,
        note: bool = True,
        progress: Callable[[float], None] | None = None,
    ) -> Restored:
        """The picture in colour: same size, depth, alpha and metadata, and the same L* at each pixel.

        A picture that is in colour already comes back as it is, the same object, unless `force`; hints count as
        force. `palette` is what `palette_of` gives; `strength`, 0 to 1.5, scales the guess, not the hints. With `note`
        the XMP says that the colours were computed. Raises BadOption for a strength or a hint that cannot be.
        """
        tick = progress or _ignore
        tick(0.0)
        chroma.check_hints(hints, image.height, image.width)
        if not (force or hints or judge(image.pixels).is_monochrome):
            return Restored(image, {})
        luma, icc, notes = _seen(image)
        tick(0.2)
        found = self.guess(luma, hints=hints, palette=palette, strength=strength)
        tick(0.4)
        made = image.with_pixels(color.colour_in(luma, found.ab, found.luma, image.pixels.dtype))
        xmp = made.xmp
        if note:
            noted = noted_xmp(xmp, _NOTE.format(self.spec.name))
            notes += () if noted else (_NO_NOTE,)
            xmp = noted or xmp
        tick(1.0)
        return Restored(replace(made, icc=icc or made.icc, xmp=xmp, notes=made.notes + notes), {})

    def guess(
        self,
        luma: np.ndarray,
        *,
        hints: Sequence[Hint] = (),
        palette: np.ndarray | None = None,
        strength: float = 1.0,
    ) -> Guess:
        """The chroma at the working size for L*, (H, W), 0 to 100: what `__call__` joins to the full size."""
        if not 0 <= strength <= MOST_STRENGTH:
            raise BadOption(f"--strength {strength:g} is not possible. Use 0 (no colour) to {MOST_STRENGTH:g}.")
        return chroma.guess(
            self._session.run, luma, longest=self.longest, hints=hints, palette=palette, strength=strength
        )

    def candidates(
        self, image: Image, count: int, *, hints: Sequence[Hint] = (), seed: int = 0
    ) -> list[np.ndarray | None]:
        """Palettes for `count` versions of a picture that differ plainly: the first None, the automatic one.

        The others are drawn from the palettes of photos, `chroma.palettes`, the likelier the nearer to the automatic
        answer's own; one whose answer is too like another's is passed over, as long as there are others.
        """
        luma = lightness(image)
        plain = self.guess(luma, hints=hints)
        known = chroma.palettes()
        distance = chroma.palette_distance(color.palette_of(plain.ab), known)
        # With Gumbel's noise the order is a draw without replacement, each by exp(-distance / _NEARNESS).
        drawn = np.argsort(distance / _NEARNESS - np.random.default_rng(seed).gumbel(size=len(known)))
        kept: list[tuple[np.ndarray | None, Guess]] = [(None, plain)]
        spare: list[tuple[np.ndarray | None, Guess]] = []
        for index in drawn:
            if len(kept) == count:
                break
            tried = self.guess(luma, hints=hints, palette=known[index])
            least = min(chroma.difference(tried, other) for _, other in kept)
            (kept if least >= chroma.PLAIN_DIFFERENCE else spare).append((known[index], tried))
        return [palette for palette, _ in (*kept, *spare)[:count]]

    def palette_of(self, image: Image) -> np.ndarray:
        """The palette of a photo in colour, (PALETTE_SIZE,). Raises BadOption for one that is black-and-white."""
        verdict = judge(image.pixels)
        if verdict.is_monochrome:
            raise BadOption(f"the picture is {verdict.kind}, so it has no palette. Give a photo in colour.")
        return chroma.palette_from(image, longest=self.longest)

    def hints_in(self, dots: Image, like: Image) -> list[Hint]:
        """The hints of a transparent picture laid over `like`; see `restore.chroma.hints_in`. Raises BadOption."""
        return chroma.hints_in(dots, like.height, like.width, longest=self.longest)


def lightness(image: Image) -> np.ndarray:
    """L* (0-100) of each pixel as its colour profile shows it: (H, W) float32."""
    return _seen(image)[0]


def _seen(image: Image) -> tuple[np.ndarray, bytes | None, tuple[str, ...]]:
    """A picture's L*; the profile that it needs once it is coloured, None for what goes by itself; and notes."""
    if image.icc is None:
        return color.luma_of(image.pixels), None, ()
    try:
        luminance = profiles.luminance(image.icc, int(np.iinfo(image.pixels.dtype).max))
    except ValueError:
        return color.luma_of(image.pixels), None, (_LIKE_SRGB,)
    if color.is_srgb(luminance):
        return color.luma_of(image.pixels), None, ()
    # Grey always gets another profile with its colours: only that of RGB is missed.
    return color.luma_of(image.pixels, luminance), profiles.srgb_profile(), (_IN_SRGB,) if len(luminance) == 3 else ()


def open_colorizer(name_or_path: str | Path, *, device: str = "auto", threads: int | None = None) -> Colorizer:
    """Open a model by name (`colorize-fast`), task (`colorize`) or path to an .onnx file; see `open_model`.

    Raises ModelNotFound, UnsupportedModel, BadOption.
    """
    path = store.find(name_or_path)
    session = Session(path, device=device, threads=threads)
    if session.spec.answer != "chroma":
        raise UnsupportedModel(f"{path}: {session.spec.name} gives no colour: it is for the task {session.spec.task}.")
    return Colorizer(session)


def _ignore(_: float) -> None:
    """Progress that nobody looks at."""
