"""What a mender makes of a spot: edits of the file's text, and what the new text needs."""

from __future__ import annotations

import ast
from collections.abc import Callable
from dataclasses import dataclass

from porter.scan.reading.module import Module
from porter.scan.reading.rule import Spot
from porter.source_text import TextEdit


@dataclass(frozen=True, slots=True)
class Mended:
    """The edits that mend a spot, and the names of :mod:`porter.draft.helpers` that they use."""

    edits: tuple[TextEdit, ...]
    needs: tuple[str, ...] = ()


Mender = Callable[[Module, Spot], Mended | None]
"""Returns how to mend a spot, or None: it is not sure how, and the spot stays a finding."""


def replace(module: Module, node: ast.expr | ast.stmt, text: str) -> TextEdit:
    """Replace a node by a text."""
    return TextEdit(*module.source.span(node), text)


def insert(at: tuple[int, int], text: str) -> TextEdit:
    """Insert a text at a line and a column."""
    return TextEdit(*at, *at, text)


def start_of(node: ast.expr | ast.stmt | ast.keyword) -> tuple[int, int]:
    """Return line and column of a node's start."""
    return node.lineno, node.col_offset


def end_of(node: ast.expr | ast.stmt | ast.keyword) -> tuple[int, int]:
    """Return line and column of a node's end."""
    assert node.end_lineno is not None
    assert node.end_col_offset is not None
    return node.end_lineno, node.end_col_offset


def new_argument(call: ast.Call, text: str) -> TextEdit | None:
    """Give a call one more argument, the last; None for ``f(x for x in y)``, which takes no other.

    It stands after the last argument, so a comma and a comment behind that stay.
    """
    given: list[ast.expr | ast.keyword] = [*call.args, *call.keywords]
    if not given:
        line, column = end_of(call)
        return insert((line, column - 1), text)
    last = max(given, key=end_of)
    if isinstance(last, ast.GeneratorExp) and len(given) == 1:
        return None
    return insert(end_of(last), f", {text}")


def without_argument(module: Module, call: ast.Call, keyword: ast.keyword) -> TextEdit | None:
    """Take a keyword and the comma before it out of a call; None if it is the first argument."""
    given: list[ast.expr | ast.keyword] = [*call.args, *call.keywords]
    before = [each for each in given if end_of(each) <= start_of(keyword)]
    if not before:
        return None
    last = max(before, key=end_of)
    between = module.source.text((*end_of(last), *start_of(keyword)))
    if between.strip() != ",":  # a comment or brackets: it would be lost
        return None
    return TextEdit(*end_of(last), *end_of(keyword), "")


def line_after(module: Module, statement: ast.stmt, text: str) -> TextEdit | None:
    """Insert a line after a statement, as indented as it is; None if it shares its line."""
    line, column = end_of(statement)
    indent = module.indent_before(statement)
    if indent is None or module.rest_of_line(line, column).strip()[:1] not in ("", "#"):
        return None
    return insert((line, column + len(module.rest_of_line(line, column).encode())),
                  f"{module.line_end}{indent}{text}")  # fmt: skip
