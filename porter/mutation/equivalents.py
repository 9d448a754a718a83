"""Mutants that compute the same, so that no recipe can catch them: listed by hand with a reason.

``recipes/<port>/mutants/equivalent.yaml``::

    version: 1
    equivalents:
      - level: hpu-graph
        file: diffusion/graphs.py
        before: "if len(self.graphs) > self.most:"  # changed lines, as `porter mutate` shows them
        after: "if len(self.graphs) >= self.most:"
        reason: "how many graphs are kept changes memory, no result"

An entry that matches no mutant of the series is an error, so the list cannot go stale.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from porter.errors import BadInput
from porter.mutation.mutants import Mutant
from porter.yamlfile import Document, load

FILE = Path("mutants") / "equivalent.yaml"
Text = Annotated[str, Meta(min_length=1, description="a text")]


class Equivalent(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One mutant that is not a mistake, and why."""

    level: Text
    file: Text
    before: Text
    after: str
    reason: Text

    def matches(self, mutant: Mutant) -> bool:
        """Whether the entry means this mutant, on any line."""
        same_file = (self.level, self.file) == (mutant.level_name, mutant.path)
        return same_file and (_normalized(self.before), _normalized(self.after)) == (
            _normalized(mutant.changed[0]),
            _normalized(mutant.changed[1]),
        )


class EquivalentsFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The file: format version and entries."""

    version: Literal[1]
    equivalents: tuple[Equivalent, ...]


@dataclass(frozen=True)
class Equivalents:
    """The entries of a port's file; none without a file."""

    document: Document[EquivalentsFile] | None

    @property
    def entries(self) -> tuple[Equivalent, ...]:
        return self.document.value.equivalents if self.document else ()

    def reason(self, mutant: Mutant) -> str:
        """Return why the mutant is equivalent; "" when it is not listed."""
        return next((entry.reason for entry in self.entries if entry.matches(mutant)), "")

    def check(self, mutants: Iterable[Mutant]) -> None:
        """Raise BadInput, with file and line, for an entry that matches none of ``mutants``."""
        known = list(mutants)
        for index, entry in enumerate(self.entries):
            if not any(entry.matches(mutant) for mutant in known):
                assert self.document is not None
                line = self.document.line(("equivalents", index))
                raise BadInput(
                    f"{self.document.path}:{line}: equivalents[{index}]: expected a mutant of the "
                    f"series, found none with these lines in {entry.file} at level {entry.level}; "
                    "`porter mutate PORT --list` shows them all"
                )


def load_equivalents(folder: Path) -> Equivalents:
    """Read the file in a port's recipe folder. Raises BadInput."""
    path = folder / FILE
    if not path.is_file():
        return Equivalents(None)
    return Equivalents(load(path, EquivalentsFile))


def _normalized(text: str) -> str:
    """Return the text with every run of blanks as one, so that indentation does not matter."""
    return " ".join(text.split())
