"""Running git: one small runner, sealed from what a hook or a user's shell may have set.

A command of porter's may itself be run by a git hook, where ``GIT_DIR`` and ``GIT_INDEX_FILE``
point at another repository: every git started here would then write into that one. So the variables
that choose a repository, an index or a diff are taken out, messages are in the C locale, no
transport is open, and the repository is always named (``--git-dir``), never discovered: a damaged
one must not make git go on to the repository around it.

A tree's lock is inherited by the git that moves it (``keep_open``): when porter is killed, the lock
is free only after that git has ended too, so nobody takes a running git's ``index.lock`` for a
stale one. For the same reason Ctrl-C does not reach git: it finishes its few milliseconds, then
porter stops.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from porter.errors import PorterError
from porter.interrupts import interrupts_deferred

# Of git's variables only these pass: the user's configuration and identity, and tracing. The rest
# (`git rev-parse --local-env-vars`, and what bends a diff, a pathspec or a new repository) goes.
_USERS_OWN = ("GIT_CONFIG_", "GIT_AUTHOR_", "GIT_COMMITTER_", "GIT_EXEC_PATH", "GIT_TRACE")
_NOT_OURS = ("GIT_CONFIG_PARAMETERS",)  # what `git -c` hands to the hooks of one command

# Hooks and the user's habits have no say in how porter moves a tree.
_QUIET = (
    "core.hooksPath=/dev/null",
    "core.fsmonitor=false",
    "core.quotePath=false",
    "advice.detachedHead=false",
    "submodule.recurse=false",
    "gc.auto=0",
    "maintenance.auto=false",
)


@dataclass(frozen=True, slots=True)
class Answer:
    """What a git process left: exit status, output and messages."""

    status: int
    out: bytes
    err: str

    @property
    def text(self) -> str:
        return os.fsdecode(self.out).strip()

    def fields(self) -> list[str]:
        """The output of a ``-z`` command, split."""
        return os.fsdecode(self.out).split("\0")[:-1]


class GitFailed(PorterError):
    """A git command failed; the text is one line, ``answer`` holds the rest."""

    def __init__(self, text: str, answer: Answer) -> None:
        super().__init__(text)
        self.answer = answer


def git_environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return the environment git runs in: the caller's, sealed, plus ``extra``."""
    sealed = {
        key: value
        for key, value in os.environ.items()
        if not key.startswith("GIT_") or (key.startswith(_USERS_OWN) and key not in _NOT_OURS)
    }
    sealed.pop("LANGUAGE", None)
    sealed.update(LC_ALL="C", GIT_NO_LAZY_FETCH="1", GIT_ALLOW_PROTOCOL="none")
    sealed.update(extra or {})
    return sealed


def first_error(err: str) -> str:
    """Return the line of git's messages that says what went wrong."""
    lines = [line.strip() for line in err.splitlines() if line.strip()]
    for mark in ("fatal: ", "error: "):
        for line in lines:
            if line.startswith(mark):
                return line[len(mark) :]
    return lines[0] if lines else "no message"


def run_git(
    args: Sequence[str | Path],
    *,
    cwd: Path,
    stdin: bytes | None = None,
    env: Mapping[str, str] | None = None,
    check: bool = True,
    keep_open: Iterable[int] = (),
) -> Answer:
    """Run git to its end and return what it left.

    ``keep_open`` are file descriptors (a tree's lock) that git holds open too. Ctrl-C takes effect
    after git has ended. Raises GitFailed for a non-zero status unless ``check`` is False.
    """
    command = ["git", *(f"{word}" for key in _QUIET for word in ("-c", key)), *map(str, args)]
    try:
        with (
            interrupts_deferred(),
            subprocess.Popen(
                command,
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
    if check and answer.status != 0:
        words = [str(arg) for at, arg in enumerate(args) if at == 0 or args[at - 1] != "-c"]
        verb = next((word for word in words if not word.startswith("-")), "git")
        raise GitFailed(f"{cwd}: git {verb}: {first_error(answer.err)}", answer)
    return answer
