"""The forward and backward pass of a step: on a GPU recorded once, then replayed with one call."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from training.degrade import Pair
from training.schedule import Progress

#: Passes before recording, in which libraries choose their kernels: what the CUDA graphs of torch's manual take.
_WARM_UP = 3


class _Recording(NamedTuple):
    """A CUDA graph, and the memory that it reads and writes."""

    graph: Any
    pair: Pair
    loss: Tensor
    gradients: list[Tensor | None]


class Gradients:
    """Computes a pair's mean loss, and its gradients into the network's parameters.

    A network with thousands of small kernels, as the remover's Poisson equation has, keeps a GPU waiting for the
    host that starts each; recorded as a CUDA graph they start as one. Each set of shapes is recorded when it is first
    met. Without `record`, which only a GPU can, every pass is run as it is.
    """

    def __init__(self, network: nn.Module, loss: Callable[[Pair], Tensor], *, record: bool) -> None:
        self._parameters = [p for p in network.parameters() if p.requires_grad]
        self._loss = loss
        self._record = record
        self._recordings: dict[tuple[torch.Size, ...], _Recording] = {}
        #: When the last pair was read, and its memory may be used anew; None where nothing is recorded.
        self.read: torch.cuda.Event | None = None

    def __call__(self, pair: Pair) -> Tensor:
        """The loss, (), of a pair; the gradients that there were are forgotten."""
        self._forget()
        if not self._record:
            loss = self._loss(pair)
            torch.autograd.backward(loss)
            return loss.detach()
        key = tuple(part.shape for part in _parts(pair))
        recording = self._recordings.get(key)
        if recording is None:
            recording = self._recordings[key] = self._recorded(pair)
        for mine, new in zip(_parts(recording.pair), _parts(pair), strict=True):
            mine.copy_(new, non_blocking=True)
        self.read = torch.cuda.current_stream().record_event()
        recording.graph.replay()
        for parameter, gradient in zip(self._parameters, recording.gradients, strict=True):
            parameter.grad = gradient
        return recording.loss.clone()

    def _recorded(self, pair: Pair) -> _Recording:
        mine = _copied(pair)
        stream: Any = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(_WARM_UP):
                torch.autograd.backward(self._loss(mine))
                self._forget()
        torch.cuda.current_stream().wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            loss = self._loss(mine)
            # Without gradients to add to, this writes them to the same place at each replay.
            torch.autograd.backward(loss)
        return _Recording(graph, mine, loss.detach(), [p.grad for p in self._parameters])

    def _forget(self) -> None:
        for parameter in self._parameters:
            parameter.grad = None


class Feed:
    """The pair of each step; on a GPU made on a stream of its own, while the step before is under way."""

    def __init__(self, make: Callable[[Progress], Pair], *, ahead: bool) -> None:
        self._make = make
        self._stream: Any = torch.cuda.Stream() if ahead else None  # type: ignore[no-untyped-call]
        self._upcoming: Pair | None = None

    def pair(self, progress: Progress) -> Pair:
        """The pair of this step."""
        if self._upcoming is None:
            return self._make(progress)
        torch.cuda.current_stream().wait_stream(self._stream)
        upcoming, self._upcoming = self._upcoming, None
        return upcoming

    def start(self, progress: Progress, after: torch.cuda.Event | None) -> None:
        """Make the pair of this step already; `after` is when the memory of the one before was let go."""
        if self._stream and after:
            self._stream.wait_event(after)
            with torch.cuda.stream(self._stream):
                self._upcoming = self._make(progress)


def _parts(pair: Pair) -> list[Tensor]:
    """Every tensor of a pair, always in the same order."""
    parts: list[Tensor] = []
    for field in dataclasses.fields(pair):
        value = getattr(pair, field.name)
        parts += value.values() if isinstance(value, dict) else [value]
    return parts


def _copied(pair: Pair) -> Pair:
    """The pair in memory of its own, all on the device of its photos."""
    device = pair.clean.device

    def copy(value: Any) -> Any:
        if isinstance(value, dict):
            return {name: copy(part) for name, part in value.items()}
        return value.detach().to(device, copy=True)

    copies = {field.name: copy(getattr(pair, field.name)) for field in dataclasses.fields(pair)}
    return dataclasses.replace(pair, **copies)
