"""A Python file as the rules read it: its nodes by type, what names mean, and what guards a node.

Nothing is imported or executed. A name means what the file's imports say; what a value is, is
known only as far as the same function, or the file's top level, assigns it.
"""

from __future__ import annotations

import ast
from collections import defaultdict
from collections.abc import Iterable, Iterator
from functools import cached_property
from typing import Literal, TypeVar

from porter.source_text import Source

Device = Literal["hpu", "npu"]
Loop = ast.For | ast.AsyncFor | ast.While
Function = ast.FunctionDef | ast.AsyncFunctionDef
N = TypeVar("N", bound=ast.AST)

FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)
MARK = "mark_step"
_SHARED = (ast.expr_context, ast.operator, ast.cmpop, ast.boolop, ast.unaryop)
"""Nodes that a tree has once, wherever they stand."""
_OF_MANY = frozenset({"__call__", "forward", "main", "run", "sample", "step", "train"})
"""Names that say nothing about which function is meant."""
_JUMPS = (ast.Return, ast.Raise, ast.Continue, ast.Break)
VENDORS: dict[str, Device] = {"habana_frameworks": "hpu", "torch_npu": "npu"}
_SERVING: dict[str, Device] = {
    "habana_frameworks.torch.gpu_migration": "hpu",
    "torch_npu.contrib.transfer_to_npu": "npu",
}


class Module:
    """A parsed file: ``path`` is as findings show it. Raises SyntaxError for other text."""

    def __init__(self, path: str, text: str) -> None:
        self.path = path
        self.source = Source(text)
        self.text = text
        self._lines: list[str] | None = None
        self.parents: dict[ast.AST, ast.AST] = {}
        self._by_type: dict[type, list[ast.AST]] = defaultdict(list)
        self.imports: dict[str, str] = {}
        self.imported: dict[str, int] = {}
        self._assigned: dict[tuple[ast.AST, str], list[ast.expr]] = defaultdict(list)
        self._names: dict[ast.AST, str | None] = {}
        self.marking: frozenset[str] = frozenset({MARK})
        """Names of functions of the tree that end a lazy graph."""
        self._read()

    def _read(self) -> None:
        stack: list[ast.AST] = [self.source.tree]
        while stack:
            node = stack.pop()
            self._by_type[type(node)].append(node)
            children: list[ast.AST] = []
            for part in node._fields:  # as ast.iter_child_nodes, which takes twice as long
                value = getattr(node, part, None)
                if isinstance(value, list):
                    children += [each for each in value if isinstance(each, ast.AST)]
                elif isinstance(value, ast.AST):
                    children.append(value)
            for child in children:
                if not isinstance(child, _SHARED):
                    self.parents[child] = node
            stack += reversed(children)
        for imported in self.all(ast.Import):
            for alias in imported.names:
                bound = alias.asname or alias.name.partition(".")[0]
                self.imports[bound] = alias.name if alias.asname else bound
                self.imported.setdefault(alias.name, imported.lineno)
        for each in self.all(ast.ImportFrom):
            base = "." * each.level + (each.module or "")
            self.imported.setdefault(base, each.lineno)
            for alias in each.names:
                full = f"{base}.{alias.name}"
                self.imports[alias.asname or alias.name] = full
                self.imported.setdefault(full, each.lineno)
        for name in self.all(ast.Constant):  # importlib.import_module("habana_frameworks.torch")
            if isinstance(name.value, str) and name.value.partition(".")[0] in VENDORS:
                self.imported.setdefault(name.value, name.lineno)
        assignments: list[ast.Assign | ast.AnnAssign | ast.NamedExpr] = [
            *self.all(ast.Assign),
            *self.all(ast.AnnAssign),
            *self.all(ast.NamedExpr),
        ]
        for node in assignments:
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            if node.value is not None:
                for target in targets:
                    if (path := dotted(target)) is not None:
                        self._assigned[self.scope(node), path].append(node.value)

    def lines(self) -> list[str]:
        """Return the lines of the file; a carriage return stays with its line."""
        if self._lines is None:
            self._lines = self.text.split("\n")
        return self._lines

    @property
    def line_end(self) -> str:
        """The line end of the file, by its first line."""
        return "\r\n" if self.text.partition("\n")[0].endswith("\r") else "\n"

    def indent_before(self, statement: ast.stmt) -> str | None:
        """Return the blanks before a statement; None if something else stands before it."""
        before = self.lines()[statement.lineno - 1].encode()[: statement.col_offset].decode()
        return None if before.strip() else before

    def rest_of_line(self, line: int, column: int) -> str:
        """Return what stands behind a column (in bytes) of a line, without the line's end."""
        return self.lines()[line - 1].encode()[column:].decode().rstrip("\r")

    def all(self, kind: type[N]) -> list[N]:
        """Return the nodes of one type, in the order of the text."""
        return self._by_type.get(kind, [])  # type: ignore[return-value]

    # -- what names mean --------------------------------------------------------------------------

    def name(self, node: ast.AST) -> str | None:
        """Return the full dotted name of what an imported name means, as ``torch.cuda.amp``."""
        if not isinstance(node, (ast.Attribute, ast.Name)):
            return None
        if node not in self._names:  # rules ask for the same nodes
            self._names[node] = self._full_name(node)
        return self._names[node]

    def _full_name(self, node: ast.expr) -> str | None:
        parts = []
        while isinstance(node, ast.Attribute):
            parts.append(node.attr)
            node = node.value
        if not isinstance(node, ast.Name) or (base := self.imports.get(node.id)) is None:
            return None
        return ".".join([base, *reversed(parts)])

    def called(self, call: ast.Call) -> str | None:
        """Return the full name of what a call calls, if an import names it."""
        return self.name(call.func)

    def values(self, node: ast.expr) -> list[ast.expr]:
        """Return what a name or attribute is assigned in its function, else at the top level.

        An expression that is no name is its own value.
        """
        if (path := dotted(node)) is None:
            return [node]
        scope: ast.AST | None = self.scope(node)
        while scope is not None:
            if found := self._assigned.get((scope, path)):
                return found
            scope = self.scope(scope) if scope in self.parents else None
        if path.startswith("self."):  # by another method of the file's classes
            return [v for (_, name), found in self._assigned.items() if name == path for v in found]
        return []

    @cached_property
    def called_by(self) -> dict[str, set[str]]:
        """The last names of what each function of the file calls, by its name."""
        found: dict[str, set[str]] = defaultdict(set)
        for call in self.all(ast.Call):
            last = (dotted(call.func) or "").rpartition(".")[2]
            function = self.function(call)
            if last and function is not None:
                found[function.name].add(last)
        return found

    @cached_property
    def vendors(self) -> set[Device]:
        """The devices whose packages the file imports: such a file knows about devices."""
        tops = {name.partition(".")[0] for name in self.imported}
        return {device for package, device in VENDORS.items() if package in tops}

    @cached_property
    def serves(self) -> dict[Device, int]:
        """The devices on which the file lets the vendor serve CUDA calls, with the line."""
        return {
            device: line
            for name, line in self.imported.items()
            for package, device in _SERVING.items()
            if name == package or name.startswith(f"{package}.")
        }

    # -- where a node stands ----------------------------------------------------------------------

    def ancestors(self, node: ast.AST) -> Iterator[tuple[ast.AST, ast.AST]]:
        """Yield each node around ``node`` with its child on the way, from the inside out."""
        while (parent := self.parents.get(node)) is not None:
            yield parent, node
            node = parent

    def scope(self, node: ast.AST) -> ast.AST:
        """Return the function or the module that a node is in; a function is in the outer one."""
        for parent, _ in self.ancestors(node):
            if isinstance(parent, FUNCTIONS):
                return parent
        return self.source.tree

    def function(self, node: ast.AST) -> Function | None:
        """Return the ``def`` around a node, if there is one."""
        for parent, _ in self.ancestors(node):
            if isinstance(parent, (ast.FunctionDef, ast.AsyncFunctionDef)):
                return parent
        return None

    def statement(self, node: ast.AST) -> ast.stmt:
        """Return the statement that a node is part of."""
        while not isinstance(node, ast.stmt):
            node = self.parents[node]
        return node

    def loop(self, node: ast.AST) -> Loop | None:
        """Return the innermost loop of the same function whose body repeats a node."""
        for parent, child in self.ancestors(node):
            if isinstance(parent, FUNCTIONS):
                return None
            if isinstance(parent, (ast.For, ast.AsyncFor)) and child in parent.body:
                return parent
            if isinstance(parent, ast.While) and child not in parent.orelse:
                return parent
        return None

    def guards(self, node: ast.AST) -> Iterator[tuple[ast.expr, bool]]:
        """Yield each test that decides whether a node runs, and the outcome with which it does.

        Tests of ``if`` and of conditional expressions around it, the left sides of ``and`` and
        ``or``, and of earlier ``if`` in the same blocks whose body leaves the block.
        """
        for parent, child in self.ancestors(node):
            if isinstance(parent, ast.If) and child is not parent.test:
                yield parent.test, child in parent.body
            elif isinstance(parent, ast.IfExp) and child is not parent.test:
                yield parent.test, child is parent.body
            elif isinstance(parent, ast.BoolOp):
                for left in parent.values[: parent.values.index(child)]:  # type: ignore[arg-type]
                    yield left, isinstance(parent.op, ast.And)
            if isinstance(child, ast.stmt):
                for earlier in self._block(parent, child):
                    if isinstance(earlier, ast.If) and isinstance(earlier.body[-1], _JUMPS):
                        yield earlier.test, False
            if isinstance(parent, FUNCTIONS):
                return

    def _block(self, parent: ast.AST, child: ast.stmt) -> list[ast.stmt]:
        """Return the statements before ``child`` in its block."""
        for field in ("body", "orelse", "finalbody"):
            block = getattr(parent, field, None)
            if isinstance(block, list) and child in block:
                return block[: block.index(child)]
        return []

    def is_tried(self, node: ast.AST) -> bool:
        """Return whether a ``try`` with a handler for a missing import is around a node."""
        for parent, child in self.ancestors(node):
            if isinstance(parent, ast.Try) and child in parent.body and parent.handlers:
                return True
            if isinstance(parent, FUNCTIONS):
                return False
        return False


def find_marking(modules: Iterable[Module]) -> None:
    """Tell every module which functions of the tree end a lazy graph, directly or by a call."""
    files = list(modules)
    found = {MARK}
    if any(MARK in module.text for module in files):
        grown = True
        while grown:
            calling = {
                name
                for module in files
                for name, called in module.called_by.items()
                if not called.isdisjoint(found)
            }
            grown = not (calling - _OF_MANY) <= found
            found |= calling - _OF_MANY
    for module in files:
        module.marking = frozenset(found)


def dotted(node: ast.AST) -> str | None:
    """Return ``self.model.net`` of a chain of attributes of a name, else None."""
    parts = []
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    return ".".join([node.id, *reversed(parts)]) if isinstance(node, ast.Name) else None


def argument(call: ast.Call, name: str, position: int | None = None) -> ast.expr | None:
    """Return a call's argument by its keyword or its position; None where it is not given."""
    for keyword in call.keywords:
        if keyword.arg == name:
            return keyword.value
    if position is not None and position < len(call.args):
        if any(isinstance(each, ast.Starred) for each in call.args[: position + 1]):
            return None
        return call.args[position]
    return None


def text_of(node: ast.AST | None) -> str | None:
    """Return the value of a string constant; of an f-string its first constant part."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr) and node.values:
        return text_of(node.values[0])
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        return text_of(node.left)
    return None


def strings(node: ast.AST) -> set[str]:
    """Return every string constant in an expression."""
    found = (each.value for each in ast.walk(node) if isinstance(each, ast.Constant))
    return {value for value in found if isinstance(value, str)}


def names(node: ast.AST) -> set[str]:
    """Return every plain name and attribute in an expression."""
    walked = list(ast.walk(node))
    return {each.id for each in walked if isinstance(each, ast.Name)} | {
        each.attr for each in walked if isinstance(each, ast.Attribute)
    }
