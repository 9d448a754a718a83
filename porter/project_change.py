"""Change several files of a project together: all of them or none, even after a kill.

The new contents are written into ``patches/.change/``, then its ``journal.json``, then each file is
renamed into place. Whoever finds a journal and gets the project's lock knows that its writer is
dead, and finishes the change. A folder without a journal is a change that never began.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import os
import re
import shutil
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from porter.atomic import read_json, write_atomic
from porter.errors import BadInput, CheckFailed

_PATIENCE = 20.0
_JOURNAL = "journal.json"
_STAGED = re.compile(r"(own-)?\d{1,9}\Z")
_held: dict[Path, int] = {}
"""The projects that this process has locked, and the descriptors of their locks."""


def _folder(root: Path) -> Path:
    return root / "patches" / ".change"


@contextmanager
def lock_project(root: Path, patience: float = _PATIENCE) -> Iterator[None]:
    """Hold the lock of the project's series; finish a change that was interrupted first.

    The lock is the folder ``patches`` itself, so it leaves no file. Raises CheckFailed when another
    porter holds it for longer than ``patience`` seconds.
    """
    key = root.resolve()
    if key in _held:
        yield
        return
    try:
        descriptor = os.open(root / "patches", os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        raise BadInput(f"{root}: no folder `patches`; `porter init` makes a project") from None
    try:
        deadline = time.monotonic() + patience
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() >= deadline:
                    raise CheckFailed(
                        f"{root}: another porter is changing a series there; try again when it"
                        " has ended"
                    ) from None
                time.sleep(0.02)
        _held[key] = descriptor
        _finish(root)
        yield
    finally:
        _held.pop(key, None)
        os.close(descriptor)


def held_lock(root: Path) -> tuple[int, ...]:
    """Return the descriptor of the project's lock if this process has it, for git to inherit."""
    key = root.resolve()
    return (_held[key],) if key in _held else ()


def settle_project(root: Path) -> None:
    """Finish a change that was interrupted, or wait for one that is being made.

    Cheap when there is none. Raises CheckFailed, and OSError where the project cannot be written.
    """
    if not _folder(root).exists() or root.resolve() in _held:
        return
    begun = (_folder(root) / _JOURNAL).exists()
    try:
        with lock_project(root, _PATIENCE if begun else 0.0):
            pass
    except CheckFailed:
        if begun:
            raise


def change_files(root: Path, contents: Mapping[str, bytes | None]) -> list[str]:
    """Give files their new contents (None: delete), by path in the project; return the changed.

    The project's lock must be held. Raises OSError with nothing changed when the new contents
    cannot be stored.
    """
    now = {path: _read(root / path) for path in contents}
    wanted = {path: new for path, new in contents.items() if new != now[path]}
    if not wanted:
        return []
    folder = _folder(root)
    lent = (folder / _JOURNAL).exists()  # until the new journal replaces that one
    if not lent:
        shutil.rmtree(folder, ignore_errors=True)
    try:
        rows: list[dict[str, str | None]] = []
        for number, (path, new) in enumerate(wanted.items()):
            _need_writable(root / path)
            staged = None if new is None else str(number)
            rows.append({"path": path, "was": _digest(now[path]), "staged": staged})
            if new is not None:
                write_atomic(folder / str(number), new, sync=True)
        write_atomic(folder / _JOURNAL, json.dumps(rows).encode(), sync=True)
    except BaseException:
        if not lent:
            shutil.rmtree(folder, ignore_errors=True)
        raise
    _finish(root)
    return list(wanted)


@contextmanager
def content_meanwhile(root: Path, path: str, content: bytes) -> Iterator[None]:
    """Let a file have another content; afterwards, also after a kill, it has its own again.

    Unless :func:`change_files` changed files meanwhile: then they stay as it left them.
    """
    with lock_project(root):
        folder, own = _folder(root), (root / path).read_bytes()
        shutil.rmtree(folder, ignore_errors=True)
        write_atomic(folder / "own-0", own, sync=True)  # no name of change_files'
        rows = [{"path": path, "was": _digest(content), "staged": "own-0"}]
        write_atomic(folder / _JOURNAL, json.dumps(rows).encode(), sync=True)
        try:
            write_atomic(root / path, content)
            yield
        finally:
            _finish(root)


def _finish(root: Path) -> None:
    folder = _folder(root)
    try:
        rows = read_json(folder / _JOURNAL)
    except FileNotFoundError:
        if folder.exists():
            shutil.rmtree(folder, ignore_errors=True)
        return
    except ValueError as error:
        raise _damaged(folder, error) from None
    try:
        for row in rows:
            _check_row(root, row)
    except (ValueError, TypeError, KeyError) as error:
        raise _damaged(folder, error) from None
    for row in rows:
        _finish_file(root / row["path"], row["was"], row["staged"] and folder / row["staged"])
    (folder / _JOURNAL).unlink()
    shutil.rmtree(folder, ignore_errors=True)


def _damaged(folder: Path, why: Exception) -> BadInput:
    return BadInput(
        f"{folder / _JOURNAL}: damaged ({why}); compare {folder} with the series, then delete it"
    )


def _check_row(root: Path, row: Mapping[str, object]) -> None:
    """Raise ValueError unless a row of the journal changes a file inside the project.

    The journal may have come with a project that somebody else made.
    """
    path, was, staged = row["path"], row["was"], row["staged"]
    if not isinstance(path, str) or not isinstance(was, str | None):
        raise TypeError(f"expected a path and a hash, found {path!r} and {was!r}")
    if staged is not None and not (isinstance(staged, str) and _STAGED.match(staged)):
        raise ValueError(f"expected a file beside the journal, found {staged!r}")
    parts = Path(path).parts
    if "\0" in path or not parts or Path(path).is_absolute() or {"..", ".git"} & {*parts}:
        raise ValueError(f"a path that is no file of the project: {path!r}")
    if not (root / path).parent.resolve().is_relative_to(root.resolve()) or (root / path).is_dir():
        raise ValueError(f"a path that is no file of the project: {path!r}")


def _finish_file(target: Path, was: str | None, staged: Path | None) -> None:
    if staged is not None and not staged.exists():
        return  # in place already
    content = _read(target)
    if _digest(content) != was and not (staged and content == staged.read_bytes()):
        if staged is None and content is None:
            return
        # Only after a kill: somebody has edited the file since.
        print(f"porter: {target}: edited after an interrupted change; kept", file=sys.stderr)
    elif staged is None:
        target.unlink(missing_ok=True)
    else:
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            staged.replace(target)
        except OSError as error:
            if error.errno != errno.EXDEV:
                raise
            write_atomic(target, staged.read_bytes(), sync=True)


def _need_writable(target: Path) -> None:
    folder = next(each for each in target.parents if each.is_dir())
    if not os.access(folder, os.W_OK):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(folder))


def _read(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None


def _digest(content: bytes | None) -> str | None:
    return None if content is None else hashlib.sha256(content).hexdigest()
