"""``git am`` and ``quilt push -a`` accept the same series and give the same trees."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Collection, Iterator
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from porter.git.objects import Oid, blob_id, encode_commit
from porter.levels.build import Builder
from porter.levels.levels import build_levels, levels_of
from porter.series.series import Patch, load_series, read_patch
from porter.upstream.pins import load_pins
from porter.upstream.store import Upstream
from tests.conftest import PROJECT
from tests.generated_trees import EXAMPLES, FILE, Tree, edits, texts, trees
from tests.plain_upstream import WHO, PlainPin, PlainUpstream, git, write_tree
from tests.served import Served

HEADER = """From: =?UTF-8?q?Ada_P=C3=B6rter?= <ada@example.org>
Date: Thu, 7 Dec 2023 12:00:{number:02} +0100
Subject: [PATCH {number}/9] Change  things, part
 {number}

A word on why.

Level: part-{number}
Devices: hpu
Keeps: all
Gains: some
Origin: nothing
Forwarded: not-needed
---
"""
_SLOW = settings(
    max_examples=EXAMPLES // 4 + 1,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
GIT_AM = ("git", "am", "-q", "--keep-cr", "--committer-date-is-author-date")
_OPTIONS = ("--full-index", "--binary", "-M")


@pytest.fixture
def folder() -> Iterator[Path]:
    shm = Path("/dev/shm")
    made = Path(tempfile.mkdtemp(dir=shm if shm.is_dir() else None))
    git(made, "init", "-q")
    yield made
    shutil.rmtree(made)


def write_series(folder: Path, states: list[Tree]) -> tuple[Oid, list[Patch]]:
    """Write patches that lead from state to state; return level 0's tree and the patches."""
    ids = [write_tree(folder, state) for state in states]
    patches = []
    for old, new in pairwise(ids):
        diff = git(folder, "diff", *_OPTIONS, old, new)[1]
        if diff:
            number = len(patches) + 1
            path = folder / ".git" / f"{number:04}-part-{number}.patch"
            path.write_bytes(HEADER.format(number=number).encode() + diff)
            patches.append(read_patch(path))
    return ids[0], patches


def git_am(
    folder: Path, commit: Oid, patches: list[Patch], without: Collection[bytes] = ()
) -> list[Oid]:
    """The commits that ``git am`` makes of the patches, the author committing.

    Files ``without`` are left out, and with them the patches of nothing else.
    """
    git(folder, "checkout", "-qf", "--detach", commit)
    excluded = [b"--exclude=" + path for path in without]
    made = []
    for patch in patches:
        if {path for file in patch.files for path in file.paths} <= set(without):
            continue
        who = patch.header.author
        env = os.environ | {"GIT_COMMITTER_NAME": who.name, "GIT_COMMITTER_EMAIL": who.email}
        subprocess.run(
            [*GIT_AM, *excluded, patch.path],
            cwd=folder, env=env, check=True, capture_output=True,
        )  # fmt: skip
        made.append(Oid(git(folder, "rev-parse", "HEAD")[1].decode().strip()))
    return made


def read_work_tree(folder: Path) -> dict[bytes, bytes]:
    root = os.fsencode(folder)
    found = {}
    for at, folders, files in os.walk(root):
        folders[:] = [name for name in folders if name not in (b".git", b".pc", b"patches")]
        for name in files:
            path = Path(os.fsdecode(at)) / os.fsdecode(name)
            found[os.fsencode(path.relative_to(folder))] = path.read_bytes()
    return found


@_SLOW
@given(data=st.data())
def test_git_am_makes_the_same_commits_of_a_generated_series(data: st.DataObject) -> None:
    states = [data.draw(trees())]
    for _ in range(3):
        states.append(data.draw(edits(states[-1])))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        git(folder, "init", "-q")
        tree, patches = write_series(folder, states)
        upstream = PlainUpstream(folder / ".git", PlainPin(tree))
        with upstream.odb, Builder(upstream) as builder:
            levels = levels_of(tree, upstream.commit, builder.run(patches))
        commits = git_am(folder, upstream.commit, patches)
    assert [level.commit for level in levels[1:]] == commits


@st.composite
def plain_series(draw: st.DrawFn) -> list[Tree]:
    """Edits of text files, which GNU patch (called by quilt) supports."""
    text = texts().filter(lambda t: bool(t) and b"\0" not in t and b"\r" not in t)
    names = st.sampled_from((b"a", b"b.txt", b"d/e", b"d/f"))
    states: list[Tree] = [dict.fromkeys((b"a", b"keep"), (FILE, b"1\n2\n3\n"))]
    for _ in range(4):
        state = dict(states[-1])
        state[draw(names)] = FILE, draw(text)
        states.append(state)
    return states


@pytest.mark.skipif(not shutil.which("quilt"), reason="quilt is not installed")
@_SLOW
@given(states=plain_series())
def test_quilt_push_makes_the_same_files_of_a_generated_series(states: list[Tree]) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        git(folder, "init", "-q")
        tree, patches = write_series(folder, states)
        upstream = PlainUpstream(folder / ".git", PlainPin(tree))
        git(folder, "checkout", "-qf", "--detach", upstream.commit)
        push_with_quilt(folder, patches)
        with upstream.odb, Builder(upstream) as builder:
            last = builder.run(patches)[-1].tree if patches else tree
        pushed = {path: (FILE, body) for path, body in read_work_tree(folder).items()}
        assert write_tree(folder, pushed) == last


def push_with_quilt(folder: Path, patches: list[Patch]) -> None:
    (folder / "patches").mkdir()
    for patch in patches:
        shutil.copy(patch.path, folder / "patches")
    (folder / "patches" / "series").write_text("".join(f"{p.name}\n" for p in patches))
    if patches:
        command = ["quilt", "--quiltrc", "-", "push", "-a", "--fuzz=0", "-q"]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr


def _ports() -> list[str]:
    return [pin.name for pin in load_pins(PROJECT).ports()]


def _check_out(folder: Path, upstream: Upstream, covered: set[bytes]) -> Oid:
    """Commit these files of the upstream in ``folder``; return the commit."""
    listing = upstream.listing()
    blobs = upstream.blobs(listing[path].oid for path in covered)
    tree = write_tree(folder, {p: (listing[p].mode, blobs[listing[p].oid]) for p in covered})
    body = encode_commit(tree, [], WHO, WHO, f"{upstream.pin.name}\n")
    commit = git(folder, "hash-object", "-t", "commit", "-w", "--stdin", data=body)[1]
    git(folder, "checkout", "-qf", "--detach", commit.decode().strip())
    return Oid(commit.decode().strip())


@pytest.mark.forms(2)
@pytest.mark.upstream
@pytest.mark.parametrize("port", _ports())
def test_git_am_and_quilt_make_the_same_files_of_our_series(
    folder: Path, served: Served, port: str
) -> None:
    series = load_series(PROJECT, port)
    covered = served.covered(
        port, {path for p in series.patches for f in p.files for path in f.paths}
    )
    levels = build_levels(served.upstream(port), series, memo=False)
    unseen = {path for level in levels for path in level.claimed}
    commit = _check_out(folder, served.upstream(port), covered)
    last = {path: blob for level in levels for path, blob in level.files.items()}
    expected = {path: blob for path, blob in last.items() if blob and path not in unseen}
    git_am(folder, commit, list(series.patches), unseen)
    assert _ids(folder) == expected
    if shutil.which("quilt") and not unseen:  # it takes no part of a patch
        git(folder, "checkout", "-qf", "--detach", commit)
        push_with_quilt(folder, list(series.patches))
        assert _ids(folder) == expected


def _ids(folder: Path) -> dict[bytes, Oid]:
    return {path: blob_id(body) for path, body in read_work_tree(folder).items()}
