"""What is trained for each task: the network, the damage, the settings. A dict is the registry."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn

import models
from models.colorizer import FULL_CHROMA, PALETTE_SIZE
from restore.contract import Answer, Param, TensorInput
from restore.planner import MOST_VARIETY
from training import TrainingError
from training.colorizing import chroma_loss, colorizing_figures
from training.data import PhotoSet
from training.degrade import Degradation
from training.denoising import denoising_figures, denoising_loss
from training.old_photo import OldPhoto
from training.photo_noise import UNKNOWN, DenoisingMix
from training.planner_photos import CROP, CROPS, LABELS, THUMBNAIL, VIEW
from training.reproducing import Untouched, reproducing_figures, reproducing_loss
from training.settings import Settings
from training.thumbnails import ThumbnailSet
from training.trying import STEPS
from training.unwatermark_losses import unwatermark_figures, unwatermark_loss
from training.watermarks import Watermark

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


#: The least, to four digits, at which none of the photos of the split val that have no mark is changed: 234 of 235, as
#: one has a line of lettering laid over it.
CERTAINTY = Param(
    name="certainty",
    min=0.0,
    max=1.0,
    default=0.9962,
    help="how sure the network must be that there is a mark; less finds more marks, and more that are none",
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
_UNWATERMARK_PURPOSE = """\
Finds visible marks on photos (text, logos, signatures, date stamps, bars, grids; faint to opaque), says where they are,
and takes them off; every pixel outside its mask comes back bit for bit. A user's own mask takes its place
(`--mask-in`). For marks on pictures that you own or may edit: removing others' marks can be against the law."""
_UNWATERMARK_FAILURES = (
    (
        "By default half of all lettering and patterns is missed, so that photos without a mark are left alone; "
        "`--certainty 0` finds more, not all."
    ),
    "Where a mark was found a pale ghost or a tint of it can stay: how opaque it is, is seen only roughly.",
    "Under an opaque mark it paints less well than plain inpainting: there is nothing to see through to.",
    "Lettering, labels and stickers that belong to the scene can be taken for a mark.",
    "JPEG hides marks, most of all where the picture was resized after it.",
    "Photos above 1,024 px are looked at shrunk to that, soft ones to 384: fine marks are missed, edges left blurred.",
)


_CLASSIFY_PURPOSE = """\
Reads one handwritten digit in a scan, a photo or a drawing, in any colours and of any size (`restore classify`): the
digit is found, centred and scaled to 28 x 28 as MNIST does it, then read by LeNet-5 with its 44,426 parameters."""
_CLASSIFY_FAILURES = (
    "It answers with one of ten digits whatever is drawn; a letter gets a digit too, often with a high probability.",
    "One digit a picture: of several, the largest is read.",
    "On ruled or checked paper the lines are taken for ink where they touch the digit.",
)
_PLAN_PURPOSE = """\
Says what a photo needs (`restore plan`, `restore auto`): a watermark taken off, noise taken out, colour, or nothing. It
learnt from trying: right is the shortest order of the shipped remover and denoiser within 0.1 dB of the best, and
colour for what went grey. It sees eight windows of the photo at full size, where noise is plain, and a thumbnail of the
whole, and is told what the restorers find: the noise in each window, a mark in a view of up to 448 pixels, in a noisy
photo without its noise too, and whether the rule for black-and-white finds colour."""
_PLAN_FAILURES = (
    "A sixth of the marks that the shipped remover would take off are left out.",
    "An eighth of the noise that is worth a step is overlooked, mostly faint noise and noise beside a mark.",
    "It sees the whole photo up to 448 px wide, the remover up to 1,024: fine marks on large photos are overlooked.",
    "Black-and-white is what it wants to colour, art or not; `--plan` says otherwise.",
    "What is worth a step depends on the restorers: with others than those that it was trained with it is less right.",
)
_REPRODUCE_PURPOSE = """\
Reproduces a photo from a small code (`restore reproduce`): an encoder-decoder with a bottleneck and no way past it, 12
whole numbers from -3 to 3 for each 8 x 8 pixels. What it reproduces badly is unlike the photos that it learnt from."""
_REPRODUCE_FAILURES = (
    "It is a textbook's autoencoder and no codec to keep photos in: see the PSNR of JPEG at the same bytes.",
    "Fine texture and letters come out soft.",
)


@dataclass(frozen=True, slots=True)
class Output:
    """One answer of a network, by its name in the ONNX file; (N, C, H, W) where `per_pixel`, and cropped as the input.

    `low` and `high` are what the graph clamps it to; None leaves it as it is.
    """

    name: str
    low: float | None = 0.0
    high: float | None = 1.0
    per_pixel: bool = True


_COLORIZE_PURPOSE = """\
Gives colour to black-and-white photos, sepia and yellowed prints too. Hints put a wrong colour right, and a palette,
that of another photo, sets the mood. The colours are a guess, not a record: a grey says little of what it was."""
_COLORIZE_FAILURES = (
    "Without hints most photos come out in warm browns; red things do not appear, leaves and water are faint.",
    "Now and then a grey wall or backdrop turns blue, as a sky would.",
    "Colours are weak, half of a photo's colourfulness; `--strength 1.5` makes them stronger, and errors too.",
    "Where it doubts it stays grey rather than brown: part of a thing can come out grey beside a part in colour.",
    "Of more than 128 places with a hint, as strokes make them, it asks 128 that lie scattered over them.",
    "A hint reaches things of like luma beside its own; a second hint there puts them right.",
    "Trained on photos of food, flowers, clothes, streets, offices and landscapes of today: other scenes fare worse.",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkRecipe:
    """A network and what its file says of it: all that an export needs, whatever it learnt from."""

    task: str
    tier: str
    network: str
    hparams: Mapping[str, Any]
    #: How the engine uses it, see ARCHITECTURE; the forward of an evaluated network answers with `outputs`, in order.
    answer: Answer = "image"
    outputs: tuple[Output, ...] = (Output("restored"), Output("level"))
    #: The shape of the input `image`, None for a network without one; H and W are free, N is the batch.
    image: tuple[int | str, ...] | None = ("N", 3, "H", "W")
    params: tuple[Param, ...] = ()
    #: Inputs beside `image` and the params, in the forward's order, after the params.
    tensors: tuple[TensorInput, ...] = ()
    #: The longest side that is fed in, for a network that needs the whole picture (whose `reach` is None).
    working_size: int | None = None
    #: The same for a picture that is soft at that size, as one that was enlarged; None: no other.
    soft_size: int | None = None
    labels: tuple[str, ...] = ()
    #: For the model's card: what it is for, in a paragraph, and what it is known to do badly, a sentence each.
    purpose: str = ""
    failures: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """The stem of the published file."""
        return f"{self.task}-{self.tier}"

    @property
    def inputs(self) -> tuple[TensorInput, ...]:
        """All that the network takes, in its forward's order, with the ranges that an export is checked over."""
        # Beyond [0, 1] too: unclipped noise is what a denoiser is trained on.
        image = [TensorInput(name="image", shape=self.image, min=-0.2, max=1.2, default=0.5)] if self.image else []
        scalars = [TensorInput(name=p.name, shape=("N",), min=p.min, max=p.max, default=p.min) for p in self.params]
        return (*image, *scalars, *self.tensors)

    def build(self) -> nn.Module:
        """A fresh network."""
        return models.build(self.network, **self.hparams)


def mean_psnr(figures: Mapping[str, float]) -> float:
    """Of figures by name the mean of those in dB, "psnr" and "psnr/25" for example: an F1 beside them has no weight."""
    found = [value for name, value in figures.items() if name.split("/")[0] == "psnr"]
    return sum(found) / len(found)


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe(NetworkRecipe):
    """A network that `training.loop` teaches on photos: from them to the name under which it is published."""

    degradation: Degradation
    #: (what the network answers, the pair, the settings) -> the loss of each sample, (N,).
    loss: Callable[[Any, Any, Settings], Tensor]
    #: (the network, held-out photos (N, 3, H, W) in [0, 1]) -> its figures by name; the higher, the better.
    figures: Callable[[nn.Module, Tensor], dict[str, float]]
    #: What these are worth together, in one unit: the highest chooses best.pt.
    worth: Callable[[Mapping[str, float]], float] = mean_psnr
    settings: Settings = field(default_factory=Settings)
    #: How the photos are kept and cropped.
    photos: type[PhotoSet] = PhotoSet


RECIPES: dict[str, Recipe] = {
    "denoise-fast": Recipe(
        task="denoise",
        tier="fast",
        network="denoiser",
        hparams={"stem": 2, "channels": (32, 64, 128, 256), "blocks": (2, 2, 2, 3), "upsampling": "nearest"},
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
        hparams={"stem": 2, "channels": (64, 96, 144, 256), "blocks": (3, 3, 2, 2), "upsampling": "nearest"},
        degradation=DenoisingMix(low=SIGMA.min, high=SIGMA.max),
        loss=denoising_loss,
        figures=denoising_figures,
        params=(SIGMA,),
        purpose=_PURPOSE,
        failures=_FAILURES,
        settings=Settings(patches=(64, 96, 128)),
    ),
    "unwatermark-fast": Recipe(
        task="unwatermark",
        tier="fast",
        network="unwatermark",
        hparams={
            "stem": 2,
            "channels": (48, 96, 128, 160, 192),
            "blocks": (2, 2, 1, 1, 2),
        },
        degradation=Watermark(unmarked=0.2, clwd=0.4, stored=0.75, clwd_stored=0.2, resized=0.35),
        loss=unwatermark_loss,
        figures=unwatermark_figures,
        outputs=(Output("restored"), Output("mask")),
        params=(CERTAINTY,),
        tensors=(
            TensorInput(name="mask_in", shape=("N", 1, "H", "W"), min=0.0, max=1.0, default=0.0),
            TensorInput(name="use_mask", shape=("N",), min=0.0, max=1.0, default=0.0),
        ),
        working_size=1024,
        soft_size=384,
        purpose=_UNWATERMARK_PURPOSE,
        failures=_UNWATERMARK_FAILURES,
        settings=Settings(patches=(256,), muon_learning_rate=0.01, learning_rate=1e-3, warmup=0.02),
    ),
    "colorize-fast": Recipe(
        task="colorize",
        tier="fast",
        network="colorizer",
        hparams={"stem": 4, "channels": (64, 128, 192), "blocks": (1, 1, 2)},
        degradation=OldPhoto(aged=0.5, hinted=0.6, told=0.3),
        loss=chroma_loss,
        figures=colorizing_figures,
        answer="chroma",
        outputs=(Output("ab", low=-FULL_CHROMA, high=FULL_CHROMA),),
        tensors=(
            TensorInput(name="hints", shape=("N", 3, "H", "W"), min=-1.0, max=1.0, default=0.0),
            TensorInput(name="palette", shape=("N", PALETTE_SIZE), min=0.0, max=1.0, default=0.0),
            TensorInput(name="use_palette", shape=("N",), min=0.0, max=1.0, default=0.0),
        ),
        working_size=224,
        purpose=_COLORIZE_PURPOSE,
        failures=_COLORIZE_FAILURES,
        settings=Settings(patches=(128, 160), validate_every=500, muon_learning_rate=0.01, learning_rate=8e-4),
        photos=ThumbnailSet,
    ),
    "reproduce-fast": Recipe(
        task="reproduce",
        tier="fast",
        network="reproducer",
        hparams={"channels": (32, 64, 128), "blocks": (1, 1, 2), "code": 12, "levels": 3},
        degradation=Untouched(),
        loss=reproducing_loss,
        figures=reproducing_figures,
        outputs=(Output("restored"), Output("code", low=None, high=None, per_pixel=False)),
        purpose=_REPRODUCE_PURPOSE,
        failures=_REPRODUCE_FAILURES,
        settings=Settings(patches=(128,), loss="mse"),
    ),
}
#: Networks that learn from something else than photos, each by a command of its own.
OTHERS: dict[str, NetworkRecipe] = {
    "classify-fast": NetworkRecipe(
        task="classify",
        tier="fast",
        network="lenet",
        hparams={},
        answer="labels",
        outputs=(Output("scores", per_pixel=False),),
        image=("N", 1, 28, 28),
        labels=tuple("0123456789"),
        purpose=_CLASSIFY_PURPOSE,
        failures=_CLASSIFY_FAILURES,
    ),
    "plan-fast": NetworkRecipe(
        task="plan",
        tier="fast",
        network="planner",
        hparams={},
        answer="steps",
        outputs=(
            Output("steps", low=None, high=None, per_pixel=False),
            Output("scores", per_pixel=False),
            Output("sigma", per_pixel=False),
        ),
        image=None,
        working_size=VIEW,
        tensors=(
            TensorInput(name="crops", shape=("N", CROPS, 3, CROP, CROP), min=0.0, max=1.0, default=0.5),
            TensorInput(name="thumbnail", shape=("N", 3, THUMBNAIL, THUMBNAIL), min=0.0, max=1.0, default=0.5),
            TensorInput(name="view", shape=("N", "V", 3, "H", "W"), min=0.0, max=1.0, default=0.5),
            TensorInput(name="levels", shape=("N", CROPS), min=0.0, max=0.5, default=0.0),
            TensorInput(name="variety", shape=("N",), min=0.0, max=MOST_VARIETY, default=0.0),
            TensorInput(
                name="taken", shape=("N", len(STEPS)), min=0, max=len(LABELS), default=len(LABELS), dtype="int64"
            ),
        ),
        labels=LABELS,
        purpose=_PLAN_PURPOSE,
        failures=_PLAN_FAILURES,
    ),
}
#: A task's plain name means its tier "fast".
ALIASES: dict[str, str] = {recipe.task: name for name, recipe in RECIPES.items() if recipe.tier == "fast"}
OTHER_ALIASES: dict[str, str] = {recipe.task: name for name, recipe in OTHERS.items()}


def find_recipe(name: str) -> Recipe:
    """The recipe for photos of this name, or of the task's tier "fast". Raises TrainingError for an unknown one."""
    recipe = RECIPES.get(ALIASES.get(name, name))
    if recipe is None:
        raise TrainingError(f"no recipe is called {name!r}; there are: {', '.join([*RECIPES, *ALIASES])}")
    return recipe


def find_network(name: str) -> NetworkRecipe:
    """As `find_recipe`, among all that is trained here."""
    return OTHERS.get(OTHER_ALIASES.get(name, name)) or find_recipe(name)
