"""A level with one wrong file as a folder: the level's own files, hard-linked, and the mutant's."""

from __future__ import annotations

import hashlib
import os
import shutil
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from porter.mutation.mutants import Mutant
from porter.verify.plan.trees import LevelTree, Trees


@dataclass(frozen=True)
class MutantLevel:
    """A level with one file replaced by a mutant's. ``tree`` names it, but is no git object."""

    number: int
    name: str
    tree: str
    off: bool = False


def mutant_level(level: LevelTree, mutant: Mutant) -> MutantLevel:
    """Return the level that a mutant makes of ``level``."""
    text = f"mutant\0{level.tree}\0{mutant.path}\0{mutant.after}"
    tree = hashlib.sha1(text.encode()).hexdigest()
    return MutantLevel(level.number, level.name, tree, level.off)


class MutantTrees:
    """The trees of a port, and of its mutants while they are tried. Thread-safe.

    Implements :class:`porter.verify.plan.trees.Trees`.
    """

    def __init__(self, trees: Trees, scratch: Path) -> None:
        self._trees = trees
        self._scratch = scratch
        self._lock = threading.Lock()
        self._mutants: dict[str, tuple[LevelTree, Mutant]] = {}

    def add(self, level: LevelTree, mutant: Mutant) -> MutantLevel:
        """Register a mutant's level; :meth:`remove` it when it has been tried."""
        made = mutant_level(level, mutant)
        with self._lock:
            self._mutants[made.tree] = level, mutant
        return made

    def remove(self, made: MutantLevel) -> None:
        """Forget a mutant's level and delete its folders."""
        with self._lock:
            self._mutants.pop(made.tree, None)
        shutil.rmtree(self._scratch / made.tree, ignore_errors=True)

    def levels(self, port: str) -> Sequence[LevelTree]:
        """See :class:`porter.verify.plan.trees.Trees`."""
        return self._trees.levels(port)

    def find(self, port: str, text: str) -> LevelTree:
        """See :class:`porter.verify.plan.trees.Trees`."""
        return self._trees.find(port, text)

    def folder(self, port: str, level: LevelTree, needs: tuple[str, ...]) -> Path:
        """See :class:`porter.verify.plan.trees.Trees`."""
        with self._lock:
            known = self._mutants.get(level.tree)
            unchanged = self._trees.folder(port, known[0] if known else level, needs)
        if known is None:
            return unchanged
        name = hashlib.sha256("\0".join(needs).encode()).hexdigest()[:16]
        folder = self._scratch / level.tree / name
        if not folder.is_dir():
            _write(unchanged, folder, known[1])
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
