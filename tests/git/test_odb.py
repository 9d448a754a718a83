"""Objects are read in bulk, hashed again, written in one pack, and never fetched implicitly."""

from __future__ import annotations

import os
import shutil
import signal
import threading
import zlib
from collections.abc import Iterable
from pathlib import Path

import pytest

from porter.errors import BadInput, CorruptSource
from porter.git import odb as odb_module
from porter.git.objects import Entry, Oid, blob_id, encode_tree, hash_object
from porter.git.odb import MissingObject, Odb
from porter.upstream.gitfetch import create_repository
from tests.remotes import FILES, Remote, git, git_commands, make_remote

ABSENT = Oid("f" * 40)


@pytest.fixture
def remote(tmp_path: Path) -> Remote:
    return make_remote(tmp_path / "remote")


@pytest.fixture
def empty(tmp_path: Path) -> Path:
    create_repository(tmp_path / "store/empty.git")
    return tmp_path / "store/empty.git"


def test_reads_blobs_trees_and_commits(remote: Remote) -> None:
    with Odb(remote.path) as odb:
        blob = blob_id(FILES["README.md"])
        assert odb.read(blob) == FILES["README.md"]
        assert odb.tree(remote.tree)[b"README.md"] == Entry(0o100644, blob)
        assert odb.read(remote.commit).startswith(b"tree " + remote.tree.encode())


def test_flat_lists_what_git_lists(remote: Remote) -> None:
    with Odb(remote.path) as odb:
        assert sorted(path.decode() for path in odb.flat(remote.tree)) == sorted(FILES)


def test_absent_objects_are_left_out_or_named(remote: Remote) -> None:
    with Odb(remote.path) as odb:
        assert odb.has([remote.commit, ABSENT]) == {remote.commit}
        assert set(odb.read_many([ABSENT, remote.tree])) == {remote.tree}
        with pytest.raises(MissingObject, match=f"no object {ABSENT}"):
            odb.read(ABSENT)


def test_thousands_of_objects_do_not_block_the_pipes(empty: Path) -> None:
    bodies = [b"%d" % n * 400 for n in range(3000)]
    with Odb(empty) as odb:
        odb.write(("blob", body) for body in bodies)
        found = odb.read_many(blob_id(body) for body in bodies)
        assert sorted(found.values()) == sorted(bodies)
        assert len(odb.has(found)) == 3000


def test_what_is_written_git_accepts(empty: Path) -> None:
    blob = ("blob", b"x" * 100_000)
    tree = ("tree", encode_tree([(b"big", Entry(0o100644, hash_object(*blob)))]))
    nothing = ("blob", b"")
    with Odb(empty) as odb:
        odb.write([blob, tree, nothing])
    git("--git-dir", empty, "fsck", "--strict", "--full")
    rows = git("--git-dir", empty, "ls-tree", hash_object(*tree))
    assert rows == b"100644 blob %s\tbig\n" % hash_object(*blob).encode()


def test_writing_the_same_again_adds_no_pack(empty: Path) -> None:
    with Odb(empty) as odb:
        for _ in range(3):
            odb.write([("blob", b"one"), ("blob", b"two")])
    assert len(list((empty / "objects/pack").glob("*.pack"))) == 1


def test_a_reader_sees_what_another_process_wrote_since(empty: Path) -> None:
    with Odb(empty) as reader, Odb(empty) as writer:
        assert reader.has([blob_id(b"late")]) == set()
        writer.write([("blob", b"late")])
        assert reader.read(blob_id(b"late")) == b"late"


def test_a_missing_object_never_starts_a_fetch(
    remote: Remote, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    partial, trace = tmp_path / "partial", tmp_path / "trace"
    git("clone", "--quiet", "--bare", "--filter=blob:none", remote.url, partial)
    monkeypatch.setenv("GIT_TRACE2_EVENT", str(trace))
    blobs = [blob_id(content) for content in FILES.values()]
    with Odb(partial) as odb, pytest.raises(CorruptSource):
        odb.read_many(blobs)  # git ends there: it may not fetch, and a promisor owes the object
    monkeypatch.delenv("GIT_TRACE2_EVENT")
    missing = git("--git-dir", partial, "rev-list", "--objects", "--all", "--missing=print")
    assert missing.count(b"?") >= len(FILES)


def test_in_a_repository_of_the_store_absence_costs_no_process(
    empty: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trace = tmp_path / "trace"
    monkeypatch.setenv("GIT_TRACE2_EVENT", str(trace))
    with Odb(empty) as odb:
        assert odb.read_many(Oid(f"{n:040x}") for n in range(1, 2000)) == {}
    assert len(git_commands(trace, ("cat-file",))) == 1
    assert git_commands(trace) == []


def test_a_flipped_loose_object_is_damage(tmp_path: Path, remote: Remote) -> None:
    blob = blob_id(FILES["README.md"])
    path = remote.path / "objects" / blob[:2] / blob[2:]
    path.chmod(0o644)
    path.write_bytes(zlib.compress(b"blob 10\0# A modeL\n"))
    with Odb(remote.path) as odb, pytest.raises(CorruptSource, match=f"object {blob} is damaged"):
        odb.read(blob)


def test_hook_variables_do_not_lead_to_another_repository(
    empty: Path, remote: Remote, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GIT_DIR", str(remote.path))
    monkeypatch.setenv("GIT_OBJECT_DIRECTORY", str(remote.path / "objects"))
    with Odb(empty) as odb:
        assert odb.has([remote.commit]) == set()


def test_a_reader_that_was_killed_is_started_anew(remote: Remote) -> None:
    with Odb(remote.path) as odb:
        odb.read(remote.commit)
        [reader] = odb._processes.values()
        os.kill(reader.pid, signal.SIGKILL)
        reader.wait()
        assert odb.read(remote.commit)


def test_threads_may_share_one(empty: Path) -> None:
    bodies = [b"%d" % n for n in range(400)]
    with Odb(empty) as odb:
        odb.write(("blob", body) for body in bodies)
        results: list[bool] = []

        def read() -> None:
            results.append(all(odb.read(blob_id(body)) == body for body in bodies))

        threads = [threading.Thread(target=read) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert results == [True] * 4


def test_a_folder_that_is_no_repository_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="expected a git repository, found none"):
        Odb(tmp_path).read(ABSENT)


def test_one_process_reads_and_looks_up(
    remote: Remote, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GIT_TRACE2_EVENT", str(trace := tmp_path / "trace"))
    with Odb(remote.path) as odb:
        assert odb.read(remote.commit)
        assert odb.has([remote.tree, ABSENT]) == {remote.tree}
        assert odb.read_many([ABSENT]) == {}
    assert len(git_commands(trace, ("cat-file",))) == 1


def test_a_git_that_cannot_both_read_and_look_up_gets_two_processes(
    remote: Remote, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(odb_module, "_old", set())
    script = '#!/bin/sh\ncase "$*" in *--batch-command*) exit 129;; esac\n'
    old = tmp_path / "bin/git"
    old.parent.mkdir()
    old.write_text(f'{script}exec {shutil.which("git")} "$@"\n')
    old.chmod(0o755)
    monkeypatch.setenv("PATH", f"{old.parent}:{os.environ['PATH']}")
    with Odb(remote.path) as odb:
        assert odb.has([remote.tree, ABSENT]) == {remote.tree}
        assert odb.read(blob_id(FILES["README.md"])) == FILES["README.md"]
        assert odb._processes.keys() == {"--batch", "--batch-check"}
    with Odb(remote.path) as odb:  # as is known by now
        assert odb.read_many([remote.commit, ABSENT]).keys() == {remote.commit}


def test_trees_of_one_depth_are_read_at_once(
    remote: Remote, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[set[Oid]] = []
    ask = Odb.read_many

    def watched(odb: Odb, oids: Iterable[Oid]) -> dict[Oid, bytes]:
        asked.append({*oids})
        return ask(odb, asked[-1])

    inner = [encode_tree([(b"n", Entry(0o100644, Oid(f"{n:040x}")))]) for n in range(3)]
    roots = [
        encode_tree([(b"below", Entry(0o040000, hash_object("tree", body)))]) for body in inner
    ]
    ids = [hash_object("tree", body) for body in roots]
    with Odb(remote.path) as odb:
        odb.write([("tree", body) for body in (*inner, *roots)])
        monkeypatch.setattr(Odb, "read_many", watched)
        odb.load_trees(ids)
        assert [len(oids) for oids in asked] == [3, 3]
        assert [list(odb.flat(oid)) for oid in ids] == [[b"below/n"]] * 3
        with pytest.raises(MissingObject):
            odb.load_trees([*ids, ABSENT])
