"""Errors by kind, and the exit code of each kind.

Every error that a user can cause is a :class:`PorterError` whose text is one line: the file and the
line in it, what was expected, what was found, what to do next. Any other exception is a bug in
porter (exit code 3, with a log).
"""

from __future__ import annotations

import os
from enum import IntEnum

VERBOSE = "PORTER_VERBOSE"
"""Environment variable: print the details of an error in full."""


def verbose_asked() -> bool:
    """Return whether ``porter --verbose`` or the environment asks for the details of errors."""
    return os.environ.get(VERBOSE, "") not in ("", "0")


class Exit(IntEnum):
    """Process exit codes."""

    OK = 0
    FAILED = 1  # a check or a verification failed
    USAGE = 2  # bad usage or bad input
    BUG = 3  # a bug in porter
    INTERRUPTED = 130


class PorterError(Exception):
    """An expected failure with a message of one line. ``code`` is the exit code of the process.

    ``detail`` is the long text that ``porter --verbose`` prints.
    """

    code: Exit = Exit.USAGE
    detail: str = ""


class CheckFailed(PorterError):
    """A check, a lock or a verification fails."""

    code = Exit.FAILED


class BadInput(PorterError):
    """A file of the project, or an argument, is invalid."""


class SourceUnavailable(PorterError):
    """No source of a pin could be reached, or none serves the requested files.

    ``reason`` says why in a few words, ``detail`` has git's and pip's messages. ``away`` is False
    when a source answered with something else than the pin names.
    """

    code = Exit.FAILED

    def __init__(self, text: str, *, reason: str = "", detail: str = "", away: bool = True) -> None:
        super().__init__(text)
        self.reason = reason or text
        self.detail = detail
        self.away = away


class CorruptSource(PorterError):
    """A source served other bytes than the pin names, or a stored object is damaged."""

    code = Exit.FAILED


class LocalEdits(PorterError):
    """The command would overwrite edits in the work tree."""

    code = Exit.FAILED
