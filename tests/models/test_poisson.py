"""Pictures from gradients: against the exact solution, and what a seam's gradient is worth."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from models.poisson import gradients, solve_poisson


def smooth(rows: int, columns: int) -> Tensor:
    """Two wavy pictures with a slope, (2, 3, rows, columns), float64."""
    y, x = torch.meshgrid(torch.arange(rows) / rows, torch.arange(columns) / columns, indexing="ij")
    waves = [torch.sin(6 * x + c) * torch.cos(4 * y - n) + 0.5 * x + y for n in range(2) for c in range(3)]
    return torch.stack(waves).view(2, 3, rows, columns).double()


def exact(right: Tensor, below: Tensor, anchor: Tensor, weight: Tensor) -> Tensor:
    """The least squares themselves, by a dense matrix; (H, W) each."""
    rows, columns = anchor.shape
    places = torch.arange(rows * columns).view(rows, columns)
    one = torch.eye(rows * columns, dtype=anchor.dtype)
    across = (one[places[:, 1:].flatten()] - one[places[:, :-1].flatten()], right[:, :-1].flatten())
    along = (one[places[1:].flatten()] - one[places[:-1].flatten()], below[:-1].flatten())
    root = weight.flatten().sqrt()
    held = (one * root[:, None], anchor.flatten() * root)
    matrix, wanted = (torch.cat(part) for part in zip(across, along, held, strict=True))
    return torch.linalg.lstsq(matrix, wanted[:, None]).solution.view(rows, columns)


def test_gradients_are_the_differences_of_neighbours():
    right, below = gradients(torch.tensor([[1.0, 3.0], [4.0, 8.0]]).view(1, 1, 2, 2))
    assert right.flatten().tolist() == [2.0, 0.0, 4.0, 0.0]
    assert below.flatten().tolist() == [3.0, 5.0, 0.0, 0.0]


def test_a_pictures_own_gradients_give_it_back():
    picture = smooth(32, 64)
    weight = torch.full((2, 1, 32, 64), 0.01, dtype=picture.dtype)
    found = solve_poisson(*gradients(picture), picture, weight, grids=6)
    # Of a picture that spans about 3.
    assert float((found - picture).abs().max()) < 0.03


def test_it_is_near_the_exact_least_squares_where_gradients_and_anchor_disagree():
    torch.manual_seed(0)
    picture = smooth(16, 16)
    right, below = gradients(picture)
    anchor = picture + 0.5
    weight = torch.zeros(2, 1, 16, 16, dtype=picture.dtype)
    weight[..., :3, :] = 0.3
    weight[0, :, 10:, 5:] = 0.02
    found = solve_poisson(right * 1.5, below, anchor, weight, grids=5)
    truth = torch.stack(
        [
            torch.stack([exact(*(part[n, c] for part in (right * 1.5, below, anchor)), weight[n, 0]) for c in range(3)])
            for n in range(2)
        ]
    )
    assert float((found - truth).abs().max()) < 0.15


def test_a_hole_is_filled_from_its_rim_to_its_middle():
    picture = smooth(64, 64)
    right, below = gradients(picture)
    weight = torch.full((2, 1, 64, 64), 0.3, dtype=picture.dtype)
    weight[..., 16:48, 16:48] = 0
    anchor = torch.where(weight > 0, picture, 9.0)
    found = solve_poisson(right, below, anchor, weight, grids=6)
    assert float((found - picture)[..., 16:48, 16:48].abs().max()) < 0.1


@pytest.mark.parametrize("grids", [1, 3])
def test_every_input_has_a_finite_gradient(grids):
    parts = [torch.rand(1, 2, 8, 8, requires_grad=True) for _ in range(3)]
    weight = torch.rand(1, 1, 8, 8, requires_grad=True)
    solve_poisson(*parts, weight, grids=grids).square().sum().backward()
    for part in (*parts, weight):
        assert part.grad is not None
        assert torch.isfinite(part.grad).all()
