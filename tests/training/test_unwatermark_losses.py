"""The watermark remover's loss, by hand."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch

from models.unwatermark import Decomposition
from training.settings import Settings
from training.unwatermark_losses import dice, inside_mean, mask_entropy, unwatermark_loss
from training.watermarks import MarkedPair

L1 = Settings(loss="l1")


@pytest.fixture
def pair() -> MarkedPair:
    """Two black photos of 4 x 4; the first has a mark of opacity and light 0.5 on its upper half, the second none."""
    clean = torch.zeros(2, 3, 4, 4)
    mask = torch.zeros(2, 1, 4, 4)
    mask[0, :, :2] = 1
    planes = 0.5 * mask.expand(2, 3, 4, 4)
    inputs = {"image": clean + planes, "mask_in": torch.zeros(2, 1, 4, 4), "use_mask": torch.zeros(2)}
    return MarkedPair(inputs, clean, mask=mask, alpha=planes, mark=planes)


def right(pair: MarkedPair) -> Decomposition:
    """What a perfect network would answer."""
    logits = torch.where(pair.mask > 0, 200.0, -200.0)
    clean = pair.clean
    # The mark is one strip of opacity 0.5: it has an edge below its second row, and halves the contrast.
    edges = torch.full((2, 2, 4, 4), -200.0)
    edges[0, 1, 1] = 200
    clearing = math.log(2) * pair.mask.expand(2, 3, 4, 4)
    # A black photo's gradients are as black.
    return Decomposition(clean, pair.mask, logits, clean, edges, clearing, clean, clean, clean)


def test_the_truth_has_no_loss(pair):
    assert unwatermark_loss(right(pair), pair, L1).tolist() == [0.0, 0.0]


def test_the_mean_inside_a_mask_counts_only_what_is_inside():
    mask = torch.zeros(2, 1, 2, 2)
    mask[0, 0, 0, 0] = 1
    error = torch.tensor([[0.3, 1.0], [1.0, 1.0]]).expand(2, 3, 2, 2)
    assert inside_mean(error, mask).tolist() == pytest.approx([0.3, 0.0])


def test_a_photo_left_as_it_was_costs_its_error_inside_and_over_the_whole(pair):
    answers = right(pair)._replace(restored=pair.inputs["image"], clean=pair.inputs["image"])
    # Half of the picture is off by 0.5: 0.25 over the whole, 0.5 inside, less half a level, which counts six times.
    assert unwatermark_loss(answers, pair, L1).tolist() == pytest.approx([0.25 + 6 * (0.5 - 0.5 / 255), 0.0], abs=1e-4)


def test_inside_a_large_error_counts_for_more_than_two_halves_of_it(pair):
    all_over, in_half = (torch.zeros(2, 3, 4, 4) for _ in range(2))
    all_over[0], in_half[0, :, :1] = 0.1, 0.2
    both = [unwatermark_loss(right(pair)._replace(clean=pair.clean + e), pair, L1)[0] for e in (all_over, in_half)]
    # Of the mark's two rows: 0.1 in each, or 0.2 in one, whose root of the mean square is 0.1414.
    level = 0.5 / 255
    assert [float(loss) / 6 for loss in both] == pytest.approx([0.1 - level, 0.1 * math.sqrt(2) - level], abs=1e-4)


def test_what_a_user_brushed_counts_as_inside(pair):
    told = {**pair.inputs, "mask_in": torch.ones(2, 1, 4, 4), "use_mask": torch.tensor([0.0, 1.0])}
    answers = right(pair)._replace(clean=pair.clean + torch.tensor([0.0, 0.3]).view(2, 1, 1, 1))
    losses = unwatermark_loss(answers, dataclasses.replace(pair, inputs=told), L1)
    # Six times 0.3, less half a level.
    assert losses.tolist() == pytest.approx([0.0, 6 * (0.3 - 0.5 / 255)], abs=1e-4)


def test_lines_and_gradients_cost_what_they_are_off_inside(pair):
    answers = right(pair)._replace(lines=pair.clean + 0.1, right=pair.clean + 0.2)
    # Twice 0.1, and twelve times 0.2 for one of two directions; the second photo has no inside.
    assert unwatermark_loss(answers, pair, L1).tolist() == pytest.approx([2.6, 0.0])


def test_an_edge_that_is_not_found_costs_its_entropy(pair):
    answers = right(pair)
    answers.edges[0, 1, 1] = 0.0
    # 4 of the 16 answers inside the mark are undecided.
    losses = unwatermark_loss(answers, pair, L1)
    assert losses.tolist() == pytest.approx([math.log(2) / 4, 0.0])


def test_contrast_that_is_not_brought_back_costs_its_logarithm_but_for_opaque_marks(pair):
    answers = right(pair)._replace(clearing=torch.zeros(2, 3, 4, 4))
    assert unwatermark_loss(answers, pair, L1).tolist() == pytest.approx([math.log(2), 0.0])
    opaque = dataclasses.replace(pair, alpha=pair.alpha * 2)
    assert unwatermark_loss(answers, opaque, L1).tolist() == pytest.approx([0.0, 0.0])


def test_an_undecided_mask_costs_the_logarithm_of_two(pair):
    assert mask_entropy(torch.zeros(2, 1, 4, 4), pair.mask).tolist() == pytest.approx([math.log(2)] * 2)


def test_dice_is_the_share_that_was_not_found(pair):
    nothing = torch.full((2, 1, 4, 4), -100.0)
    # The sums start from 64: 1 - 64 / (8 + 64) for 8 pixels missed; nothing missed where there is no mark.
    assert dice(nothing, pair.mask).tolist() == pytest.approx([1 - 64 / 72, 0.0])


def test_every_part_has_a_finite_gradient(pair):
    answers = Decomposition(*(part.clone().requires_grad_() for part in right(pair)))
    unwatermark_loss(answers, pair, Settings()).sum().backward()
    for name in ("restored", "logits", "lines", "edges", "clearing", "right", "below", "clean"):
        assert torch.isfinite(getattr(answers, name).grad).all(), name
