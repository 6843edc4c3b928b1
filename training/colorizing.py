"""What makes a colorizer better: its loss, and its figures on held-out photos."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models.colorizer import PALETTE_SIZE, bin_centres, shares_of
from restore import color
from training.color_metrics import ciede2000
from training.degrade import Pair
from training.old_photo import draw_hints, grey_of, palette_of
from training.settings import Settings

#: Where the loss turns from square to straight, in a* and b*. A square aims at the mean of what a thing's colour may
#: be, a straight line at its median, which for most things is nearly grey.
_HUBER = 30.0
#: Chroma by which the frequency of a colour falls to 1 / e, over photos: what `_rarity` stands on.
_FALL = 14.0
#: Share of even weights among the scores' weights (Zhang et al. 2016 have one half).
_EVEN = 0.5
#: Hints that the figures are made for; 0 is the automatic answer.
_HINTS = (0, 10, 50)


def chroma_loss(answers: Tensor, pair: Pair, _: Settings) -> Tensor:
    """The error in a* and b*, or the cross-entropy of the bins' scores, of each picture: (N,).

    answers: (N, 2, H, W), CIELAB, or (N, Q, h, w), scores as `Colorizer` gives them in training; the truth is
    `pair.clean`, (N, 2, H, W).
    """
    answers = answers.float()
    if answers.shape[1] == 2:
        error = F.huber_loss(answers, pair.clean, reduction="none", delta=_HUBER)
        return error.mean(dim=(1, 2, 3)) / _HUBER
    truth = F.adaptive_avg_pool2d(pair.clean, (answers.shape[-2], answers.shape[-1]))
    bins = bin_centres().to(truth.device)
    wrong = -(shares_of(truth, bins) * answers.log_softmax(dim=1)).sum(dim=1)
    weight = _rarity(torch.linalg.vector_norm(truth, dim=1))
    return (wrong * weight).mean(dim=(1, 2))


def _rarity(chroma: Tensor) -> Tensor:
    """How much a pixel counts: more where its colour is rare, so that greys do not rule; about 1 on average."""
    share = torch.exp(-chroma / _FALL)
    return (1 - _EVEN + _EVEN * 0.2) / ((1 - _EVEN) * share + _EVEN * 0.2)


@torch.no_grad()
def colorizing_figures(network: nn.Module, clean: Tensor) -> dict[str, float]:
    """PSNR in dB over (N, 3, H, W), automatic, with hints, with the truth's palette; how much nearer than grey in %.

    The last is the fall of the mean CIEDE2000 of the automatic answer. Same hints at each call.
    """
    lab = planes_of(clean)
    luma, truth = lab[..., 0], torch.from_numpy(lab[..., 1:]).permute(0, 3, 1, 2).to(clean.device)
    figures = {}
    for number in _HINTS:
        rng = torch.Generator(clean.device).manual_seed(number)
        hints = draw_hints(truth, torch.full((len(clean),), number, device=clean.device), rng)
        found = answer(network, clean, hints)
        figures[f"psnr/{number}"] = _psnr(luma, found, clean)
        if number == 0:
            figures["nearer"] = _nearer(lab, found)
            figures["psnr/palette"] = _psnr(luma, answer(network, clean, hints, palette_of(truth)), clean)
    return figures


def planes_of(clean: Tensor) -> np.ndarray:
    """CIELAB of each photo, (N, H, W, 3) float32."""
    return np.stack([color.to_lab(photo) for photo in clean.permute(0, 2, 3, 1).cpu().numpy()])


@torch.no_grad()
def answer(network: nn.Module, clean: Tensor, hints: Tensor, palette: Tensor | None = None) -> np.ndarray:
    """The network's a* and b* for the greys of photos (N, 3, H, W): (N, H, W, 2). Without a palette none is used."""
    use = torch.full((len(clean),), float(palette is not None), device=clean.device)
    if palette is None:
        palette = clean.new_zeros(len(clean), PALETTE_SIZE)
    parts = [
        network(grey_of(image).repeat(1, 3, 1, 1), *rest)
        for image, *rest in zip(*(torch.split(x, 16) for x in (clean, hints, palette, use)), strict=True)
    ]
    found: np.ndarray = torch.cat(parts).float().permute(0, 2, 3, 1).cpu().numpy()
    return found


def _psnr(luma: np.ndarray, ab: np.ndarray, clean: Tensor) -> float:
    pictures = zip(luma, ab, clean.permute(0, 2, 3, 1).cpu().numpy(), strict=True)
    errors = [np.mean(np.square(color.join(one, chroma, np.float32) - truth)) for one, chroma, truth in pictures]
    return float(np.mean([-10 * np.log10(max(float(error), 1e-10)) for error in errors]))


def _nearer(lab: np.ndarray, ab: np.ndarray) -> float:
    """By how many percent the mean CIEDE2000 is lower than that of grey."""
    # One pixel of 16: the figure is to steer by.
    truth = lab[:, ::4, ::4]
    found = np.concatenate((truth[..., :1], ab[:, ::4, ::4]), axis=-1)
    grey = np.concatenate((truth[..., :1], np.zeros_like(truth[..., 1:])), axis=-1)
    return float(100 * (1 - ciede2000(truth, found).mean() / ciede2000(truth, grey).mean()))
