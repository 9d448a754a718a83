"""``porter import``: patches from elsewhere become levels, all of them or none."""

from __future__ import annotations

from pathlib import Path

from tests.small_port import SmallPort
from tests.tree.conftest import Porter


def test_bare_diff_becomes_a_level_that_lint_calls_incomplete(
    port: SmallPort, porter: Porter, tmp_path: Path
) -> None:
    diff = tmp_path / "Vendor HPU.diff"
    diff.write_text("--- a/a.py\n+++ b/a.py\n@@ -3,3 +3,3 @@\n a3\n-a4\n+hpu\n a5\n")
    ran = porter("import", "small", diff)
    assert ran.code == 0, ran.err
    print(ran.err, ran.out)
    for path in port.folder.glob("*.patch"):
        print(path.name, path.read_text())
    print(porter("lint", "small").out)
