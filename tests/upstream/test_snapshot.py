"""Levels as plain files: complete, exact, inside their folder, and shared when cached."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from porter.errors import CorruptSource
from porter.git.objects import Oid
from porter.places import cache_dir
from porter.upstream.needs import Needs
from porter.upstream.snapshot import cached_tree, gather_tree
from porter.upstream.store import Upstream, open_upstream
from tests.remotes import FILES, Remote, make_remote, one_pin, write_tree

ALL = {**FILES, "run.sh": b"#!/bin/sh\r\n", "to.link": b"src/model.py"}


@pytest.fixture
def remote(tmp_path: Path) -> Remote:
    return make_remote(tmp_path / "remote", ALL)


@pytest.fixture
def upstream(tmp_path: Path, remote: Remote) -> Iterator[Upstream]:
    with open_upstream(tmp_path / "project", one_pin(tmp_path / "project", remote)) as opened:
        yield opened


def files_below(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and not path.is_symlink()
    }


def test_a_snapshot_holds_the_exact_bytes(upstream: Upstream) -> None:
    gathered = gather_tree(upstream, upstream.pin.tree, Needs((*ALL,)))
    folder = cached_tree(gathered)
    assert files_below(folder) == {k: v for k, v in ALL.items() if k != "to.link"}
    assert gathered.covered.missing == ()
    assert (folder / "to.link").readlink() == Path("src/model.py")
    assert os.access(folder / "run.sh", os.X_OK)
    assert not (folder / "LICENSE").stat().st_mode & 0o111


def test_only_the_asked_paths_are_brought_and_written(upstream: Upstream) -> None:
    gathered = gather_tree(upstream, upstream.pin.tree, Needs(("src/deep/",)))
    assert list(files_below(cached_tree(gathered))) == ["src/deep/layer.py"]
    assert gathered.covered.bytes_received < 1000


def test_files_that_no_source_serves_are_named(upstream: Upstream, remote: Remote) -> None:
    upstream.blobs(e.oid for p, e in upstream.listing().items() if p.startswith(b"src/"))
    shutil.rmtree(remote.path)
    gathered = gather_tree(upstream, upstream.pin.tree, Needs(("src/", "LICENSE")))
    assert gathered.covered.missing == (b"LICENSE",)
    written = files_below(cached_tree(gathered))
    assert sorted(written) == ["src/deep/layer.py", "src/model.py"]


@pytest.mark.parametrize("target", ["/etc/passwd", "../out", "a/../../b"])
def test_a_link_that_leads_out_is_refused(tmp_path: Path, target: str) -> None:
    remote = make_remote(tmp_path / "hostile", {"bad.link": target.encode()})
    root = tmp_path / "other"
    upstream = open_upstream(root, one_pin(root, remote))
    with upstream, pytest.raises(CorruptSource, match="a link inside the tree, found one to"):
        cached_tree(gather_tree(upstream, upstream.pin.tree, Needs()))
    assert list((cache_dir() / "trees").iterdir()) == []


def test_the_cached_form_is_made_once_and_read_only(upstream: Upstream) -> None:
    needs = Needs(("src/", "run.sh", "LICENSE"))
    folder = cached_tree(gather_tree(upstream, upstream.pin.tree, needs))
    again = cached_tree(gather_tree(upstream, upstream.pin.tree, needs))
    assert folder == again
    assert (folder / "run.sh").stat().st_mode & 0o777 == 0o555
    assert (folder / "LICENSE").stat().st_mode & 0o777 == 0o444


def test_an_incomplete_cached_form_is_not_taken_for_the_whole(
    upstream: Upstream, remote: Remote, tmp_path: Path
) -> None:
    needs = Needs(("src/", "LICENSE"))
    upstream.blobs([upstream.listing()[b"LICENSE"].oid])
    remote.path.rename(tmp_path / "away")
    partial = cached_tree(gather_tree(upstream, upstream.pin.tree, needs))
    (tmp_path / "away").rename(remote.path)
    with open_upstream(upstream.root, upstream.pin) as again:
        gathered = gather_tree(again, upstream.pin.tree, needs)
        whole = cached_tree(gathered)
    assert list(files_below(partial)) == ["LICENSE"]
    assert gathered.covered.missing == ()
    assert set(files_below(whole)) == {"LICENSE", "src/model.py", "src/deep/layer.py"}


def test_a_source_that_does_not_answer_is_asked_once(
    upstream: Upstream, remote: Remote, tmp_path: Path
) -> None:
    remote.path.rename(tmp_path / "away")
    first = gather_tree(upstream, upstream.pin.tree, Needs(("src/model.py",)))
    (tmp_path / "away").rename(remote.path)
    second = gather_tree(upstream, upstream.pin.tree, Needs(("src/deep/",)))
    assert first.covered.missing == (b"src/model.py",)
    assert second.covered.missing == (b"src/deep/layer.py",)
    assert second.covered.reasons == first.covered.reasons


def test_documentation_is_not_in_a_runs_tree_whether_a_source_serves_it_or_not(
    upstream: Upstream, remote: Remote, tmp_path: Path
) -> None:
    upstream.blobs([upstream.listing()[b"README.md"].oid])
    served = cached_tree(gather_tree(upstream, upstream.pin.tree, Needs()))
    for name in ("README.md", "docs/long.txt", "LICENSE"):
        assert not (served / name).exists()
    named = gather_tree(upstream, upstream.pin.tree, Needs(("src/", "*.md")))
    assert set(files_below(cached_tree(named))) == {"README.md", *files_below_src(served)}


def files_below_src(folder: Path) -> set[str]:
    return {name for name in files_below(folder) if name.startswith("src/")}


def test_any_tree_in_the_store_can_be_written(upstream: Upstream) -> None:
    level = Oid(write_tree(upstream.git_dir, {"src/model.py": b"# patched\n"}))
    folder = cached_tree(gather_tree(upstream, level, Needs()))
    assert files_below(folder) == {"src/model.py": b"# patched\n"}
