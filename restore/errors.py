"""What can go wrong, as sentences for the user. Anything that is not a RestoreError is our bug."""

from __future__ import annotations


class RestoreError(Exception):
    """The base of all: its text is one or two plain sentences that say what is wrong and the way out."""

    #: What the command line exits with.
    exit_code = 1


class UnreadableImage(RestoreError):
    """A file that is no picture, is damaged, too large, or of a kind that is not supported."""


class WriteFailed(RestoreError):
    """An output that could not be written; nothing of it was left behind."""


class NotEnoughMemory(RestoreError):
    """A picture or tile for which the memory did not suffice."""


class BadOption(RestoreError):
    """An option or combination of options that makes no sense; nothing was done."""

    exit_code = 2


class WrongMask(BadOption):
    """A mask that does not fit its picture."""


class ModelNotFound(RestoreError):
    """No model of this name or at this path."""

    exit_code = 2


class UnsupportedModel(RestoreError):
    """A file that is no model of ours, is damaged, or needs a newer version."""

    exit_code = 2
