"""Folders for work in progress, named after the process that made them.

They lie in the cache's ``staging/``, where that can be written, else in the system's temporary
folder. A killed process leaves its folder behind: the next command that makes one on that host
removes it, and so does ``porter gc``.
"""

from __future__ import annotations

import os
import platform
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from porter.places import cache_dir
from porter.process import is_alive

ABROAD = "porter-"
"""What names begin with in folders that are not porter's own."""


@contextmanager
def scratch_folder(what: str, least: int = 0) -> Iterator[Path]:
    """Give an empty folder; delete it afterwards. ``what`` says in its name what it is for."""
    folder = make_scratch(what, least)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def make_scratch(what: str, least: int = 0) -> Path:
    """Make an empty folder in the cache, else in TMPDIR; the caller deletes it.

    The cache's disk must have ``least`` bytes left. Raises OSError naming the second where neither
    can be written.
    """
    try:
        folder = make_owned(cache_dir() / "staging", what)
        if shutil.disk_usage(folder).free >= least:
            return folder
        folder.rmdir()
        raise OSError("full")
    except OSError:
        base = Path(tempfile.gettempdir())
        with suppress(OSError):
            remove_abandoned(base, ABROAD)
        return _make(base, ABROAD, what)


def make_owned(base: Path, what: str = "") -> Path:
    """Make a folder in ``base`` that is named after this process, and remove abandoned ones."""
    base.mkdir(parents=True, exist_ok=True)
    remove_abandoned(base)
    return _make(base, "", what)


def _make(base: Path, before: str, what: str) -> Path:
    prefix = f"{before}{os.getpid()}@{_host()}-{what}{'-' if what else ''}"
    return Path(tempfile.mkdtemp(prefix=prefix, dir=base))


def remove_abandoned(base: Path, before: str = "") -> None:
    """Remove the folders whose process has ended. Another host's stay: hosts may share a cache."""
    for path in list(base.iterdir()):
        if is_owned(path.name, before) is False:
            shutil.rmtree(path, ignore_errors=True)


def is_owned(name: str, before: str = "") -> bool | None:
    """Return whether the process that a folder is named after lives; None where nobody can tell."""
    if not name.startswith(before):
        return None
    owner, at, rest = name.removeprefix(before).partition("@")
    if not at or not owner.isdigit() or not rest.startswith(f"{_host()}-"):
        return None
    return is_alive(int(owner))


def _host() -> str:
    return platform.node() or "localhost"
