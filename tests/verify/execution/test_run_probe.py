"""One run from outside: whatever a probe does, it ends as a trace or as a failure in words."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from porter.process import group_memory
from porter.verify.execution import run_probe as run_module
from porter.verify.execution.run_probe import Launcher, launcher, run_folder, run_probe
from porter.verify.harness import trace
from porter.verify.plan.matrix import Failure
from tests.processes import wait_for_end, wait_for_pid
from tests.verify.single_run import ended_late, job_for

Run = Callable[..., Path | Failure]


@pytest.fixture(scope="module")
def starts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Launcher]]:
    """The two ways to start a run."""
    runs = tmp_path_factory.mktemp("runs")
    with run_module.launcher(runs) as warm, launcher(runs, warm=False) as cold:
        yield {"warm": warm, "cold": cold}


@pytest.fixture(params=["warm", pytest.param("cold", marks=pytest.mark.slow)])
def run(
    tmp_path: Path, python: Path, starts: dict[str, Launcher], request: pytest.FixtureRequest
) -> Run:
    """Run a probe's code. What may depend on how a run starts says BOTH."""

    def go(code: str, **limits: float) -> Path | Failure:
        job = job_for(tmp_path / "job", code, **limits)  # type: ignore[arg-type]
        with run_folder(tmp_path / "runs") as folder:
            outcome = run_probe(job, python, folder, starts[request.param])
            if request.param == "warm":
                assert starts["warm"].warm.refusals() == []
            return outcome if isinstance(outcome, Failure) else outcome.replace(tmp_path / "left")

    return go


BOTH = pytest.mark.parametrize("run", ["warm", "cold"], indirect=True)


def failure(outcome: Path | Failure) -> Failure:
    assert isinstance(outcome, Failure)
    return outcome


@pytest.mark.forms(1)
@BOTH
def test_outputs_counters_and_environment_are_in_the_trace(run: Run) -> None:
    out = run("""
        import os, torch
        def run(probe):
            probe.record("x", torch.full((probe.parameters["size"],), float(probe.seed)))
            threads = torch.get_num_threads(), int(os.environ["OMP_NUM_THREADS"])
            probe.record("threads", torch.tensor(threads))
            probe.count("calls", 2)
            probe.count("calls", 3)
        """)

    assert isinstance(out, Path)
    found = trace.read(out)
    assert found.outputs["x"].tolist() == [3.0, 3.0]
    assert found.outputs["threads"].tolist() == [1, 1]
    assert found.counters == {"calls": 5}
    assert {"torch", "python"} <= found.versions.keys()
    assert found.facts.tree == "d"


def test_a_crash_is_a_failure_with_the_end_of_its_stderr(run: Run) -> None:
    failed = failure(run("def run(probe):\n    raise ValueError('no such\\nthing')\n"))

    assert (failed.kind, failed.reason) == ("exception", "ValueError: no such thing")
    assert "Traceback" in failed.stderr


@pytest.mark.forms(1)
@BOTH
def test_a_segmentation_fault_is_told_by_its_name(run: Run) -> None:
    failed = failure(run("import os\ndef run(probe):\n    os.kill(os.getpid(), 11)\n"))

    assert (failed.kind, failed.reason) == ("signal", "killed by signal 11 (SIGSEGV)")


@pytest.mark.parametrize("call", ["sys.exit(0)", "os._exit(0)"])
def test_a_probe_that_ends_the_process_itself_is_a_failure(run: Run, call: str) -> None:
    failed = failure(run(f"import os, sys\ndef run(probe):\n    {call}\n"))

    assert failed.kind == "exit"


@pytest.mark.forms(1)
@BOTH
def test_a_hang_is_ended_with_all_its_children_and_shows_where_it_hung(
    run: Run, tmp_path: Path
) -> None:
    code = f"""
        import subprocess, sys, time
        def run(probe):
            child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
            open({str(tmp_path / "pid")!r}, "w").write(str(child.pid))
            stuck_here()
        def stuck_here():
            time.sleep(600)
        """

    failed, seconds = ended_late(lambda seconds: failure(run(code, seconds=seconds)), "stuck_here")

    assert failed.kind == "time"
    assert failed.reason == f"ran past its limit of {seconds} s (limits.seconds); killed"
    assert "stuck_here" in failed.stderr
    wait_for_end(int((tmp_path / "pid").read_text()))


@pytest.mark.parametrize(
    "taking",
    [
        "torch.ones(4 * 2**30, dtype=torch.uint8)",
        "b'x' * (4 * 2**30)",
        "[bytearray(2**20) for _ in range(4000)]",
    ],
)
def test_memory_beyond_the_limit_is_told_in_words(run: Run, taking: str) -> None:
    failed = failure(run(f"import torch\ndef run(probe):\n    x = {taking}\n", memory_mib=1536))

    assert failed.kind == "memory"
    assert "needs more than its limit of 1.5 GiB (limits.memory_gib)" in failed.reason


def test_memory_of_children_counts_too(run: Run) -> None:
    code = """
        import subprocess, sys
        def run(probe):
            take = "x = b'x' * (700 * 2**20); import time; time.sleep(600)"
            children = [subprocess.Popen([sys.executable, "-c", take]) for _ in range(2)]
            children[0].wait()
        """

    assert failure(run(code, memory_mib=1024)).kind == "memory"


def test_megabytes_of_output_are_bounded(run: Run) -> None:
    failed = failure(
        run("""
            import sys
            def run(probe):
                for _ in range(64):
                    print("x" * 2**20)
                    print("y" * 2**20, file=sys.stderr)
                raise ValueError("the end")
            """)
    )

    assert failed.reason == "ValueError: the end"
    assert len(failed.stderr) < 20_000
    assert "bytes before this left out" in failed.stderr


def test_stderr_cannot_steer_the_terminal(run: Run) -> None:
    failed = failure(run("import sys\ndef run(probe):\n    sys.exit('\\x1b[2Jgone')\n"))

    assert "\x1b" not in failed.stderr
    assert "\x1b" not in failed.reason


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("pass", "recorded nothing"),
        ("probe.record('a b', torch.ones(1))", "expected letters"),
        ("probe.record('a', torch.ones(1)); probe.record('a', torch.ones(1))", "recorded twice"),
        ("probe.record('a', [1.0])", "expected a tensor, found list"),
        ("probe.record('a', torch.ones(1, dtype=torch.complex64))", "view_as_real"),
        ("probe.record('a', torch.ones(3).to_sparse())", "expected a dense tensor"),
    ],
)
def test_misuse_of_the_probe_is_an_error(run: Run, body: str, message: str) -> None:
    outcome = run(f"import torch\ndef run(probe):\n    {body}\n")

    assert message in failure(outcome).reason


def test_the_users_home_and_python_settings_stay_outside(
    run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "planted.py").write_text("")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "elsewhere"))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    monkeypatch.setenv("PYTEST_ADDOPTS", "-k one")
    out = run("""
        import importlib.util, os, torch
        from pathlib import Path
        def run(probe):
            assert importlib.util.find_spec("planted") is None
            assert importlib.util.find_spec("trace").origin.endswith("trace.py")
            assert "porter" not in importlib.util.find_spec("trace").origin
            assert not any(name.startswith("PYTEST_") for name in os.environ)
            assert Path.home().parent == probe.scratch.parent
            assert list(Path.home().iterdir()) == list(probe.scratch.iterdir()) == []
            probe.record("threads", torch.tensor([int(os.environ["OMP_NUM_THREADS"]), 0]))
        """)

    assert isinstance(out, Path), out
    assert trace.read(out).outputs["threads"].tolist() == [1, 0]


@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")
def test_memory_counts_processes_in_sessions_of_their_own() -> None:
    # A group of its own: others of the test session take and free memory meanwhile.
    take = "x = b'x' * (64 * 2**20); print(flush=True); import time; time.sleep(600)"
    lead = f"""if True:
        import subprocess, sys
        print(flush=True)
        sys.stdin.readline()
        with subprocess.Popen([sys.executable, "-c", {take!r}], start_new_session=True) as child:
            sys.stdin.read()
            child.kill()
    """
    with subprocess.Popen(
        [sys.executable, "-c", lead],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=True,
        text=True,
    ) as leader:
        assert leader.stdin is not None
        assert leader.stdout is not None
        leader.stdout.readline()
        before = group_memory(leader.pid)
        print(file=leader.stdin, flush=True)
        leader.stdout.readline()
        held = group_memory(leader.pid)
        leader.stdin.close()

    assert held - before > 60 * 2**20


@pytest.mark.forms(1)
@pytest.mark.parametrize("warm", [False, True])
def test_no_probe_outlives_a_porter_that_is_killed(tmp_path: Path, warm: bool) -> None:
    code = f"""
        import os, time
        def run(probe):
            open({str(tmp_path / "pid")!r}, "w").write(str(os.getpid()))
            time.sleep(600)
        """
    program = f"""
import sys
from pathlib import Path
from tests.verify.single_run import job_for
from porter.verify.execution.run_probe import launcher, run_folder, run_probe
runs = Path({str(tmp_path / "runs")!r})
with launcher(runs, {warm}) as start, run_folder(runs) as folder:
    job = job_for(Path({str(tmp_path / "job")!r}), {code!r})
    run_probe(job, Path(sys.executable), folder, start)
"""
    root = Path(__file__).parents[3]
    porter = subprocess.Popen([sys.executable, "-c", program], cwd=root)
    pid = wait_for_pid(tmp_path / "pid")

    os.kill(porter.pid, signal.SIGKILL)
    porter.wait()

    wait_for_end(pid)
    assert list((tmp_path / "runs").iterdir())
    with run_folder(tmp_path / "runs") as folder:
        assert list((tmp_path / "runs").iterdir()) == [folder]  # the dead one's is cleaned up
