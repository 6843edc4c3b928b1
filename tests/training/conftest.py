"""What these tests share: torch on one thread, so that sums are in one order and a busy machine does not stall them."""

from __future__ import annotations

import pytest
import torch


@pytest.fixture(autouse=True, scope="session")
def one_thread() -> None:
    torch.set_num_threads(1)
