"""The planner: what a photo needs, step by step, from a few of its pixels at full size and a thumbnail of it."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models.lenet import LeNetTrunk
from models.unwatermark import WatermarkRemover

#: A crop less its own blur is small: brought to about the size of the picture's values.
_GAIN = 8.0
#: Of the state that is carried from step to step.
FEATURES = 96
#: Share of what is seen that a step of training does without: tried photos are few.
_LEFT_OUT = 0.2
#: What a fresh network guesses, in [0, 1].
_USUAL_SIGMA = 0.05
#: Squares of the thumbnail over which the remover's logits are averaged: where the highest mean is high, it is sure.
_SQUARES = (8, 16, 32)
#: What is told of a mark: the highest mean over squares of each side, the mask's share, and how much it would change.
MARK_TRAITS = len(_SQUARES) + 2


class Planner(nn.Module):
    """LeNet trunks over crops and a thumbnail, and a GRU that says one step at a time (LeCun 1998; Cho et al. 2014).

    `crops` (N, K, 3, S, S) at full size, since noise is seen there alone; `thumbnail` (N, 3, T, T), T a multiple of 32;
    `previous` (N,) int64, the step before, `labels` for none; `state` (N, features), zeros at first. Returns for each
    label its score (N, labels), before softmax in training mode and a probability else, with `caution` in favour of the
    first label; the noise's deviation (N,) in [0, 1], which counts where the step is to denoise; and the state for the
    next step.

    Whether a mark is worth a step depends on whether the watermark remover finds it. So the planner carries a copy of
    the part of it that finds marks, which looks at the thumbnail and is not trained further; docs/decisions say why.
    """

    #: Added to the score of the first label, END, in serving: a step that is not needed does more harm than one that
    #: is left out. Set by training, on photos of the val split.
    caution: Tensor

    def __init__(
        self,
        *,
        labels: int = 4,
        crop: int = 48,
        thumbnail: int = 192,
        crop_channels: Sequence[int] = (16, 32),
        thumbnail_channels: Sequence[int] = (16, 24, 32, 48),
        features: int = FEATURES,
    ) -> None:
        super().__init__()
        self.features = features
        # The crop, and what its own blur takes away: noise, and fine texture.
        self.near = LeNetTrunk(6, channels=crop_channels)
        self.near.output_size(crop, crop)
        self.each = nn.Linear(2 * crop_channels[-1], features)
        self.far = LeNetTrunk(3, channels=thumbnail_channels)
        height, width = self.far.output_size(thumbnail // 2, thumbnail // 2)
        self.whole = nn.Linear(self.far.out_channels * height * width, features)
        remover = WatermarkRemover()
        self.stem = remover.stem
        # What finds marks, without what takes them off: that is all a plan needs to know.
        self.finder = remover.body
        self.finder.requires_grad_(requires_grad=False)
        self.mark = nn.Linear(MARK_TRAITS, features)
        self.embed = nn.Embedding(labels + 1, 16)
        self.dropout = nn.Dropout(_LEFT_OUT)
        # Of the crops the mean, the most and the least; the thumbnail; its mark; the step before.
        self.cell = nn.GRUCell(5 * features + 16, features)
        self.scores = nn.Linear(features, labels)
        self.log_sigma = nn.Linear(features + 3 * features, 1)
        nn.init.constant_(self.log_sigma.bias, float(torch.tensor(_USUAL_SIGMA).log()))
        self.register_buffer("caution", torch.zeros(()))

    def forward(
        self, crops: Tensor, thumbnail: Tensor, previous: Tensor, state: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        seen = self.look(crops, thumbnail, self.traits(thumbnail))
        return self.step(seen, previous, state)

    def keep_eye_for_noise(self) -> None:
        """Train what looks at crops no further."""
        self.near.requires_grad_(requires_grad=False)
        self.each.requires_grad_(requires_grad=False)

    def look(self, crops: Tensor, thumbnail: Tensor, traits: Tensor) -> Tensor:
        """What is seen of a picture: (N, 5 * features). `traits` are those of the thumbnail."""
        count = crops.shape[1]
        x = crops.flatten(0, 1)
        fine = (x - F.avg_pool2d(x, 3, stride=1, padding=1, count_include_pad=False)) * _GAIN
        places = self.near(torch.cat((x - 0.5, fine), dim=1))
        each = torch.cat((places.mean(dim=(2, 3)), places.amax(dim=(2, 3))), dim=1)
        each = F.relu(self.each(each)).view(-1, count, self.features)
        # Half its size is enough for what a scene is; the whole of it is for the mark.
        whole = F.relu(self.whole(self.far(F.avg_pool2d(thumbnail, 2) - 0.5).flatten(1)))
        mark = F.relu(self.mark(traits))
        return torch.cat((each.mean(dim=1), each.amax(dim=1), each.amin(dim=1), whole, mark), dim=1)

    def traits(self, thumbnail: Tensor) -> Tensor:
        """What the remover makes of a thumbnail, (N, MARK_TRAITS): the same in training, since it is not trained."""
        logits, lines = self.find(thumbnail)
        mask = (logits / 2 + 0.5).clamp(0, 1)
        sure = [F.avg_pool2d(logits, side).amax(dim=(1, 2, 3)) / 4 for side in _SQUARES]
        change = (mask * (lines - thumbnail)).square().mean(dim=(1, 2, 3))
        # Of a mask of a thousandth as of one of a tenth: what counts is how often twice as much.
        small = [(share + 1e-4).log() / 4 for share in (mask.mean(dim=(1, 2, 3)), change)]
        return torch.stack((*sure, *small), dim=1)

    def find(self, picture: Tensor) -> tuple[Tensor, Tensor]:
        """Logits (N, 1, H, W) of a pixel belonging to a mark, and the picture (N, 3, H, W) without it: its lines.

        As in `WatermarkRemover.decompose`, where no mask is given.
        """
        x = F.pixel_unshuffle(F.pad(picture, (0, 0, 0, 0, 0, 1)), self.stem)
        heads = F.pixel_shuffle(self.finder(F.pad(x, (0, 0, 0, 0, 0, 1))).to(picture.dtype), self.stem)
        logits, slope, height = torch.split(heads, [1, 3, 3], dim=1)
        return logits, picture + slope * (picture - 0.5) + height

    def step(self, seen: Tensor, previous: Tensor, state: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """One step of the plan from what is seen, as `forward` returns it."""
        state = self.cell(torch.cat((self.dropout(seen), self.embed(previous)), dim=1), state)
        scores = self.scores(state)
        crops = seen[:, : 3 * self.features]
        sigma = self.log_sigma(torch.cat((state, crops), dim=1)).squeeze(1).clamp(-8, 0).exp()
        if self.training:
            return scores, sigma, state
        return torch.cat((scores[:, :1] + self.caution, scores[:, 1:]), dim=1).softmax(dim=1), sigma, state
