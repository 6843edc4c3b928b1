"""What makes a denoiser better: its loss, and its figures on held-out photos."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from training.degrade import NoisyPair, add_gaussian_noise
from training.losses import LOSSES
from training.metrics import psnr
from training.photo_noise import UNKNOWN, luma_of, photograph
from training.settings import Settings

_SIGMAS = (15, 25, 50)
#: The level's error counts little beside the picture's: enough to be learned, too little to cost sharpness.
_LEVEL_SHARE = 0.03


def denoising_loss(answers: tuple[Tensor, Tensor], pair: NoisyPair, settings: Settings) -> Tensor:
    """The picture's error and, for a little, that of the level that the network says it found: (N,).

    The picture's is `settings.loss`, and `settings.told_loss` where the network is told the noise.
    """
    restored, level = (answer.float() for answer in answers)
    truth = F.interpolate(pair.level, size=level.shape[-2:])
    # At each pixel: a map that is right only on average is wrong once it is clipped at 0.
    error = (level - truth).abs().mean(dim=(1, 2, 3))
    losses = LOSSES[settings.loss](restored, pair.clean)
    if settings.told_loss != "same":
        told = pair.inputs["sigma"] >= 0
        losses = torch.where(told, LOSSES[settings.told_loss](restored, pair.clean), losses)
    return losses + _LEVEL_SHARE * error


@torch.no_grad()
def denoising_figures(network: nn.Module, clean: Tensor) -> dict[str, float]:
    """PSNR in dB over (N, 3, H, W), told the noise at each sigma, untold at 25, in grey too, and for that of photos.

    The noise is the same at each call.
    """

    def restore(degraded: Tensor, sigma: float, truth: Tensor = clean) -> float:
        level = torch.full((len(clean),), sigma, device=clean.device)
        parts = zip(torch.split(degraded, 4), torch.split(level, 4), strict=True)
        return float(psnr(torch.cat([network(image, s)[0].clamp(0, 1) for image, s in parts]), truth).mean())

    figures = {}
    for sigma in _SIGMAS:
        rng = torch.Generator(clean.device).manual_seed(sigma)
        degraded = add_gaussian_noise(clean, sigma / 255, rng)
        figures[f"psnr/{sigma}"] = restore(degraded, sigma / 255)
        if sigma == 25:
            figures["psnr/25 blind"] = restore(degraded, UNKNOWN)
            grey = luma_of(clean).expand_as(clean)
            figures["psnr/25 grey"] = restore(grey + (degraded - clean)[:, :1], UNKNOWN, grey)
    # One photo at a time: kinds of noise are shared out over a batch, and some draws are a batch's own.
    shots = [
        photograph(photo, torch.Generator(clean.device).manual_seed(i)) for i, photo in enumerate(torch.split(clean, 1))
    ]
    figures["psnr/photo"] = restore(torch.cat(shots), UNKNOWN)
    return figures
