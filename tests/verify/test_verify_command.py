"""``porter verify`` as a user meets it: tables, JSON, exit codes, Ctrl-C."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import pytest

from porter.cli import main
from tests.processes import PATIENCE, wait_for_end, wait_for_pid
from tests.verify.conftest import StartVerify
from tests.verify.folder_trees import PARITY, FolderTrees, write_recipe

PROBE = """
    from upstream_code import f
    def run(probe):
        for n in range(6):
            probe.record(f"y/{n}", f(probe.normal(f"x{n}", 200)))
    """


@pytest.fixture
def project(root: Path, trees: FolderTrees) -> Path:
    """A project whose port ``good`` keeps its results, ``bad`` does not, ``far`` has no source."""
    trees.add("good", upstream="def f(x): return x + 1", same="def f(x): return 1 + x")
    trees.add("bad", upstream="def f(x): return x + 1", wrong="def f(x): return 2 + x")
    trees.refused["far"] = "far: no source answers"
    for port in ("good", "bad", "far"):
        write_recipe(root, port, "one", PARITY, PROBE)
    return root


def test_a_table_fits_80_columns_and_has_no_colour_in_a_pipe(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["verify", "good"]) == 0

    printed = capsys.readouterr().out
    lines = printed.splitlines()
    assert lines[0] == "good/one  one"
    assert all(len(line) <= 80 for line in lines)
    assert "\x1b" not in printed
    assert "1 same, float32" in printed
    assert "(worst of 6)" in printed
    assert "passed  (4 runs," in printed


def test_of_everything_only_what_fails_is_told_whole(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["verify"]) == 1

    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "bad/one  one"
    assert sum("float32, y/" in line for line in lines) == 6
    assert any(line.startswith("good/one  passed  (4 runs,") for line in lines)
    assert lines[-1].startswith("1 recipe passed; 1 failed: bad/one; 1 not reachable")

    assert main(["verify", "--all"]) == 1
    assert "good/one  one" in capsys.readouterr().out.splitlines()


def test_a_failure_is_told_in_words_and_exits_1(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["verify", "bad", "--level", "wrong", "--all"]) == 1

    printed = capsys.readouterr().out
    assert "y/5" in printed
    assert "fail: level 1 wrong, float32, y/0, parity: greatest difference at [" in printed
    assert "0 upstream" not in printed
    assert "6 failed" in printed


def test_json_says_everything(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verify", "--recipe", "good/*", "--json"]) == 0

    found = json.loads(capsys.readouterr().out)
    (recipe,) = found["recipes"]
    assert (found["passed"], recipe["port"], recipe["runs"]) == (True, "good", 4)
    assert recipe["verdicts"][-1]["verdict"] == "pass"
    assert recipe["verdicts"][-1]["error"] <= recipe["verdicts"][-1]["allowed"]


@pytest.mark.parametrize(("arguments", "code"), [([], 0), (["--strict"], 1), (["far"], 1)])
def test_what_is_not_reachable_is_listed_and_fails_only_when_asked_for(
    project: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], code: int
) -> None:
    (project / "recipes" / "bad" / "one.yaml").unlink()
    (project / "recipes" / "good" / "one.yaml").unlink()

    assert main(["verify", *arguments]) == code

    assert capsys.readouterr().out.splitlines() == [
        "not reachable (details: `porter verify --verbose`):",
        "  far: far: no source answers",
        "0 recipes passed; 1 not reachable",
    ]


def test_a_filter_that_matches_nothing_is_bad_usage(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["verify", "--recipe", "two"]) == 2

    assert capsys.readouterr().err.startswith("porter: --recipe two: matches nothing")


def test_ctrl_c_ends_the_children_and_exits_130(tmp_path: Path, start: StartVerify) -> None:
    code = f"""
        import subprocess, sys
        def run(probe):
            child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(300)"])
            open({str(tmp_path / "pid")!r}, "w").write(str(child.pid))
            child.wait()
        """
    write_recipe(tmp_path, "port", "one", PARITY, code)
    porter = start()
    child = wait_for_pid(tmp_path / "pid")

    porter.send_signal(signal.SIGINT)
    _, err = porter.communicate(timeout=PATIENCE)

    assert porter.returncode == 130
    assert err.splitlines()[-2] == "porter: interrupted"  # the last is this program's own
    wait_for_end(child)
    assert list((tmp_path / "runs").iterdir()) == []
