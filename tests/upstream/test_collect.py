"""porter gc frees what nobody needs and keeps everything else."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import pytest

from porter.git.objects import Entry, Oid, blob_id, encode_tree, hash_object
from porter.git.odb import Odb
from porter.upstream.audit import audit
from porter.upstream.needs import Needs
from porter.upstream.registry import projects, register, trees
from porter.upstream.snapshot import cached_tree, gather_tree
from porter.upstream.store import fetch, open_upstream, repository, store_dir
from tests.remotes import FILES, Remote, git, make_project, make_remote, one_pin, pin_of, porter


@pytest.fixture
def remote(tmp_path: Path) -> Remote:
    return make_remote(tmp_path / "remote")


@pytest.fixture
def root(tmp_path: Path, remote: Remote) -> Path:
    """A project with a warm store."""
    fetch(tmp_path / "project", one_pin(tmp_path / "project", remote))
    return tmp_path / "project"


def write_level(content: bytes) -> tuple[Oid, Oid]:
    """Write a commit with one file, as levels are written; return commit and blob id."""
    tree = encode_tree([(b"level.py", Entry(0o100644, blob_id(content)))])
    commit = f"tree {hash_object('tree', tree)}\nauthor a <a> 1 +0000\ncommitter a <a> 1 +0000\n\nl"
    with Odb(repository("model")) as odb:
        odb.write([("blob", content), ("tree", tree), ("commit", commit.encode())])
    return hash_object("commit", commit.encode()), blob_id(content)


def borrow(folder: Path, commit: Oid) -> None:
    """Make a work tree at ``commit`` that borrows the store's objects."""
    git("init", "--quiet", folder)
    alternates = folder / ".git/objects/info/alternates"
    alternates.write_text(f"{repository('model')}/objects\n")
    git("-C", folder, "update-ref", "--no-deref", "HEAD", commit)
    register("trees", folder)


def held(*oids: Oid) -> list[bool]:
    with Odb(repository("model")) as odb:
        return [oid in odb.has(oids) for oid in oids]


def test_what_the_pins_need_stays(root: Path) -> None:
    freed = json.loads(porter(root, "gc", "--now", "--json").stdout)
    assert freed["freed"] == []
    assert "5 of 5 wanted files" in porter(root, "fetch", "--offline").stdout


def test_levels_that_nobody_needs_go(root: Path, remote: Remote) -> None:
    commit, blob = write_level(b"old level\n" * 100)
    done = porter(root, "gc", "--now")
    assert "objects that no pin and no work tree needs" in done.stdout
    assert held(commit, blob, remote.commit) == [False, False, True]
    assert audit(repository("model")).damage == ()


def test_a_dry_run_frees_nothing(root: Path) -> None:
    commit, blob = write_level(b"old level\n" * 100)
    done = porter(root, "gc", "--now", "--dry-run")
    assert "would be freed" in done.stdout
    assert held(commit, blob) == [True, True]


def test_what_was_written_within_the_hour_stays(root: Path) -> None:
    commit, blob = write_level(b"a level that some process is about to use\n")
    assert porter(root, "gc").stdout == "0 B freed\n"
    assert held(commit, blob) == [True, True]


def test_what_a_work_tree_stands_on_stays(root: Path, tmp_path: Path) -> None:
    kept, dropped = write_level(b"in use\n"), write_level(b"not in use\n")
    borrow(tmp_path / "tree", kept[0])
    porter(root, "gc", "--now")
    assert held(*kept, *dropped) == [True, True, False, False]
    git("-C", tmp_path / "tree", "checkout", "--quiet", "HEAD", "--", ".")
    assert (tmp_path / "tree/level.py").read_bytes() == b"in use\n"


def test_what_a_work_tree_could_go_back_to_stays(root: Path, tmp_path: Path) -> None:
    first, second = write_level(b"first\n"), write_level(b"second\n")
    borrow(tmp_path / "tree", first[0])
    git("-C", tmp_path / "tree", "update-ref", "refs/porter/levels/2-second", second[0])
    porter(root, "gc", "--now")
    assert held(*first, *second) == [True] * 4


def test_a_deleted_work_tree_needs_nothing(root: Path, tmp_path: Path) -> None:
    level = write_level(b"gone\n")
    borrow(tmp_path / "tree", level[0])
    (tmp_path / "tree").rename(tmp_path / "gone")
    porter(root, "gc", "--now")
    assert held(*level) == [False, False]
    assert trees() == ()


def test_a_work_tree_git_cannot_read_stops_the_collection(root: Path, tmp_path: Path) -> None:
    level = write_level(b"precious\n")
    borrow(tmp_path / "tree", level[0])
    (tmp_path / "tree/.git/packed-refs").write_text("nonsense nonsense\n")
    done = porter(root, "gc", "--now")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "repair or delete it first" in done.stderr
    assert held(*level) == [True, True]


def test_an_upstream_that_no_pin_names_goes(root: Path, remote: Remote) -> None:
    make_project(root, {"other": pin_of(remote)})
    done = porter(root, "gc", "--now")
    assert f"upstream that no pin names: {repository('model')}" in done.stdout
    assert not repository("model").exists()


def test_another_projects_pins_count(root: Path, remote: Remote, tmp_path: Path) -> None:
    second = make_project(tmp_path / "second", {"other": pin_of(remote)})
    porter(second, "gc", "--now")
    assert repository("model").is_dir()
    assert root in projects()


def test_a_project_whose_pins_cannot_be_read_stops_the_collection(
    root: Path, remote: Remote, tmp_path: Path
) -> None:
    second = make_project(tmp_path / "second", {"other": pin_of(remote)})
    (root / "upstream_pins.yaml").write_text("version: [")
    done = porter(second, "gc", "--now")
    assert done.returncode == 2
    assert f"{root}/upstream_pins.yaml:" in done.stderr
    assert repository("model").is_dir()


def test_what_killed_processes_left_goes(root: Path) -> None:
    pack = repository("model") / "objects/pack"
    left = [
        pack / "tmp_pack_x1",
        pack / "pack-1111.pack",
        store_dir() / "model.git.abc.new/objects",
        store_dir().parent / "staging/model@x/git",
    ]
    for path in left:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x" * 100)
    porter(root, "gc", "--now")
    assert not [path for path in left if path.exists()]


def test_snapshots_that_nobody_used_lately_go(root: Path, remote: Remote) -> None:
    with open_upstream(root, one_pin(root, remote)) as upstream:
        old = cached_tree(gather_tree(upstream, remote.tree, Needs(("src/",))))
        new = cached_tree(gather_tree(upstream, remote.tree, Needs(("LICENSE",))))
    month_ago = time.time() - 30 * 86400
    os.utime(old, (month_ago, month_ago))
    porter(root, "gc")
    assert (old.exists(), new.exists()) == (False, True)


def test_a_release_can_be_read_again_after_a_collection(root: Path) -> None:
    (repository("model") / "porter-read-abc").write_text("")
    write_level(b"old level\n" * 100)
    porter(root, "gc", "--now")
    assert not list(repository("model").glob("porter-read-*"))


def test_files_once_fetched_are_not_fetched_again(root: Path, remote: Remote) -> None:
    write_level(b"old level\n" * 100)
    porter(root, "gc", "--now")
    assert held(*map(blob_id, FILES.values())) == [True] * len(FILES)
