"""The store over git: what is fetched, what is not, and what works offline."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from porter.errors import CorruptSource, SourceUnavailable
from porter.git.objects import blob_id
from porter.git.odb import MissingObject, Odb
from porter.upstream.pins import Pin, load_pins
from porter.upstream.store import fetch, open_upstream, repository
from tests.remotes import (
    FILES,
    Remote,
    git,
    git_commands,
    make_project,
    make_remote,
    one_pin,
    pin_of,
    record_pin_files,
    write_tree,
)

README = blob_id(FILES["README.md"])
MODEL = blob_id(FILES["src/model.py"])
DOCS = blob_id(FILES["docs/long.txt"])


@pytest.fixture
def remote(tmp_path: Path) -> Remote:
    return make_remote(tmp_path / "remote")


@pytest.fixture
def pin(tmp_path: Path, remote: Remote) -> Pin:
    return one_pin(tmp_path / "project", remote, wanted=["src/", "README.md"])


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "project"


def test_opening_brings_the_commit_and_its_trees_alone(
    root: Path, pin: Pin, remote: Remote
) -> None:
    with open_upstream(root, pin) as upstream:
        assert upstream.commit == remote.commit
        assert sorted(path.decode() for path in upstream.listing()) == sorted(FILES)
        assert upstream.odb.has(entry.oid for entry in upstream.listing().values()) == set()
    kinds = git("--git-dir", repository("model"), "cat-file", "--batch-all-objects",
                "--batch-check=%(objecttype)").split()  # fmt: skip
    assert sorted(kinds) == [b"commit", b"tree", b"tree", b"tree", b"tree"]


def test_the_store_has_no_promisor_and_no_history(root: Path, pin: Pin) -> None:
    fetch(root, pin)
    assert "promisor" not in (repository("model") / "config").read_text()
    assert not list(repository("model").rglob("*.promisor"))


def test_fetch_brings_the_wanted_files_only(root: Path, pin: Pin) -> None:
    covered = fetch(root, pin)
    assert (covered.wanted, covered.covered, covered.missing) == (3, 3, ())
    assert 0 < covered.bytes_received < 2000
    with Odb(repository("model")) as odb:
        assert odb.has([README, MODEL, DOCS]) == {README, MODEL}


def test_all_absent_blobs_come_in_one_fetch(
    root: Path, pin: Pin, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with open_upstream(root, pin) as upstream:
        monkeypatch.setenv("GIT_TRACE2_EVENT", str(tmp_path / "trace"))
        contents = upstream.blobs([README, MODEL, DOCS])
    assert sorted(contents.values()) == sorted(
        FILES[name] for name in ("README.md", "src/model.py", "docs/long.txt")
    )
    assert len(git_commands(tmp_path / "trace")) == 1


def test_a_warm_store_needs_no_remote_no_lock_and_no_writing(
    root: Path, pin: Pin, remote: Remote
) -> None:
    fetch(root, pin)
    shutil.rmtree(remote.path)
    (repository("model").parent / "model.lock").unlink()
    covered = fetch(root, pin)
    assert (covered.covered, covered.bytes_received, covered.source) == (3, 0, "store")
    assert not (repository("model").parent / "model.lock").exists()


def test_offline_and_cold_says_how_to_warm_it(
    root: Path, pin: Pin, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PORTER_OFFLINE", "1")
    with pytest.raises(SourceUnavailable, match=r"offline; `porter fetch model` fetches it"):
        open_upstream(root, pin)


def test_offline_names_the_files_that_are_not_there(root: Path, pin: Pin) -> None:
    fetch(root, pin)
    with open_upstream(root, pin, offline=True) as upstream:
        assert upstream.blobs([README]) == {README: FILES["README.md"]}
        with pytest.raises(SourceUnavailable, match=r"serves docs/long.txt \(porter is offline\)"):
            upstream.blobs([README, DOCS])


def test_the_users_instead_of_leads_to_a_mirror(tmp_path: Path, root: Path, remote: Remote) -> None:
    entry = pin_of(remote) | {"url": "https://example.org/model"}
    pin = load_pins(make_project(root, {"model": entry})).port("model")
    config = Path(os.environ["GIT_CONFIG_GLOBAL"])
    config.write_text(f'[url "{remote.url}"]\n\tinsteadOf = https://example.org/model\n')
    assert fetch(root, pin).covered == len(FILES)


def test_instead_of_cannot_lead_to_a_command(
    tmp_path: Path, root: Path, remote: Remote, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("GIT_ALLOW_PROTOCOL")
    victim = tmp_path / "touched"
    config = Path(os.environ["GIT_CONFIG_GLOBAL"])
    config.write_text(f'[url "ext::touch {victim} "]\n\tinsteadOf = {remote.url}\n')
    with pytest.raises(SourceUnavailable, match="transport 'ext' not allowed"):
        fetch(root, one_pin(root, remote))
    assert not victim.exists()


def test_a_commit_the_remote_lacks_is_named(root: Path, remote: Remote) -> None:
    absent = "1" * 40
    pin = load_pins(make_project(root, {"m": pin_of(remote) | {"commit": absent}})).port("m")
    with pytest.raises(
        SourceUnavailable, match=rf"no source could be used: .*not our ref {absent}"
    ):
        open_upstream(root, pin)


def test_a_pin_whose_tree_is_not_its_commits_is_refused(root: Path, remote: Remote) -> None:
    wrong = "2" * 40
    pin = load_pins(make_project(root, {"m": pin_of(remote) | {"tree": wrong}})).port("m")
    with pytest.raises(CorruptSource, match=f"hold tree {wrong}, found tree {remote.tree}"):
        open_upstream(root, pin)


def test_a_pin_changed_after_the_fetch_is_still_compared(root: Path, remote: Remote) -> None:
    fetch(root, one_pin(root, remote))
    pin = load_pins(make_project(root, {"model": pin_of(remote) | {"tree": "2" * 40}})).port(
        "model"
    )
    with pytest.raises(CorruptSource, match=r"correct upstream_pins\.yaml"):
        open_upstream(root, pin)


@pytest.mark.parametrize("name", ["../evil", ".git/config", "a/.GIT/hooks/x", "git~1/x"])
def test_a_tree_with_paths_that_lead_out_is_refused(tmp_path: Path, root: Path, name: str) -> None:
    remote = make_remote(tmp_path / "hostile", {name: b"x", "ok": b"y"})
    with pytest.raises(CorruptSource, match="expected plain paths in tree"):
        open_upstream(root, one_pin(root, remote))
    with Odb(repository("model")) as odb, pytest.raises(MissingObject):
        odb.read(remote.commit)


def test_a_second_source_serves_when_the_first_is_gone(
    tmp_path: Path, root: Path, remote: Remote
) -> None:
    other = {"url": f"file://{tmp_path}/mirror", "commit": remote.commit}
    pin = one_pin(root, remote, alternates=[other])
    remote.path.rename(tmp_path / "mirror")
    covered = fetch(root, pin)
    assert covered.covered == len(FILES)
    assert covered.source == f"git {other['url']}"


def test_a_remote_without_some_blobs_serves_the_others(root: Path, remote: Remote) -> None:
    for blob in (README, DOCS):
        (remote.path / "objects" / blob[:2] / blob[2:]).unlink()
    covered = fetch(root, one_pin(root, remote))
    assert set(covered.missing) == {b"README.md", b"docs/long.txt"}
    assert "it lacks 2 of 5 files" in str(covered.reasons[0])


def test_another_commit_can_serve_the_blobs_it_shares(
    tmp_path: Path, root: Path, remote: Remote
) -> None:
    fork = make_remote(tmp_path / "fork", {**FILES, "README.md": b"# A fork\n"}, history=1)
    pin = one_pin(root, remote, alternates=[{"url": fork.url, "commit": fork.commit}])
    record_pin_files(root, "model", remote)
    shutil.rmtree(remote.path)
    covered = fetch(root, pin)
    assert covered.missing == (b"README.md",)


def test_two_projects_may_pin_two_commits_of_one_name(root: Path, remote: Remote) -> None:
    fetch(root, one_pin(root, remote))
    newer = write_tree(remote.path, {"README.md": b"# Newer\n"})
    made = git("--git-dir", remote.path, "commit-tree", newer, feed=b"n\n").decode().strip()
    entry = pin_of(remote) | {"commit": made, "tree": newer}
    pin = load_pins(make_project(root.parent / "second", {"model": entry})).port("model")
    assert fetch(root.parent / "second", pin).covered == 1
    assert fetch(root, one_pin(root, remote)).source == "store"


def test_progress_is_reported_while_objects_come(root: Path, pin: Pin) -> None:
    seen: list[tuple[str, int, int]] = []
    fetch(root, pin, progress=lambda *state: seen.append(state[:3]))
    assert ("model: files", 3, 3) in seen


def test_a_remote_that_falls_silent_is_given_up(
    root: Path, pin: Pin, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = tmp_path / "bin/git-upload-pack"
    script.parent.mkdir()
    script.write_text("#!/bin/sh\nexec cat >/dev/null\n")  # silent, and ends with git
    script.chmod(0o755)
    monkeypatch.setenv("PORTER_STALL_SECONDS", "1")
    config = Path(os.environ["GIT_CONFIG_GLOBAL"])
    config.write_text(f'[remote "{pin.url}"]\n\turl = {pin.url}\n\tuploadpack = {script}\n')
    with pytest.raises(SourceUnavailable, match="does not answer") as caught:
        open_upstream(root, pin)
    assert "no answer for 1 s" in caught.value.detail


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({"PORTER_CACHE": "/p"}, "/p/store"),
        ({"XDG_CACHE_HOME": "/x"}, "/x/porter/store"),
        ({"HOME": "/h"}, "/h/.cache/porter/store"),
    ],
)
def test_the_store_lies_where_the_user_says(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], expected: str
) -> None:
    for name in ("PORTER_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert str(repository("m").parent) == expected
