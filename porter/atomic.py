"""Write a file whole or not at all: into a temporary file beside it, then rename; read JSON.

The temporary file is locked as long as its writer lives, so the next writer of the same file knows
what a killed one left, and deletes it.

Import-cost wall: every move of a tree writes its journal with this, so it imports json, os and
fcntl only.
"""

from __future__ import annotations

import fcntl
import json
import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def write_atomic(
    path: str | os.PathLike[str], data: bytes, *, sync: bool = False, tidy: bool = True
) -> None:
    """Replace ``path`` by a file with the content ``data``; make its folder if there is none.

    With ``sync`` the content is on disk before the rename. Without ``tidy``, which lists the
    folder, what a killed writer left stays. Raises OSError naming ``path``.
    """
    target = os.fspath(path)
    folder, name = os.path.split(target)
    try:
        if tidy:
            _drop_left(folder, f".{name}.")
        fresh, file = _open_fresh(folder, name)
        with open(file, "wb") as stream:
            try:
                stream.write(data)
                stream.flush()
                if sync:
                    os.fsync(file)
                os.replace(fresh, target)
            except BaseException:
                os.unlink(fresh)
                raise
    except OSError as error:
        raise OSError(error.errno, error.strerror, target) from None


def _open_fresh(folder: str, name: str) -> tuple[str, int]:
    """Make and lock a temporary file; return its path and descriptor."""
    while True:
        fresh = os.path.join(folder, f".{name}.{os.urandom(4).hex()}.new")
        try:
            file = os.open(fresh, _FLAGS, 0o666)
        except FileNotFoundError:
            os.makedirs(folder, exist_ok=True)
            file = os.open(fresh, _FLAGS, 0o666)
        if _lock(file) is not False and os.fstat(file).st_nlink:
            return fresh, file
        os.close(file)  # another writer took it for a dead one's


def _drop_left(folder: str, prefix: str) -> None:
    """Delete what killed writers left: the temporary files that nobody has locked."""
    try:
        names = os.listdir(folder or ".")
    except OSError:
        return
    for name in names:
        if not name.startswith(prefix) or not name.endswith(".new"):
            continue
        path = os.path.join(folder, name)
        try:
            file = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        except OSError:
            continue
        try:
            if _lock(file):
                os.unlink(path)
        except OSError:
            pass
        finally:
            os.close(file)


def _lock(file: int) -> bool | None:
    """Lock an open file; False when somebody has, None where the file system has no locks."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return None
    return True


_FLAGS = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC


def write_json(path: str | os.PathLike[str], value: Any) -> None:
    """Write ``value`` as JSON into the cache. A cache that cannot be written is no error."""
    try:
        write_atomic(path, json.dumps(value).encode(), tidy=False)
    except OSError:
        pass


def read_json(path: str | os.PathLike[str]) -> Any:
    """Return the JSON value in a file. Raises OSError, and ValueError for anything else."""
    with open(path, "rb") as file:
        return parse_json(file.read())


def parse_json(data: bytes | str) -> Any:
    """Return the value of a JSON text. Raises ValueError, also for one nested too deep."""
    try:
        return json.loads(data)
    except RecursionError:
        raise ValueError("nested too deep") from None
