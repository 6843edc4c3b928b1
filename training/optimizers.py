"""The optimiser: AdamW for all, or Muon for the 3x3 convolutions beside it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

from training import TrainingError
from training.settings import Settings


class Muon(torch.optim.Optimizer):
    """Momentum made orthogonal by a Newton-Schulz iteration (Jordan et al. 2024, kellerjordan.github.io/posts/muon).

    torch.optim.Muon takes matrices only and always iterates in bfloat16, which on a CPU without
    bfloat16 arithmetic costs more than the network itself; here a convolution (K, C, h, w) counts
    as the matrix (K, C*h*w) and the iteration runs in float32 there.
    """

    def __init__(
        self, params: Iterable[Tensor], lr: float, *, momentum: float = 0.95, weight_decay: float = 0.0
    ) -> None:
        super().__init__(params, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        if closure is not None:
            raise ValueError("Muon takes no closure")
        for group in self.param_groups:
            alike: dict[torch.Size, list[Tensor]] = {}
            for p in group["params"]:
                if p.grad is not None:
                    alike.setdefault(p.shape, []).append(p)
            for some in alike.values():
                self._step_alike(some, group)

    def _step_alike(self, params: list[Tensor], group: dict[str, Any]) -> None:
        """A step of parameters of one shape: together, so that a GPU is not kept waiting for many small products."""
        for p in params:
            if not self.state[p]:
                self.state[p]["momentum"] = torch.zeros_like(p)
        gradients = [p.grad for p in params if p.grad is not None]
        velocities = [self.state[p]["momentum"] for p in params]
        torch._foreach_lerp_(velocities, gradients, 1 - group["momentum"])
        nesterov = torch.stack(gradients).lerp_(torch.stack(velocities), group["momentum"])
        updates = orthogonalize(nesterov.flatten(2)).view_as(nesterov)
        if group["weight_decay"]:
            torch._foreach_mul_(params, 1 - group["lr"] * group["weight_decay"])
        torch._foreach_add_(params, list(updates), alpha=-group["lr"])


def multiplies_bfloat16() -> bool:
    """Whether this CPU has instructions for bfloat16 products, and need not emulate them."""
    # No public name says this before torch 2.14.
    return torch.cpu._is_amx_tile_supported() or torch.cpu._is_avx512_bf16_supported()  # noqa: SLF001


def orthogonalize(matrix: Tensor, *, iterations: int = 5) -> Tensor:
    """The matrix (..., m, n) with its singular values moved to about 1, times max(1, m / n)**0.5.

    A quintic Newton-Schulz iteration with the coefficients of Jordan et al. 2024: singular values
    end within about 0.7 and 1.2, which is as good as 1 for a step's direction.
    """
    a, b, c = 3.4445, -4.7750, 2.0315
    x: Tensor = matrix.bfloat16() if matrix.is_cuda or multiplies_bfloat16() else matrix.float()
    rows, columns = matrix.shape[-2:]
    x = x.mT if rows > columns else x
    x = x / (torch.linalg.vector_norm(x, dim=(-2, -1), keepdim=True) + 1e-7)
    for _ in range(iterations):
        gram = x @ x.mT
        x = a * x + (b * gram + c * gram @ gram) @ x
    x = x.mT if rows > columns else x
    return x.to(matrix.dtype) * math.sqrt(max(1.0, rows / columns))


class Optimizers:
    """One or two optimisers that step, save and load as one; `set_rate` scales every group's own rate."""

    def __init__(self, network: nn.Module, settings: Settings) -> None:
        self._decay = settings.weight_decay
        parameters = [p for p in network.parameters() if p.requires_grad]
        matrices = []
        if settings.optimizer == "muon":
            # The first and last layers speak pixels, not features: Muon's authors leave those to AdamW too.
            matrices = [p for p in parameters if p.shape[2:] == (3, 3) and min(p.shape[:2]) >= 32]
        chosen = {id(w) for w in matrices}
        rest = [p for p in parameters if id(p) not in chosen]
        self._all: list[torch.optim.Optimizer] = [
            torch.optim.AdamW(rest, lr=settings.learning_rate, betas=(0.9, 0.99), weight_decay=self._decay)
        ]
        if matrices:
            self._all.append(Muon(matrices, settings.muon_learning_rate, weight_decay=self._decay))
        self._rates = [[group["lr"] for group in o.param_groups] for o in self._all]

    def set_rate(self, factor: float) -> None:
        """Set each group's learning rate to `factor` times its highest."""
        for optimizer, rates in zip(self._all, self._rates, strict=True):
            for group, rate in zip(optimizer.param_groups, rates, strict=True):
                group["lr"] = rate * factor

    def step(self, *, skip: bool = False) -> None:
        """One step of each, or none, then forget the gradients."""
        for optimizer in self._all:
            if not skip:
                optimizer.step()
            optimizer.zero_grad(set_to_none=True)

    def state_dict(self) -> list[dict[str, Any]]:
        """The state of each optimiser."""
        return [o.state_dict() for o in self._all]

    def load_state_dict(self, state: list[dict[str, Any]]) -> None:
        """Take up a saved state, but for rates and weight decay; TrainingError if it was made by other optimisers."""
        if [_sizes(o.state_dict()) for o in self._all] != [_sizes(part) for part in state]:
            raise TrainingError("the run was started with another --optimizer. Give the same, or take another --run.")
        for optimizer, part in zip(self._all, state, strict=True):
            optimizer.load_state_dict(part)
            for group in optimizer.param_groups:
                group["weight_decay"] = self._decay


def _sizes(state: dict[str, Any]) -> list[int]:
    return [len(group["params"]) for group in state["param_groups"]]
