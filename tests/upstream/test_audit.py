"""porter store verify: any flipped byte is found, named and repaired."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from porter.git.objects import blob_id
from porter.upstream.audit import audit
from porter.upstream.store import fetch, repository
from tests.remotes import FILES, Remote, git, make_remote, one_pin, porter, record_pin_files


@pytest.fixture
def remote(tmp_path: Path) -> Remote:
    return make_remote(tmp_path / "remote")


@pytest.fixture
def root(tmp_path: Path, remote: Remote) -> Path:
    """A project with a warm store."""
    root = tmp_path / "project"
    pin = one_pin(root, remote)
    record_pin_files(root, "model", remote)
    fetch(root, pin)
    return root


def flip(path: Path, at: int) -> None:
    data = bytearray(path.read_bytes())
    data[at] ^= 0x40
    path.chmod(0o644)
    path.write_bytes(bytes(data))


def packs() -> list[Path]:
    return sorted((repository("model") / "objects/pack").glob("*.pack"))


def largest_pack() -> Path:
    return max(packs(), key=lambda path: path.stat().st_size)


def test_a_sound_store_is_sound(root: Path) -> None:
    found = audit(repository("model"))
    assert found.damage == ()
    assert found.objects == len(FILES) + 5
    assert porter(root, "store", "verify").stdout == "model: 10 objects, none damaged\n"


def test_a_flip_of_any_byte_of_a_pack_is_found(root: Path) -> None:
    for pack in packs():
        whole = pack.read_bytes()
        for at in [*range(40), *range(40, len(whole), 97), len(whole) - 1]:
            flip(pack, at)
            assert audit(repository("model")).damage, f"{pack}: byte {at}"
            pack.write_bytes(whole)
    assert audit(repository("model")).damage == ()


def test_a_flip_of_any_byte_of_an_index_is_found(root: Path) -> None:
    index = packs()[0].with_suffix(".idx")
    whole = index.read_bytes()
    for at in [*range(16), *range(16, len(whole), 61), len(whole) - 1]:
        flip(index, at)
        assert audit(repository("model")).damage, f"byte {at}"
        index.write_bytes(whole)


@pytest.mark.parametrize("kept", [0, 10, 100, -1])
def test_a_pack_cut_short_is_found(root: Path, kept: int) -> None:
    pack = packs()[0]
    pack.chmod(0o644)
    pack.write_bytes(pack.read_bytes()[:kept])
    assert audit(repository("model")).damage


def flip_object(content: bytes) -> str:
    """Flip a byte in the middle of one stored blob; return its id."""
    oid = blob_id(content)
    rows = git("--git-dir", repository("model"), "verify-pack", "-v", largest_pack()).decode()
    row = next(line.split() for line in rows.splitlines() if line.startswith(oid))
    flip(largest_pack(), int(row[4]) + int(row[3]) // 2)
    return oid


def test_the_damaged_object_its_path_and_the_remedy_are_named(root: Path) -> None:
    oid = flip_object(FILES["docs/long.txt"])
    done = porter(root, "store", "verify")
    assert done.returncode == 1
    assert "model: 10 objects, 1 damaged" in done.stdout
    assert f"object {oid} (docs/long.txt) in {largest_pack()}: " in done.stdout
    assert "`porter store verify --repair` drops damaged objects" in done.stdout


def test_reading_a_damaged_object_says_so_in_one_line(root: Path) -> None:
    flip_object(FILES["docs/long.txt"])
    from porter.errors import CorruptSource
    from porter.git.odb import Odb

    with Odb(repository("model")) as odb, pytest.raises(CorruptSource, match=r"verify --repair"):
        odb.read(blob_id(FILES["docs/long.txt"]))


def test_json_names_the_same(root: Path) -> None:
    oid = flip_object(FILES["docs/long.txt"])
    report = json.loads(porter(root, "store", "verify", "--json").stdout)["upstreams"][0]
    assert report["objects"] == 10
    assert [(row["object"], row["path"]) for row in report["damaged"]] == [(oid, "docs/long.txt")]


def test_repair_brings_the_object_anew_and_keeps_the_others(root: Path) -> None:
    flip_object(FILES["docs/long.txt"])
    done = porter(root, "store", "verify", "--repair")
    assert (done.returncode, "repaired: 1 fetched again" in done.stdout) == (0, True)
    assert audit(repository("model")).damage == ()
    assert "5 of 5 wanted files" in porter(root, "fetch", "--offline").stdout


def test_repair_restores_a_lost_commit_and_lost_trees(root: Path) -> None:
    smallest = min(packs(), key=lambda path: path.stat().st_size)
    for at in range(14, smallest.stat().st_size - 20, 30):
        flip(smallest, at)
    assert porter(root, "store", "verify", "--repair").returncode == 0
    assert audit(repository("model")).damage == ()
    assert "5 of 5 wanted files" in porter(root, "fetch", "--offline").stdout


def test_repair_rebuilds_a_damaged_index(root: Path, remote: Remote) -> None:
    shutil.rmtree(remote.path)  # nothing can be fetched anew, and nothing needs to be
    flip(packs()[0].with_suffix(".idx"), 1100)
    assert porter(root, "store", "verify", "--repair").returncode == 0
    assert audit(repository("model")).objects == 10


def test_without_a_source_repair_says_what_stays_lost(root: Path, remote: Remote) -> None:
    oid = flip_object(FILES["docs/long.txt"])
    shutil.rmtree(remote.path)
    done = porter(root, "store", "verify", "--repair")
    assert done.returncode == 1
    assert f"lost: {oid}" in done.stdout


def test_an_empty_store_and_a_wrong_name_are_reported(root: Path) -> None:
    shutil.rmtree(repository("model"))
    assert porter(root, "store", "verify").stdout == "the store is empty\n"
    assert "did you mean 'model'" in porter(root, "store", "verify", "modle").stderr
