"""A finding of a check, as data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Finding:
    """One problem: file (relative to the project), line (0: the whole file), rule."""

    file: str
    line: int
    rule: str
    text: str
    severity: Literal["error", "warning", "note"] = "error"

    def __str__(self) -> str:
        where = f"{self.file}:{self.line}" if self.line else self.file
        return f"{where}: {self.text} [{self.rule}]"
