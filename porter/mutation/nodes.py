"""Questions about syntax trees: what a call calls, what names an axis, what cannot matter."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import Final

# Position of the axis among a method's arguments; one more for functions of `torch`.
_AXIS: Final = {
    "sum": 0,
    "mean": 0,
    "softmax": 0,
    "flatten": 0,
    "unsqueeze": 0,
    "squeeze": 0,
    "size": 0,
    "roll": 1,
    "chunk": 1,
    "split": 1,
    "repeat_interleave": 1,
    "narrow": 0,
    "select": 0,
    "index_select": 0,
    "gather": 0,
}
AXIS_OF_FUNCTION: Final = {"cat": 1, "stack": 1, "concat": 1}
_AXIS_NAMES: Final = frozenset({"dim", "axis", "start_dim"})
_SHAPES: Final = frozenset({"view", "reshape", "expand", "repeat", "permute", "transpose"})
PRINTS: Final = frozenset({"print", "warn", "info", "debug", "warning", "log", "write"})


def called_name(function: ast.expr) -> str:
    """The last part of a called name: ``copy_`` of ``x.copy_(...)``."""
    if isinstance(function, ast.Attribute):
        return function.attr
    return function.id if isinstance(function, ast.Name) else ""


def axes(call: ast.Call) -> Iterator[ast.expr]:
    """The arguments of a call that name an axis."""
    for keyword in call.keywords:
        if keyword.arg in _AXIS_NAMES:
            yield keyword.value
    if not isinstance(call.func, ast.Attribute):
        return
    of_module = isinstance(call.func.value, ast.Name) and call.func.value.id in ("torch", "F")
    if of_module and call.func.attr in AXIS_OF_FUNCTION:
        position = AXIS_OF_FUNCTION[call.func.attr]
    elif call.func.attr in _AXIS:
        position = _AXIS[call.func.attr] + of_module
    else:
        return
    if position < len(call.args):
        yield call.args[position]


def whole_number(node: ast.expr) -> int | None:
    """The value of a whole number as written (``-1`` too), or None."""
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        inner = whole_number(node.operand)
        return None if inner is None else -inner
    if isinstance(node, ast.Constant) and type(node.value) is int:
        return node.value
    return None


def names_device(node: ast.expr) -> bool:
    if isinstance(node, ast.Name | ast.Attribute):
        return "device" in (node.id if isinstance(node, ast.Name) else node.attr).lower()
    return isinstance(node, ast.Constant) and node.value in ("cuda", "hpu", "npu")


def is_text(node: ast.AST) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, str)


def is_main_guard(test: ast.expr) -> bool:
    return isinstance(test, ast.Compare) and called_name(test.left) == "__name__"


class NodeContext:
    """Which nodes of a tree cannot change a result (``silent``), and which are indices."""

    def __init__(self, tree: ast.AST) -> None:
        self.silent: set[ast.AST] = set()
        self.index: set[ast.AST] = set()  # indices, axes, shapes, ranges
        for node in ast.walk(tree):
            self._visit(node)

    def _visit(self, node: ast.AST) -> None:
        if isinstance(node, ast.Import | ast.ImportFrom) or _only_prints(node):
            self._add(self.silent, node)
        elif isinstance(node, ast.arg | ast.AnnAssign) and node.annotation is not None:
            self._add(self.silent, node.annotation)
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.returns is not None:
            self._add(self.silent, node.returns)
        elif isinstance(node, ast.Raise | ast.Assert | ast.JoinedStr):
            self._add(self.silent, node)
        elif isinstance(node, ast.Subscript):
            self._add(self.index, node.slice)
        elif isinstance(node, ast.Call):
            name = called_name(node.func)
            if name in _SHAPES or name == "range":
                for argument in node.args:
                    self._add(self.index, argument)
            for axis in axes(node):
                self._add(self.index, axis)

    @staticmethod
    def _add(nodes: set[ast.AST], node: ast.AST) -> None:
        nodes.update(ast.walk(node))


def _only_prints(node: ast.AST) -> bool:
    """Whether a statement is a text (a docstring), or only prints or logs."""
    if not isinstance(node, ast.Expr):
        return False
    value = node.value
    return isinstance(value, ast.Constant) or (
        isinstance(value, ast.Call) and called_name(value.func) in PRINTS
    )
