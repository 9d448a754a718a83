"""The Python files that are scanned: of a folder, a file, or a level of a port."""

from __future__ import annotations

import io
import os
import tokenize
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from porter.errors import BadInput
from porter.scan.reading.folders import is_skipped

if TYPE_CHECKING:
    from porter.levels.levels import Level
    from porter.upstream.store import Upstream


@dataclass(frozen=True, slots=True)
class CodeFile:
    """A file as findings name it, with its bytes."""

    path: str
    content: bytes

    def text(self) -> str:
        """Return the decoded text with its line ends. Raises SyntaxError for an unknown coding."""
        encoding, _ = tokenize.detect_encoding(io.BytesIO(self.content).readline)
        return self.content.decode(encoding)


def folder_files(where: Path) -> Iterator[CodeFile]:
    """Yield the Python files of a folder, or the one file. Raises BadInput where there is none."""
    if where.is_file():
        yield CodeFile(where.name, where.read_bytes())
        return
    if not where.is_dir():
        raise BadInput(f"{where}: expected a folder, a Python file or a port, found none")
    for folder, inner, names in os.walk(where):
        inner[:] = sorted(name for name in inner if not is_skipped(Path(folder), name))
        for name in sorted(names):
            path = Path(folder, name)
            if name.endswith(".py") and path.is_file():
                yield CodeFile(path.relative_to(where).as_posix(), path.read_bytes())


def write_level(upstream: Upstream, level: Level, folder: Path) -> None:
    """Write the files of a level that the pin wants or the series touches into ``folder``.

    Raises SourceUnavailable for files that no source serves.
    """
    entries = {
        path: entry
        for path, entry in upstream.odb.flat(level.tree).items()
        if entry.is_blob and (upstream.pin.wants(path) or path in level.files)
    }
    contents = upstream.blobs(entry.oid for entry in entries.values())
    for path, entry in entries.items():
        file = folder / os.fsdecode(path)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(contents[entry.oid])


def level_files(upstream: Upstream, level: Level) -> Iterator[CodeFile]:
    """Yield the Python files of a level that the pin wants or the series touches.

    Raises SourceUnavailable for files that no source serves.
    """
    entries = {
        path: entry
        for path, entry in upstream.odb.flat(level.tree).items()
        if path.endswith(b".py") and entry.is_blob
        if upstream.pin.wants(path) or path in level.files
    }
    contents = upstream.blobs(entry.oid for entry in entries.values())
    for path, entry in entries.items():
        yield CodeFile(path.decode("utf-8", "surrogateescape"), contents[entry.oid])
