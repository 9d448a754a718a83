"""What export gives out, import takes back: the same patch files, byte for byte."""

from __future__ import annotations

import json
from pathlib import Path

from hypothesis import given

from tests.editing.generated_series import (
    SLOW,
    Change,
    Made,
    changes,
    made_upstream,
    patch_files,
    porter,
)
from tests.plain_upstream import git

FORMS = ("branch", "mbox", "quilt")


def first_project(made: Made) -> Path:
    """Return a project whose series is made of the upstream's commits."""
    root = made.project("first")
    porter(root, "import", "gen", "--git", made.upstream, "levels")
    return root


def taken_back(made: Made, first: Path, form: str) -> dict[str, bytes]:
    """Export the series of ``first`` and import it into an empty one; return its files."""
    second, place = made.project(f"from-{form}"), made.top / form
    if form == "branch":
        porter(first, "export", "gen", "--to-branch", "out", "--repository", made.upstream)
        porter(second, "import", "gen", "--git", made.upstream, f"{made.commits[0]}..out")
    else:
        porter(first, "export", "gen", f"--to-{form}", place)
        porter(second, "import", "gen", place)
    return patch_files(second)


@SLOW
@given(found=changes())
def test_every_form_gives_the_same_patch_files_back(found: list[Change]) -> None:
    if len(found) == 1:
        return
    with made_upstream(found) as made:
        first = first_project(made)
        expected = patch_files(first)
        lock = json.loads(expected["levels.lock"])
        trees = [git(made.upstream, "rev-parse", f"{oid}^{{tree}}") for oid in made.commits[1:]]
        assert [row["tree"] for row in lock["levels"]] == [t[1].decode().strip() for t in trees]
        for form in FORMS:
            assert taken_back(made, first, form) == expected, form
