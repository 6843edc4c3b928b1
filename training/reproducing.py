"""What makes a bottleneck autoencoder better: its loss, and its figures on held-out photos."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from training.degrade import Pair
from training.losses import LOSSES
from training.metrics import psnr
from training.settings import Settings


class Untouched:
    """No damage: the picture itself is what goes in and what should come out."""

    def __call__(self, clean: Tensor, rng: torch.Generator) -> Pair:  # noqa: ARG002 - as every Degradation
        return Pair({"image": clean}, clean)


def reproducing_loss(answers: tuple[Tensor, Tensor], pair: Pair, settings: Settings) -> Tensor:
    """The picture's error, (N,); the code is free."""
    return LOSSES[settings.loss](answers[0].float(), pair.clean)


@torch.no_grad()
def reproducing_figures(network: nn.Module, clean: Tensor) -> dict[str, float]:
    """PSNR in dB over (N, 3, H, W), from the rounded code."""
    reproduced = torch.cat([network(image)[0].clamp(0, 1) for image in torch.split(clean, 4)])
    return {"psnr": float(psnr(reproduced, clean).mean())}
