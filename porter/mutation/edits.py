"""Small changes of a Python source text, each named by the mistake it imitates.

Positions are those of :mod:`ast`: lines count from 1, columns are bytes of UTF-8.
"""

from __future__ import annotations

import ast
from dataclasses import dataclass
from typing import Literal

Kind = Literal[
    "off-by-one",
    "swapped-operands",
    "dropped-term",
    "wrong-axis",
    "wrong-dtype",
    "removed-copy",
    "scaled-constant",
    "dropped-last-batch",
    "missing-mark-step",
    "removed-call",
    "device-moved-back",
    "negated-condition",
]
KINDS: tuple[Kind, ...] = Kind.__args__  # type: ignore[attr-defined]


@dataclass(frozen=True, order=True)
class SourceEdit:
    """Replace the bytes from (``line``, ``column``) to (``end_line``, ``end_column``)."""

    line: int
    column: int
    end_line: int
    end_column: int
    replacement: str
    kind: Kind

    def touches(self, lines: frozenset[int]) -> bool:
        """Whether any of its lines is one of ``lines``."""
        return any(n in lines for n in range(self.line, self.end_line + 1))


class Source:
    """A parsed source text: gives the text of its nodes and applies edits."""

    def __init__(self, text: str) -> None:
        """Parse ``text``. Raises SyntaxError."""
        self.text = text
        self.tree = ast.parse(text)
        self._lines = text.encode().splitlines(keepends=True)
        self._starts = [0]
        for line in self._lines:
            self._starts.append(self._starts[-1] + len(line))
        self._bytes = text.encode()

    def offset(self, line: int, column: int) -> int:
        """Return the offset in bytes of a line and column."""
        return self._starts[line - 1] + column

    def span(self, node: ast.expr | ast.stmt | ast.keyword) -> tuple[int, int, int, int]:
        """Return line and column of a node's start, then of its end."""
        assert node.end_lineno is not None
        assert node.end_col_offset is not None
        return node.lineno, node.col_offset, node.end_lineno, node.end_col_offset

    def of(self, node: ast.expr | ast.stmt | ast.keyword) -> str:
        """Return the text of a node, as it is in the file."""
        line, column, end_line, end_column = self.span(node)
        found = self._bytes[self.offset(line, column) : self.offset(end_line, end_column)]
        return found.decode()

    def replace(self, node: ast.expr | ast.stmt | ast.keyword, text: str, kind: Kind) -> SourceEdit:
        """Return the edit that replaces ``node`` by ``text``."""
        return SourceEdit(*self.span(node), text, kind)

    def between(self, left: ast.expr, right: ast.expr, text: str, kind: Kind) -> SourceEdit:
        """Return the edit that replaces the text between two nodes (an operator)."""
        _, _, line, column = self.span(left)
        end_line, end_column, _, _ = self.span(right)
        return SourceEdit(line, column, end_line, end_column, text, kind)

    def gap(self, left: ast.expr, right: ast.expr) -> str:
        """Return the text between two nodes."""
        _, _, line, column = self.span(left)
        end_line, end_column, _, _ = self.span(right)
        found = self._bytes[self.offset(line, column) : self.offset(end_line, end_column)]
        return found.decode()

    def apply(self, edit: SourceEdit) -> str:
        """Return the whole text with the edit applied."""
        start = self.offset(edit.line, edit.column)
        end = self.offset(edit.end_line, edit.end_column)
        made = self._bytes[:start] + edit.replacement.encode() + self._bytes[end:]
        return made.decode()
