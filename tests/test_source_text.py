"""Edits of a text: what they name changes, and no other byte does."""

from __future__ import annotations

import ast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from porter.source_text import Source, TextEdit

PIECES = [
    "x = 1",
    "é = 'ü'",
    "if a:\r\n\tb( c )",
    "",
    "# 日本 comment",
    "y=[1,\n   2 ]",
    "z = 'a'; w = 2",
]


def replaced(source: Source, node: ast.expr, text: str) -> TextEdit:
    return TextEdit(*source.span(node), text)


@given(
    st.lists(st.sampled_from(PIECES), min_size=1, max_size=8),
    st.sampled_from(["\n", "\r\n"]),
    st.data(),
)
def test_only_the_bytes_of_an_edit_change(pieces: list[str], end: str, data: st.DataObject) -> None:
    text = end.join(pieces) + end
    source = Source(text)
    constants = [n for n in ast.walk(source.tree) if isinstance(n, ast.Constant)]
    chosen = data.draw(st.lists(st.sampled_from(constants), unique=True)) if constants else []

    new = source.apply(*(replaced(source, node, "0x7f") for node in chosen))

    plain = new
    for node in sorted(chosen, key=lambda n: (n.lineno, n.col_offset)):
        plain = plain.replace("0x7f", source.of(node), 1)
    assert plain == text
    assert new.count("0x7f") == len(chosen)


def test_a_line_is_given_without_the_blanks_around_it() -> None:
    assert Source("if a:\r\n    b = 'ü'  \r\n").line(2) == "b = 'ü'"


def test_edits_that_overlap_are_refused() -> None:
    source = Source("f(a + b)\n")
    call = source.tree.body[0].value  # type: ignore[attr-defined]

    with pytest.raises(ValueError, match="overlap at line 1"):
        source.apply(replaced(source, call, "g()"), replaced(source, call.args[0], "c"))
