"""What makes a watermark remover better: its loss, per sample, and its figures on held-out photos."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models.poisson import gradients
from models.unwatermark import Decomposition
from training.losses import LOSSES
from training.metrics import mask_f1, psnr
from training.settings import Settings
from training.watermarks import MarkedPair, Watermark

#: What each part counts beside the picture's mean error. A mark covers a tenth of a picture, so that an
#: error inside it counts for as much as one that is spread over the whole. Gradients are small beside values.
_INSIDE, _MASK, _DICE = 6.0, 1.0, 0.5
_LINES, _GRADIENTS, _EDGES, _CLEARING = 2.0, 24.0, 1.0, 1.0
#: Half an 8-bit level: below it the root of the squared error is round, and has a slope where there is no error.
_ROUND = 0.5 / 255
#: A step of the mark's light or opacity of more than two levels is an edge of it.
_STEP = 2 / 255
#: Under what is more opaque no contrast is left to bring back.
_SEEN_THROUGH = 0.85
#: Pixels that Dice's sums start from: a picture without a mark has a finite loss, and a small one if few are found.
_SMOOTH = 64.0


def unwatermark_loss(answers: Decomposition, pair: MarkedPair, settings: Settings) -> Tensor:
    """The loss of each sample, (N,): the picture, the photo under the mark and what it is made of, the mask.

    The picture is judged by `settings.loss`; the photo under the mark by the root of its mean squared error, which is
    what figures are given in, the lines, the gradients and how much clearer it must become by L1, its edges by their
    entropy, all only inside it. Where a user's mask was given, inside is that mask too.
    """
    found = Decomposition(*(answer.float() for answer in answers))
    given = pair.inputs["mask_in"] * pair.inputs["use_mask"].view(-1, 1, 1, 1)
    inside = torch.maximum(pair.mask, given)
    losses = LOSSES[settings.loss](found.restored, pair.clean)
    losses = losses + _INSIDE * _rounded_root(inside_mean((found.clean - pair.clean).square(), inside))
    losses = losses + _LINES * inside_mean((found.lines - pair.clean).abs(), inside)
    for gradient, true in zip((found.right, found.below), gradients(pair.clean), strict=True):
        losses = losses + _GRADIENTS / 2 * inside_mean((gradient - true).abs(), inside)
    losses = losses + _EDGES * edge_entropy(found.edges, pair, inside)
    opacity = pair.alpha.clamp(max=_SEEN_THROUGH)
    seen = inside * (opacity < _SEEN_THROUGH).all(dim=1, keepdim=True)
    losses = losses + _CLEARING * inside_mean((found.clearing + torch.log(1 - opacity)).abs(), seen)
    return losses + _MASK * mask_entropy(found.logits, pair.mask) + _DICE * dice(found.logits, pair.mask)


def _rounded_root(squared: Tensor) -> Tensor:
    # sqrt(squared + _ROUND^2) - _ROUND, without the difference's rounding.
    return squared / ((squared + _ROUND**2).sqrt() + _ROUND)


def inside_mean(error: Tensor, mask: Tensor) -> Tensor:
    """The mean of (N, C, H, W) over where `mask` (N, 1, H, W) is 1: (N,), 0 where the mask is empty."""
    area = mask.sum(dim=(1, 2, 3)) * error.shape[1]
    return (error * mask).sum(dim=(1, 2, 3)) / area.clamp(min=1)


def edge_entropy(logits: Tensor, pair: MarkedPair, inside: Tensor) -> Tensor:
    """Binary cross-entropy of where the mark has edges, to the right and below, over `inside`: (N,)."""
    steps = [
        torch.maximum(*(g.abs() for g in both))
        for both in zip(gradients(pair.alpha), gradients(pair.mark), strict=True)
    ]
    edges = torch.cat([(step.amax(dim=1, keepdim=True) > _STEP).to(logits.dtype) for step in steps], dim=1)
    return inside_mean(F.binary_cross_entropy_with_logits(logits, edges, reduction="none"), inside)


def mask_entropy(logits: Tensor, mask: Tensor) -> Tensor:
    """Binary cross-entropy, the mean over the pixels: two (N, 1, H, W) -> (N,)."""
    return F.binary_cross_entropy_with_logits(logits, mask, reduction="none").mean(dim=(1, 2, 3))


def dice(logits: Tensor, mask: Tensor) -> Tensor:
    """1 - F1 of the probabilities (V-Net, Milletari et al. 2016, arXiv:1606.04797): two (N, 1, H, W) -> (N,)."""
    found = logits.sigmoid()
    both = (found * mask).sum(dim=(1, 2, 3))
    return 1 - (2 * both + _SMOOTH) / (found.sum(dim=(1, 2, 3)) + mask.sum(dim=(1, 2, 3)) + _SMOOTH)


#: What is measured while training: marks of the bank of `val`, as CLWD has them and of all kinds.
_VALIDATION = {
    "clwd": Watermark(split="val", unmarked=0.0, clwd=1.0, resized=0.0, stored=0.0, told=0.0),
    "hard": Watermark(split="val", unmarked=0.0, clwd=0.0, resized=0.0, stored=0.7, told=0.0),
}
#: A picture without a mark that comes back unchanged is no better than one with a mark so well removed, in dB.
_BEST_DB = 60.0


@torch.no_grad()
def unwatermark_figures(network: nn.Module, clean: Tensor) -> dict[str, float]:
    """PSNR in dB and the mask's F1, over (N, 3, H, W) in [0, 1], for marks as in CLWD and for hard ones.

    The marks are the same at each call. Raises TrainingError where their bank is missing.
    """
    figures = {}
    for name, marks in _VALIDATION.items():
        pair = marks(clean, torch.Generator(clean.device).manual_seed(0))
        parts = [torch.split(pair.inputs[key], 4) for key in ("image", "certainty", "mask_in", "use_mask")]
        answers = [network(*part) for part in zip(*parts, strict=True)]
        restored, mask = (torch.cat(part) for part in zip(*answers, strict=True))
        figures[f"psnr/{name}"] = float(psnr(restored.clamp(0, 1), pair.clean).clamp(max=_BEST_DB).mean())
        figures[f"f1/{name}"] = float(mask_f1(mask, pair.mask).mean())
    return figures
