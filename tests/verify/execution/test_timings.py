"""Where the time of a verification goes: spans, stages of runs, the Chrome trace, the table."""

from __future__ import annotations

import io
import json
import time
from pathlib import Path

import pytest
from rich.console import Console

from porter.cli import main
from porter.report.terminal.timings import print_timings
from porter.verify.execution.session import Options
from porter.verify.execution.timings import RUN, Timings, timed, timed_run
from porter.verify.harness.stages import BUILDING, COMPUTING, FILE, IMPORTING, LAUNCHED
from tests.verify.conftest import Verify
from tests.verify.folder_trees import PARITY, FolderTrees, write_recipe

CODE = """
    import time, torch
    from upstream_code import f
    def run(probe):
        models = [torch.nn.Linear(2000, 2000) for _ in range(12)]
        probe.launch(["-c", "import time; time.sleep(0.4)"])
        end = time.monotonic() + 0.4
        while time.monotonic() < end:
            pass
        probe.record("y", f(probe.normal("x", 20)))
    """


def test_stages_and_what_the_probe_does_are_told_apart(
    tmp_path: Path, trees: FolderTrees, verify: Verify
) -> None:
    slow = "import time; time.sleep(0.4)\n"
    trees.add(
        "port", upstream=f"{slow}def f(x): return x + 1", same=f"{slow}def f(x): return 1 + x"
    )
    write_recipe(tmp_path, "port", "one", PARITY, CODE)
    timings = Timings()

    (result,) = verify(trees, options=Options(timings=timings, jobs=1))

    assert result.passed, result.verdicts
    runs = [span for span in timings.spans if span.kind == RUN]
    assert len(runs) == result.runs == 4
    for stage in (IMPORTING, BUILDING, LAUNCHED, COMPUTING):
        assert timings.stages[stage] > 0.1, stage
    assert sum(timings.stages.values()) == pytest.approx(timings.seconds(RUN), rel=0.2)
    assert {"environments", "judging", "reading traces"} <= set(timings.kinds())


def test_a_run_without_stages_is_counted_as_a_whole(tmp_path: Path) -> None:
    timings = Timings()
    with timed_run(timings, "killed", tmp_path):
        pass
    (tmp_path / FILE).write_text("{")
    with timed_run(timings, "killed while it wrote", tmp_path):
        pass

    assert [span.name for span in timings.spans] == ["killed", "killed while it wrote"]
    assert timings.stages == {}


def test_nothing_is_timed_unless_asked(tmp_path: Path) -> None:
    with timed(None, "judging"), timed_run(None, "a run", tmp_path):
        pass


def test_samples_share_the_seconds_of_the_probe(tmp_path: Path) -> None:
    timings = Timings()
    now = time.monotonic()
    rows = [
        ["importing torch", now],
        ["running the probe", now + 1],
        ["writing", now + 5],
        ["", now],
    ]
    with timed_run(timings, "a run", tmp_path):
        (tmp_path / FILE).write_text(
            json.dumps({"stages": rows, "samples": {COMPUTING: 3, IMPORTING: 1}})
        )

    assert timings.stages["importing torch"] == pytest.approx(1)
    assert timings.stages[COMPUTING] == pytest.approx(3)
    assert timings.stages[IMPORTING] == pytest.approx(1)


def test_the_file_is_a_chrome_trace(tmp_path: Path) -> None:
    timings = Timings()
    with timed(timings, "planning"), timed(timings, "judging", "p/one"):
        time.sleep(0.01)

    events = json.loads(timings.chrome_trace())["traceEvents"]

    assert [(one["name"], one["cat"], one["ph"]) for one in events] == [
        ("planning", "planning", "X"),
        ("p/one", "judging", "X"),
    ]
    outer, inner = events
    assert outer["ts"] <= inner["ts"]
    assert inner["ts"] + inner["dur"] <= outer["ts"] + outer["dur"] + 1
    assert inner["dur"] >= 10_000


def test_the_table_says_what_took_how_long() -> None:
    timings = Timings(began=time.monotonic() - 10)
    now = time.monotonic()
    for name, seconds in (("short", 2.0), ("long", 6.0)):
        with timings.span(RUN, name):
            pass
        timings.spans[-1] = type(timings.spans[-1])(RUN, name, now, now + seconds, 1)
    timings.stages[COMPUTING] = 7.5
    text = io.StringIO()

    print_timings(Console(file=text, width=80), timings, 2)

    lines = text.getvalue().splitlines()
    assert lines[0].strip() == "10.0 s in all, 2 at once at most"
    assert lines[1].split() == ["8.0", "s", "runs:", "2", "runs"]
    assert lines[2].split() == ["7.5", "s", "computing"]
    assert lines[3] == "the whole took 2.50 times the seconds in runs / 2"
    assert [line.split()[-1] for line in lines[5:]] == ["long", "short"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["p", "--pin", "a,b"], "expected no --pin beside it"),
        (["p", "--tree", "."], "expected no --tree beside it"),
        (["p"], "expected a file in a folder that is there"),
    ],
)
def test_what_cannot_be_timed_is_refused_at_once(
    root: Path, words: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = str(root / "gone" / "t.json") if words == ["p"] else str(root / "t.json")

    assert main(["verify", *words, "--timings", path]) == 2

    assert said in capsys.readouterr().err


def test_the_command_prints_the_table_and_writes_the_file(
    root: Path, trees: FolderTrees, capsys: pytest.CaptureFixture[str]
) -> None:
    trees.add("port", upstream="def f(x): return x + 1", same="def f(x): return 1 + x")
    code = """
        from upstream_code import f
        def run(probe):
            probe.record("y", f(probe.normal("x", 20)))
        """
    write_recipe(root, "port", "one", PARITY, code)

    assert main(["verify", "--timings", str(root / "t.json")]) == 0

    printed = capsys.readouterr().out
    assert "runs: 4 runs" in printed
    assert "longest runs" in printed
    events = json.loads((root / "t.json").read_text())["traceEvents"]
    assert sum(one["cat"] == RUN for one in events) == 4
    assert {"planning", "stage"} <= {one["cat"] for one in events}
