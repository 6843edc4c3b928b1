"""What is trained for each task: the network, the damage, the settings. A dict is the registry."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn

import models
from restore.contract import Param
from training import TrainingError
from training.degrade import Degradation
from training.denoising import denoising_figures, denoising_loss
from training.photo_noise import UNKNOWN, DenoisingMix
from training.settings import Settings

#: The noise that the denoisers are trained on: what the command line, the page and the file's spec say of it.
SIGMA = Param(
    name="sigma",
    min=0.0,
    max=75 / 255,
    default=None,
    unknown=UNKNOWN,
    nothing_below=1.0 / 255,
    scale=255.0,
    unit="of 255",
    help="standard deviation of white noise, where it is known; the network finds the noise itself when left out",
)


_PURPOSE = """\
Takes the noise out of photos: white Gaussian noise of a known level (`--sigma`), and, where nothing is said, noise of
any kind that photos have: a sensor's after the camera's own processing, film grain, a scanner's stripes, colour
blotches, JPEG blocks. One network serves both; it is told the level, or that the level is unknown."""
_FAILURES = (
    "Texture that noise has swallowed (grass, hair, cloth) comes out smooth: it is not invented.",
    "Untold, it takes faint regular texture for noise now and then; `--strength` gives some of it back.",
    "Grain much wider than three pixels, as in a scan finer than its film, stays in part: shrink such a scan first.",
    "It does not sharpen, and does not mend blur, scratches or dust.",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """One trained network: from the photos to the name under which it is published."""

    task: str
    tier: str
    network: str
    hparams: Mapping[str, Any]
    degradation: Degradation
    #: (what the network answers, the pair, the settings) -> the loss of each sample, (N,).
    loss: Callable[[Any, Any, Settings], Tensor]
    #: (the network, held-out photos (N, 3, H, W) in [0, 1]) -> its figures by name; the higher, the better.
    figures: Callable[[nn.Module, Tensor], dict[str, float]]
    params: tuple[Param, ...] = ()
    #: For the model's card: what it is for, in a paragraph, and what it is known to do badly, a sentence each.
    purpose: str = ""
    failures: tuple[str, ...] = ()
    settings: Settings = field(default_factory=Settings)

    @property
    def name(self) -> str:
        """The stem of the published file."""
        return f"{self.task}-{self.tier}"

    def build(self) -> nn.Module:
        """A fresh network."""
        return models.build(self.network, **self.hparams)


RECIPES: dict[str, Recipe] = {
    "denoise-fast": Recipe(
        task="denoise",
        tier="fast",
        network="denoiser",
        hparams={"stem": 2, "channels": (32, 64, 128, 256), "blocks": (2, 2, 2, 2)},
        degradation=DenoisingMix(low=SIGMA.min, high=SIGMA.max),
        loss=denoising_loss,
        figures=denoising_figures,
        params=(SIGMA,),
        purpose=_PURPOSE,
        failures=_FAILURES,
        settings=Settings(patches=(64, 96, 128)),
    ),
    "denoise-best": Recipe(
        task="denoise",
        tier="best",
        network="denoiser",
        hparams={"stem": 2, "channels": (32, 64, 128, 256), "blocks": (6, 6, 3, 2)},
        degradation=DenoisingMix(low=SIGMA.min, high=SIGMA.max),
        loss=denoising_loss,
        figures=denoising_figures,
        params=(SIGMA,),
        purpose=_PURPOSE,
        failures=_FAILURES,
        settings=Settings(patches=(64, 96, 128)),
    ),
}
#: A task's plain name means its tier "fast".
ALIASES: dict[str, str] = {recipe.task: name for name, recipe in RECIPES.items() if recipe.tier == "fast"}


def find_recipe(name: str) -> Recipe:
    """The recipe of this name, or of the task's tier "fast". Raises TrainingError for an unknown one."""
    recipe = RECIPES.get(ALIASES.get(name, name))
    if recipe is None:
        raise TrainingError(f"no recipe is called {name!r}; there are: {', '.join([*RECIPES, *ALIASES])}")
    return recipe
