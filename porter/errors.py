"""What can go wrong, by kind, and the exit code of each kind.

Every error a user can cause is a :class:`PorterError` whose text is one line: which file and where
in it, what was expected, what stood there, what to do next. Anything else that escapes is a bug of
porter's (exit code 3, with a log).
"""

from __future__ import annotations

import os
from enum import IntEnum

VERBOSE = "PORTER_VERBOSE"
"""Set in the environment: say what stands behind an error, in full."""


def verbose_asked() -> bool:
    """True when ``porter --verbose``, or the environment, asks for what stands behind errors."""
    return os.environ.get(VERBOSE, "") not in ("", "0")


class Exit(IntEnum):
    """Process exit codes."""

    OK = 0
    FAILED = 1  # a check or a verification failed
    USAGE = 2  # bad usage or bad input
    BUG = 3  # a bug of porter's
    INTERRUPTED = 130


class PorterError(Exception):
    """An expected failure, told in one line. ``code`` is the exit code it ends the process with.

    ``detail`` is what stands behind it at length, for who asks (``porter --verbose``).
    """

    code: Exit = Exit.USAGE
    detail: str = ""


class CheckFailed(PorterError):
    """A check, a lock or a verification does not hold."""

    code = Exit.FAILED


class BadInput(PorterError):
    """A file of the project, or an argument, is not what it must be."""


class SourceUnavailable(PorterError):
    """No source of a pin could be reached, or none serves what was asked for.

    ``reason`` says why in a few words, ``detail`` what git and pip said. ``away``: no source
    answers, or none has it; when it is False, one answered with something else than the pin names.
    """

    code = Exit.FAILED

    def __init__(self, text: str, *, reason: str = "", detail: str = "", away: bool = True) -> None:
        super().__init__(text)
        self.reason = reason or text
        self.detail = detail
        self.away = away


class CorruptSource(PorterError):
    """A source served other bytes than the pin names, or a stored object changed on disk."""

    code = Exit.FAILED


class LocalEdits(PorterError):
    """The work tree holds edits that the command would overwrite."""

    code = Exit.FAILED


class Interrupted(PorterError):
    """The user pressed Ctrl-C."""

    code = Exit.INTERRUPTED
