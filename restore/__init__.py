"""Restore: gives back damaged photos. The public names load on first use, so importing costs nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from restore.chroma import Hint
    from restore.classifier import Classifier, Reading
    from restore.colorizer import Colorizer, open_colorizer
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

__all__ = [
    "BadOption",
    "Classifier",
    "Colorizer",
    "Hint",
    "Image",
    "ModelNotFound",
    "NotEnoughMemory",
    "Reading",
    "RestoreError",
    "Restored",
    "Restorer",
    "UnreadableImage",
    "UnsupportedModel",
    "WriteFailed",
    "__version__",
    "open_colorizer",
    "open_model",
    "read",
    "write",
]

#: Where the public names come from; those of no other module are in `errors`.
_HOMES = {
    "Classifier": "classifier",
    "Colorizer": "colorizer",
    "Hint": "chroma",
    "Image": "image",
    "Reading": "classifier",
    "Restored": "engine",
    "Restorer": "engine",
    "open_colorizer": "colorizer",
    "open_model": "engine",
    "read": "image",
    "write": "image",
}


def __getattr__(name: str) -> Any:
    """Load a public name from its module (PEP 562)."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(f"restore.{_HOMES.get(name, 'errors')}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
