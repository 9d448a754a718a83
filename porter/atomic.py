"""Write a file whole or not at all: into a temporary file beside it, then rename; read JSON.

Import-cost wall: every move of a tree writes its journal with this, so it imports json and os only.
"""

from __future__ import annotations

import json
import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def write_atomic(path: str | os.PathLike[str], data: bytes, *, sync: bool = False) -> None:
    """Replace ``path`` by a file with the content ``data``; make its folder if there is none.

    With ``sync`` the content is on disk before the rename. Raises OSError naming ``path``.
    """
    target = os.fspath(path)
    folder, name = os.path.split(target)
    fresh = os.path.join(folder, f".{name}.{os.urandom(4).hex()}.new")
    try:
        try:
            file = os.open(fresh, _FLAGS, 0o666)
        except FileNotFoundError:
            os.makedirs(folder, exist_ok=True)
            file = os.open(fresh, _FLAGS, 0o666)
        try:
            with open(file, "wb") as stream:
                stream.write(data)
                if sync:
                    stream.flush()
                    os.fsync(file)
            os.replace(fresh, target)
        except BaseException:
            os.unlink(fresh)
            raise
    except OSError as error:
        raise OSError(error.errno, error.strerror, target) from None


_FLAGS = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC


def write_json(path: str | os.PathLike[str], value: Any) -> None:
    """Write ``value`` as JSON into the cache. A cache that cannot be written is no error."""
    try:
        write_atomic(path, json.dumps(value).encode())
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
