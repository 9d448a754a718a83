"""Where a helper module goes, and how a file imports it.

If every file that needs it is in one folder, it goes beside them. Else it goes into the package
that the project's own files import most, or to the top. A file imports it as it imports its
neighbours: relatively where it does so already, else by the name that its package has.
"""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath

from porter.draft.edits import insert
from porter.scan.reading.module import Module
from porter.source_text import TextEdit

ROOTS = ("", "src")
"""Folders that hold top-level packages."""


def place(
    module: str,
    users: Iterable[str],
    paths: Collection[str],
    modules: Callable[[], Mapping[str, Module]],
) -> PurePosixPath:
    """Return the path of a helper module that the files ``users`` need; it is no file yet.

    ``paths`` are the tree's files, ``modules()`` all of them parsed.
    """
    folders = {PurePosixPath(path).parent for path in users}
    folder = folders.pop() if len(folders) == 1 else _package(modules())
    name = module
    while str(path := folder / f"{name}.py") in paths:
        name = f"port_{name}"
    return path


def _package(modules: Mapping[str, Module]) -> PurePosixPath:
    """Return the folder of the package that the project's files import most; else the top."""
    folders = {str(parent) for path in modules for parent in PurePosixPath(path).parents}
    counted: Counter[str] = Counter()
    for module in modules.values():
        for imported in module.imported:
            first = imported.partition(".")[0]
            for root in ROOTS:
                folder = str(PurePosixPath(root, first)) if first else ""
                if first and folder in folders:
                    counted[folder] += 1
        inside = PurePosixPath(module.path).parts[:1]
        if any(name.startswith(".") for name in module.imported) and len(inside) == 1:
            counted[_top(module.path)] += 1
    if not counted:
        return PurePosixPath()
    most = max(counted.values())
    return PurePosixPath(min(folder for folder, number in counted.items() if number == most))


def _top(path: str) -> str:
    """Return the folder of the top-level package that a file is in."""
    parts = PurePosixPath(path).parts
    depth = 2 if parts[0] == "src" and len(parts) > 2 else 1
    return str(PurePosixPath(*parts[:depth])) if len(parts) > depth else "."


@dataclass(frozen=True)
class Layout:
    """The paths of a tree's files."""

    paths: frozenset[str]

    def is_package(self, folder: PurePosixPath) -> bool:
        """Return whether a folder has an ``__init__.py``."""
        return str(folder / "__init__.py") in self.paths

    def holds(self, folder: PurePosixPath, name: str) -> bool:
        """Return whether a folder holds a module or a package of that name."""
        inside = f"{folder / name}/".removeprefix("./")
        return str(folder / f"{name}.py") in self.paths or any(
            path.startswith(inside) for path in self.paths
        )


def import_lines(
    module: Module,
    helper: PurePosixPath,
    names: Collection[str],
    bound: str,
    layout: Layout,
) -> list[str]:
    """Return the lines by which a file imports ``names`` of a helper; all of it if it has none.

    ``bound`` is the name that the helper as a whole gets in the file. A file that tries its
    neighbours in two ways gets the helper in the same two ways.
    """
    ways = _ways(module, helper, layout)
    lines = [_line(way, names, bound) for way in ways]
    if len(lines) == 1:
        return lines
    return ["try:", f"    {lines[0]}", "except ModuleNotFoundError:", f"    {lines[1]}"]


def _line(where: str, names: Collection[str], bound: str) -> str:
    if names:
        return f"from {where} import {', '.join(sorted(names))}"
    dots = where[: len(where) - len(where.lstrip("."))]
    parent, _, last = where[len(dots) :].rpartition(".")
    renamed = "" if last == bound else f" as {bound}"
    source = dots + parent
    return f"from {source} import {last}{renamed}" if source else f"import {last}{renamed}"


def _ways(module: Module, helper: PurePosixPath, layout: Layout) -> list[str]:
    """Return what stands behind ``from`` in a file that imports a helper, in one way or two."""
    folder, target = PurePosixPath(module.path).parent, helper.parent
    inside = bool(target.parts) and (folder == target or target in folder.parents)
    relative = "." * (len(folder.parts) - len(target.parts) + 1) + helper.stem
    imports = module.all(ast.ImportFrom)
    if inside and any(each.level and not _is_fallback(module, each) for each in imports):
        plain = any(each.level and _is_fallback(module, each) for each in imports)
        return [helper.stem, relative] if plain else [relative]
    if inside and any(each.level for each in imports):
        return [helper.stem, relative]
    in_package = layout.is_package(folder)
    if folder == target and _imports_neighbours(module, folder, layout):
        return [helper.stem]
    if folder == target and _is_script(module) and not _by_full_name(module, folder):
        return [helper.stem, relative] if in_package else [helper.stem]
    if inside and layout.is_package(folder) and not _by_full_name(module, folder):
        return [relative]
    if folder == target and not _by_full_name(module, folder):
        return [helper.stem]
    parts = target.parts
    if parts[:1] == ("src",) and len(parts) > 1 and not layout.is_package(PurePosixPath("src")):
        parts = parts[1:]
    return [".".join([*parts, helper.stem])]


def _is_fallback(module: Module, node: ast.AST) -> bool:
    return any(isinstance(parent, ast.ExceptHandler) for parent, _ in module.ancestors(node))


def _imports_neighbours(module: Module, folder: PurePosixPath, layout: Layout) -> bool:
    """Whether a file imports its neighbours as a script does, by their names alone."""
    firsts = {name.partition(".")[0] for name in module.imported if not name.startswith(".")}
    if layout.is_package(folder):  # a package may hold a module of its own name
        firsts.discard(folder.name)
    return any(layout.holds(folder, first) for first in firsts)


def _is_script(module: Module) -> bool:
    """Whether a file does something where it is run, and not imported."""
    return any(
        isinstance(each, ast.If) and "__name__" in ast.unparse(each.test)
        for each in module.source.tree.body
    )


def _by_full_name(module: Module, folder: PurePosixPath) -> bool:
    """Whether a file imports its neighbours by the full name of its package."""
    top = folder.parts[:1]
    return bool(top) and any(name.startswith(f"{top[0]}.") for name in module.imported)


def import_edit(module: Module, lines: list[str]) -> TextEdit:
    """Insert import lines behind the last import at the top of a file."""
    last: ast.stmt | None = None
    for statement in module.source.tree.body:
        docstring = isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)
        if isinstance(statement, (ast.Import, ast.ImportFrom)):
            last = statement
        elif not (docstring and last is None) and last is not None and not _tries(statement):
            break
    end = module.line_end
    text = "".join(f"{line}{end}" for line in lines)
    if last is None:
        first = next((s for s in module.source.tree.body if not _is_text(s)), None)
        return insert((first.lineno if first is not None else 1, 0), text)
    assert last.end_lineno is not None
    return insert((last.end_lineno + 1, 0), text)


def _tries(statement: ast.stmt) -> bool:
    """Whether a statement tries imports: other imports may follow it."""
    return isinstance(statement, (ast.Try, ast.If)) and all(
        isinstance(each, (ast.Import, ast.ImportFrom)) for each in statement.body
    )


def _is_text(statement: ast.stmt) -> bool:
    return isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)
