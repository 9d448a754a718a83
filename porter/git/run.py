"""Run git on a work tree, with the arguments of :mod:`porter.git.arguments`.

The git that moves a tree inherits the tree's lock (``keep_open``): when porter is killed, the lock
is free only after that git has ended too, so nobody takes a running git's ``index.lock`` for a
stale one. For the same reason Ctrl-C does not reach git: it finishes its few milliseconds, then
porter stops.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from porter.errors import BadInput, PorterError
from porter.git.arguments import git_command, git_environment


@dataclass(frozen=True, slots=True)
class Answer:
    """The result of a git process: exit status, output and messages."""

    status: int
    out: bytes
    err: str

    @property
    def text(self) -> str:
        return os.fsdecode(self.out).strip()

    @property
    def ended_by(self) -> str:
        """The signal that ended git, or a git that it had started; empty when none did."""
        if self.status < 0:
            return signal.Signals(-self.status).name
        inner = _SIGNALLED.search(self.err) if self.status else None
        return signal.Signals(int(inner[1])).name if inner else ""

    @property
    def problem(self) -> str:
        """What went wrong, in git's words, or the signal that ended git."""
        return f"ended by {self.ended_by}" if self.ended_by else first_error(self.err)

    def fields(self) -> list[str]:
        """The output of a ``-z`` command, split."""
        return os.fsdecode(self.out).split("\0")[:-1]


_SIGNALLED = re.compile(r"^error: .+ died of signal (\d+)$", re.MULTILINE)
_BAD_CONFIG = re.compile(
    r"^fatal: (bad config line \d+ in .+|bad config variable '.+' in .+|bad zlib compression .+"
    r"|bad (?:numeric|boolean) config value '(?P<value>.*)' for '(?P<key>[^']+)'.*)$",
    re.MULTILINE,
)


def config_fault(err: str, cwd: Path | None = None) -> str | None:
    """Return what git's messages say against a configuration file, in one line that names it.

    None for messages about anything else. Of a bad value git names the file only sometimes.
    """
    match = _BAD_CONFIG.search(err)
    if match is None:
        return None
    text = match[1]
    if match["key"] and " in file " not in text:
        text += _origin(match["key"], match["value"], cwd)
    return f"git rejects its configuration: {text}; correct that"


def _origin(key: str, value: str, cwd: Path | None) -> str:
    """Return `` in file F`` for the file that gives ``key`` this value; empty if none does."""
    command = ("git", "config", "--show-origin", "--get-all", key)
    done = subprocess.run(command, cwd=cwd, env=git_environment(), capture_output=True)
    rows = (row.partition("\t") for row in os.fsdecode(done.stdout).splitlines())
    origins = [origin for origin, _, found in rows if found == value]
    return f" in file {origins[0].removeprefix('file:')}" if origins else ""


MERGE_TREE = (2, 38)
"""The oldest git whose ``merge-tree`` merges trees."""


def need_merge_tree(git: Callable[..., Answer], refusal: str) -> None:
    """Raise PorterError where git is too old for ``merge-tree --write-tree``.

    ``refusal`` is the message behind git's version; ``{}`` in it becomes the oldest that will do.
    """
    found = re.search(r"(\d+)\.(\d+)", git("version").text)
    if found and (int(found[1]), int(found[2])) < MERGE_TREE:
        raise PorterError(f"git {found[0]}: {refusal.format('.'.join(map(str, MERGE_TREE)))}")


def first_error(err: str) -> str:
    """Return the line of git's messages that says what went wrong."""
    if fault := config_fault(err):
        return fault
    lines = [line.strip() for line in err.splitlines() if line.strip()]
    for mark in ("fatal: ", "error: "):
        for line in lines:
            if line.startswith(mark):
                return line[len(mark) :]
    return lines[0] if lines else "no message"


@contextmanager
def interrupts_deferred() -> Iterator[None]:
    """Defer SIGINT until the block ends. May be nested.

    Does nothing outside the main thread: Python raises KeyboardInterrupt only there.
    """
    pressed: list[int] = []

    def note(number: int, _: FrameType | None) -> None:
        pressed.append(number)

    try:
        before = signal.signal(signal.SIGINT, note)
    except ValueError:  # not the main thread
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before or signal.default_int_handler)
        if pressed:
            signal.raise_signal(signal.SIGINT)


def run_git(
    args: Sequence[str | Path],
    *,
    cwd: Path,
    stdin: bytes | None = None,
    env: Mapping[str, str] | None = None,
    check: bool = True,
    keep_open: Iterable[int] = (),
) -> Answer:
    """Run git to its end and return its result.

    ``keep_open`` are file descriptors (a tree's lock) that git inherits. Ctrl-C takes effect
    after git has ended. Raises PorterError for a non-zero status unless ``check`` is False, and
    BadInput for a configuration that git rejects: then its status answers nothing.
    """
    try:
        with (
            interrupts_deferred(),
            subprocess.Popen(
                git_command(*map(str, args)),
                cwd=cwd,
                env=git_environment(env),
                stdin=subprocess.DEVNULL if stdin is None else subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                start_new_session=True,
                pass_fds=tuple(keep_open),
            ) as process,
        ):
            out, err = process.communicate(stdin)
    except FileNotFoundError as error:
        if error.filename == "git":
            raise PorterError("git: not found on PATH; porter needs git 2.30 or newer") from None
        raise
    answer = Answer(process.returncode, out, err.decode(errors="replace"))
    if answer.status != 0 and (fault := config_fault(answer.err, cwd)):
        raise BadInput(f"{cwd}: {fault}")
    if check:
        require(answer, args, cwd)
    return answer


def require(answer: Answer, args: Sequence[str | Path], cwd: Path) -> None:
    """Raise PorterError, naming the command, unless git ended well."""
    if answer.status != 0:
        words = [str(arg) for at, arg in enumerate(args) if at == 0 or args[at - 1] != "-c"]
        verb = next((word for word in words if not word.startswith("-")), "git")
        raise PorterError(f"{cwd}: git {verb}: {answer.problem}")
