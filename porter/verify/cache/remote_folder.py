"""A folder at a URL, by fsspec: files are written whole, read up to a size, listed, deleted.

What fsspec and its file systems raise becomes :class:`RemoteFailed`, with a reason of one line.
fsspec (the extra ``remote``) is imported when a folder is opened.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from porter.atomic import write_atomic
from porter.errors import BadInput

URL = "PORTER_REMOTE_CACHE"
_STALL_SECONDS = 90.0
_PLAIN = re.compile(r"[a-z][a-z0-9+.-]*://[^\s]+")
_LONGEST = 160
_EXTRA = "pip install 'porter[remote]'"


class RemoteFailed(Exception):
    """The folder cannot be used now; the text says why in one line."""


@dataclass(frozen=True)
class RemoteFile:
    """A file that a listing names: its path in the folder, bytes, and when it was written."""

    path: str
    size: int
    written: float


def check_url(url: str) -> str:
    """Return the URL of a folder. Raises BadInput for what is none."""
    if not _PLAIN.fullmatch(url) or "::" in url:
        raise BadInput(
            f"{URL}: expected a URL such as file:///mnt/team/porter or s3://BUCKET/FOLDER, "
            f"found {shown_url(url)!r}"
        )
    return url.rstrip("/")


def shown_url(url: str) -> str:
    """Return a URL without a user's name and password."""
    return re.sub(r"//[^/@\s]*@", "//", url)


class RemoteFolder:
    """The folder at ``url``, opened at the first use. Thread-safe.

    Where the file system is an asynchronous one (S3, GCS, HTTP), a request that nobody answers ends
    after PORTER_STALL_SECONDS.
    """

    def __init__(self, url: str) -> None:
        self.url = check_url(url)
        self._opened: tuple[Any, str] | None = None

    def __str__(self) -> str:
        return shown_url(self.url)

    def read(self, path: str, most: int) -> bytes | None:
        """Return a file's content, of a longer one ``most`` bytes; None without the file.

        Raises RemoteFailed.
        """
        try:
            return bytes(self._do("cat_file", path, start=0, end=most))
        except FileNotFoundError:
            return None
        except RemoteFailed as failed:
            # A file without a byte has no first one.
            if re.search(r"InvalidRange|416|[Rr]ange.*not satisfiable", str(failed)):
                return b""
            raise

    def write(self, path: str, data: bytes) -> None:
        """Write a file whole or not at all. Raises RemoteFailed."""
        folder, base = self._open()
        if is_local(folder):
            self._guarded(write_atomic, Path(base, path), data, sync=True)
            return
        if getattr(folder, "async_impl", False):  # stores of objects publish a whole one
            self._known("pipe_file", path, data)
            return
        beside = f"{path}.{os.urandom(4).hex()}.new"
        self._guarded(folder.makedirs, f"{base}/{path}".rpartition("/")[0], exist_ok=True)
        self._known("pipe_file", beside, data)
        self._guarded(folder.mv, f"{base}/{beside}", f"{base}/{path}")

    def files(self, below: str) -> list[RemoteFile]:
        """Return the files below a folder in it, at any depth. Raises RemoteFailed."""
        _, base = self._open()
        try:
            rows = self._do("find", below, detail=True)
        except FileNotFoundError:
            return []
        found = []
        for name, row in rows.items():
            path = str(name).removeprefix(base).lstrip("/")
            found.append(RemoteFile(path, int(row.get("size") or 0), _written(row)))
        return sorted(found, key=lambda file: file.path)

    def delete(self, paths: Iterable[str]) -> None:
        """Delete files; one that is gone already is no error. Raises RemoteFailed."""
        for path in paths:
            try:
                self._do("rm_file", path)
            except FileNotFoundError:
                continue

    def _known(self, what: str, path: str, *arguments: Any) -> Any:
        """Do what ends in an error when a folder is missing."""
        try:
            return self._do(what, path, *arguments)
        except FileNotFoundError as error:
            raise RemoteFailed(_reason(error)) from error

    def _do(self, what: str, path: str, *arguments: Any, **options: Any) -> Any:
        """Call a function of the file system. Raises FileNotFoundError, and RemoteFailed."""
        folder, base = self._open()
        full = f"{base}/{path}"
        if not getattr(folder, "async_impl", False):
            return self._guarded(getattr(folder, what), full, *arguments, **options)
        from fsspec.asyn import sync

        seconds = float(os.environ.get("PORTER_STALL_SECONDS", _STALL_SECONDS))
        function = getattr(folder, f"_{what}")
        return self._guarded(
            sync, folder.loop, function, full, *arguments, timeout=seconds, **options
        )

    def _guarded(self, function: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
        """Call a function; any error but FileNotFoundError becomes RemoteFailed."""
        try:
            return function(*arguments, **options)
        except (FileNotFoundError, RemoteFailed):
            raise
        except Exception as error:  # each file system raises its own kinds
            raise RemoteFailed(_reason(error)) from error

    def _open(self) -> tuple[Any, str]:
        """Return the file system and the folder's path in it."""
        if self._opened is None:
            try:
                import fsspec
            except ImportError:
                raise RemoteFailed(f"fsspec is not installed; {_EXTRA}") from None
            options = {"use_listings_cache": False, "skip_instance_cache": True}
            folder, base = self._guarded(fsspec.core.url_to_fs, self.url, **options)
            if is_local(folder) and not Path(base).is_dir():
                raise RemoteFailed("there is no such folder; make it, or mount its disk")
            self._opened = folder, base.rstrip("/")
        return self._opened


def is_local(folder: Any) -> bool:
    """Whether a file system of fsspec is this machine's own."""
    return type(folder).__name__ == "LocalFileSystem"


def _written(row: dict[str, Any]) -> float:
    """Return when a listed file was written, as seconds since 1970; now where nobody says."""
    for name in ("LastModified", "last_modified", "mtime", "updated", "modified", "created"):
        value = row.get(name)
        if isinstance(value, datetime):
            return value.timestamp()
        if isinstance(value, (int, float)):
            return float(value)
        if isinstance(value, str):
            try:
                return datetime.fromisoformat(value.replace("Z", "+00:00")).timestamp()
            except ValueError:
                continue
    return time.time()


def _reason(error: BaseException) -> str:
    """Return in one line why a file system failed."""
    if isinstance(error, ImportError):
        return f"{error}; {_EXTRA}"
    if isinstance(error, TimeoutError) or "Timeout" in type(error).__name__:
        return "no answer"
    text = " ".join(str(error).split()) or type(error).__name__
    if isinstance(error, OSError) and error.strerror and error.filename:
        text = f"{error.filename}: {error.strerror}"
    text = re.sub(r"//[^/@\s]*@", "//", text)
    return text if len(text) <= _LONGEST else text[: _LONGEST - 3] + "..."
