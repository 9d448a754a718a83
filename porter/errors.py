"""What can go wrong, by kind, and the exit code of each kind.

Every error a user can cause is a :class:`PorterError` whose text is one line: which file and where
in it, what was expected, what stood there, what to do next. Anything else that escapes is a bug of
porter's (exit code 3, with a log).
"""

from __future__ import annotations

from enum import IntEnum


class Exit(IntEnum):
    """Process exit codes."""

    OK = 0
    FAILED = 1  # a check or a verification failed
    USAGE = 2  # bad usage or bad input
    BUG = 3  # a bug of porter's
    INTERRUPTED = 130


class PorterError(Exception):
    """An expected failure, told in one line. ``code`` is the exit code it ends the process with."""

    code: Exit = Exit.USAGE


class CheckFailed(PorterError):
    """A check, a lock or a verification does not hold."""

    code = Exit.FAILED


class BadInput(PorterError):
    """A file of the project, or an argument, is not what it must be."""


class SourceUnavailable(PorterError):
    """No source of a pin could be reached, or none serves what was asked for."""

    code = Exit.FAILED


class CorruptSource(PorterError):
    """A source served other bytes than the pin names, or a stored object changed on disk."""

    code = Exit.FAILED


class LocalEdits(PorterError):
    """The work tree holds edits that the command would overwrite."""

    code = Exit.FAILED


class Interrupted(PorterError):
    """The user pressed Ctrl-C."""

    code = Exit.INTERRUPTED
