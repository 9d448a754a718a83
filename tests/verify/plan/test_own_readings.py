"""``porter lint`` refuses patches that depend on a rule which rests on porter's own reading."""

from __future__ import annotations

import pytest

from porter.migrate.log import LogEntry, as_paragraph
from porter.verify.plan.own_readings import lint_own_readings
from tests.small_port import SmallPort

CALL = "graph = torch.cuda.CUDAGraph()"


@pytest.mark.parametrize(("own", "source"), [(True, CALL), (False, CALL), (True, "a5")])
def test_an_added_line_that_a_log_marks_is_found(port: SmallPort, own: bool, source: str) -> None:
    path = port.add_patch("one", {"new.py": f"import torch\n{CALL}\n"})
    folder = port.root / "migration_logs" / "small"
    folder.mkdir(parents=True)
    entries = [
        LogEntry("new.py", 2, source, "match", "torch.cuda.CUDAGraph()", "HPUGraph", own),
        LogEntry("a.py", 2, CALL, "match", "torch.cuda.CUDAGraph()", "HPUGraph", own_reading=True),
    ]
    text = "\n".join(as_paragraph("hpu", entry) for entry in entries)
    (folder / "1-one.sim-hpu.txt").write_text(f"# head\n\n{text}")

    found = lint_own_readings(port.root, "small", port.series().patches)

    line = path.read_text().splitlines().index(f"+{CALL}") + 1
    expected = [(f"patches/small/{path.name}", line, "own-reading")]
    assert [(f.file, f.line, f.rule) for f in found] == (expected if own and source == CALL else [])
