"""Which files a probe is made of: its own, and those of its neighbours that it names.

A probe may import what stands beside it, write a script that does, or be told a name by its
recipe's parameters. So a neighbour belongs to a probe where its name stands in an import, in a
string or in a parameter, of the probe or of a file that belongs already. Names that are put
together from pieces are not seen.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import msgspec

from porter.verify.recipe import LoadedRecipe

_WORD = re.compile(r"\w+")
_PACKAGE = "__init__"


def probe_files(loaded: LoadedRecipe) -> list[Path]:
    """Return a recipe's probe and the files beside it that belong to it, by path.

    Every neighbour belongs to a probe that cannot be read or is no Python.
    """
    probe = loaded.probe
    neighbours: dict[str, list[Path]] = {}
    for path in probe.parent.glob("**/*.py"):
        name = path.parent.name if path.stem == _PACKAGE else path.stem
        neighbours.setdefault(name, []).append(path)
    told = msgspec.json.encode(loaded.recipe.parameters).decode()
    told += msgspec.json.encode(loaded.recipe.vary).decode()
    belonging = {probe}
    coming = [probe, *_called(neighbours, set(_WORD.findall(told)))]
    while coming:
        path = coming.pop()
        belonging.add(path)
        try:
            names = _names(path)
        except (OSError, SyntaxError, ValueError):
            return sorted({probe, *(path for paths in neighbours.values() for path in paths)})
        coming += [found for found in _called(neighbours, names) if found not in belonging]
    return sorted(belonging)


def _called(neighbours: dict[str, list[Path]], names: set[str]) -> list[Path]:
    return [path for name in names & neighbours.keys() for path in neighbours[name]]


_known: dict[Path, tuple[int, int, set[str]]] = {}


def _names(path: Path) -> set[str]:
    """The names in a file's imports and strings."""
    stat = path.stat()
    known = _known.get(path)
    if known is None or known[:2] != (stat.st_mtime_ns, stat.st_size):
        names = set(_told(ast.parse(path.read_bytes(), str(path))))
        known = _known[path] = stat.st_mtime_ns, stat.st_size, names
    return known[2]


def _told(tree: ast.AST) -> Iterator[str]:
    docstrings = set()
    for node in ast.walk(tree):  # parents come before their children
        if (text := _docstring(node)) is not None:
            docstrings.add(id(text))
        elif isinstance(node, ast.Import):
            for alias in node.names:
                yield from alias.name.split(".")
        elif isinstance(node, ast.ImportFrom):
            yield from (node.module or "").split(".")
            yield from (alias.name for alias in node.names)
        elif id(node) in docstrings or not isinstance(node, ast.Constant):
            continue
        elif isinstance(node.value, str):
            yield from _WORD.findall(node.value)


def _docstring(node: ast.AST) -> ast.Constant | None:
    """A module's, class's or function's first statement, where that is a string."""
    if not isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
        return None
    match node.body:
        case [ast.Expr(value=ast.Constant(value=str()) as text), *_]:
            return text
    return None
