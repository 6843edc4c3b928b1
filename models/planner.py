"""The planner: what a photo needs, step by step, from a few of its pixels at full size and a thumbnail of it."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models.lenet import LeNetTrunk

#: A crop less its own blur is small: brought to about the size of the picture's values.
_GAIN = 8.0
#: Of the state that is carried from step to step.
FEATURES = 96
#: Added to the score of the first label, END, in serving: a step that is not needed does more harm than one that is
#: left out. On photos of the val split 2.0 took the harm from 3.6 % to 0.5 % and left as many plans right.
_CAUTION = 2.0
#: What a fresh network guesses, in [0, 1].
_USUAL_SIGMA = 0.05


class Planner(nn.Module):
    """LeNet trunks over crops and a thumbnail, and a GRU that says one step at a time (LeCun 1998; Cho et al. 2014).

    `crops` (N, K, 3, S, S) at full size, since noise is seen there alone; `thumbnail` (N, 3, T, T); `previous` (N,)
    int64, the step before, `labels` for none; `state` (N, features), zeros at first. Returns for each label its
    score (N, labels), before softmax in training mode and a probability else, with `caution` in favour of the first
    label; the noise's deviation (N,) in [0, 1], which counts where the step is to denoise; and the state for the next
    step.
    """

    def __init__(
        self,
        *,
        labels: int = 4,
        crop: int = 48,
        thumbnail: int = 144,
        crop_channels: Sequence[int] = (16, 32),
        thumbnail_channels: Sequence[int] = (16, 24, 32, 48),
        features: int = FEATURES,
        caution: float = _CAUTION,
    ) -> None:
        super().__init__()
        self.features = features
        self.caution = caution
        # The crop, and what its own blur takes away: noise, and fine texture.
        self.near = LeNetTrunk(6, channels=crop_channels)
        self.near.output_size(crop, crop)
        self.each = nn.Linear(2 * crop_channels[-1], features)
        self.far = LeNetTrunk(3, channels=thumbnail_channels)
        height, width = self.far.output_size(thumbnail, thumbnail)
        self.whole = nn.Linear(self.far.out_channels * height * width, features)
        self.embed = nn.Embedding(labels + 1, 16)
        # Of the crops the mean, the most and the least; the thumbnail; the step before.
        self.cell = nn.GRUCell(4 * features + 16, features)
        self.scores = nn.Linear(features, labels)
        self.log_sigma = nn.Linear(features + 3 * features, 1)
        nn.init.constant_(self.log_sigma.bias, float(torch.tensor(_USUAL_SIGMA).log()))

    def forward(
        self, crops: Tensor, thumbnail: Tensor, previous: Tensor, state: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        seen = self.look(crops, thumbnail)
        return self.step(seen, previous, state)

    def look(self, crops: Tensor, thumbnail: Tensor) -> Tensor:
        """What is seen of a picture: (N, 4 * features)."""
        count = crops.shape[1]
        x = crops.flatten(0, 1)
        fine = (x - F.avg_pool2d(x, 3, stride=1, padding=1, count_include_pad=False)) * _GAIN
        places = self.near(torch.cat((x - 0.5, fine), dim=1))
        each = torch.cat((places.mean(dim=(2, 3)), places.amax(dim=(2, 3))), dim=1)
        each = F.relu(self.each(each)).view(-1, count, self.features)
        whole = F.relu(self.whole(self.far(thumbnail - 0.5).flatten(1)))
        return torch.cat((each.mean(dim=1), each.amax(dim=1), each.amin(dim=1), whole), dim=1)

    def step(self, seen: Tensor, previous: Tensor, state: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """One step of the plan from what is seen, as `forward` returns it."""
        state = self.cell(torch.cat((seen, self.embed(previous)), dim=1), state)
        scores = self.scores(state)
        crops = seen[:, : 3 * self.features]
        sigma = self.log_sigma(torch.cat((state, crops), dim=1)).squeeze(1).clamp(-8, 0).exp()
        if self.training:
            return scores, sigma, state
        return torch.cat((scores[:, :1] + self.caution, scores[:, 1:]), dim=1).softmax(dim=1), sigma, state
