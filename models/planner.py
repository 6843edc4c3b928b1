"""The planner: what a photo needs, step by step, from a few of its pixels at full size and the whole of it, shrunk."""

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
#: Squares of the view over which the remover's logits are averaged: where the highest mean is high, it is sure.
_SQUARES = (8, 16, 32)
#: A noise's deviation below half a level counts as that: in logarithms all of them are as far from the next.
_FAINTEST = 0.5 / 255


class Planner(nn.Module):
    """LeNet trunks over crops and a thumbnail, and a GRU that says step after step (LeCun 1998; Cho et al. 2014).

    All pictures are RGB in [0, 1]: `crops` (N, K, 3, S, S) at full size, since noise is seen there alone; `thumbnail`
    (N, 3, T, T), what the scene is; `view` (N, V, 3, H, W), the whole as large as time allows, first as it is and last
    as it would be without its noise, since some marks show only then (one view may be both), H and W multiples of
    `multiple_of`. `levels` (N, K) are deviations of noise in [0, 1], as a denoiser finds them in the crops; `variety`
    (N,) is how much of the picture's colour no single pigment explains (`restore.monochrome`), 1 and more in a colour
    photo. `taken` (N, S) int64 are labels of steps that were taken already, in order, and in the places behind
    them the number of labels: there the network chooses. S, the longest plan, is `labels` - 1: the first label is END,
    and no other comes twice. Returns the plan (N, S) int64, its first places as in `taken`, END from where it ends; for
    each place the labels' probabilities (N, S, labels), with `caution` in favour of END; and the noise's deviation
    (N, S) in [0, 1], which counts where the step is to denoise.

    Whether a mark is worth a step depends on whether the watermark remover finds it. So the planner carries a copy of
    the part of it that finds marks, which looks at the view and is not trained further; docs/decisions say why.
    Whether noise is worth one depends on the denoiser in the same way, which is asked.
    """

    #: Added to the score of the first label, END, in serving: a step that is not needed does more harm than one that
    #: is left out. Set by training, on photos of the val split.
    caution: Tensor

    def __init__(
        self,
        *,
        labels: int = 4,
        windows: int = 8,
        crop: int = 48,
        thumbnail: int = 96,
        crop_channels: Sequence[int] = (16, 32),
        thumbnail_channels: Sequence[int] = (16, 24, 32, 48),
        features: int = FEATURES,
    ) -> None:
        super().__init__()
        self.labels = labels
        self.features = features
        # The crop, and what its own blur takes away: noise, and fine texture.
        self.near = LeNetTrunk(6, channels=crop_channels)
        self.near.output_size(crop, crop)
        self.each = nn.Linear(2 * crop_channels[-1], features)
        self.far = LeNetTrunk(3, channels=thumbnail_channels)
        height, width = self.far.output_size(thumbnail, thumbnail)
        self.whole = nn.Linear(self.far.out_channels * height * width, features)
        remover = WatermarkRemover()
        self.stem = remover.stem
        self.multiple_of = remover.multiple_of
        # What finds marks, without what takes them off: that is all a plan needs to know.
        self.finder = remover.body
        self.finder.requires_grad_(requires_grad=False)
        # Of a mark in either view: the highest mean over squares of each side, the mask's share, how much it would
        # change. Of noise: the crops' levels. And the variety of colour.
        self.count = 2 * (len(_SQUARES) + 2) + windows + 1
        self.told = nn.Linear(self.count, 2 * features)
        self.embed = nn.Embedding(labels + 1, 16)
        self.dropout = nn.Dropout(_LEFT_OUT)
        # Of the crops the mean, the most and the least; the thumbnail; what is told of it; the step before.
        self.cell = nn.GRUCell(6 * features + 16, features)
        self.scores = nn.Linear(features, labels)
        self.log_sigma = nn.Linear(features + 6 * features, 1)
        nn.init.constant_(self.log_sigma.bias, float(torch.tensor(_USUAL_SIGMA).log()))
        self.register_buffer("caution", torch.zeros(()))

    def forward(  # noqa: PLR0917 (the inputs of the graph, in its order)
        self, crops: Tensor, thumbnail: Tensor, view: Tensor, levels: Tensor, variety: Tensor, taken: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        return self.decode(self.look(crops, thumbnail, self.traits(view, levels, variety)), taken)

    def decode(self, seen: Tensor, taken: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The plan, greedily, from what is seen, as `forward` returns it; in evaluation mode."""
        state = seen.new_zeros(seen.shape[0], self.features)
        previous = torch.full_like(taken[:, 0], self.labels)
        labels = torch.arange(self.labels, device=seen.device)
        is_open = torch.ones_like(labels, dtype=torch.bool).expand(seen.shape[0], -1)
        plan, probabilities, deviations = [], [], []
        for told in taken.unbind(dim=1):
            scores, sigma, state = self.step(seen, previous, state)
            likeliest = scores.where(is_open, -1.0).argmax(dim=1)
            previous = torch.where(told < self.labels, told, likeliest)
            # What was taken is not taken twice, and an ended plan stays so.
            is_open = is_open & ((labels != previous[:, None]) & (previous[:, None] != 0) | (labels == 0))
            plan.append(previous)
            probabilities.append(scores)
            deviations.append(sigma)
        return torch.stack(plan, 1), torch.stack(probabilities, 1), torch.stack(deviations, 1)

    def keep_eye_for_noise(self) -> None:
        """Train what looks at crops no further."""
        self.near.requires_grad_(requires_grad=False)
        self.each.requires_grad_(requires_grad=False)

    def look(self, crops: Tensor, thumbnail: Tensor, traits: Tensor) -> Tensor:
        """What is seen of a picture: (N, 6 * features). `traits` are what is told of it, see there."""
        count = crops.shape[1]
        x = crops.flatten(0, 1)
        fine = (x - F.avg_pool2d(x, 3, stride=1, padding=1, count_include_pad=False)) * _GAIN
        places = self.near(torch.cat((x - 0.5, fine), dim=1))
        each = torch.cat((places.mean(dim=(2, 3)), places.amax(dim=(2, 3))), dim=1)
        each = F.relu(self.each(each)).view(-1, count, self.features)
        whole = F.relu(self.whole(self.far(thumbnail - 0.5).flatten(1)))
        told = F.relu(self.told(traits))
        return torch.cat((each.mean(dim=1), each.amax(dim=1), each.amin(dim=1), whole, told), dim=1)

    def traits(self, view: Tensor, levels: Tensor, variety: Tensor) -> Tensor:
        """What restorers and rules make of a picture, (N, count): the same in training, since they are not trained."""
        signs = self._signs(view.flatten(0, 1)).view(*view.shape[:2], -1)
        # In the order of their strength: that of the crops says nothing.
        noise = (levels + _FAINTEST).mul(255).log().sort(dim=1).values / 2
        return torch.cat((signs[:, 0], noise, variety[:, None], signs[:, -1]), dim=1)

    def _signs(self, picture: Tensor) -> Tensor:
        """Of a mark in pictures, (N, 3, H, W) -> (N, 5)."""
        logits, lines = self.find(picture)
        mask = (logits / 2 + 0.5).clamp(0, 1)
        sure = [F.avg_pool2d(logits, side).amax(dim=(1, 2, 3)) / 4 for side in _SQUARES]
        change = (mask * (lines - picture)).square().mean(dim=(1, 2, 3))
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
        """One step of the plan from what is seen: scores (N, labels), deviations (N,), the next state (N, features).

        `previous` (N,) is the step before, the number of labels for none; `state` is zeros at first. Scores are
        probabilities, in training mode before softmax and without caution.
        """
        state = self.cell(torch.cat((self.dropout(seen), self.embed(previous)), dim=1), state)
        scores = self.scores(state)
        sigma = self.log_sigma(torch.cat((state, seen), dim=1)).squeeze(1).clamp(-8, 0).exp()
        if self.training:
            return scores, sigma, state
        return torch.cat((scores[:, :1] + self.caution, scores[:, 1:]), dim=1).softmax(dim=1), sigma, state
