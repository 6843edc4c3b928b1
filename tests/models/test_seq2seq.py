"""Sequences to sequences: decoding by hand-made tables, padding, export, and two tasks learnt to the last string."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from models.seq2seq import GreedyExport, Seq2Seq, State, beam, greedy, sequence_loss

DIGITS = 10


@pytest.fixture
def network() -> Seq2Seq:
    torch.manual_seed(0)
    network = Seq2Seq(DIGITS, DIGITS, embedding=8, hidden=12)
    for parameter in network.parameters():
        # Larger than at the start of training, so that answers differ from string to string.
        torch.nn.init.normal_(parameter, std=0.5)
    return network


@pytest.fixture
def strings() -> tuple[Tensor, Tensor]:
    """Twenty digit strings of 1 to 6, padded with noughts, and their lengths."""
    rng = torch.Generator().manual_seed(1)
    lengths = 1 + torch.arange(20) % 6
    source = torch.randint(0, DIGITS, (20, 6), generator=rng)
    return source.masked_fill(torch.arange(6) >= lengths[:, None], 0), lengths


def by_table(next_after: dict[int, dict[int, float]], kinds: int) -> Callable[[Tensor, State], tuple[Tensor, State]]:
    """A step whose probabilities depend on the last token alone."""
    table = torch.full((kinds, kinds), 1e-9)
    for token, chances in next_after.items():
        for following, chance in chances.items():
            table[token, following] = chance
    return lambda token, state: (table[token].log(), state)


# The better first letter (A, 0.6) leads only to dull words, the worse one (B, 0.4) to a sure one:
# A, C, END has 0.6 * 0.4 * 1 = 0.24, while B, C, END has 0.4 * 1 * 1 = 0.4.
A, B, C, D, E, BEGIN, END = range(7)
GREEDY_TRAP = by_table(
    {BEGIN: {A: 0.6, B: 0.4}, A: {C: 0.4, D: 0.3, E: 0.3}, B: {C: 1.0}, C: {END: 1.0}, D: {END: 1.0}, E: {END: 1.0}}, 7
)
NOTHING: State = (torch.zeros(1, 1),)


def test_greedy_takes_the_likeliest_token_at_each_step():
    written = greedy(GREEDY_TRAP, NOTHING, rows=1, begin=BEGIN, end=END, longest=4)
    assert written.tokens.tolist() == [[A, C, END, END]]
    assert written.log_probability.exp().item() == pytest.approx(0.24, abs=1e-6)


def test_a_beam_finds_the_likelier_sequence_that_greedy_misses():
    written = beam(GREEDY_TRAP, NOTHING, rows=1, begin=BEGIN, end=END, longest=4, width=2)
    assert written.tokens.tolist() == [[B, C, END, END]]
    assert written.log_probability.exp().item() == pytest.approx(0.4, abs=1e-6)


def test_a_short_sequence_stays_in_the_beam_while_longer_ones_grow():
    step = by_table({BEGIN: {END: 0.5, A: 0.5}, A: {B: 0.9, END: 0.1}, B: {END: 1.0}}, 7)
    written = beam(step, NOTHING, rows=1, begin=BEGIN, end=END, longest=5, width=3)
    assert written.tokens.tolist() == [[END] * 5]
    assert written.log_probability.item() == pytest.approx(math.log(0.5), abs=1e-6)


def test_decoding_stops_at_the_longest_length():
    step = by_table({BEGIN: {A: 1.0}, A: {A: 1.0}}, 7)
    assert greedy(step, NOTHING, rows=1, begin=BEGIN, end=END, longest=3).tokens.tolist() == [[A, A, A]]
    assert beam(step, NOTHING, rows=1, begin=BEGIN, end=END, longest=3, width=2).tokens.tolist() == [[A, A, A]]


def test_a_beam_of_one_is_greedy(network, strings):
    source, lengths = strings
    by_greedy, by_beam = network.greedy(source, lengths, longest=8), network.beam(source, lengths, longest=8, width=1)
    assert torch.equal(by_beam.tokens, by_greedy.tokens)
    torch.testing.assert_close(by_beam.log_probability, by_greedy.log_probability)
    # Else the test would say little.
    assert len(by_greedy.tokens.unique(dim=0)) > 5


def test_the_probability_of_a_beams_answer_is_that_of_teacher_forcing(network, strings):
    source, lengths = strings
    written = network.beam(source, lengths, longest=8, width=4)
    chances = F.log_softmax(network(source, lengths, written.tokens), dim=2)
    chances = chances.gather(2, written.tokens[..., None])[..., 0]
    ended_before = (written.tokens == network.end).cumsum(dim=1) > 1
    torch.testing.assert_close(chances.masked_fill(ended_before, 0.0).sum(dim=1), written.log_probability)


def test_scores_have_one_row_for_each_token_of_the_target(network, strings):
    source, lengths = strings
    # Ten digits, BEGIN and END.
    assert network(source, lengths, torch.zeros(20, 4, dtype=torch.int64)).shape == (20, 4, 12)


def test_padding_never_changes_an_answer(network, strings):
    source, lengths = strings
    alone = [network(source[i : i + 1, :n], lengths[i : i + 1], source[i : i + 1]) for i, n in enumerate(lengths)]
    padded = F.pad(source, (0, 5), value=7).masked_fill(torch.arange(11) >= lengths[:, None], 9)
    # Sums in another order: float32.
    torch.testing.assert_close(network(padded, lengths, source), torch.cat(alone), rtol=0, atol=1e-5)


def test_what_lies_behind_the_end_does_not_count_in_the_loss(network, strings):
    source, lengths = strings
    scores = network(source, lengths, source)
    other = scores.masked_fill((torch.arange(6) >= lengths[:, None])[..., None], 5.0)
    assert torch.equal(sequence_loss(scores, source, lengths), sequence_loss(other, source, lengths))


def test_the_encoder_step_by_step_equals_the_packed_one(network, strings):
    for packed, unrolled in zip(network.encoder(*strings), network.encoder.unrolled(*strings), strict=True):
        torch.testing.assert_close(unrolled, packed, rtol=0, atol=1e-5)


def test_the_exported_greedy_decode_answers_as_torch(network, strings, tmp_path):
    import onnxruntime

    source, lengths = strings
    exported = export(network, source, lengths, tmp_path / "greedy.onnx")
    session = onnxruntime.InferenceSession(exported, providers=["CPUExecutionProvider"])
    for rows in (slice(None), slice(3, 4)):
        inputs = {"source": source[rows].numpy(), "lengths": lengths[rows].numpy()}
        (tokens,) = session.run(None, inputs)
        np.testing.assert_array_equal(tokens, network.greedy(source[rows], lengths[rows], longest=7).tokens.numpy())


def export(network: Seq2Seq, source: Tensor, lengths: Tensor, path: Path) -> Path:
    batch = torch.export.Dim("batch")
    program = torch.onnx.export(
        GreedyExport(network, longest=7).eval(),
        (source, lengths),
        input_names=["source", "lengths"],
        output_names=["tokens"],
        dynamic_shapes=({0: batch}, {0: batch}),
        dynamo=True,
        verbose=False,
    )
    assert program is not None
    program.save(path)
    return path


def is_held_out(source: Tensor, lengths: Tensor) -> Tensor:
    """One string of three or more digits in eleven is never learnt from; there are too few shorter ones."""
    number = (source * 10 ** torch.arange(source.shape[1])).masked_fill(
        torch.arange(source.shape[1]) >= lengths[:, None], 0
    )
    return (number.sum(dim=1) % 11 == 0) & (lengths >= 3)


def draw(count: int, longest: int, rng: torch.Generator, *, held_out: bool) -> tuple[Tensor, Tensor]:
    lengths = torch.randint(1, longest + 1, (20 * count,), generator=rng)
    source = torch.randint(0, DIGITS, (20 * count, longest), generator=rng)
    wanted = is_held_out(source, lengths) == held_out
    return source[wanted][:count], lengths[wanted][:count]


def reversed_digits(source: Tensor, lengths: Tensor, end: int) -> Tensor:
    places = torch.arange(source.shape[1] + 1)
    turned = source.gather(1, (lengths[:, None] - 1 - places).clamp(min=0))
    return turned.masked_fill(places >= lengths[:, None], end)


def sorted_digits(source: Tensor, lengths: Tensor, end: int) -> Tensor:
    places = torch.arange(source.shape[1])
    in_order = source.masked_fill(places >= lengths[:, None], end).sort(dim=1).values
    return F.pad(in_order, (0, 1), value=end)


def test_the_two_tasks_are_what_they_are_called():
    source, lengths = torch.tensor([[3, 1, 2, 7], [5, 4, 0, 0]]), torch.tensor([4, 2])
    assert reversed_digits(source, lengths, 11).tolist() == [[7, 2, 1, 3, 11], [4, 5, 11, 11, 11]]
    assert sorted_digits(source, lengths, 11).tolist() == [[1, 2, 3, 7, 11], [4, 5, 11, 11, 11]]


def learnt(task: Callable[[Tensor, Tensor, int], Tensor], *, longest: int, steps: int, hidden: int) -> float:
    """The share of 500 held-out strings that a network answers exactly after so many steps."""
    torch.manual_seed(0)
    network = Seq2Seq(DIGITS, DIGITS, embedding=16, hidden=hidden)
    optimizer = torch.optim.Adam(network.parameters(), lr=3e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 3e-3, total_steps=steps)
    rng = torch.Generator().manual_seed(0)
    for _ in range(steps):
        source, lengths = draw(256, longest, rng, held_out=False)
        target = task(source, lengths, network.end)
        loss = sequence_loss(network(source, lengths, target), target, lengths + 1)
        torch.autograd.backward(loss)
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        schedule.step()
    source, lengths = draw(500, longest, rng, held_out=True)
    written = network.greedy(source, lengths, longest=longest + 1).tokens
    right = (written == task(source, lengths, network.end)).all(dim=1)
    assert len(right) == 500
    return float(right.float().mean())


@pytest.mark.parametrize(("task", "steps"), [(reversed_digits, 300), (sorted_digits, 500)])
def test_it_learns_digit_strings_to_the_last_one(task, steps):
    assert learnt(task, longest=5, steps=steps, hidden=48) == 1.0
