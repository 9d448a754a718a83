"""Read a wheel without installing it: its members and its Python names."""

from __future__ import annotations

import ast
import hashlib
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from porter.device.sim.contract.signatures import of_arguments


@dataclass(frozen=True)
class Symbol:
    """One public name: its kind and, for a callable, its signature."""

    kind: str  # "function", "class", "op", "value"
    signature: str | None = None
    members: dict[str, str] = field(default_factory=dict)  # public methods of a class


@dataclass(frozen=True)
class Wheel:
    """A wheel file, opened for reading only."""

    path: Path
    archive: zipfile.ZipFile

    @classmethod
    def open(cls, path: Path) -> Wheel:
        return cls(path, zipfile.ZipFile(path))

    @property
    def version(self) -> str:
        return self.path.name.split("-")[1]

    def sha256(self) -> str:
        return hashlib.sha256(self.path.read_bytes()).hexdigest()

    def text(self, member: str) -> str:
        return self.archive.read(member).decode("utf-8", "replace")

    def python_files(self, prefix: str) -> Iterator[tuple[str, ast.Module]]:
        for name in sorted(self.archive.namelist()):
            if name.startswith(prefix) and name.endswith(".py"):
                yield name, ast.parse(self.text(name))

    def module_file(self, dotted: str) -> str | None:
        """Return the member that holds module ``dotted``."""
        base = dotted.replace(".", "/")
        names = set(self.archive.namelist())
        return next((n for n in (f"{base}.py", f"{base}/__init__.py") if n in names), None)

    def find(self, module: str, name: str, seen: frozenset[str] = frozenset()) -> Symbol | None:
        """Find the definition of ``module.name``, following the wheel's own imports."""
        member = self.module_file(module)
        if member is None or f"{module}.{name}" in seen:
            return None
        seen = seen | {f"{module}.{name}"}
        tree = ast.parse(self.text(member))
        is_package = member.endswith("__init__.py")
        fallback: Symbol | None = None
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name == name:
                if node in tree.body:
                    return Symbol("function", of_arguments(node.args))
            elif isinstance(node, ast.ClassDef) and node.name == name:
                return _class(node)
            elif isinstance(node, ast.Assign):
                if any(isinstance(t, ast.Name) and t.id == name for t in node.targets):
                    fallback = fallback or Symbol("value")
            elif isinstance(node, ast.ImportFrom):
                source = absolute(node, module, is_package)
                for alias in node.names:
                    if alias.name == "*" or (alias.asname or alias.name) == name:
                        wanted = name if alias.name == "*" else alias.name
                        found = self.find(source, wanted, seen)
                        if found is not None:
                            return found
        return fallback

    def exported(self, module: str) -> list[str]:
        """Return the names in a module's ``__all__``."""
        member = self.module_file(module)
        if member is None:
            return []
        names: list[str] = []
        for node in ast.parse(self.text(member)).body:
            if isinstance(node, ast.Assign) and any(
                isinstance(t, ast.Name) and t.id == "__all__" for t in node.targets
            ):
                names += [str(v) for v in ast.literal_eval(node.value)]
        return names


def absolute(node: ast.ImportFrom, module: str, is_package: bool) -> str:
    """Return the absolute module that a ``from ... import`` names."""
    if not node.level:
        return node.module or ""
    parts = module.split(".")
    keep = len(parts) - node.level + (1 if is_package else 0)
    return ".".join([*parts[:keep], *([node.module] if node.module else [])])


def _class(node: ast.ClassDef) -> Symbol:
    members, init = {}, None
    for item in node.body:
        if isinstance(item, ast.FunctionDef):
            if item.name in ("__init__", "__new__"):
                init = init or of_arguments(item.args)
            elif not item.name.startswith("_"):
                members[item.name] = of_arguments(item.args)
    return Symbol("class", init, members)
