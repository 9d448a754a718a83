"""Script probes: upstream's own scripts as a user runs them, and processes that they start."""

from __future__ import annotations

import traceback
from pathlib import Path
from typing import Any

import pytest
import torch

from porter.verify.harness.script import telling_line
from tests.processes import wait_for_end
from tests.verify.single_run import SingleRun, ended_late

HELLO = {
    "tools/hello.py": """
        import sys, os, mate
        print(sys.argv, __name__, os.path.basename(mate.__file__), os.getcwd())
        open(sys.argv[1], "w").write("x")
        state = globals().get("state", 0) + 1
        print("state", state)
        sys.exit()
        """,
    "tools/mate.py": "",
    "other/mate.py": "raise ValueError('the wrong mate')",
    "other/bad.py": "import mate",
}


def test_a_script_runs_as_main_in_the_scratch_folder_with_its_own_arguments(
    single: SingleRun,
) -> None:
    found = single.trace(
        """
        import os, sys
        def run(probe):
            before = os.getcwd(), list(sys.argv), list(sys.path)
            done = probe.script("tools/hello.py", ["a", 3])
            assert before == (os.getcwd(), sys.argv, sys.path)
            probe.record_text("out", done.stdout)
            probe.record_files("files", done.folder)
        """,
        HELLO,
    )

    first, second = found.text("out").splitlines()
    assert first == "['tools/hello.py', 'a', '3'] __main__ mate.py <scratch>"
    assert second == "state 1"
    assert found.text("files") == "a\n"
    assert (found.kind("out"), found.kind("files")) == ("text", "files")


def test_a_script_runs_twice_and_another_one_finds_its_own_neighbours(single: SingleRun) -> None:
    found = single.trace(
        """
        def run(probe):
            for name in ("a", "b"):
                done = probe.script("tools/hello.py", [name], cwd="there")
                probe.record_text(name, done.stdout.splitlines()[1])
            failed = probe.script("other/bad.py", expect=1)
            probe.record_text("error", failed.stderr)
            probe.record_files("files", "there")
        """,
        HELLO,
    )

    assert found.text("a") == found.text("b") == "state 1"
    assert found.text("error").startswith(
        'Traceback (most recent call last):\n  File "<tree>/other'
    )
    assert found.text("error").endswith("ValueError: the wrong mate\n")
    assert found.text("files") == "a\nb\n"


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("sys.exit(3)", "ends.py: exit code 3, expected 0"),
        ("sys.exit('gone')", "ends.py: exit code 1, expected 0: gone"),
        ("1 / 0", "exit code 1, expected 0: ZeroDivisionError: division by zero"),
        ("import urllib.request as u; u.urlopen('http://example.com')", "a probe has no network"),
    ],
)
def test_a_script_that_fails_fails_the_run(single: SingleRun, body: str, message: str) -> None:
    code = "def run(probe):\n    probe.script('ends.py')\n"

    failure = single.failure(code, {"ends.py": f"import sys\n{body}\n"})

    assert message in failure.reason


@pytest.mark.parametrize(
    ("stderr", "line"),
    [
        ("", ""),
        ("one\ntwo: three\n\n", "two: three"),
        ("usage: a.py [-h]\na.py: error: unrecognized arguments: --x\n",
         "a.py: error: unrecognized arguments: --x"),
        ("Traceback (most recent call last):\n  File \"a.py\", line 1\nKeyboardInterrupt\n",
         "KeyboardInterrupt"),
        ("Traceback (most recent call last):\nOSError: once\nretried\nit ended: badly\n",
         "it ended: badly"),
    ],
)  # fmt: skip
def test_the_line_of_stderr_that_says_why(stderr: str, line: str) -> None:
    assert telling_line(stderr) == line


def test_an_error_of_the_compiler_is_told_without_its_advice() -> None:
    def backend(*_: Any) -> Any:
        raise RuntimeError("no such op")

    with pytest.raises(Exception, match="no such op") as raised:
        torch.compile(lambda x: x + 1, backend=backend)(torch.zeros(2))
    stderr = "".join(traceback.format_exception(raised.value))

    assert stderr.splitlines()[-1] != "RuntimeError: no such op"
    assert telling_line(stderr) == "RuntimeError: no such op"


@pytest.mark.parametrize(
    ("call", "message"),
    [
        ("probe.script('absent.py')", "no such file in the level's tree"),
        ("probe.script('ends.py', [None])", "expected text, numbers and paths"),
        ("probe.script('ends.py', cwd='/')", "expected a folder inside probe.scratch"),
        ("probe.section('a b').__enter__()", "expected letters"),
        ("probe.section('a', per=0).__enter__()", "expected per to be 1 or more"),
        ("probe.record_image('i', 'absent.png')", "record_image('i'): n"),  # no pillow, no file
        ("probe.record_files('f', 'absent')", "no such folder"),
        ("probe.count('c', float('nan'))", "expected a finite number"),
    ],
)
def test_wrong_calls_are_reported(single: SingleRun, call: str, message: str) -> None:
    failure = single.failure(f"def run(probe):\n    {call}\n", {"ends.py": ""})

    assert message in failure.reason


def test_an_image_is_recorded_as_height_width_channels(single: SingleRun) -> None:
    pytest.importorskip("PIL")
    found = single.trace("""
        from PIL import Image
        def run(probe):
            Image.new("RGB", (3, 2), (1, 2, 250)).save("i.png")
            probe.record_image("rgb", "i.png")
            probe.record_image("grey", Image.new("L", (4, 5), 7))
        """)

    assert found.outputs["rgb"].shape == (2, 3, 3)
    assert found.outputs["rgb"][1, 2].tolist() == [1, 2, 250]
    assert found.outputs["grey"].shape == (5, 4, 1)
    assert found.kind("rgb") == "image"


def test_what_starts_a_python_process_starts_it_on_the_device(single: SingleRun) -> None:
    found = single.trace(
        """
        def run(probe):
            done = probe.launch([probe.tree / "parent.py"])
            probe.record_text("out", done.stdout)
        """,
        {
            "parent.py": """
                import subprocess, sys
                subprocess.run([sys.executable, "-c", "import child"], check=True)
                """,
            "child.py": """
                import importlib.util
                assert importlib.util.find_spec("torch")  # as many libraries do
                import torch
                import torch_npu
                print(torch.ones(3, device="npu").sum().item())
                """,
        },
        device="sim:npu",
    )

    assert found.text("out") == "3.0\n"
    assert found.counters["launched/d2h"] == 1
    assert found.counters["launched/processes"] == 1  # the parent never imports torch
    assert found.counters["d2h"] == 0
    launched = [event for event in single.lines("events.jsonl") if "process" in event]
    assert {"kind": "d2h", "site": "child.py:6"}.items() <= launched[1].items()


TRAIN = """
    import sys, torch
    import torch.distributed as dist
    from torch.nn.parallel import DistributedDataParallel

    if __name__ == "__main__":
        kind = sys.argv[1]
        if kind == "hpu":
            import habana_frameworks.torch.distributed.hccl
        else:
            import torch_npu
        dist.init_process_group("hccl")
        torch.manual_seed(dist.get_rank())
        model = DistributedDataParallel(torch.nn.Linear(4, 2).to(kind))
        optimizer = torch.optim.SGD(model.parameters(), 0.1)
        for _ in range(2):
            loss = model(torch.randn(3, 4).to(kind)).square().mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        weight = model.module.weight.detach().cpu()
        torch.save(weight, f"weight-{dist.get_rank()}.pt")
        dist.destroy_process_group()
    """


@pytest.mark.parametrize("kind", ["hpu", pytest.param("npu", marks=pytest.mark.slow)])
def test_torchrun_trains_two_ranks_on_a_simulated_device(single: SingleRun, kind: str) -> None:
    found = single.trace(
        """
        import torch
        def run(probe):
            run = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
            probe.launch([*run, probe.tree / "train.py", probe.device.type])
            for rank in (0, 1):
                probe.record(f"weight{rank}", torch.load(f"weight-{rank}.pt"))
        """,
        {"train.py": TRAIN},
        device=f"sim:{kind}",
    )

    assert found.outputs["weight0"].tolist() == found.outputs["weight1"].tolist()
    assert found.counters["launched/d2h"] == 2
    assert found.counters["launched/kernels"] > 40
    ranks = {event["rank"] for event in single.lines("events.jsonl") if "rank" in event}
    assert ranks == {0, 1}


def test_processes_in_sessions_of_their_own_end_with_the_run(
    single: SingleRun, tmp_path: Path
) -> None:
    code = f"""
        import subprocess, sys, time
        def run(probe):
            code = "import os, time; print(os.getpid(), flush=True); time.sleep(600)"
            child = subprocess.Popen(
                [sys.executable, "-c", code], stdout=subprocess.PIPE, start_new_session=True
            )
            open({str(tmp_path / "pid")!r}, "wb").write(child.stdout.readline())
            stuck_here()
        def stuck_here():
            time.sleep(600)
        """

    failure, _ = ended_late(lambda seconds: single.failure(code, seconds=seconds), "stuck_here")

    assert failure.kind == "time"
    wait_for_end(int((tmp_path / "pid").read_text()))


ON_DEVICE = {
    "uses.py": "import torch; x = torch.ones(2, device='npu') + 1",
    "stays.py": "import torch; x = torch.ones(2) + 1",
    "fails.py": "raise SystemExit(3)",
}


@pytest.mark.parametrize(
    ("script", "warnings"),
    [
        ("uses.py", ()),
        ("stays.py", ("stays.py dispatched nothing to sim:npu: it stayed on the CPU",)),
        ("fails.py", ()),
    ],
)
def test_a_script_that_stayed_on_the_cpu_is_told(
    single: SingleRun, script: str, warnings: tuple[str, ...]
) -> None:
    code = f"""
        def run(probe):
            probe.script({script!r}, expect=None)
            probe.count("ran", 1)
        """

    assert single.trace(code, ON_DEVICE, device="sim:npu").warnings == warnings
    assert single.trace(code, {script: "pass"}).warnings == ()


def test_a_launched_script_that_stayed_on_the_cpu_is_told(single: SingleRun) -> None:
    code = """
        def run(probe):
            probe.launch([probe.tree / "uses.py"])
            probe.launch([probe.tree / "stays.py"])  # another's use of the device does not count
            probe.launch(["-c", "pass"])  # no torch, nothing to tell
            probe.count("ran", 1)
        """

    warnings = single.trace(code, ON_DEVICE, device="sim:npu").warnings

    told = "python <tree>/stays.py dispatched nothing to sim:npu: it stayed on the CPU"
    assert warnings == (told,)
