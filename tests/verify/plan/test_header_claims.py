"""``porter lint`` asks for the recipe behind a fact that a patch's header states."""

from __future__ import annotations

import pytest

from porter.verify.plan.header_claims import lint_header_claims
from tests.small_port import SmallPort

REASON = "A word on why."


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("Images are equal on the CPU.", [("unproved", "note")]),
        ("Images are equal on the CPU (one.yaml).", []),
        ("Images are\nequal on the CPU (recipes/small/one.yaml).", []),
        ("Equal (one.yaml).\n\nThe host does\nnot wait.", [("unproved", "note")]),
        ("The code named CUDA.", []),
        ("The code named CUDA (two.yaml).", [("recipe", "error")]),
    ],
)
def test_a_fact_needs_a_recipe_in_its_paragraph(
    port: SmallPort, text: str, found: list[tuple[str, str]]
) -> None:
    path = port.add_patch("one", {"a.py": "x = 1\n"})
    path.write_text(path.read_text().replace(REASON, text))
    (port.root / "recipes" / "small").mkdir(parents=True)
    (port.root / "recipes" / "small" / "one.yaml").touch()

    findings = lint_header_claims(port.root, "small", port.series().patches)

    assert [(finding.rule, finding.severity) for finding in findings] == found
    lines = path.read_text().splitlines()
    assert all(lines[finding.line - 1] in text.splitlines() for finding in findings)
