"""Let one porter at a time work in a tree. Import-cost wall: every move of a tree locks it.

``flock`` on a file of the tree's own, not the ``filelock`` package: the git processes that move the
tree inherit the descriptor, so the lock outlives a killed porter for exactly as long as its git
runs, and a free lock proves that a left-over ``index.lock`` is nobody's. The kernel frees it with
the last process: it cannot get stuck.

The file names its holder, who deletes that line when it ends. Whoever gets the lock and finds a
line knows that the holder was killed: it deletes git's lock files, which nobody else would.
"""

from __future__ import annotations

import fcntl
import os
import time

from porter.errors import CheckFailed

_PAUSE = 0.02
_PATIENCE = 20.0
_LINE = 120  # bytes of the line that names the holder


held: dict[str, int] = {}
"""The locks that this process holds, by folder. Every git that it runs on such a tree has them."""


class TreeLock:
    """Context manager holding the lock of the tree whose state is in ``folder`` (``.git/porter``).

    Waits up to ``patience`` seconds, then raises CheckFailed naming who holds it.
    """

    def __init__(
        self, folder: str | os.PathLike[str], what: str, patience: float | None = None
    ) -> None:
        self._folder = os.fspath(folder)
        self._what = what
        self._patience = _PATIENCE if patience is None else patience
        self.fd = -1

    def __enter__(self) -> TreeLock:
        deadline = time.monotonic() + self._patience
        self.fd = os.open(
            os.path.join(self._folder, "lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666
        )
        while True:
            try:
                fcntl.flock(self.fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() >= deadline:
                    holder = os.pread(self.fd, 200, 0).decode(errors="replace").strip()
                    self._close()
                    raise CheckFailed(
                        f"{os.path.dirname(os.path.dirname(self._folder))}: another porter is at"
                        " work there"
                        f" ({holder or 'unknown'}); try again when it has ended"
                    ) from None
                time.sleep(_PAUSE)
            except BaseException:
                self._close()
                raise
        if os.pread(self.fd, _LINE, 0).strip():
            drop_git_locks(os.path.dirname(self._folder))
        held[self._folder] = self.fd
        try:
            os.pwrite(self.fd, _holder_line(self._what), 0)
        except OSError:
            pass  # a full disk: the lock is held, only the holder's name is missing
        return self

    def __exit__(self, *_: object) -> None:
        self._close()

    def _close(self) -> None:
        if held.get(self._folder) == self.fd:
            del held[self._folder]
            try:
                os.pwrite(self.fd, b" " * (_LINE - 1) + b"\n", 0)
            except OSError:
                pass
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1


def drop_git_locks(git_dir: str) -> None:
    """Delete the lock files of git processes that were killed. The tree's lock must be held."""
    for folder, names, files in os.walk(git_dir):
        if folder == git_dir:
            names[:] = [name for name in names if name in ("refs", "modules")]
        elif "objects" in names:
            names.remove("objects")
        for name in files:
            if name.endswith(".lock"):
                os.unlink(os.path.join(folder, name))


def _holder_line(what: str) -> bytes:
    """Return the line for this process at work on ``what``.

    Always of one length, written over the last one: a file system may flush a truncated file to
    disk when it is closed, which takes longer than the move.
    """
    text = f"process {os.getpid()}: porter {what}".encode(errors="replace")
    return text[: _LINE - 1].ljust(_LINE - 1) + b"\n"
