"""Levels with one wrong file, as folders: the level's own files, linked, and the mutant's one."""

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
    """A level whose one file is a mutant's. ``tree`` names it, but no git object is made of it."""

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
    """The trees of a port, and of its mutants while they are hunted. Thread-safe.

    Implements :class:`porter.verify.plan.trees.Trees`.
    """

    def __init__(self, trees: Trees, scratch: Path) -> None:
        self._trees = trees
        self._scratch = scratch
        self._lock = threading.Lock()
        self._hunted: dict[str, tuple[LevelTree, Mutant]] = {}

    def add(self, level: LevelTree, mutant: Mutant) -> MutantLevel:
        """Make a mutant's level known; :meth:`remove` it when it has been hunted."""
        made = mutant_level(level, mutant)
        with self._lock:
            self._hunted[made.tree] = level, mutant
        return made

    def remove(self, made: MutantLevel) -> None:
        """Forget a mutant's level and delete its folders."""
        with self._lock:
            self._hunted.pop(made.tree, None)
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
            hunted = self._hunted.get(level.tree)
            whole = self._trees.folder(port, hunted[0] if hunted else level, needs)
        if hunted is None:
            return whole
        name = hashlib.sha256("\0".join(needs).encode()).hexdigest()[:16]
        folder = self._scratch / level.tree / name
        if not folder.is_dir():
            _write(whole, folder, hunted[1])
        return folder


def _write(whole: Path, folder: Path, mutant: Mutant) -> None:
    shutil.copytree(whole, folder, symlinks=True, copy_function=_link)
    place = folder / mutant.path
    if place.is_file():
        place.unlink()  # a link to the shared file: not to be written through
        place.write_bytes(mutant.after.encode("utf-8", "surrogateescape"))


def _link(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:  # another file system
        shutil.copy2(source, target)
