"""``porter run``: a script runs as with python, on a device, and its counts are reported."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from porter.cli import main
from porter.device import open_device
from porter.device.report import report_lines
from porter.errors import BadInput
from tests.processes import own_environment


def _porter(*words: str, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "porter", "run", *words],
        cwd=cwd,
        env=own_environment(**environment),
        capture_output=True,
        text=True,
    )


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A tree with a script in a folder, a module beside it and a package."""
    (tmp_path / "scripts").mkdir()
    (tmp_path / "scripts" / "beside.py").write_text("NAME = 'beside'\n")
    (tmp_path / "scripts" / "sample.py").write_text(
        "import sys\n"
        "import torch\n"
        "from beside import NAME\n"
        "x = torch.ones(3).to(sys.argv[1])\n"
        "print(__name__, NAME, sys.argv, x.sum().item(), x.device)\n"
        "sys.exit(int(sys.argv[2]))\n"
    )
    (tmp_path / "scripts" / "fails.py").write_text("raise ValueError('no such luck')\n")
    return tmp_path


def test_a_script_runs_as_main_and_keeps_its_exit_code(tree: Path) -> None:
    words = ["--device", "sim:hpu", "--json", "out.json", "--", "scripts/sample.py", "hpu", "7"]
    done = _porter(*words, cwd=tree)
    assert done.returncode == 7
    argv = "['scripts/sample.py', 'hpu', '7']"
    assert done.stdout == f"__main__ beside {argv} 3.0 hpu:0\n"
    assert "simulated Intel Gaudi" in done.stderr
    assert "1 x to at scripts/sample.py:4" in done.stderr
    counters = json.loads((tree / "out.json").read_text())
    assert counters["simulated"] is True
    assert counters["totals"]["h2d_bytes"] == 12


@pytest.mark.parametrize("interpreter", ["python", "python3.11", sys.executable])
def test_the_interpreter_before_a_script_is_this_one(
    interpreter: str, tree: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tree)
    words = [interpreter, "scripts/sample.py", "hpu", "5"]
    assert main(["run", "--device", "sim:hpu", "--", *words]) == 5
    argv = "['scripts/sample.py', 'hpu', '5']"
    assert capfd.readouterr().out == f"__main__ beside {argv} 3.0 hpu:0\n"


def test_a_failing_script_shows_its_own_traceback_and_the_counters(
    tree: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tree)
    assert main(["run", "--device", "sim:cuda", "--", "scripts/fails.py"]) == 1
    stderr = capfd.readouterr().err
    assert "ValueError: no such luck" in stderr
    assert "porter/device/script.py" not in stderr
    assert "simulated" in stderr


def test_a_module_runs_and_quiet_prints_nothing_else(
    tree: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tree)
    assert main(["run", "--device", "sim:npu", "--quiet", "--", "-m", "scripts.fails"]) == 1
    lines = capfd.readouterr().err.splitlines()
    assert lines[-2] == "ValueError: no such luck"
    assert "nothing was dispatched" in lines[-1]


@pytest.mark.parametrize("kind", ["hpu", "npu", "cuda"])
def test_a_missing_device_offers_the_simulated_one_in_one_line(kind: str) -> None:
    if kind == "cuda" and torch.cuda.is_available():
        pytest.skip("this machine has a CUDA device")
    with pytest.raises(BadInput, match=f"sim:{kind}") as caught:
        open_device(kind).prepare()
    assert "\n" not in str(caught.value)


def test_an_unknown_device_names_the_known_ones() -> None:
    with pytest.raises(BadInput, match="expected one of cpu, cuda, hpu, npu, sim:cuda"):
        open_device("sim:tpu")


def test_the_cpu_is_a_device_that_counts_nothing() -> None:
    device = open_device("cpu")
    device.prepare()
    device.synchronize()
    assert "counts nothing" in "\n".join(report_lines(device.title(), device.counters()))


@pytest.mark.forms(1)
@pytest.mark.parametrize("quiet", [True, False])
def test_a_script_that_stays_on_the_cpu_is_warned_of(tree: Path, quiet: bool) -> None:
    words = ["--device", "sim:npu", *["--quiet"] * quiet, "--", "scripts/sample.py"]
    warning = "porter: warning: nothing was dispatched to sim:npu: the script stayed on the CPU"
    stayed = _porter(*words, "cpu", "0", cwd=tree)
    assert stayed.returncode == 0
    assert warning in stayed.stderr
    assert ("ops: 0 dispatched" in stayed.stderr) is not quiet


def test_a_script_that_moves_to_the_device_is_not_warned_of(tree: Path) -> None:
    words = ["--device", "sim:npu", "--quiet", "--", "scripts/sample.py", "npu", "0"]
    moved = _porter(*words, cwd=tree)
    assert moved.returncode == 0
    assert "warning" not in moved.stderr
