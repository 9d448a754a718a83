"""The lines that a run executes, in a fresh interpreter (tracing belongs to a process)."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

CODE = """
import json, sys, threading
from pathlib import Path
from porter.verify.harness.line_coverage import LineCoverage
root = Path(sys.argv[1])
coverage = LineCoverage(root, ["m.py"])
sys.path.insert(0, str(root))
coverage.start()
import m, other
m.double(3)
thread = threading.Thread(target=m.threaded)
thread.start(); thread.join()
print(json.dumps(coverage.executed()))
"""
MODULE = """\
def double(x):
    if x > 5:
        return 0
    return x * 2
def threaded():
    return 7
def never():
    return 8
"""


def test_the_lines_recorded_are_those_executed_in_the_wanted_files(tmp_path: Path) -> None:
    (tmp_path / "m.py").write_text(MODULE)
    (tmp_path / "other.py").write_text("x = 1\n")

    done = subprocess.run(
        [sys.executable, "-c", CODE, str(tmp_path)],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).parents[3],
    )

    assert json.loads(done.stdout) == {"m.py": [1, 2, 4, 5, 6, 7]}
