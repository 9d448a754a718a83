"""The last line of a verification."""

from __future__ import annotations

from collections.abc import Callable
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from porter.report.terminal.verify import print_summary
from porter.verify.judge.result import RecipeResult
from porter.verify.plan.select import Unreachable
from tests.verify.folder_trees import FolderTrees, write_recipe

Verify = Callable[..., list[RecipeResult]]

PROBE = """
    from upstream_code import f
    def run(probe):
        probe.record("y", f(probe.normal("x", 200)))
    """
CLAIMS = 'claims: [{outputs: "*", parity: {}}]\n'


@pytest.mark.parametrize(("factor", "expected"), [
    ("1", "1 recipe passed; 1 not reachable\n"),
    ("1.01", "0 recipes passed; 1 failed: port/one; 1 not reachable\n"),
])  # fmt: skip
def test_the_summary_counts_what_passed_failed_and_was_not_reachable(
    tmp_path: Path, trees: FolderTrees, verify: Verify, factor: str, expected: str
) -> None:
    trees.add(
        "port", upstream="def f(x): return x.exp()", next=f"def f(x): return x.exp()*{factor}"
    )
    write_recipe(tmp_path, "port", "one", CLAIMS, PROBE)
    told = StringIO()

    print_summary(
        Console(file=told, width=200), verify(trees), [Unreachable("other", "", "no source")]
    )

    assert told.getvalue() == expected
