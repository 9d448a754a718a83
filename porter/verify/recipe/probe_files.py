"""Which files a probe is made of: its own, and those of its neighbours that it names.

A probe may import what stands beside it, write a script that does, or be told a name by its
recipe's parameters. So a neighbour belongs to a probe where its name stands in an import, in a
string or in a parameter, of the probe or of a file that belongs already. Names that are put
together from pieces are not seen.
"""

from __future__ import annotations

import ast
import hashlib
import json
import os
import re
from collections.abc import Iterator
from pathlib import Path

import msgspec

from porter.atomic import write_json
from porter.places import cache_dir
from porter.verify.recipe.load import LoadedRecipe

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


_FORMAT = b"1"
_known: dict[str, set[str]] = {}


def _names(path: Path) -> set[str]:
    """The names in a file's imports and strings: kept in the cache, by what is in the file.

    To parse every probe of every port takes longer than to look that nothing changed.
    """
    data = path.read_bytes()
    key = hashlib.sha256(_FORMAT + data).hexdigest()[:40]
    if key not in _known:
        kept = cache_dir() / "probe-names" / key
        try:
            _known[key] = set(json.loads(kept.read_bytes()))
            os.utime(kept)  # gc frees those that nobody used for long
        except (OSError, ValueError, TypeError):  # none there, or damaged
            _known[key] = set(_told(ast.parse(data, str(path))))
            write_json(kept, sorted(_known[key]))
    return _known[key]


def _told(tree: ast.AST) -> Iterator[str]:
    docstrings = set()
    waiting = [tree]
    while waiting:  # parents come before their children
        node = waiting.pop()
        for name in node._fields:
            child = getattr(node, name, None)
            if isinstance(child, ast.AST):
                waiting.append(child)
            elif isinstance(child, list):
                waiting += [one for one in child if isinstance(one, ast.AST)]
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
