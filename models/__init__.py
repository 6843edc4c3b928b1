"""The networks, in plain torch: they know nothing of files, pictures' metadata or training."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import nn

from models.autoencoder import BottleneckAutoencoder
from models.colorizer import Colorizer
from models.denoiser import ResidualDenoiser
from models.lenet import LeNet
from models.planner import Planner
from models.unwatermark import WatermarkRemover

_NETWORKS: dict[str, Callable[..., nn.Module]] = {
    "colorizer": Colorizer,
    "denoiser": ResidualDenoiser,
    "unwatermark": WatermarkRemover,
    "lenet": LeNet,
    "planner": Planner,
    "reproducer": BottleneckAutoencoder,
}


def names() -> tuple[str, ...]:
    """The networks that `build` knows."""
    return tuple(_NETWORKS)


def build(name: str, **hparams: Any) -> nn.Module:
    """A fresh network of this name; `hparams` are its constructor's. Raises ValueError for an unknown name."""
    if name not in _NETWORKS:
        raise ValueError(f"no network is called {name!r}; there are: {', '.join(_NETWORKS)}")
    return _NETWORKS[name](**hparams)
