"""What a run in a sandbox cannot do, and that it computes the same in it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from porter.errors import BadInput
from porter.verify.execution import run_probe as run_module
from porter.verify.execution import sandbox as sandbox_module
from porter.verify.execution.run_probe import Launcher, run_folder, run_probe
from porter.verify.execution.sandbox import NO_SANDBOX, Sandbox, find_sandbox
from porter.verify.execution.session import Options
from porter.verify.harness import sandbox as harness
from porter.verify.harness import trace
from porter.verify.harness.run_info import TENSORS
from porter.verify.harness.trace import Trace
from porter.verify.plan.matrix import Failure
from tests.verify.conftest import Heard, Verify
from tests.verify.folder_trees import PARITY, FolderTrees, write_recipe
from tests.verify.single_run import job_for

FOUND = find_sandbox("auto")
BUBBLEWRAP = pytest.mark.skipif(
    shutil.which("bwrap") is None or bool(sandbox_module.bubblewrap_fault()),
    reason="bubblewrap is not here, or not allowed",
)
HELD = pytest.mark.skipif(FOUND.kind != "namespaces", reason=f"no namespaces: {FOUND.why}")


@pytest.fixture(scope="module")
def launched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Launcher]]:
    """The two ways to start a run."""
    runs = tmp_path_factory.mktemp("runs")
    with run_module.launcher(runs) as warm, run_module.launcher(runs, False) as cold:
        yield {"warm": warm, "cold": cold}


@dataclass
class Probe:
    """Runs a probe's code; the lines that it says are its output "said"."""

    base: Path
    launched: dict[str, Launcher]
    start: str = "warm"

    def outcome(self, code: str, sandbox: Sandbox = FOUND, device: str = "cpu") -> Trace | Failure:
        job = job_for(self.base / "job", code, seconds=60)
        job = replace(job, facts=replace(job.facts, device=device))
        start = replace(self.launched[self.start], sandbox=sandbox)
        with run_folder(self.base / "cache" / "runs") as folder:
            out = run_probe(job, Path(sys.executable), folder, start)
            if isinstance(out, Failure):
                return out
            out.rename(self.base / "left")
        return trace.read(self.base / "left")

    def said(self, code: str, sandbox: Sandbox = FOUND) -> list[str]:
        found = self.outcome(code, sandbox)
        assert isinstance(found, Trace), f"{found.reason}\n{found.stderr}"
        return found.text("said").splitlines()


@pytest.fixture
def probe(tmp_path: Path, launched: dict[str, Launcher]) -> Probe:
    return Probe(tmp_path, launched)


ATTEMPTS = """
    import os, pathlib, socket, subprocess
    def attempt(what):
        try:
            what()
        except Exception as error:
            return type(error).__name__
        return "done"
    def run(probe):
        def write(path):
            pathlib.Path(path).open("a").write("#")
        attempts = {
            "home": lambda: pathlib.Path(HOME, "secret").read_text(),
            "home write": lambda: write(pathlib.Path(HOME, "new")),
            "tree": lambda: write(probe.tree / "code.py"),
            "probe": lambda: write(__file__),
            "cache": lambda: write(CACHE + "/x"),
            "system": lambda: write("/usr/lib/x"),
            "cache unlink": lambda: os.unlink(CACHE + "/kept"),
            "environ": lambda: pathlib.Path(f"/proc/{PORTER}/environ").read_bytes(),
            "network": lambda: subprocess.run(
                ["bash", "-c", "echo > /dev/tcp/192.0.2.1/80"], check=True, timeout=20),
            "remount": lambda: subprocess.run(
                ["mount", "-o", "remount,rw,bind", "/"], check=True, capture_output=True),
            "nested": lambda: subprocess.run(
                ["unshare", "-rm", "mount", "-o", "remount,rw,bind", "/"],
                check=True, capture_output=True),
            "scratch": lambda: write("here"),
            "temporary": lambda: write(os.environ["TMPDIR"] + "/x"),
            "/tmp": lambda: write("/tmp/x"),
            "own home": lambda: write(os.environ["HOME"] + "/x"),
            "shared memory": lambda: write("/dev/shm/x"),
            "loopback": lambda: socket.create_server(("127.0.0.1", 0)).getsockname(),
        }
        probe.record_text("said", "\\n".join(f"{k}: {attempt(v)}" for k, v in attempts.items()))
    """
HELD_BACK = {
    "home": "FileNotFoundError",
    "tree": "OSError",
    "probe": "OSError",
    "system": "OSError",
    "cache unlink": "FileNotFoundError",
    "environ": "PermissionError",
    "network": "CalledProcessError",
    "remount": "CalledProcessError",
    "nested": "CalledProcessError",
}
ALLOWED = (
    "cache",  # lies below the emptied /tmp here: written there, not into the real one
    "scratch",
    "temporary",
    "/tmp",
    "own home",
    "shared memory",
    "loopback",
)


@pytest.mark.forms(1)
@pytest.mark.parametrize(
    ("start", "sandbox"),
    [
        pytest.param("warm", FOUND, marks=HELD),
        pytest.param("cold", FOUND, marks=[HELD, pytest.mark.slow]),
        pytest.param("warm", Sandbox("bubblewrap"), marks=BUBBLEWRAP),
    ],
    ids=lambda each: each if isinstance(each, str) else each.kind,
)
@pytest.mark.skipif(os.getuid() != 0, reason="a user may not write there anyway")
def test_a_run_reaches_nothing_but_its_own_folder(
    probe: Probe, start: str, sandbox: Sandbox
) -> None:
    home, cache = Path(os.environ["HOME"]), probe.base / "cache"
    (home / "secret").write_text("s3cret")
    cache.mkdir()
    (cache / "kept").write_text("kept")
    probe.start = start
    names = f"HOME, CACHE, PORTER = {str(home)!r}, {str(cache)!r}, {os.getpid()}"

    said = dict(line.split(": ") for line in probe.said(f"    {names}\n{ATTEMPTS}", sandbox))

    assert said.pop("home write") in ("FileNotFoundError", "OSError")
    assert said == HELD_BACK | dict.fromkeys(ALLOWED, "done")
    assert sorted(path.name for path in cache.iterdir()) == ["kept", "runs"]


@HELD
def test_the_same_bits_come_out_of_it(probe: Probe) -> None:
    code = """
        import torch
        def run(probe):
            x = probe.normal("x", 64, 64)
            probe.record("y", torch.nn.functional.softmax(x @ x, -1))
            probe.count("calls", 2)
        """
    held = probe.outcome(code)
    bits = (probe.base / "left" / TENSORS).read_bytes()
    (probe.base / "left").rename(probe.base / "first")
    free = probe.outcome(code, NO_SANDBOX)

    assert isinstance(held, Trace)
    assert isinstance(free, Trace)
    assert (probe.base / "left" / TENSORS).read_bytes() == bits
    assert (held.facts, held.versions, held.counters) == (free.facts, free.versions, free.counters)
    assert (held.sandbox, free.sandbox) == ("namespaces", "none")


@pytest.mark.forms(1)
@pytest.mark.parametrize(
    ("start", "sandbox"),
    [
        pytest.param("warm", FOUND, marks=HELD),
        pytest.param("cold", FOUND, marks=HELD),
        pytest.param("warm", Sandbox("bubblewrap"), marks=BUBBLEWRAP),
    ],
    ids=lambda each: each if isinstance(each, str) else each.kind,
)
def test_paths_that_lead_through_links_are_found(
    tmp_path: Path, launched: dict[str, Launcher], start: str, sandbox: Sandbox
) -> None:
    """A cache or a project on another disk is often a link in one's home."""
    (tmp_path / "disk" / "mine").mkdir(parents=True)
    (tmp_path / "disks").mkdir()
    (tmp_path / "disks" / "second").symlink_to("../disk")
    (tmp_path / "home").symlink_to(tmp_path / "disks" / "second" / "mine")
    (tmp_path / "disk" / "mine" / "loop").symlink_to("loop")
    probe = Probe(tmp_path / "home", launched, start)

    said = probe.said(
        """
        import os
        def run(probe):
            there = [probe.tree.is_dir(), os.path.exists(__file__)]
            probe.record_text("said", f"{there}")
        """,
        sandbox,
    )

    assert said == ["[True, True]"]


@pytest.mark.forms(1)
@pytest.mark.parametrize(
    "sandbox",
    [pytest.param(FOUND, marks=HELD), pytest.param(Sandbox("bubblewrap"), marks=BUBBLEWRAP)],
    ids=lambda each: each.kind,
)
def test_what_lies_in_shared_memory_is_found(
    launched: dict[str, Launcher], monkeypatch: pytest.MonkeyPatch, sandbox: Sandbox
) -> None:
    """A cache there is fast; a run's own shared memory is empty but for what it needs."""
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
        monkeypatch.chdir(folder)
        said = Probe(Path(folder), launched).said(
            """
            import os
            def run(probe):
                there = [probe.tree.is_dir(), os.path.exists(__file__), len(os.listdir("/dev/shm"))]
                probe.record_text("said", f"{there}")
            """,
            sandbox,
        )
        assert find_sandbox("auto").kind == FOUND.kind

    assert said == ["[True, True, 1]"]


def test_a_home_below_the_temporary_folder_stays_hidden_though_the_path_names_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = str(Path(os.environ["HOME"]).resolve())
    monkeypatch.setenv("PATH", home, prepend=os.pathsep)

    spec = Sandbox("namespaces").spec(job_for(tmp_path, ""), Path(sys.executable), tmp_path)

    assert spec is not None
    assert home in spec["hidden"]
    assert home not in spec["shown"]


GLOO = """
    import os, torch, torch.distributed as dist
    dist.init_process_group("gloo")
    x = torch.tensor([float(dist.get_rank() + 1)])
    dist.all_reduce(x)
    os.write(1, f"sum {x.item()}\\n".encode())  # whole lines, though two processes print
    dist.destroy_process_group()  # without it an interpreter's end may abort in gloo's threads
"""


@HELD
def test_launched_processes_meet_over_the_loopback(probe: Probe) -> None:
    (probe.base / "job").mkdir()
    (probe.base / "job" / "reduce.py").write_text("\n".join(map(str.strip, GLOO.splitlines())))
    said = probe.said("""
        def run(probe):
            run = probe.launch(["-m", "torch.distributed.run", "--nproc_per_node=2",
                                probe.folder / "reduce.py"])
            probe.record_text("said", "\\n".join(sorted(set(run.stdout.splitlines()))))
        """)

    assert said == ["sum 3.0"]


@HELD
def test_workers_share_tensors(probe: Probe) -> None:
    said = probe.said("""
        import tempfile, torch
        def run(probe):
            tempfile.tempdir = "/tmp"  # short enough for a socket's name
            loader = torch.utils.data.DataLoader(torch.arange(6.0), batch_size=3, num_workers=2)
            probe.record_text("said", str([batch.sum().item() for batch in loader]))
        """)

    assert said == ["[3.0, 12.0]"]


@HELD
def test_parallel_runs_do_not_meet(probe: Probe, tmp_path: Path) -> None:
    """Each has a network of its own: both bind the same port, and the other's memory is away."""
    code = """
        import os, socket, time
        def run(probe):
            with socket.create_server(("127.0.0.1", 29500)):
                open(f"/dev/shm/{os.getpid()}", "w").close()
                time.sleep(1.5)
                probe.record_text("said", str(len(os.listdir("/dev/shm"))))
        """
    probes = [Probe(tmp_path / name, probe.launched) for name in ("one", "two")]
    found: list[list[str]] = []
    for each in probes:
        each.base.mkdir()
    threads = [threading.Thread(target=lambda p=p: found.append(p.said(code))) for p in probes]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert found == [["1"], ["1"]]


def test_a_system_that_forbids_namespaces_is_told_with_the_reason(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sandbox_module, "_tried", lambda _: "unshare: Operation not permitted")
    monkeypatch.setattr(shutil, "which", lambda _: None)

    assert find_sandbox("auto") == Sandbox("none", "unshare: Operation not permitted")
    assert find_sandbox("off") == Sandbox("none", "--sandbox off")
    monkeypatch.setattr(shutil, "which", lambda _: "/usr/bin/bwrap")
    assert find_sandbox("auto").why.endswith("; bubblewrap: unshare: Operation not permitted")
    monkeypatch.setattr(shutil, "which", lambda _: None)
    with pytest.raises(BadInput, match=r"--sandbox require: expected .* found unshare: Operation"):
        find_sandbox("require")


@HELD
@pytest.mark.skipif(os.getuid() != 0, reason="sets a limit on namespaces as root")
def test_the_trial_says_what_the_kernel_refused() -> None:
    limit = "echo 0 > /proc/sys/user/max_user_namespaces"
    trial = f"{sys.executable} -I -S {harness.__file__}"
    command = ["unshare", "-r", "bash", "-c", f"{limit} && exec {trial}"]

    done = subprocess.run(command, capture_output=True, text=True)

    assert (done.returncode, done.stderr) == (1, "")
    assert done.stdout.startswith("unshare: ")
    assert "user namespaces are off or restricted here" in done.stdout


@pytest.fixture
def port(tmp_path: Path, trees: FolderTrees) -> Path:
    trees.add("port", upstream="def f(x): return x + 1", same="def f(x): return 1 + x")
    code = """
        from upstream_code import f
        def run(probe):
            probe.record("y", f(probe.normal("x", 20)))
        """
    return write_recipe(tmp_path, "port", "one", PARITY, code)


@HELD
def test_where_it_is_required_results_without_it_are_made_again(
    port: Path, trees: FolderTrees, verify: Verify, heard: Heard
) -> None:
    (free,) = verify(trees, options=Options(sandbox="off"))
    (any_will_do,) = verify(trees)
    (held,) = verify(trees, options=Options(sandbox="require"))
    (again,) = verify(trees, options=Options(sandbox="require"))

    found = [(one.sandbox, one.cached) for one in (free, any_will_do, held, again)]
    assert found == [("none", 0), ("none", 4), ("namespaces", 0), ("namespaces", 4)]
    assert free.verdicts == held.verdicts
    assert len(heard.runs) == 8


def test_without_one_runs_go_on_and_say_so(
    port: Path,
    trees: FolderTrees,
    verify: Verify,
    heard: Heard,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sandbox_module, "_tried", lambda _: "unshare: Operation not permitted")
    monkeypatch.setattr(shutil, "which", lambda _: None)

    (result,) = verify(trees)
    with pytest.raises(BadInput, match="--sandbox require"):
        verify(trees, options=Options(sandbox="require"))

    assert result.passed
    assert result.sandbox == "none"
    lines = [line for line in heard.lines if "sandbox" in line]
    assert lines == ["runs are in no sandbox: unshare: Operation not permitted"]
