"""Restore: gives back damaged photos. The public names load on first use, so importing costs nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from restore.engine import Restored, Restorer, open_model
    from restore.errors import (
        BadOption,
        ModelNotFound,
        NotEnoughMemory,
        RestoreError,
        UnreadableImage,
        UnsupportedModel,
        WriteFailed,
    )
    from restore.image import Image, read, write

__version__ = "0.1.0"

_HOMES = {
    "restore.engine": ("Restored", "Restorer", "open_model"),
    "restore.errors": (
        "BadOption",
        "ModelNotFound",
        "NotEnoughMemory",
        "RestoreError",
        "UnreadableImage",
        "UnsupportedModel",
        "WriteFailed",
    ),
    "restore.image": ("Image", "read", "write"),
}
_HOME_OF = {name: module for module, names in _HOMES.items() for name in names}

__all__ = [  # noqa: PLE0604 - the table above is the one list of public names
    "__version__",
    *sorted(_HOME_OF),
]


def __getattr__(name: str) -> Any:
    """Load a public name from its module (PEP 562)."""
    if name not in _HOME_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(_HOME_OF[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOME_OF])
