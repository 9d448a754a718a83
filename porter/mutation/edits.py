"""Small changes of a Python source text, each named by the mistake it imitates.

Positions are those of :mod:`ast`: lines count from 1, columns are bytes of UTF-8.
"""

from __future__ import annotations

import ast
from dataclasses import dataclass
from itertools import accumulate
from typing import Literal, get_args

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
KINDS: tuple[Kind, ...] = get_args(Kind)

Node = ast.expr | ast.stmt | ast.keyword
Span = tuple[int, int, int, int]
"""Line and column of a start, then of an end."""


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
        self.tree = ast.parse(text)
        self._bytes = text.encode()
        lengths = (len(line) for line in self._bytes.splitlines(keepends=True))
        self._starts = list(accumulate(lengths, initial=0))

    def _offset(self, line: int, column: int) -> int:
        """Return the offset in bytes of a line and column."""
        return self._starts[line - 1] + column

    def span(self, node: Node) -> Span:
        """Return line and column of a node's start, then of its end."""
        assert node.end_lineno is not None
        assert node.end_col_offset is not None
        return node.lineno, node.col_offset, node.end_lineno, node.end_col_offset

    def between(self, left: ast.expr, right: ast.expr) -> Span:
        """Return the span of the text between two nodes (an operator)."""
        return *self.span(left)[2:], *self.span(right)[:2]

    def text(self, span: Span) -> str:
        """Return the text of a span."""
        return self._bytes[self._offset(*span[:2]) : self._offset(*span[2:])].decode()

    def of(self, node: Node) -> str:
        """Return the text of a node, as it is in the file."""
        return self.text(self.span(node))

    def apply(self, edit: SourceEdit) -> str:
        """Return the whole text with the edit applied."""
        start = self._offset(edit.line, edit.column)
        end = self._offset(edit.end_line, edit.end_column)
        return (self._bytes[:start] + edit.replacement.encode() + self._bytes[end:]).decode()
