"""Small changes of a Python source text, each named by the mistake it imitates.

Positions are those of :mod:`ast`: lines count from 1, columns are bytes of UTF-8.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from porter.source_text import TextEdit

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


@dataclass(frozen=True, order=True)
class SourceEdit(TextEdit):
    """Replace the bytes from (``line``, ``column``) to (``end_line``, ``end_column``)."""

    kind: Kind

    def touches(self, lines: frozenset[int]) -> bool:
        """Whether any of its lines is one of ``lines``."""
        return any(n in lines for n in range(self.line, self.end_line + 1))
