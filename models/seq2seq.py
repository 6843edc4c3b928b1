"""Sequences to sequences: a GRU that reads, a GRU with attention that writes, greedy and beam decoding.

Tokens are whole numbers; what they mean is the caller's. A batch is padded to its longest sequence, and `lengths`
says how much of each row counts: what stands behind it never changes an answer.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

#: What a decoder carries from step to step: any number of tensors, rows first.
State = tuple[Tensor, ...]
#: The tokens written last (N,) and the state -> log-probabilities of the next (N, V), and the state after them.
Step = Callable[[Tensor, State], tuple[Tensor, State]]


class Encoder(nn.Module):
    """Reads tokens (N, S) int64, lengths (N,) int64 from 1 up, with a GRU in both directions.

    Returns what it thinks at every place (N, S, 2 * hidden), zero behind the length, and at the end (N, 2 * hidden).
    """

    def __init__(self, tokens: int, *, embedding: int, hidden: int) -> None:
        super().__init__()
        self.embed = nn.Embedding(tokens, embedding)
        self.gru = nn.GRU(embedding, hidden, batch_first=True, bidirectional=True)

    def forward(self, source: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        packed = pack_padded_sequence(self.embed(source), lengths.cpu(), batch_first=True, enforce_sorted=False)
        outputs, last = self.gru(packed)
        memory, _ = pad_packed_sequence(outputs, batch_first=True, total_length=source.shape[1])
        return memory, last.transpose(0, 1).flatten(1)

    def unrolled(self, source: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """The same as `forward` in plain steps, one for each column of `source`, so that it can be exported."""
        embedded = self.embed(source)
        places = range(source.shape[1])
        forwards = self._one_way(embedded, lengths, list(places), "")
        backwards = self._one_way(embedded, lengths, list(reversed(places)), "_reverse")[::-1]
        memory = torch.stack([torch.cat(pair, dim=1) for pair in zip(forwards, backwards, strict=True)], dim=1)
        known = (torch.arange(source.shape[1], device=source.device) < lengths[:, None])[..., None]
        return memory * known, torch.cat((forwards[-1], backwards[0]), dim=1)

    def _one_way(self, embedded: Tensor, lengths: Tensor, places: list[int], suffix: str) -> list[Tensor]:
        """The states after each of `places`, in this order; a place behind the length leaves the state as it was."""
        weights = [
            getattr(self.gru, name + suffix) for name in ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0")
        ]
        state = embedded.new_zeros(embedded.shape[0], self.gru.hidden_size)
        states = []
        for place in places:
            known = (lengths > place)[:, None]
            state = torch.where(known, torch.gru_cell(embedded[:, place], state, *weights), state)
            states.append(state)
        return states


class AttentionDecoder(nn.Module):
    """Writes one token at a time with additive attention (Bahdanau et al. 2015, arXiv:1409.0473).

    `memory` (N, S, memory_size) may come from any encoder. Differs from the paper: the scores are linear in the
    state and the context, without a maxout layer.
    """

    def __init__(self, tokens: int, memory_size: int, *, embedding: int, hidden: int) -> None:
        super().__init__()
        self.embed = nn.Embedding(tokens, embedding)
        self.start = nn.Linear(memory_size, hidden)
        self.of_state = nn.Linear(hidden, hidden, bias=False)
        self.of_memory = nn.Linear(memory_size, hidden)
        self.energy = nn.Linear(hidden, 1, bias=False)
        self.cell = nn.GRUCell(embedding + memory_size, hidden)
        self.scores = nn.Linear(hidden + memory_size, tokens)

    def begin(self, memory: Tensor, last: Tensor, lengths: Tensor) -> State:
        """The state before the first token; `last` (N, memory_size) sums up the memory."""
        known = torch.arange(memory.shape[1], device=memory.device) < lengths[:, None]
        return torch.tanh(self.start(last)), memory, self.of_memory(memory), known

    def forward(self, token: Tensor, state: State) -> tuple[Tensor, State]:
        """As `Step`, with scores before softmax."""
        hidden, memory, keys, known = state
        energy = self.energy(torch.tanh(self.of_state(hidden)[:, None] + keys)).squeeze(2)
        # Not minus infinity: a row without any place would become NaN.
        weights = torch.softmax(energy.masked_fill(~known, -1e9), dim=1)
        context = (weights[:, None] @ memory).squeeze(1)
        hidden = self.cell(torch.cat((self.embed(token), context), dim=1), hidden)
        return self.scores(torch.cat((hidden, context), dim=1)), (hidden, memory, keys, known)


class Written(NamedTuple):
    """Token sequences (N, longest) without BEGIN, END from the first END on, and their log-probabilities (N,)."""

    tokens: Tensor
    log_probability: Tensor


class Seq2Seq(nn.Module):
    """From sequences of `source_tokens` kinds of tokens to sequences of `target_tokens` kinds.

    BEGIN and END are the two kinds of the target after those: `begin` and `end`.
    """

    def __init__(self, source_tokens: int, target_tokens: int, *, embedding: int = 32, hidden: int = 64) -> None:
        super().__init__()
        self.begin, self.end = target_tokens, target_tokens + 1
        self.encoder = Encoder(source_tokens, embedding=embedding, hidden=hidden)
        self.decoder = AttentionDecoder(target_tokens + 2, 2 * hidden, embedding=embedding, hidden=hidden)

    def forward(self, source: Tensor, lengths: Tensor, target: Tensor) -> Tensor:
        """Scores (N, T, V) for each token of `target` (N, T), told those before it (teacher forcing)."""
        memory, last = self.encoder(source, lengths)
        state = self.decoder.begin(memory, last, lengths)
        told = F.pad(target[:, :-1], (1, 0), value=self.begin)
        scores = []
        for token in told.unbind(dim=1):
            score, state = self.decoder(token, state)
            scores.append(score)
        return torch.stack(scores, dim=1)

    @torch.no_grad()
    def greedy(self, source: Tensor, lengths: Tensor, *, longest: int) -> Written:
        """The likeliest token at each step, up to END or `longest` tokens."""
        memory, last = self.encoder(source, lengths)
        first = self.decoder.begin(memory, last, lengths)
        return greedy(self.step, first, rows=len(source), begin=self.begin, end=self.end, longest=longest)

    @torch.no_grad()
    def beam(self, source: Tensor, lengths: Tensor, *, longest: int, width: int) -> Written:
        """The likeliest sequence that a beam of `width` finds."""
        memory, last = self.encoder(source, lengths)
        first = self.decoder.begin(memory, last, lengths)
        return beam(self.step, first, rows=len(source), begin=self.begin, end=self.end, longest=longest, width=width)

    def step(self, token: Tensor, state: State) -> tuple[Tensor, State]:
        """As `Step`."""
        scores, state = self.decoder(token, state)
        return F.log_softmax(scores, dim=1), state


class GreedyExport(nn.Module):
    """What is exported: source (N, S) int64 and lengths (N,) int64 -> tokens (N, longest) int64, as `Seq2Seq.greedy`.

    S and `longest` are fixed: every step stands in the graph.
    """

    def __init__(self, network: Seq2Seq, *, longest: int) -> None:
        super().__init__()
        self.network = network
        self.longest = longest

    def forward(self, source: Tensor, lengths: Tensor) -> Tensor:
        network = self.network
        memory, last = network.encoder.unrolled(source, lengths)
        first = network.decoder.begin(memory, last, lengths)
        return greedy(
            network.step, first, rows=source.shape[0], begin=network.begin, end=network.end, longest=self.longest
        ).tokens  # fmt: skip


def sequence_loss(scores: Tensor, target: Tensor, lengths: Tensor) -> Tensor:
    """Mean cross-entropy of the tokens (N, T) that count; `lengths` includes END, scores are (N, T, V)."""
    known = torch.arange(target.shape[1], device=target.device) < lengths[:, None]
    return F.cross_entropy(scores[known], target[known])


def greedy(step: Step, state: State, *, rows: int, begin: int, end: int, longest: int) -> Written:
    """The likeliest token at each step, for each of `rows` rows, up to END or `longest` tokens."""
    device = state[0].device
    token = torch.full((rows,), begin, device=device)
    ended = torch.zeros(rows, dtype=torch.bool, device=device)
    total = torch.zeros(rows, device=device)
    tokens = []
    for _ in range(longest):
        log_probability, state = step(token, state)
        best, token = log_probability.max(dim=1)
        total = total + best.masked_fill(ended, 0.0)
        token = token.masked_fill(ended, end)
        ended = ended | (token == end)
        tokens.append(token)
    return Written(torch.stack(tokens, dim=1), total)


def beam(step: Step, state: State, *, rows: int, begin: int, end: int, longest: int, width: int) -> Written:
    """The likeliest sequence of those found by keeping the `width` best beginnings of each row.

    Likeliest by the product of its probabilities, so longer ones are not favoured; one that has not ended after
    `longest` tokens counts as it stands. A width of 1 is greedy decoding.
    """
    device = state[0].device
    state = tuple(part.repeat_interleave(width, dim=0) for part in state)
    row = torch.arange(rows, device=device)[:, None] * width
    token = torch.full((rows * width,), begin, device=device)
    # All beams of a row begin alike: but one must not count, or they stay alike.
    total = torch.full((rows, width), -torch.inf, device=device)
    total[:, 0] = 0.0
    tokens = torch.empty(rows * width, 0, dtype=torch.int64, device=device)
    ended = torch.zeros(rows * width, dtype=torch.bool, device=device)
    for _ in range(longest):
        log_probability, state = step(token, state)
        kinds = log_probability.shape[1]
        only_end = torch.full((kinds,), -torch.inf, device=device)
        only_end[end] = 0.0
        log_probability = torch.where(ended[:, None], only_end, log_probability)
        total, best = (total[..., None] + log_probability.view(rows, width, kinds)).flatten(1).topk(width)
        came_from = (row + best // kinds).flatten()
        token = (best % kinds).flatten()
        tokens = torch.cat((tokens[came_from], token[:, None]), dim=1)
        ended = ended[came_from] | (token == end)
        state = tuple(part[came_from] for part in state)
    winner = row[:, 0] + total.argmax(dim=1)
    return Written(tokens[winner], total.max(dim=1).values)
