"""Levels equal ``git apply --index`` byte for byte, and what git refuses is refused."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from porter.git.objects import Oid
from porter.levels.build import Builder
from porter.series.series import Patch, read_patch
from tests.generated_trees import EXAMPLES, Tree, edits, exports, spoiled, trees
from tests.plain_upstream import PlainPin, PlainUpstream, git, write_tree

_SLOW = settings(
    max_examples=EXAMPLES,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)


@dataclass
class Bench:
    """A repository with a work tree for git, read by porter as an upstream."""

    folder: Path

    def diff(self, before: Oid, after: Oid, options: tuple[str, ...]) -> bytes:
        return git(self.folder, "diff", *options, before, after)[1]

    def git_apply(self, base: Oid, patch: bytes) -> Oid | None:
        """Return the tree that ``git apply --index`` makes in a work tree; None when it refuses."""
        for name in ("index", "index.lock"):  # git can crash on a spoiled patch
            (self.folder / ".git" / name).unlink(missing_ok=True)
        for path in self.folder.iterdir():
            if path.name != ".git":
                shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
        git(self.folder, "read-tree", "-u", "--reset", base)
        code, _, _ = git(self.folder, "apply", "--index", "-", data=patch, check=False)
        return Oid(git(self.folder, "write-tree")[1].decode().strip()) if code == 0 else None

    def porter(self, base: Oid, patches: list[Patch]) -> list[Oid | None]:
        """Return the trees that porter makes, None for a refusal."""
        upstream = PlainUpstream(self.folder / ".git", PlainPin(base))
        with upstream.odb, Builder(upstream) as builder:
            steps = builder.run(patches)
        return [None if step.failures else step.tree for step in steps]

    def patch(self, raw: bytes) -> Patch:
        path = self.folder / ".git" / "case.patch"
        path.write_bytes(raw)
        return read_patch(path)


@pytest.fixture(scope="module")
def bench() -> Iterator[Bench]:
    # /dev/shm keeps hundreds of small checkouts off the disk.
    shm = Path("/dev/shm")
    folder = Path(tempfile.mkdtemp(dir=shm if shm.is_dir() else None))
    git(folder, "init", "-q")
    yield Bench(folder)
    shutil.rmtree(folder)


def check_one(bench: Bench, base: Tree, raw: bytes) -> None:
    tree = write_tree(bench.folder, base)
    assert bench.porter(tree, [bench.patch(raw)]) == [bench.git_apply(tree, raw)]


@_SLOW
@given(data=st.data())
def test_a_git_diff_gives_the_tree_that_git_gives(bench: Bench, data: st.DataObject) -> None:
    before = data.draw(trees())
    after = data.draw(edits(before))
    old, new = write_tree(bench.folder, before), write_tree(bench.folder, after)
    check_one(bench, before, bench.diff(old, new, data.draw(exports())))


@_SLOW
@given(data=st.data())
def test_a_patch_on_a_drifted_base_is_applied_or_refused_as_git_does(
    bench: Bench, data: st.DataObject
) -> None:
    before = data.draw(trees())
    old = write_tree(bench.folder, before)
    new = write_tree(bench.folder, data.draw(edits(before)))
    check_one(bench, data.draw(edits(before)), bench.diff(old, new, data.draw(exports())))


@_SLOW
@given(data=st.data())
def test_a_spoiled_patch_is_applied_or_refused_as_git_does(
    bench: Bench, data: st.DataObject
) -> None:
    before = data.draw(trees())
    old = write_tree(bench.folder, before)
    new = write_tree(bench.folder, data.draw(edits(before)))
    raw = data.draw(spoiled(bench.diff(old, new, data.draw(exports()))))
    check_one(bench, before, raw)


@settings(_SLOW, max_examples=EXAMPLES // 3 + 1)
@given(data=st.data())
def test_a_series_gives_the_trees_that_git_gives_one_after_another(
    bench: Bench, data: st.DataObject
) -> None:
    states = [data.draw(trees())]
    for _ in range(4):
        states.append(data.draw(edits(states[-1])))
    ids = [write_tree(bench.folder, state) for state in states]
    options = ("--full-index", "--binary", "-M")
    raws = [bench.diff(old, new, options) for old, new in pairwise(ids)]
    pairs = [(raw, new) for raw, new in zip(raws, ids[1:], strict=True) if raw]
    patches = [bench.patch(raw) for raw, _ in pairs]
    assert bench.porter(ids[0], patches) == [new for _, new in pairs]


@pytest.mark.parametrize("path", [b"../x", b"a/../x", b"../a\\\\x", b".git/x", b".GIT/x"])
def test_paths_out_of_the_tree_are_refused(bench: Bench, path: bytes) -> None:
    name = b'"%s/' + path + b'"' if b"\\" in path else b"%s/" + path
    head = b"diff --git " + name % b"a" + b" " + name % b"b"
    raw = head + b"\nnew file mode 100644\nindex 0000000..e69de29\n"
    assert bench.porter(write_tree(bench.folder, {}), [bench.patch(raw)]) == [None]
    check_one(bench, {b"b": (0o100644, b"")}, raw)


@pytest.mark.parametrize(
    "lost", [b"@@ -0,0 +1 @@\n", b"@@ -0,0 +1 @@\n+../c\n\\ No newline at end of file\n"]
)
def test_an_empty_link_is_refused_since_no_work_tree_can_hold_it(bench: Bench, lost: bytes) -> None:
    old = write_tree(bench.folder, {b"a": (0o100644, b"")})
    new = write_tree(bench.folder, {b"a": (0o100644, b""), b"l": (0o120000, b"../c")})
    raw = bench.diff(old, new, ("--full-index",)).replace(lost, b"")
    check_one(bench, {b"a": (0o100644, b"")}, raw)
