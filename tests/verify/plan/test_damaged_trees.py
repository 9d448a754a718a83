"""A cached tree that was changed on disk is noticed before a probe runs on it, and mended."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from porter.upstream.needs import Needs
from porter.upstream.snapshot import Snapshots, gather_tree
from porter.upstream.store import Upstream, open_upstream
from tests.remotes import FILES, make_remote, one_pin

ALL = {**FILES, "run.sh": b"#!/bin/sh\n", "to.link": b"src/model.py"}
NEEDS = Needs((*ALL,))


@pytest.fixture
def upstream(tmp_path: Path) -> Iterator[Upstream]:
    remote = make_remote(tmp_path / "remote", ALL)
    with open_upstream(tmp_path / "project", one_pin(tmp_path / "project", remote)) as opened:
        yield opened


def snapshot(upstream: Upstream) -> tuple[Snapshots, Path]:
    snapshots = Snapshots()
    return snapshots, snapshots.folder(gather_tree(upstream, upstream.pin.tree, NEEDS))


def contents(folder: Path) -> dict[str, tuple[int, bytes]]:
    return {
        str(path.relative_to(folder)): (path.lstat().st_mode, path.read_bytes())
        for path in folder.rglob("*")
        if path.is_file() or path.is_symlink()
    }


def write(path: Path, content: bytes) -> None:
    path.chmod(0o644)
    path.write_bytes(content)


def relink(path: Path, target: str) -> None:
    path.unlink()
    path.symlink_to(target)


DAMAGE: dict[str, tuple[Callable[[Path], object], str]] = {
    "appended": (lambda f: write(f / "src/model.py", b"x"), "src/model.py was changed"),
    "gone": (lambda f: (f / "LICENSE").unlink(), "LICENSE is gone"),
    "added": (lambda f: (f / "src/torch.py").write_text(""), "src/torch.py is not part of it"),
    "added folder": (lambda f: (f / "torch").mkdir(), "torch is not part of it"),
    "mode": (lambda f: (f / "LICENSE").chmod(0o555), "LICENSE was changed"),
    "link": (lambda f: relink(f / "to.link", "LICENSE"), "to.link was changed"),
    "file for link": (
        lambda f: ((f / "to.link").unlink(), (f / "to.link").write_bytes(b"src/model.py")),
        "to.link was changed",
    ),
}


@pytest.mark.parametrize("case", DAMAGE)
def test_a_damaged_tree_is_written_again_and_said(upstream: Upstream, case: str) -> None:
    harm, problem = DAMAGE[case]
    _, folder = snapshot(upstream)
    whole = contents(folder)
    harm(folder)
    snapshots, folder = snapshot(upstream)

    line = snapshots.mend(folder)

    assert line == f"{folder}: {problem}; written again"
    assert contents(folder) == whole
    assert snapshots.mend(folder) == ""
    assert [path.name for path in folder.parent.iterdir()] == [folder.name]


@pytest.mark.parametrize("case", DAMAGE)
def test_damage_between_two_runs_is_noticed_too(upstream: Upstream, case: str) -> None:
    snapshots, folder = snapshot(upstream)
    assert snapshots.mend(folder) == ""
    times = (folder / "src/model.py").stat()

    DAMAGE[case][0](folder)
    if (folder / "src/model.py").exists():
        os.utime(folder / "src/model.py", ns=(times.st_atime_ns, times.st_mtime_ns))

    assert DAMAGE[case][1] in snapshots.mend(folder)


def test_an_unchanged_tree_is_hashed_once(
    upstream: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    snapshots, folder = snapshot(upstream)
    assert snapshots.mend(folder) == ""
    monkeypatch.setattr("porter.upstream.snapshot.blob_id", None)

    assert snapshots.mend(folder) == ""
