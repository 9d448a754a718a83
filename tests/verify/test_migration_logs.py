"""Migration logs of a port's levels, from its runs on simulated devices."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from porter.cli import main
from porter.verify.migration_logs import merged
from tests.verify.folder_trees import FolderTrees, write_recipe

CODE = """
    import torch
    def f(x):
        moved = x.cuda()
        return torch.nn.Linear(9, 4).cuda()(moved).cpu()
    """
PROBE = """
    import torch
    from upstream_code import f
    def run(probe):
        x = torch.arange(9.0).cuda()
        probe.record("y", f(torch.randn(9)))
    """
RECIPE = """\
    devices: ["sim:hpu"]
    reference: {device: "sim:hpu", dtype: float32}
    environ: {PT_HPU_GPU_MIGRATION: "1"}
    claims: [{outputs: "*", parity: {}}]
    migration_log: true
    """


@pytest.fixture
def project(root: Path, trees: FolderTrees) -> Path:
    """A project whose port calls CUDA at level 0 and not at level 1."""
    ported = CODE.replace(".cuda()", ".to('hpu')")
    trees.add("port", upstream=CODE, device_argument=ported)
    write_recipe(root, "port", "one", RECIPE, PROBE)
    return root


def test_logs_are_written_checked_and_found_changed(
    project: Path, trees: FolderTrees, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = project / "migration_logs" / "port"

    assert main(["migration-log", "port"]) == 0
    names = ["0-upstream.sim-hpu.txt", "1-device-argument.sim-hpu.txt"]
    assert sorted(path.name for path in folder.iterdir()) == names
    first = (folder / names[0]).read_text()
    tree = trees.ports["port"][0].tree
    assert first.splitlines()[:3] == [
        "# simulated migration cuda -> hpu: 2 sites matched, 0 modified, 0 unsupported",
        f"# Level 0 upstream of port, tree {tree},",
        "# on sim:hpu (simulated), in the runs of one.",
    ]
    assert "upstream_code.py:4\n    [context]: moved = x.cuda()\n    [hpu_match]: " in first
    assert str(project) not in first
    assert "0 sites matched" in (folder / names[1]).read_text()

    assert main(["migration-log", "port", "--check"]) == 0
    (folder / names[0]).write_text(first.replace("moved = x.cuda()", "another = x.cuda()"))
    (folder / "7-gone.sim-hpu.txt").write_text("# a level that is no more\n")
    capsys.readouterr()

    assert main(["migration-log", "port", "--check"]) == 1
    shown = capsys.readouterr().out
    assert "-    [context]: another = x.cuda()\n+    [context]: moved = x.cuda()" in shown
    assert "-# a level that is no more" in shown

    assert main(["migration-log"]) == 0
    assert sorted(path.name for path in folder.iterdir()) == names
    assert (folder / names[0]).read_text() == first


def test_a_run_that_fails_gives_no_log(
    project: Path, trees: FolderTrees, capsys: pytest.CaptureFixture[str]
) -> None:
    trees.add("port", broken="def f(x): raise RuntimeError('not ported')")

    assert main(["migration-log", "port"]) == 1
    assert not (project / "migration_logs").exists()
    error = "porter: port/one: level 2 broken on sim:hpu: RuntimeError: not ported; `porter verify"
    assert capsys.readouterr().err.splitlines()[-1].startswith(error)


def test_no_recipe_for_it_is_bad_usage(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["migration-log", "port", "--device", "sim:npu"]) == 2
    assert "`migration_log: true`" in capsys.readouterr().err


def row(file: str, line: int, **other: object) -> dict[str, object]:
    keys = {"source": "s", "kind": "match", "asked": "a", "served": "b", "own_reading": False}
    return {**keys, "file": file, "line": line, **other}


def test_only_calls_of_the_tree_and_its_companions_are_kept_each_once_in_order() -> None:
    first = [row("b.py", 2), row("/usr/lib/x.py", 1), row("probe/p.py", 1), row("<unknown>", 0)]
    second = [row("companion accelerate/a.py", 9), row("b.py", 2), row("a.py", 30), row("a.py", 4)]

    entries = merged([first, second])

    found = [(entry.file, entry.line) for entry in entries]
    assert found == [("a.py", 4), ("a.py", 30), ("b.py", 2), ("companion accelerate/a.py", 9)]


def test_reading_logs_needs_no_torch() -> None:
    code = "import sys, porter.verify.migration_logs; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == "False"
