"""Find the files that a probe is made of: its own, and those beside it that it names.

A probe may import its neighbours, write a script that imports them, or get their names from the
recipe's parameters. So a neighbour belongs to a probe if its name appears in an import, a string or
a parameter, of the probe or of a file that belongs already. Names assembled from pieces are missed.
"""

from __future__ import annotations

import ast
import hashlib
import os
import re
from collections.abc import Iterator
from pathlib import Path

import msgspec

from porter.atomic import read_json, write_json
from porter.places import cache_dir
from porter.verify.recipe.load import LoadedRecipe

_WORD = re.compile(r"\w+")
_PACKAGE = "__init__"
_LEVEL = re.compile(rb"\.\s*level(?:_name)?\b")


def probe_files(loaded: LoadedRecipe) -> list[Path]:
    """Return a recipe's probe and the files beside it that belong to it, by path.

    If one of them cannot be read as Python, every neighbour belongs.
    """
    probe = loaded.probe
    neighbours: dict[str, list[Path]] = {}
    for path in probe.parent.glob("**/*.py"):
        name = path.parent.name if path.stem == _PACKAGE else path.stem
        neighbours.setdefault(name, []).append(path)
    text = msgspec.json.encode([loaded.recipe.parameters, loaded.recipe.vary]).decode()
    found = {probe}
    pending = [probe, *_named(neighbours, set(_WORD.findall(text)))]
    while pending:
        path = pending.pop()
        found.add(path)
        try:
            names = _names(path)
        except (OSError, SyntaxError, ValueError):
            return sorted({probe, *(path for paths in neighbours.values() for path in paths)})
        pending += [path for path in _named(neighbours, names) if path not in found]
    return sorted(found)


def asks_level(loaded: LoadedRecipe) -> bool:
    """Return whether a file of the probe reads ``.level`` or ``.level_name``, of anything.

    Its runs are then each level's own, even where two levels have equal trees.
    """
    return any(_LEVEL.search(path.read_bytes()) for path in probe_files(loaded))


def _named(neighbours: dict[str, list[Path]], names: set[str]) -> list[Path]:
    return [path for name in names & neighbours.keys() for path in neighbours[name]]


_FORMAT = b"1"
_known: dict[str, set[str]] = {}


def _names(path: Path) -> set[str]:
    """Return the names in a file's imports and strings, cached by the file's content.

    Parsing every probe of every port takes longer than the rest of an unchanged verification.
    """
    data = path.read_bytes()
    key = hashlib.sha256(_FORMAT + data).hexdigest()[:40]
    if key not in _known:
        cached = cache_dir() / "probe-names" / key
        try:
            _known[key] = set(read_json(cached))
            os.utime(cached)  # `porter gc` removes those not used for long
        except (OSError, ValueError, TypeError):  # absent or damaged
            _known[key] = set(_words(ast.parse(data, str(path))))
            write_json(cached, sorted(_known[key]))
    return _known[key]


def _words(tree: ast.AST) -> Iterator[str]:
    """Yield the words of all imports and strings but docstrings."""
    docstrings: set[ast.expr] = set()
    for node in ast.walk(tree):  # parents come before their children
        match node:
            case (
                ast.Module(body=[ast.Expr(value=text), *_])
                | ast.ClassDef(body=[ast.Expr(value=text), *_])
                | ast.FunctionDef(body=[ast.Expr(value=text), *_])
                | ast.AsyncFunctionDef(body=[ast.Expr(value=text), *_])
            ):
                docstrings.add(text)
            case ast.Import(names=names):
                yield from (word for alias in names for word in alias.name.split("."))
            case ast.ImportFrom(module=module, names=names):
                yield from (module or "").split(".")
                yield from (alias.name for alias in names)
            case ast.Constant(value=str() as text) if node not in docstrings:
                yield from _WORD.findall(text)
