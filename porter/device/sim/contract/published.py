"""A vendor's published package, read as text: its modules, names, signatures and op schemas.

A package is a wheel file or a checkout of its repository; nothing of it is installed or imported.
"""

from __future__ import annotations

import ast
import hashlib
import re
import subprocess
import zipfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

_SCHEMA = re.compile(r"^(?P<name>[\w.:]+)\((?P<args>.*)\)\s*->\s*(?P<ret>.+)$", re.DOTALL)
_TYPE = re.compile(r"\w+(\([^)]*\))?(\[\d*\])?\??(\[\d*\])?\?? +(?=\w+ *(=|,|$))")
"""The type before an argument's name in a schema: ``Tensor(a!)``, ``int[2]``, ``Tensor?[]``."""


_RENAMED = {"torchair": "torch_npu.dynamo.torchair"}
"""Modules that a package makes importable under another name than their file's."""


@dataclass(frozen=True)
class Symbol:
    """One public name: its kind and, for a callable, its signature.

    ``mode`` is "lazy" or "eager" for a name that the vendor's package has in that mode only.
    """

    kind: str  # "function", "class", "op", "value"
    signature: str | None = None
    members: dict[str, str] = field(default_factory=dict)  # public methods of a class
    mode: str | None = None


class Published:
    """Text files by path, as they stand in a package."""

    @property
    def version(self) -> str:
        raise NotImplementedError

    def names(self) -> list[str]:
        """Return the paths of all files, sorted."""
        raise NotImplementedError

    def text(self, member: str) -> str:
        """Return a file's text."""
        raise NotImplementedError

    def identity(self) -> dict[str, str]:
        """Return what identifies the package: a wheel's file and hash, a checkout's commit."""
        raise NotImplementedError

    @cached_property
    def _members(self) -> frozenset[str]:
        return frozenset(self.names())

    @cached_property
    def _parsed(self) -> dict[str, ast.Module]:
        return {}

    def tree(self, member: str) -> ast.Module:
        """Return a Python file's syntax tree."""
        if member not in self._parsed:
            self._parsed[member] = ast.parse(self.text(member).removeprefix("\ufeff"))
        return self._parsed[member]

    def trees(self, containing: str = "") -> list[ast.Module]:
        """Parse every Python file, or those that contain a text."""
        files = (name for name in self.names() if name.endswith(".py"))
        return [self.tree(name) for name in files if containing in self.text(name)]

    def assignments(self, member: str) -> Iterator[tuple[str, ast.expr]]:
        """Yield name and value of the assignments at the top of a Python file."""
        for node in self.tree(member).body:
            if isinstance(node, ast.Assign):
                names = (target.id for target in node.targets if isinstance(target, ast.Name))
                yield from ((name, node.value) for name in names)

    def module_file(self, dotted: str) -> str | None:
        """Return the member that holds module ``dotted``."""
        head, _, rest = dotted.partition(".")
        base = "/".join([_RENAMED.get(head, head), *filter(None, [rest])]).replace(".", "/")
        return next((n for n in (f"{base}.py", f"{base}/__init__.py") if n in self._members), None)

    def find(self, module: str, name: str, seen: frozenset[str] = frozenset()) -> Symbol | None:
        """Find the definition of ``module.name``, following the package's own imports."""
        member = self.module_file(module)
        if member is None or f"{module}.{name}" in seen:
            return None
        seen = seen | {f"{module}.{name}"}
        tree = self.tree(member)
        is_package = member.endswith("__init__.py")
        fallback: Symbol | None = None
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name == name:
                if node in tree.body:
                    return Symbol("function", of_arguments(node.args))
            elif isinstance(node, ast.ClassDef) and node.name == name:
                return of_class(node)
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
        """Return the names in a module's ``__all__``, if it is a list of texts."""
        member = self.module_file(module)
        rows = self.assignments(member) if member else ()
        found = [value for name, value in rows if name == "__all__"]
        lists = [value.elts for value in found if isinstance(value, ast.List | ast.Tuple)]
        return [str(v.value) for items in lists for v in items if isinstance(v, ast.Constant)]

    def defined(self, module: str) -> list[str]:
        """Return the functions and classes that a module defines, without a leading underscore."""
        member = self.module_file(module)
        kinds = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef
        body = self.tree(member).body if member else []
        return [n.name for n in body if isinstance(n, kinds) and not n.name.startswith("_")]


@dataclass(frozen=True)
class Wheel(Published):
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

    def identity(self) -> dict[str, str]:
        return {"wheel": self.path.name, "sha256": self.sha256()}

    def names(self) -> list[str]:
        return sorted(self.archive.namelist())

    def text(self, member: str) -> str:
        return self.archive.read(member).decode("utf-8", "replace")


@dataclass(frozen=True)
class Checkout(Published):
    """The files of a commit in a git directory; ``root`` is the folder that holds the package."""

    git_dir: Path
    commit: str
    published_as: str
    root: str = ""

    @classmethod
    def open(cls, git_dir: Path, version: str, root: str = "", commit: str = "HEAD") -> Checkout:
        found = cls(git_dir, commit, version, root)
        return replace(found, commit=found._git("rev-parse", f"{commit}^{{commit}}").strip())

    def _git(self, *words: str) -> str:
        command = ["git", "--git-dir", str(self.git_dir), *words]
        return subprocess.run(command, check=True, capture_output=True).stdout.decode(
            "utf-8", "replace"
        )

    @property
    def version(self) -> str:
        return self.published_as

    def identity(self) -> dict[str, str]:
        return {"commit": self.commit}

    def all_names(self) -> list[str]:
        """Return every path of the commit."""
        return self._git("ls-tree", "-r", "--name-only", self.commit).splitlines()

    def names(self) -> list[str]:
        return [n.removeprefix(self.root) for n in self.all_names() if n.startswith(self.root)]

    def text(self, member: str) -> str:
        return self.whole_text(self.root + member)

    def whole_text(self, path: str) -> str:
        """Return the text of a file by its path in the commit."""
        return self._git("show", f"{self.commit}:{path}")


def contract_of(package: str, source: Published, symbols: dict[str, Any]) -> dict[str, Any]:
    """Return the content of a contract file."""
    return {
        "package": package,
        "version": source.version,
        **source.identity(),
        "symbols": symbols,
    }


def row_of(symbol: Symbol) -> dict[str, Any]:
    """Return a symbol as it stands in a contract file."""
    return {name: value for name, value in asdict(symbol).items() if value}


def absolute(node: ast.ImportFrom, module: str, is_package: bool) -> str:
    """Return the absolute module that a ``from ... import`` names."""
    if not node.level:
        return node.module or ""
    parts = module.split(".")
    keep = len(parts) - node.level + (1 if is_package else 0)
    return ".".join([*parts[:keep], *([node.module] if node.module else [])])


def of_arguments(arguments: ast.arguments) -> str:
    """Return ``(a, b=1, *, c=None)`` for a function's arguments, without annotations."""
    bare = ast.parse(f"def f({ast.unparse(arguments)}): pass").body[0]
    assert isinstance(bare, ast.FunctionDef)
    for argument in ast.walk(bare.args):
        if isinstance(argument, ast.arg):
            argument.annotation = None
    return f"({ast.unparse(bare.args)})"


def of_schema(schema: str) -> tuple[str, str]:
    """Return the op name (with overload) and the Python signature of a native op schema."""
    found = _SCHEMA.match(schema.strip())
    if found is None:
        raise ValueError(f"not an op schema: {schema!r}")
    bare = ast.parse(f"def f({_TYPE.sub('', found['args'])}): pass")
    return found["name"], f"({ast.unparse(_Quoted().visit(bare).body[0].args)})"


class _Quoted(ast.NodeTransformer):
    """Makes the words among a schema's default values texts."""

    def visit_Name(self, node: ast.Name) -> ast.Constant:
        return ast.Constant(node.id)


def _is_property(function: ast.FunctionDef) -> bool:
    names = [ast.unparse(each) for each in function.decorator_list]
    return any(name.split(".")[-1] in ("property", "setter", "cached_property") for name in names)


def of_class(node: ast.ClassDef) -> Symbol:
    """Return a class's constructor and public methods."""
    members, init = {}, None
    for item in node.body:
        if isinstance(item, ast.FunctionDef) and not _is_property(item):
            if item.name in ("__init__", "__new__"):
                init = init or of_arguments(item.args)
            elif not item.name.startswith("_") or item.name == "__call__":
                members[item.name] = of_arguments(item.args)
    return Symbol("class", init, members)
