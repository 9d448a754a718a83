"""Sentences of patch headers that state a fact which a recipe can show, and name none.

``Keeps:`` and ``Gains:`` name recipes; the text above them states facts as well ("equal on the
CPU", "the host does not wait"). ``porter lint`` looks for the words of such facts, paragraph by
paragraph, and asks in a note for a recipe where the paragraph names none. It cannot tell whether
the recipe shows the fact; a reviewer can. A recipe that a text names must exist.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from porter.finding import Finding
from porter.series.series import Patch

RULE = "unproved"
_FACT = re.compile(
    r"\b(?:equal(?:s| to)?|to the bit|bit for bit|(?:does|do) not wait|without waiting|no wait|"
    r"the same (?:images?|losses|pixels|values|numbers)|is refused|refuses|"
    r"at most \d+|at least \d+)\b"
)
_RECIPE = re.compile(r"[\w./-]+\.yaml\b")


def lint_header_claims(root: Path, port: str, patches: Sequence[Patch]) -> list[Finding]:
    """Return a note for each paragraph that states a fact and names no recipe, and an error for
    each recipe that a text names and that does not exist.
    """
    found = []
    for patch in patches:
        name = f"patches/{port}/{patch.name}"
        text = re.split(r"^(?=Level:)", patch.header.body, maxsplit=1, flags=re.M)[0]
        raw = patch.raw.decode("utf-8", "replace")
        for paragraph in re.split(r"\n[ \t]*\n", text):
            line = raw[: max(raw.find(paragraph.strip()[:60]), 0)].count("\n") + 1
            for recipe in _RECIPE.findall(paragraph):
                path = recipe if "/" in recipe else f"recipes/{port}/{recipe}"
                if not (root / path).is_file():
                    wrong = f"expected a recipe, found {path}, which does not exist"
                    found.append(Finding(name, line, "recipe", wrong))
            fact = _FACT.search(" ".join(paragraph.split()))
            if fact and not _RECIPE.search(paragraph):
                asked = (
                    f"expected the recipe that shows it in this paragraph, found none: {fact[0]!r}"
                )
                found.append(Finding(name, line, RULE, asked, "note"))
    return found
