"""CUDA-facing calls of a Python tree, read from its source: what a migration log must hold.

Found are ``.cuda(...)``, everything of ``torch.cuda``, and "cuda" as a device: as an argument, and
as a parameter's default that a class keeps as ``self.device`` and passes on. What stands in a
module's ``if __name__ == "__main__"`` counts for the script that is run only.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, order=True)
class CudaCall:
    """A call at ``file:line``; a log line from ``first`` to ``last``, its statement, covers it."""

    file: str
    line: int
    first: int
    last: int
    source: str

    def is_in(self, logged: set[tuple[str, int]]) -> bool:
        """Whether a log, as pairs of file and line, has the statement of the call."""
        return any((self.file, line) in logged for line in range(self.first, self.last + 1))


def imported(root: Path, script: str, also: tuple[str, ...] = ()) -> list[str]:
    """Return the files of ``root`` that ``script`` imports, itself first, and those of ``also``.

    ``also`` are modules that a configuration names. Imports anywhere in a file count.
    """
    found = [script]
    todo = [script, *(_file(root, module) or "" for module in also)]
    while todo:
        file = todo.pop()
        if file and file not in found:
            found.append(file)
        for module in _modules(ast.parse((root / file).read_text(encoding="utf-8"))):
            inside = _file(root, module)
            if inside and inside not in found:
                found.append(inside)
                todo.append(inside)
    return found


def _modules(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module
            yield from (f"{node.module}.{name.name}" for name in node.names)


def _file(root: Path, module: str) -> str | None:
    path = module.replace(".", "/")
    for file in (f"{path}.py", f"{path}/__init__.py"):
        if (root / file).is_file():
            return file
    return None


def cuda_calls(root: Path, file: str, *, is_main: bool) -> list[CudaCall]:
    """Return the CUDA-facing calls of one file."""
    text = (root / file).read_text(encoding="utf-8")
    tree = ast.parse(text)
    finder = _Finder(file, text.splitlines(), is_main)
    finder.visit(tree)
    return sorted(set(finder.found))


class _Finder(ast.NodeVisitor):
    def __init__(self, file: str, lines: list[str], is_main: bool) -> None:
        self.file = file
        self.lines = lines
        self.is_main = is_main
        self.found: list[CudaCall] = []
        self._statements: list[ast.stmt] = []
        self._keeps_device = False

    def visit(self, node: ast.AST) -> None:
        if isinstance(node, ast.If) and _is_main_guard(node) and not self.is_main:
            return
        is_statement = isinstance(node, ast.stmt)
        if is_statement:
            self._statements.append(node)  # type: ignore[arg-type]
        super().visit(node)
        if is_statement:
            self._statements.pop()

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        before = self._keeps_device
        defaults = [
            default
            for made in node.body
            if isinstance(made, ast.FunctionDef) and made.name == "__init__"
            for default in made.args.defaults
        ]
        self._keeps_device = any(_is_cuda(default) for default in defaults)
        self.generic_visit(node)
        self._keeps_device = before

    def visit_Call(self, node: ast.Call) -> None:
        arguments = [*node.args, *(keyword.value for keyword in node.keywords)]
        called = node.func
        if (
            (isinstance(called, ast.Attribute) and called.attr == "cuda")
            or any(_is_cuda(argument) for argument in arguments)
            or (self._keeps_device and any(map(_is_own_device, arguments)))
        ):
            self._keep(node)
        self.generic_visit(node)

    def visit_Attribute(self, node: ast.Attribute) -> None:
        if node.attr == "cuda" and isinstance(node.value, ast.Name) and node.value.id == "torch":
            self._keep(node)
        self.generic_visit(node)

    def _keep(self, node: ast.expr) -> None:
        statement = self._statements[-1]
        last = statement.end_lineno or statement.lineno
        if isinstance(statement, ast.With):  # its head: what stands in it has statements of its own
            last = statement.body[0].lineno - 1
        source = self.lines[node.lineno - 1].strip()
        self.found.append(CudaCall(self.file, node.lineno, statement.lineno, last, source))


def _is_main_guard(node: ast.If) -> bool:
    test = node.test
    return (
        isinstance(test, ast.Compare)
        and isinstance(test.left, ast.Name)
        and test.left.id == "__name__"
    )


def _is_cuda(node: ast.expr) -> bool:
    return (
        isinstance(node, ast.Constant)
        and isinstance(node.value, str)
        and node.value.partition(":")[0] == "cuda"
    )


def _is_own_device(node: ast.expr) -> bool:
    return isinstance(node, ast.Attribute) and ast.unparse(node) == "self.device"
