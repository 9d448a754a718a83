"""Which files a run read: found however it read them, and a trace serves trees that have the same
ones."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from textwrap import dedent

import pytest

from porter.verify.cache.reads import KnownReads, TreeHashes, parse_reads, reads_of, write_reads
from porter.verify.execution.open_watch import OpenWatch, watch_opened
from porter.verify.execution.session import Options
from porter.verify.harness.opened import ANY
from tests.verify.conftest import Heard, Verify
from tests.verify.folder_trees import PARITY, FolderTrees, write_recipe
from tests.verify.single_run import SingleRun, single_runs

linux = pytest.mark.skipif(sys.platform != "linux", reason="inotify is Linux's")


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SingleRun]:
    with single_runs(tmp_path_factory.mktemp("reads"), Path(sys.executable)) as runs:
        yield runs


def read_by(runs: SingleRun, code: str, *files: str) -> set[str]:
    """Return the files that a probe's code read, of those named and ``unread.py``."""
    tree = dict.fromkeys([*files, "unread.py", "unread.txt"], "1\n")
    body = "import os, shutil, subprocess, sys\nfrom pathlib import Path\ndef run(probe):\n"
    inner = "tree = probe.tree\n" + dedent(code) + "\nprobe.record('y', probe.normal('x', 3))\n"
    body += "".join(f"    {line}\n" for line in inner.splitlines())
    runs.trace(body, tree, base="b")
    reads = parse_reads((runs.left / "reads.json").read_bytes())
    assert reads.base == "b"
    return {*reads.files[""]}


@linux
@pytest.mark.parametrize(
    ("code", "file"),
    [
        ("import module", "module.py"),
        ("import package.inner", "package/inner.py"),
        ("open(tree / 'data.txt').read()", "data.txt"),
        ("open(os.fsencode(tree / 'data.py'), 'rb').read()", "data.py"),
        ("os.chdir(tree); open('inner/data.py').read()", "inner/data.py"),
        ("os.close(os.open(tree / 'data.py', os.O_RDONLY))", "data.py"),
        (
            "at = os.open(tree, os.O_RDONLY)\nos.close(os.open('in/a.py', os.O_RDONLY, dir_fd=at))",
            "in/a.py",
        ),
        ("shutil.copyfile(tree / 'data.py', 'copy.py')", "data.py"),
        ("subprocess.run([sys.executable, tree / 'script.py'], check=True)", "script.py"),
        ("subprocess.run([sys.executable, '-m', 'module'], check=True)", "module.py"),
        ("subprocess.run([sys.executable, '-I', tree / 'script.py'], check=True)", "script.py"),
        ("subprocess.run(['cat', tree / 'data.py'], check=True)", "data.py"),
        ("subprocess.run(f'cat {tree}/data.py', shell=True, check=True)", "data.py"),
        ("os.system(f'cat {tree}/data.py')", "data.py"),
        ("os.spawnlp(os.P_WAIT, 'cat', 'cat', f'{tree}/data.py')", "data.py"),
        (
            "subprocess.run([sys.executable, tree / 'script.py'], check=True, env={})",
            "script.py",
        ),
        (
            "import torch\ntorch.save({}, 'x')\n"
            "try: torch._C.PyTorchFileReader(str(tree / 'data.bin'))\nexcept RuntimeError: pass",
            "data.bin",
        ),
        (
            "import multiprocessing as m\nprocess = m.get_context('fork').Process(\n"
            "    target=lambda: open(tree / 'data.py').read())\nprocess.start(); process.join()",
            "data.py",
        ),
        ("os.symlink(tree, 'link'); open('link/data.py').read()", "data.py"),
        ("os.closerange(3, 64); open(tree / 'data.py').read()", "data.py"),
    ],
)
def test_a_file_is_found_however_it_is_read(runs: SingleRun, code: str, file: str) -> None:
    assert file in read_by(runs, code, file)


@linux
def test_files_that_nothing_reads_are_left_out(runs: SingleRun) -> None:
    code = """
        import module
        list(os.scandir(tree)); (tree / 'unread.txt').stat(); (tree / 'absent.txt').exists()
        try: open(tree / 'absent.py')
        except FileNotFoundError: pass
        subprocess.run([sys.executable, '-c', 'import module'], check=True)
        """
    assert read_by(runs, code, "module.py") == {"module.py"}


@linux
def test_without_a_watch_nothing_is_said_of_a_run(
    runs: SingleRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = "def run(probe): probe.record('y', probe.normal('x', 3))"
    runs.trace(code, base="b")
    assert (runs.left / "reads.json").exists()
    monkeypatch.setattr(OpenWatch, "begin", lambda _: None)
    runs.trace(code, base="b")
    assert not (runs.left / "reads.json").exists()


@linux
def test_a_lost_record_or_a_lost_event_leaves_a_run_unknown(tmp_path: Path) -> None:
    record = tmp_path / "opened.txt"
    tree = tmp_path / "tree"
    tree.mkdir()
    (tree / "a.py").write_text("1")
    (tree / "a.bin").write_text("1")
    with watch_opened([tree]) as watch:
        assert watch.opened(record) is None
        record.write_text("")
        (tree / "a.py").read_text()
        (tree / "a.bin").read_text()
        assert watch.opened(record) == {str(tree / "a.bin")}
        record.write_text(f"{ANY}\n")
        assert watch.opened(record) == {str(tree / "a.bin"), str(tree / "a.py")}
        for _ in range(9000):  # two kinds in turn, so that none is joined to the one before
            (tree / "a.py").open().close()
            (tree / "a.bin").open().close()
        assert watch.opened(record) is None


def test_a_trace_serves_trees_with_the_same_names_and_the_same_files_read(tmp_path: Path) -> None:
    files = {"read.py": "1", "unread.py": "1", "inner/data.txt": "1"}

    def tree(name: str, **changed: str) -> Path:
        folder = tmp_path / name
        for path, text in (files | changed).items():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_text(text)
        return folder

    first = tree("first")
    opened = [str(first / "read.py"), str(first / "inner/data.txt"), str(first / "absent")]
    reads = reads_of("base", {"": first}, opened, TreeHashes())
    assert {*reads.files[""]} == {"read.py", "inner/data.txt"}
    trace = tmp_path / "traces" / "one"
    trace.mkdir(parents=True)
    write_reads(trace, reads)

    def serves(folder: Path, base: str = "base", **companions: Path) -> bool:
        roots = {"": folder, **companions}
        return [*KnownReads().find(base, roots, tmp_path / "traces")] == [trace]

    assert serves(first)
    assert serves(tree("unread changed", **{"unread.py": "2"}))
    assert not serves(tree("read changed", **{"read.py": "2"}))
    assert not serves(tree("data changed", **{"inner/data.txt": "2"}))
    assert not serves(tree("more", **{"more.py": ""}))
    assert not serves(first, base="other")
    assert not serves(first, companion=first)
    less = tree("less")
    (less / "unread.py").unlink()
    assert not serves(less)
    runnable = tree("runnable")
    (runnable / "unread.py").chmod(0o755)
    assert not serves(runnable)
    linked = tree("linked")
    (linked / "unread.py").unlink()
    (linked / "unread.py").symlink_to("read.py")
    assert not serves(linked)


def test_a_tree_written_anew_in_the_same_place_is_hashed_anew(tmp_path: Path) -> None:
    hashes, tree = TreeHashes(), tmp_path / "tree"
    for text, name in (("1", "a.py"), ("2", "b.py")):
        tree.mkdir()
        (tree / name).write_text(text)
        (tree / "c.py").write_text(text)
        found = hashes.names(tree), hashes.file(tree / "c.py")
        if text == "1":
            before = found
        shutil.rmtree(tree)
    assert before[0] != found[0]
    assert before[1] != found[1]


PROBE = "import read\ndef run(probe): probe.record('y', read.f(probe.normal('x', 9)))\n"


@linux
def test_only_runs_that_read_a_changed_file_are_made_again(
    tmp_path: Path, trees: FolderTrees, verify: Verify, heard: Heard
) -> None:
    def levels(**unread: str) -> FolderTrees:
        folder = FolderTrees(tmp_path / f"trees-{os.urandom(4).hex()}")
        folder.add("port", **unread)
        for level in folder.levels("port"):
            text = "def f(x): return x + 1\n" if level.number < 2 else "def f(x): return 1 + x\n"
            (level.folder / "read.py").write_text(text)
        return folder

    write_recipe(tmp_path, "port", "one", PARITY, PROBE)
    one_at_once = Options(jobs=1)

    (first,) = verify(levels(upstream="a", one="b", two="c"), options=one_at_once)
    assert first.passed
    # Level 0 in float64, float32 and shaken; level 2. Level 1 reads what level 0 did.
    assert sorted(heard.ends) == ["cached", "made", "made", "made", "made"]

    heard.ends.clear()
    (second,) = verify(levels(upstream="d", one="b", two="e"), options=one_at_once)
    assert {*heard.ends} == {"cached"}
    assert second.passed

    heard.ends.clear()
    (again,) = verify(levels(upstream="d", one="f", two="e"), options=Options(jobs=1, fresh=True))
    assert {*heard.ends} == {"made"}
    assert again.verdicts == second.verdicts
