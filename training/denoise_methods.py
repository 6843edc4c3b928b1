"""What denoisers are measured against each other: the noisy picture, non-local means, BM3D, and our models.

For white noise that is told, and for photos with noise of their own, where nothing is told.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from torch import Tensor, nn

from restore.engine import Restorer, open_model
from restore.image import Image
from training import TrainingError
from training.graphs import padded
from training.loop import load_network

#: Strengths of non-local means that are tried, as h / sigma: 0.6 is best on a few pictures of CBSD68.
_NLM_STRENGTHS = (0.4, 0.5, 0.6, 0.7, 0.8)

#: Strengths that are tried on photos with noise of their own, on the 0-255 scale.
_PHOTO_NLM = (2, 3, 4, 5, 6, 8)
_PHOTO_BM3D = (5, 10, 15)

#: (H, W, 3) uint8 -> the same.
PhotoDenoiser = Callable[[np.ndarray], np.ndarray]
#: Noisy (H, W, 3) float32, not clipped, and the noise level on the [0, 1] scale, to the same shape.
Denoiser = Callable[[np.ndarray, float], np.ndarray]


@dataclass(frozen=True, slots=True, kw_only=True)
class Method:
    """What makes a row. `version` is set for a slow one, whose scores are worth remembering."""

    name: str
    denoise: Denoiser
    version: str | None = None
    model: str | None = None  # the spec's name, where the model was told the noise level


@dataclass(frozen=True, slots=True, kw_only=True)
class PhotoMethod:
    """What makes a row over real photos, told nothing; `version` as in `Method`."""

    name: str
    denoise: PhotoDenoiser
    version: str | None = None
    model: str | None = None


#: What there was before; clipped like every answer, so a little above -20 log10 of sigma.
NOISY = Method(name="noisy picture", denoise=lambda noisy, _: noisy)


def non_local_means() -> dict[float, Method]:
    """OpenCV's fastNlMeansDenoisingColored (windows 7 and 21) on the clipped 8-bit picture, by h / sigma.

    h is the same for luma and colour.
    """
    import cv2

    def denoise(noisy: np.ndarray, sigma: float, *, strength: float) -> np.ndarray:
        levels = np.rint(noisy.clip(0, 1) * 255).astype(np.uint8)
        return (_nlm(levels, h=strength * sigma * 255) / 255).astype(np.float32)

    return {
        k: Method(
            name=f"OpenCV non-local means, h = {k:g} sigma",
            denoise=functools.partial(denoise, strength=k),
            version=f"nlm-{cv2.__version__}-{k:g}",
        )
        for k in _NLM_STRENGTHS
    }


def bm3d_method() -> Method:
    """BM3D for colour (Dabov et al. 2007, doi:10.1109/ICIP.2007.4378954), told the noise level.

    Raises TrainingError where the package is missing.
    """
    from importlib.metadata import version

    try:
        import bm3d
    except ImportError:
        raise TrainingError("the baseline bm3d needs its package (non-commercial licence): pip install bm3d") from None
    return Method(name="BM3D", denoise=bm3d.bm3d_rgb, version=f"bm3d-{version('bm3d')}")


def model_methods(
    name_or_path: str, *, threads: int | None = None, looks: int = 1
) -> tuple[list[Method], Restorer | None]:
    """The rows of a model: told the noise level, and blind. A checkpoint (.pt) runs in torch, told only, one look.

    The second value is the model in the engine, None for a checkpoint.
    Raises RestoreError or TrainingError for what cannot be opened.
    """
    if name_or_path.endswith(".pt"):
        network, _ = load_network(Path(name_or_path))
        return [Method(name=f"{name_or_path}, sigma known", denoise=functools.partial(_in_torch, network))], None
    restorer = open_model(name_or_path, kind=Restorer, threads=threads)
    name = restorer.spec.name if name_or_path in (restorer.spec.name, restorer.spec.task) else name_or_path
    name += "" if looks == 1 else f", {looks} looks"
    run = functools.partial(restorer.run_array, self_ensemble=looks)
    told = Method(
        name=f"{name}, sigma known",
        denoise=lambda noisy, sigma: run(noisy, sigma=sigma)["restored"],
        model=restorer.spec.name if looks == 1 else None,
    )
    blind = Method(name=f"{name}, blind", denoise=lambda noisy, _: run(noisy)["restored"])
    takes_sigma = any(param.name == "sigma" for param in restorer.spec.params)
    return ([told, blind] if takes_sigma else [blind]), restorer


@torch.no_grad()
def _in_torch(network: nn.Module, noisy: np.ndarray, sigma: float) -> np.ndarray:
    """Mirrored to the network's multiple and cropped again, as the ONNX graph does."""
    height, width = noisy.shape[:2]
    multiple = int(getattr(network, "multiple_of", 1))
    picture = padded(noisy.transpose(2, 0, 1), multiple)
    answer: Tensor = network(torch.from_numpy(picture)[None], torch.tensor([sigma]))[0]
    return answer[0, :, :height, :width].permute(1, 2, 0).numpy()


def photo_methods(
    restorers: Mapping[str, Restorer], looks: int, baselines: Sequence[str], console: Console
) -> Iterator[PhotoMethod]:
    """The rows over photos: the noisy ones, baselines at several strengths, models as users run them.

    What is left out for want of a package is said on `console`.
    """
    yield PhotoMethod(name="noisy photo", denoise=lambda noisy: noisy)
    if "nlm" in baselines:
        import cv2

        for h in _PHOTO_NLM:
            version = f"nlm-photos-{cv2.__version__}-{h}"
            yield PhotoMethod(
                name=f"OpenCV non-local means, h = {h}", denoise=functools.partial(_nlm, h=h), version=version
            )
    if "bm3d" in baselines:
        try:
            bm3d = bm3d_method()
        except TrainingError as error:
            console.print(f"left out: {error}", highlight=False)
        else:
            for sigma in _PHOTO_BM3D:
                denoise = functools.partial(_in_8_bits, bm3d.denoise, sigma=sigma / 255)
                yield PhotoMethod(
                    name=f"BM3D, sigma {sigma}", denoise=denoise, version=f"{bm3d.version}-photos-{sigma}"
                )
    for name, restorer in restorers.items():
        model = restorer.spec.name if looks == 1 else None
        yield PhotoMethod(name=name, denoise=functools.partial(_as_users_do, restorer, looks=looks), model=model)


def _in_8_bits(denoise: Denoiser, noisy: np.ndarray, *, sigma: float) -> np.ndarray:
    answer = denoise((noisy / 255).astype(np.float32), sigma)
    levels: np.ndarray = np.rint(answer.clip(0, 1) * 255).astype(np.uint8)
    return levels


def _as_users_do(restorer: Restorer, noisy: np.ndarray, *, looks: int) -> np.ndarray:
    return restorer(Image(noisy), self_ensemble=looks).image.pixels


def _nlm(levels: np.ndarray, *, h: float) -> np.ndarray:
    """(H, W, 3) uint8 -> the same."""
    import cv2

    # It takes the channels as B, G, R: turned round, for its luma weighs them.
    turned = np.ascontiguousarray(levels[..., ::-1])
    return np.ascontiguousarray(cv2.fastNlMeansDenoisingColored(turned, None, h, h, 7, 21)[..., ::-1])
