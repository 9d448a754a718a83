"""Warm starts: a forked run is the same run, and what cannot be forked soundly is not forked."""

from __future__ import annotations

import shutil
import socket
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from porter.verify.execution import forkserver
from porter.verify.execution.run_probe import Stopped, launcher, run_folder, run_probe
from porter.verify.harness import trace
from porter.verify.plan.matrix import Failure
from tests.processes import is_gone, wait_for_pid
from tests.verify.single_run import job_for

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="forking needs Linux's /proc")

SEEN = """
    import os, random, sys, tempfile, torch
    from pathlib import Path

    def numbers(text):
        return torch.tensor(list(text.encode()))

    def run(probe):
        model = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3), torch.nn.GELU(), torch.nn.Flatten())
        x = torch.randn(2, 3, 9, 9, requires_grad=True)
        loss = model(x).square().mean() + random.random()
        loss.backward()
        probe.record("gradient", x.grad)
        probe.record("drawn", torch.randn(5))
        probe.record("uniform", torch.rand(5).cumsum(0) + len({f"{n}" for n in range(40)}))
        probe.record("order", numbers(" ".join({"a", "bc", "def", "ghij", "klmno"})))
        here = str(Path.cwd().parent)
        names = sorted(k for k in os.environ if k != "PORTER_COLD")
        variables = "\\n".join(f"{k}={os.environ[k]}" for k in names).replace(here, "<folder>")
        probe.record("variables", numbers(variables))
        probe.record("path", numbers("\\n".join(sys.path).replace(here, "<folder>")))
        main = sys.modules["__main__"]
        probe.record("main", numbers(f"{main.__name__} {main.__file__} {len(sys.argv)}"))
        probe.record("folders", numbers(tempfile.gettempdir().replace(here, "<folder>")))
        settings = torch.get_num_threads(), torch.get_default_dtype(), torch.initial_seed()
        probe.record("settings", numbers(str(settings) + str(os.getsid(0) == os.getpid())))
        modules = {name.partition(".")[0] for name in sys.modules}
        probe.record("extra", numbers("x" + " ".join(sorted(modules & {"numpy", "yaml", "rich"}))))
    """


def trace_of(tmp_path: Path, code: str, is_warm: bool) -> trace.Trace:
    runs = tmp_path / "runs"
    with launcher(runs, is_warm) as start, run_folder(runs) as folder:
        outcome = run_probe(job_for(tmp_path / "job", code), Path(sys.executable), folder, start)
        assert isinstance(outcome, Path), outcome
        assert start.warm.refusals() == []
        return trace.read(outcome)


def test_a_warm_run_gives_the_bits_and_sees_the_surroundings_of_a_cold_one(tmp_path: Path) -> None:
    cold, forked = (trace_of(tmp_path, SEEN, is_warm) for is_warm in (False, True))

    assert cold.outputs.keys() == forked.outputs.keys()
    differing = [
        name for name, x in cold.outputs.items() if not torch.equal(x, forked.outputs[name])
    ]
    assert differing == []
    assert cold.versions == forked.versions


COMPILER = """
    import os, sys, torch
    def run(probe):
        probe.count("before", "torch._dynamo" in sys.modules)
        from torch._inductor.runtime.cache_dir_utils import cache_dir
        probe.count("own", cache_dir().startswith(os.environ["TMPDIR"]))
        probe.count("same", torch._dynamo.package.DynamoCache.path_prefix().startswith(cache_dir()))
        twice = torch.compile(lambda x: x * 2, backend="eager")
        probe.record("twice", twice(probe.normal("x", 20)))
    """


@pytest.mark.slow
def test_torchs_compiler_is_imported_before_the_fork_and_works_in_the_runs_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("TORCHINDUCTOR_CACHE_DIR", raising=False)  # whoever imports it sets it
    job = job_for(tmp_path / "job", COMPILER)
    traces = []
    for name, warm in (("warm", True), ("cold", False)):
        with launcher(tmp_path / name, warm) as start, run_folder(tmp_path / name) as folder:
            out = run_probe(job, Path(sys.executable), folder, start)
            assert not isinstance(out, Failure), out.stderr
            traces.append(trace.read(out))

    warm_run, cold_run = traces
    assert warm_run.counters == {"before": 1, "own": 1, "same": 1}
    assert cold_run.counters == {"before": 0, "own": 1, "same": 1}
    assert torch.equal(warm_run.outputs["twice"], cold_run.outputs["twice"])


def test_runs_of_one_fork_server_know_nothing_of_each_other(tmp_path: Path) -> None:
    code = """
        import os, torch
        def run(probe):
            left = float(os.environ.get("LEFT", "0"))
            probe.record("x", torch.tensor([left, torch.rand(()).item()]))
            probe.record("y", torch.tensor([float(torch.get_default_dtype() == torch.float32), 0]))
            os.environ["LEFT"] = "1"
            torch.set_default_dtype(torch.float64)
            torch.manual_seed(99)
        """
    runs = tmp_path / "runs"
    found = []
    with launcher(runs, warm=True) as start:
        for _ in range(2):
            with run_folder(runs) as folder:
                job = job_for(tmp_path / "job", code)
                outcome = run_probe(job, Path(sys.executable), folder, start)
                assert isinstance(outcome, Path), outcome
                found.append(trace.read(outcome).outputs)

    assert [o["x"].tolist() for o in found] == [found[0]["x"].tolist()] * 2
    assert [o["y"].tolist() for o in found] == [[1.0, 0.0]] * 2


@pytest.mark.slow
def test_a_process_with_more_than_one_thread_is_not_forked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    threaded = tmp_path / "threaded.py"
    text = Path(forkserver.forkserver_main.__file__).read_text()
    thread = "threading.Thread(target=time.sleep, args=(600,), daemon=True)"
    grown = f"import threading, time; {thread}.start()"
    threaded.write_text(text.replace("    gc.collect()\n", f"    {grown}\n    gc.collect()\n"))
    monkeypatch.setattr(forkserver.forkserver_main, "__file__", str(threaded))
    runs = tmp_path / "runs"

    with launcher(runs, warm=True) as start, run_folder(runs) as folder:
        code = "import torch\ndef run(probe):\n    probe.record('x', torch.ones(1))\n"
        outcome = run_probe(job_for(tmp_path / "job", code), Path(sys.executable), folder, start)
        why = start.warm.refusals()

    assert isinstance(outcome, Path), outcome
    assert why == ["importing torch started 1 threads"]


def test_a_killed_fork_server_takes_its_run_along_and_the_next_is_cold(
    tmp_path: Path,
) -> None:
    suicide = """
        import os, signal, time
        def run(probe):
            print(os.getpid(), flush=True)
            os.kill(os.getppid(), signal.SIGKILL)
            time.sleep(600)
        """
    runs = tmp_path / "runs"
    with launcher(runs, warm=True) as start:
        with run_folder(runs) as folder:
            job = job_for(tmp_path / "job", suicide)
            first = run_probe(job, Path(sys.executable), folder, start)
        with run_folder(runs) as folder:
            code = "import torch\ndef run(probe):\n    probe.record('x', torch.ones(1))\n"
            second = run_probe(job_for(tmp_path / "job", code), Path(sys.executable), folder, start)

            assert isinstance(first, Failure)
            assert first.kind == "signal"
            assert isinstance(second, Path)
            assert len(start.warm.refusals()) == 1


def test_a_run_that_ends_before_its_process_id_is_read_is_a_run_like_any_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    receive = forkserver._receive

    def late(channel: socket.socket) -> dict[str, Any] | None:
        if channel.gettimeout() is not None:  # the answer to a request
            time.sleep(2.0)
        return receive(channel)

    monkeypatch.setattr(forkserver, "_receive", late)
    runs = tmp_path / "runs"
    with launcher(runs, True) as start, run_folder(runs) as folder:
        job = job_for(tmp_path / "job", "raise SystemExit(7)")
        outcome = run_probe(job, Path(sys.executable), folder, start)
        assert isinstance(outcome, Failure)
        assert start.warm.refusals() == []


def test_closing_ends_the_fork_server_with_its_runs(tmp_path: Path) -> None:
    code = f"""
        import os, time
        def run(probe):
            open({str(tmp_path / "its")!r}, "w").write(str(os.getpid()))
            open({str(tmp_path / "server")!r}, "w").write(str(os.getppid()))
            time.sleep(600)
        """
    job, runs, ends = job_for(tmp_path / "job", code), tmp_path / "runs", []

    def run() -> None:
        with run_folder(runs) as folder:
            try:
                ends.append(run_probe(job, Path(sys.executable), folder, start))
            except Stopped as stopped:  # it saw the stop before the end of its process
                ends.append(stopped)

    under_way = threading.Thread(target=run)
    with launcher(runs, warm=True) as start:
        under_way.start()
        pids = [wait_for_pid(tmp_path / name) for name in ("its", "server")]
    under_way.join()

    assert [type(end) for end in ends] in ([Stopped], [Failure])
    assert all(is_gone(pid) for pid in pids)


def test_the_users_variable_turns_it_off(monkeypatch: pytest.MonkeyPatch) -> None:
    assert forkserver.warm_possible()
    monkeypatch.setenv("PORTER_COLD", "1")

    assert not forkserver.warm_possible()


@pytest.mark.parametrize(
    ("device", "tried"),
    [("cpu", True), ("sim:hpu", True), ("cuda", False), ("hpu", False), ("npu", False)],
)
def test_real_accelerators_are_never_forked(tmp_path: Path, device: str, tried: bool) -> None:
    job = job_for(tmp_path / "job", "")
    job = replace(job, facts=replace(job.facts, device=device))
    no_python = shutil.which("true")  # a fork server of it ends at once, and that is a refusal
    assert no_python

    with launcher(tmp_path / "runs", warm=True) as start, run_folder(tmp_path / "runs") as folder:
        outcome = run_probe(job, Path(no_python), folder, start)
        refusals = start.warm.refusals()

    assert isinstance(outcome, Failure)
    assert outcome.kind == "exit"
    assert bool(refusals) == tried
