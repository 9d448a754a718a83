"""The lines of the level's tree are found in whatever traceback a failed run wrote."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from porter.verify.harness.traceback_frames import MOST, frames_in_tree

DEEP = """
import mate

def main():
    step(0)

def step(n):
    if n < 2:
        return step(n + 1)
    return mate.divide(n)

main()
"""
MATE = """
import json

def divide(n):
    return json.loads("{" * n)
"""


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    folder = tmp_path / "tree"
    folder.mkdir()
    (folder / "deep.py").write_text(DEEP)
    (folder / "mate.py").write_text(MATE)
    return folder


def stderr_of(folder: Path, code: str) -> str:
    """Run a program outside the tree, with the tree on its path."""
    program = folder / "program.py"
    program.write_text(f"import sys; sys.path.insert(0, {str(folder / 'tree')!r})\n{code}")
    return subprocess.run([sys.executable, program], capture_output=True, text=True).stderr


def test_the_deepest_lines_of_the_tree_come_first_with_their_text(
    tmp_path: Path, tree: Path
) -> None:
    lines = frames_in_tree(stderr_of(tmp_path, "import deep"), tree).splitlines()

    assert len(lines) == MOST
    assert lines[0] == 'mate.py:5 in divide: return json.loads("{" * n)'
    assert lines[1] == "deep.py:10 in step: return mate.divide(n)"
    assert "json/" not in "".join(lines)


def test_of_a_chain_it_is_the_cause(tmp_path: Path, tree: Path) -> None:
    code = """
try:
    import deep
except ValueError as error:
    raise RuntimeError("a probe says it again") from error
"""

    assert frames_in_tree(stderr_of(tmp_path, code), tree).startswith("mate.py:5 in divide: ")


def test_an_exception_that_was_handled_before_is_not_the_cause(tmp_path: Path, tree: Path) -> None:
    (tree / "last.py").write_text("def end():\n    raise KeyError('x')\n")
    code = """
import traceback
try:
    import deep
except ValueError:
    traceback.print_exc()
import last
last.end()
"""

    assert (
        frames_in_tree(stderr_of(tmp_path, code), tree) == "last.py:2 in end: raise KeyError('x')"
    )


def test_what_a_process_of_the_run_wrote_counts_where_the_run_itself_has_nothing(
    tmp_path: Path, tree: Path
) -> None:
    code = f"""
import subprocess
subprocess.run([sys.executable, {str(tree / "deep.py")!r}])
raise RuntimeError("exit code 1")
"""

    assert frames_in_tree(stderr_of(tmp_path, code), tree).startswith("mate.py:5 in divide: ")


def test_a_run_that_hung_shows_where(tmp_path: Path, tree: Path) -> None:
    (tree / "hang.py").write_text("import time\n\ndef wait():\n    time.sleep(60)\n")
    code = """
import faulthandler, hang
faulthandler.dump_traceback_later(0.2, exit=True)
hang.wait()
"""

    assert frames_in_tree(stderr_of(tmp_path, code), tree) == "hang.py:4 in wait: time.sleep(60)"


@pytest.mark.parametrize(
    "text", ["", "killed\n", "Traceback (most recent call last):\nValueError: x\n"]
)
def test_without_a_line_of_the_tree_there_is_none(tree: Path, text: str) -> None:
    assert frames_in_tree(text, tree) == ""


def test_a_failure_in_the_probe_alone_names_no_line_of_the_tree(tmp_path: Path, tree: Path) -> None:
    assert frames_in_tree(stderr_of(tmp_path, "raise ValueError('mine')"), tree) == ""
