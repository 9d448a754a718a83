"""The list of mutants that are not mistakes: matched by their lines, and never stale."""

from __future__ import annotations

from pathlib import Path

import pytest

from porter.errors import BadInput
from porter.mutation.mutants import Mutant
from porter.mutation.plan import FILE, load_equivalents

BEFORE = "def f():\n    if len(kept) > most:\n        pass\n"
MUTANT = Mutant(2, "hpu-graph", "g.py", 2, "off-by-one", BEFORE, BEFORE.replace(">", ">="), (2, 2))
LISTED = """
version: 1
equivalents:
  - level: hpu-graph
    file: g.py
    before: "if len(kept) > most:"
    after: "if len(kept)  >= most:"
    reason: how many are kept changes no result
"""


def listed(folder: Path, text: str) -> Path:
    (folder / FILE).parent.mkdir(parents=True)
    (folder / FILE).write_text(text)
    return folder


def test_a_listed_mutant_has_its_reason(tmp_path: Path) -> None:
    found = load_equivalents(listed(tmp_path, LISTED))

    assert found.reason(MUTANT) == "how many are kept changes no result"
    found.check([MUTANT])


def test_without_a_file_nothing_is_equivalent(tmp_path: Path) -> None:
    assert load_equivalents(tmp_path).reason(MUTANT) == ""


def test_an_entry_that_names_no_mutant_is_an_error_with_its_line(tmp_path: Path) -> None:
    found = load_equivalents(listed(tmp_path, LISTED.replace("g.py", "h.py")))

    with pytest.raises(BadInput, match=r"equivalent\.yaml:4: equivalents\[0\]: expected a mutant"):
        found.check([MUTANT])


def test_an_entry_without_a_reason_is_refused(tmp_path: Path) -> None:
    text = LISTED.replace("    reason: how many are kept changes no result\n", "")

    with pytest.raises(BadInput, match="reason"):
        load_equivalents(listed(tmp_path, text))
