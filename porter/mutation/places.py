"""What surrounds a node: whether it can change a result, whether a number there is an index."""

from __future__ import annotations

import ast
from typing import Final

from porter.mutation.nodes import axes, called_name

_SHAPES: Final = frozenset({"view", "reshape", "expand", "repeat", "permute", "transpose"})
SAYS: Final = frozenset({"print", "warn", "info", "debug", "warning", "log", "write"})


class Places:
    """What the mistakes must know of a node's surroundings."""

    def __init__(self, tree: ast.AST) -> None:
        self.silent: set[ast.AST] = set()
        self.index: set[ast.AST] = set()  # constants that are indices, axes, shapes, ranges
        for node in ast.walk(tree):
            self._visit(node)

    def _visit(self, node: ast.AST) -> None:
        if isinstance(node, ast.Import | ast.ImportFrom) or _says(node):
            self._below(self.silent, node)
        elif isinstance(node, ast.arg | ast.AnnAssign) and node.annotation is not None:
            self._below(self.silent, node.annotation)
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.returns is not None:
            self._below(self.silent, node.returns)
        elif isinstance(node, ast.Raise | ast.Assert | ast.JoinedStr):
            self._below(self.silent, node)
        elif isinstance(node, ast.Subscript):
            self._below(self.index, node.slice)
        elif isinstance(node, ast.Call):
            name = called_name(node.func)
            if name in _SHAPES or name == "range":
                for argument in node.args:
                    self._below(self.index, argument)
            for axis in axes(node):
                self._below(self.index, axis)

    @staticmethod
    def _below(kept: set[ast.AST], node: ast.AST) -> None:
        kept.update(ast.walk(node))


def _says(node: ast.AST) -> bool:
    """Whether a statement is a text (a docstring), or only prints or logs."""
    if not isinstance(node, ast.Expr):
        return False
    value = node.value
    return isinstance(value, ast.Constant) or (
        isinstance(value, ast.Call) and called_name(value.func) in SAYS
    )
