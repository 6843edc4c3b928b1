"""What every opened model has, whatever it answers with."""

from __future__ import annotations

import numpy as np

from restore.contract import ModelSpec
from restore.session import Session


class Model:
    """What every opened model can say of itself. Safe to share between threads: nothing changes after opening."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self.spec: ModelSpec = session.spec

    @property
    def provider(self) -> str:
        """The onnxruntime provider that computes, "CPUExecutionProvider" for example."""
        return self._session.provider

    @property
    def card(self) -> str:
        """What the file says of itself to people, in markdown; empty where it says nothing."""
        return self._session.card

    def metadata(self, key: str) -> str:
        """What the file holds under a key of its own; empty where it holds nothing."""
        return self._session.metadata.get(key, "")

    def run_batch(self, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """One bare run on tensors as the contract names and shapes them: no tiles, no estimates, no checks."""
        return self._session.run(inputs)
