"""Judging stored traces again: other claims, the same runs."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from porter.cli import main
from porter.errors import BadInput
from porter.verify.cache.record import RECORD
from porter.verify.rejudge import find_records, rejudge
from tests.verify.conftest import Heard, Verify
from tests.verify.folder_trees import FolderTrees, write_recipe

PROBE = """
    from upstream_code import f
    def run(probe):
        probe.record("y", f(probe.normal("x", 200)))
        probe.count("calls", 3)
    """
LOOSE = """\
claims:
  - {outputs: y, levels: [upstream], parity: {}}
  - {outputs: y, levels: [next], allclose: {atol: 0.02, reason: "r"}}
"""


@pytest.fixture
def traces(tmp_path: Path, trees: FolderTrees, verify: Verify) -> Path:
    """A recipe's folder of traces; its level ``next`` is off by 0.01, and passes by LOOSE."""
    trees.add("port", upstream="def f(x): return x + 1", next="def f(x): return x + 1.01")
    write_recipe(tmp_path, "port", "one", LOOSE, PROBE)
    (result,) = verify(trees)
    assert result.passed
    return tmp_path / "traces" / "port" / "one"


def test_a_tighter_threshold_is_judged_without_running(
    tmp_path: Path, traces: Path, heard: Heard
) -> None:
    write_recipe(tmp_path, "port", "one", LOOSE.replace("0.02", "0.009"), PROBE)
    runs = len(heard.runs)

    again = rejudge(traces / RECORD, set(), tmp_path / "recipes")

    (change,) = again.changes
    assert (change.verdict.level_name, change.before, change.now) == ("next", "pass", "fail")
    assert change.verdict.allowed == 0.009
    assert len(heard.runs) == runs

    by_then = rejudge(traces / RECORD, set(), None)
    assert by_then.changes == ()
    assert by_then.result.passed


def test_other_claims_on_the_same_runs_are_judged_too(tmp_path: Path, traces: Path) -> None:
    more = LOOSE + "  - {counters: calls, equal: 4}\n"
    write_recipe(tmp_path, "port", "one", more, PROBE)

    again = rejudge(traces / RECORD, set(), tmp_path / "recipes")

    assert [(c.verdict.output, c.verdict.level, c.now) for c in again.changes] == [
        ("calls", 0, "fail"),
        ("calls", 1, "fail"),
    ]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("dtypes: [float32, float16]\n", "was not run"),
        ("parameters: {size: 3}\n", "was run with other parameters; porter verify runs it"),
        ("environ: {A: '1'}\n", "was run with another environ; porter verify runs it"),
    ],
)
def test_what_was_not_run_like_this_is_an_error_and_no_verdict(
    tmp_path: Path, traces: Path, change: str, message: str
) -> None:
    write_recipe(tmp_path, "port", "one", LOOSE + change, PROBE)

    again = rejudge(traces / RECORD, set(), tmp_path / "recipes")

    assert any(v.word == "error" and message in v.detail for v in again.result.verdicts)
    assert not again.result.passed


def test_traces_can_be_judged_elsewhere_and_one_by_one(tmp_path: Path, traces: Path) -> None:
    elsewhere = tmp_path / "copied"
    shutil.copytree(traces.parent, elsewhere / "port")
    shutil.rmtree(tmp_path / "recipes")
    (record,) = find_records(elsewhere)
    whole = rejudge(record, set(), None)
    by_level = {
        json.loads((folder / "trace.json").read_text())["facts"]["level"]: folder
        for folder in record.parent.iterdir()
        if folder.is_dir()
    }

    ((same, wanted),) = find_records(by_level[1]).items()
    narrowed = rejudge(same, wanted, None)

    assert same == record
    assert [v.level for v in whole.result.verdicts] == [0, 1]
    assert [v.level for v in narrowed.result.verdicts] == [1]


def test_a_trace_that_is_gone_is_told(tmp_path: Path, traces: Path) -> None:
    for folder in traces.iterdir():
        if folder.is_dir():
            shutil.rmtree(folder)

    again = rejudge(traces / RECORD, set(), None)

    assert not again.result.passed
    assert "its trace is gone" in again.result.verdicts[0].detail


def test_a_folder_without_traces_and_a_damaged_record_are_told(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"expected traces of `porter verify`"):
        find_records(tmp_path)

    (tmp_path / RECORD).write_text('{"format": 2}')
    with pytest.raises(BadInput, match=r"judged\.json: expected a record of a verification"):
        rejudge(tmp_path / RECORD, set(), None)


def test_porter_judge_prints_what_changed(
    tmp_path: Path,
    traces: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PORTER_ROOT", str(tmp_path))
    assert main(["judge", str(traces)]) == 0
    assert "no verdict changed" in capsys.readouterr().out

    write_recipe(tmp_path, "port", "one", LOOSE.replace("0.02", "0.009"), PROBE)
    assert main(["judge", str(traces)]) == 1
    printed = capsys.readouterr().out
    assert "changed: level 1 next, float32, y, allclose: pass -> fail" in printed

    assert main(["judge", str(traces), "--as-recorded", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["passed"]


@pytest.mark.parametrize(
    ("key", "change"),
    [
        ("runs[0].trace", lambda data: data["runs"][0].update(trace="../outside")),
        ("runs[0].trace", lambda data: data["runs"][0].update(trace="/etc")),
        ("port", lambda data: data.update(port="../../x")),
        ("recipe", lambda data: data.update(recipe="..")),
        ("recipe", lambda data: data.update(recipe="a/b")),
        ("companions[0]", lambda data: data.update(companions=[["../y", data["levels"][0]]])),
    ],
)
def test_names_that_lead_out_of_the_record_are_refused(
    tmp_path: Path, traces: Path, key: str, change: Callable[[dict[str, Any]], None]
) -> None:
    data = json.loads((traces / RECORD).read_text())
    change(data)
    (traces / RECORD).write_text(json.dumps(data))

    with pytest.raises(BadInput, match=re.escape(f"{RECORD}: {key}: expected the name of a fold")):
        rejudge(traces / RECORD, set(), tmp_path / "recipes")
