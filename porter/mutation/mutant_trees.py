"""A level with one wrong file as a folder: the level's own files, hard-linked, and the mutant's."""

from __future__ import annotations

import hashlib
import os
import shutil
import threading
from dataclasses import dataclass
from pathlib import Path

from porter.mutation.mutants import Mutant
from porter.verify.plan.trees import LevelTree, NamedLevel, Trees


@dataclass(frozen=True, kw_only=True)
class MutantLevel(NamedLevel):
    """A level with one file replaced by a mutant's. ``tree`` names it, but is no git object."""

    mutated: tuple[LevelTree, Mutant]


def mutant_level(level: LevelTree, mutant: Mutant) -> MutantLevel:
    """Return the level that a mutant makes of ``level``."""
    text = f"mutant\0{level.tree}\0{mutant.path}\0{mutant.after}"
    tree = hashlib.sha1(text.encode()).hexdigest()
    return MutantLevel(level.number, level.name, tree, level.off, mutated=(level, mutant))


class MutantTrees:
    """The trees of a port, and those of :class:`MutantLevel`. Thread-safe.

    Implements :class:`porter.verify.plan.trees.Trees`.
    """

    def __init__(self, trees: Trees, scratch: Path) -> None:
        self._scratch = scratch
        self._lock = threading.Lock()
        self._trees = trees
        self.levels, self.find = trees.levels, trees.find

    def remove(self, mutant: Mutant) -> None:
        """Delete the folders of a mutant that has been tried."""
        shutil.rmtree(self._scratch / mutant.key, ignore_errors=True)

    def folder(self, port: str, level: LevelTree, needs: tuple[str, ...]) -> Path:
        """See :class:`porter.verify.plan.trees.Trees`."""
        base, mutant = level.mutated if isinstance(level, MutantLevel) else (level, None)
        with self._lock:
            unchanged = self._trees.folder(port, base, needs)
        if mutant is None:
            return unchanged
        name = hashlib.sha256("\0".join(needs).encode()).hexdigest()[:16]
        folder = self._scratch / mutant.key / name
        if not folder.is_dir():
            _write(unchanged, folder, mutant)
        return folder


def _write(unchanged: Path, folder: Path, mutant: Mutant) -> None:
    shutil.copytree(unchanged, folder, symlinks=True, copy_function=_link)
    path = folder / mutant.path
    if path.is_file():
        path.unlink()  # a link to the shared file: not to be written through
        path.write_bytes(mutant.after.encode("utf-8", "surrogateescape"))


def _link(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:  # another file system
        shutil.copy2(source, target)
