"""Verification as a process: several runs at once, interrupted, beside another porter."""

from __future__ import annotations

import json
import shutil
import signal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from porter.verify.execute import warnings_of
from porter.verify.execution.session import Options
from porter.verify.plan.matrix import RunSpec
from tests.processes import PATIENCE, wait_for_end, wait_for_pid
from tests.verify.conftest import Heard, StartVerify, Verify
from tests.verify.folder_trees import PARITY, FolderTrees, write_recipe

SLOWEST_FIRST = """
    import time
    from upstream_code import f, level
    def run(probe):
        time.sleep(0.6 - 0.2 * level)
        probe.record("y", f(probe.normal("x", 200)))
    """


@pytest.mark.slow
def test_results_come_in_the_same_order_however_many_run_at_once(
    tmp_path: Path, trees: FolderTrees, verify: Verify, heard: Heard
) -> None:
    codes = {f"l{n}": f"level = {n}\ndef f(x): return x + 1" for n in range(3)}
    trees.add("port", **codes)
    for name in ("one", "two"):
        parameters = f"parameters: {{name: {name}}}\n"
        write_recipe(tmp_path, "port", name, PARITY + parameters, SLOWEST_FIRST)

    alone = verify(trees, options=Options(jobs=1))
    together = verify(trees, options=Options(jobs=4, fresh=True))

    assert [result.recipe for result in together] == ["one", "two"]
    assert [r.verdicts for r in together] == [r.verdicts for r in alone]
    assert all(result.passed and result.runs == 5 for result in together)
    assert len(heard.runs) == 20


def test_what_cannot_be_judged_without_a_failed_reference_is_not_run(
    tmp_path: Path, trees: FolderTrees, verify: Verify, heard: Heard
) -> None:
    code = "import torch\nif torch.get_default_dtype() == torch.float64: raise ValueError('no')\n"
    trees.add("port", upstream=code, one=code + "#", two=code + "##")
    write_recipe(tmp_path, "port", "one", PARITY, "import upstream_code\ndef run(probe): pass\n")

    (result,) = verify(trees, options=Options(jobs=1))

    assert not result.passed
    assert len(heard.runs) == 1
    assert heard.ends == ["failed", "dropped", "dropped", "dropped", "dropped"]


HANGS_ONCE = """
    import os, time, torch
    from pathlib import Path
    from upstream_code import level
    def run(probe):
        if level == 1 and not Path({again!r}).exists():
            open({pid!r}, "w").write(str(os.getpid()))
            time.sleep(300)
        probe.record("y", torch.arange(9.0, dtype=probe.dtype))
    """


@pytest.mark.slow
def test_an_interrupted_verification_goes_on_where_it_was(
    tmp_path: Path, start: StartVerify
) -> None:
    again, pid = tmp_path / "again", tmp_path / "pid"
    probe = HANGS_ONCE.format(again=str(again), pid=str(pid))
    write_recipe(tmp_path, "port", "one", PARITY, probe)
    porter = start("--jobs", "1")
    run = wait_for_pid(pid)

    porter.send_signal(signal.SIGINT)
    _, stderr = porter.communicate(timeout=PATIENCE)

    assert porter.returncode == 130
    assert "porter: interrupted" in stderr
    wait_for_end(run)
    assert list((tmp_path / "runs").iterdir()) == []
    again.touch()
    out, _ = start("--json").communicate(timeout=PATIENCE)
    (recipe,) = json.loads(out)["recipes"]
    assert recipe["passed"]
    assert (recipe["runs"], recipe["cached"]) == (4, 3)


@pytest.mark.slow
def test_two_porters_share_the_work(tmp_path: Path, start: StartVerify) -> None:
    probe = f"""
        import os, time, torch
        from upstream_code import level
        def run(probe):
            with open({str(tmp_path / "made")!r}, "a") as file:
                file.write("run\\n")
            time.sleep(1)
            probe.record("y", torch.arange(9.0, dtype=probe.dtype))
        """
    write_recipe(tmp_path, "port", "one", PARITY, probe)
    start().communicate(timeout=PATIENCE)  # builds the environment
    shutil.rmtree(tmp_path / "traces")
    (tmp_path / "made").unlink()

    porters = [start("--json"), start("--json")]
    results = [json.loads(porter.communicate(timeout=PATIENCE)[0]) for porter in porters]

    assert [one["passed"] for one in results] == [True, True]
    assert len((tmp_path / "made").read_text().splitlines()) == 4
    assert list((tmp_path / "runs").iterdir()) == []


@pytest.mark.slow
def test_an_unchanged_verification_does_not_import_torch(
    tmp_path: Path, start: StartVerify
) -> None:
    probe = "def run(probe): probe.record('y', probe.normal('x', 9))\n"
    write_recipe(tmp_path, "port", "one", PARITY, "import upstream_code\n" + probe)

    first, second = (start().communicate(timeout=PATIENCE) for _ in range(2))

    assert first[1].splitlines()[-1] == "torch"
    assert second[1].splitlines()[-1] == "no torch"
    assert "passed  (4 runs, all from the cache" in second[0]


def test_warnings_of_one_kind_are_told_once_whatever_their_numbers_and_parts() -> None:
    zeros = "Net: only zeros from {}: errors before them cannot be seen"
    by_level = {
        0: (zeros.format("a"), "printed 2,000,001 bytes to stdout"),
        1: (zeros.format("a, b and 2 more"), zeros.format("a").replace("Net", "Other")),
        2: (zeros.format("a"), "printed 9 bytes to stdout", "printed 2,000,001 bytes to stderr"),
    }
    outcomes: dict[RunSpec, Any] = {
        RunSpec(level, "cpu", "float32", 0): SimpleNamespace(warnings=warnings)
        for level, warnings in by_level.items()
    }

    found = warnings_of(outcomes)

    assert found == (
        f"level 0, cpu, float32 and 2 more: {zeros.format('a')} (and 1 more like this)",
        "level 0, cpu, float32 and 1 more: printed 2,000,001 bytes to stdout"
        " (and 1 more like this)",
        f"level 1, cpu, float32: {zeros.format('a').replace('Net', 'Other')}",
        "level 2, cpu, float32: printed 2,000,001 bytes to stderr",
    )
