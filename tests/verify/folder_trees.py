"""Levels as plain folders and small recipes to run on them: no git, no network."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from textwrap import dedent

from porter.errors import BadInput
from porter.verify.plan.trees import LevelTree, NotReachable

PARITY = 'claims: [{outputs: "*", parity: {}}]\n'
"""The claims of a recipe that holds every output to parity."""


@dataclass(frozen=True)
class FolderLevel:
    number: int
    name: str
    tree: str
    folder: Path
    off: bool = False


class FolderTrees:
    """Each port's levels by name, each with the text of its one module, ``upstream_code.py``."""

    def __init__(self, base: Path) -> None:
        self.base = base
        self.ports: dict[str, list[FolderLevel]] = {}
        self.refused: dict[str, str] = {}
        self.uncovered: dict[str, str] = {}

    def add(self, port: str, **code: str) -> None:
        """Add levels, in order; ``code`` is level name -> module text."""
        for name, text in code.items():
            levels = self.ports.setdefault(port, [])
            folder = self.base / port / f"{len(levels)}-{name}"
            folder.mkdir(parents=True)
            (folder / "upstream_code.py").write_text(dedent(text))
            tree = hashlib.sha1(dedent(text).encode()).hexdigest()
            levels.append(FolderLevel(len(levels), name.replace("_", "-"), tree, folder))

    def levels(self, port: str) -> Sequence[FolderLevel]:
        if port in self.refused:
            raise NotReachable(self.refused[port])
        return self.ports[port]

    def find(self, port: str, text: str) -> FolderLevel:
        for level in self.levels(port):
            if text in (level.name, str(level.number)):
                return level
        raise BadInput(f"no level {text!r}")

    def folder(self, port: str, level: LevelTree, needs: tuple[str, ...]) -> Path:
        for need in needs:
            if need in self.uncovered:
                raise NotReachable(self.uncovered[need])
        return self.ports[port][level.number].folder

    def mend(self, folder: Path) -> str:
        return ""


def write_recipe(root: Path, port: str, name: str, recipe: str, probe: str) -> Path:
    """Write a recipe and its probe, ``NAME_probe.py``; version, title and probe are filled in."""
    folder = root / "recipes" / port
    folder.mkdir(parents=True, exist_ok=True)
    (root / "upstream_pins.yaml").touch()
    (folder / f"{name}_probe.py").write_text(dedent(probe))
    path = folder / f"{name}.yaml"
    head = f"version: 1\ntitle: {name}\nprobe: {name}_probe.py\n"
    path.write_text(head + dedent(recipe))
    return path
