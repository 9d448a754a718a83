"""Source releases: hashed before they are opened, never executed, taken file by file."""

from __future__ import annotations

import gzip
import hashlib
import io
import shutil
import tarfile
from pathlib import Path
from typing import Any

import pytest

from porter.errors import SourceUnavailable
from porter.git.objects import blob_id
from porter.git.odb import Odb
from porter.upstream.gitfetch import FetchFailed
from porter.upstream.pins import Pin, Sdist, listing_text, load_pins, tree_objects
from porter.upstream.sdist import bring_release, check_archive, look_up_release, read_release
from porter.upstream.store import fetch, open_upstream, repository
from tests.remotes import (
    FILES,
    Remote,
    git,
    make_project,
    make_remote,
    make_sdist,
    one_pin,
    record_pin_files,
)

HELD = {name: FILES[name] for name in ("LICENSE", "src/model.py", "src/deep/layer.py")}


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that pip uses as its index."""
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "index"))
    return tmp_path / "index"


@pytest.fixture
def remote(tmp_path: Path) -> Remote:
    return make_remote(tmp_path / "remote")


def partial_pin(tmp_path: Path, remote: Remote, sha256: str, *, files: bool = True) -> Pin:
    """A pin whose git remote is gone and whose release holds HELD."""
    release = {"sdist": {"name": "model", "version": "1.0", "sha256": sha256}}
    pin = one_pin(tmp_path / "project", remote, alternates=[release])
    if files:
        record_pin_files(tmp_path / "project", "model", remote)
    shutil.rmtree(remote.path)
    return pin


def test_a_release_serves_the_files_whose_ids_are_the_pins(
    tmp_path: Path, index: Path, remote: Remote
) -> None:
    sha256 = make_sdist(index, "model", "1.0", {**HELD, "README.md": b"# Another text\n"})
    covered = fetch(tmp_path / "project", partial_pin(tmp_path, remote, sha256))
    assert (covered.covered, covered.wanted) == (3, 5)
    assert covered.missing == (b"README.md", b"docs/long.txt")
    assert covered.source == "sdist model 1.0"
    assert covered.bytes_received == (index / "model-1.0.tar.gz").stat().st_size


def test_with_a_partial_source_every_tree_and_the_commit_are_there(
    tmp_path: Path, index: Path, remote: Remote
) -> None:
    sha256 = make_sdist(index, "model", "1.0", HELD)
    pin = partial_pin(tmp_path, remote, sha256)
    with open_upstream(tmp_path / "project", pin) as upstream:
        assert upstream.commit == remote.commit
        assert upstream.odb.flat(remote.tree) == upstream.listing()
        with pytest.raises(SourceUnavailable, match=r"serves docs/long.txt \(there is no git"):
            upstream.blobs([blob_id(FILES["docs/long.txt"]), blob_id(FILES["LICENSE"])])


def test_a_release_is_read_once(
    tmp_path: Path, index: Path, remote: Remote, monkeypatch: pytest.MonkeyPatch
) -> None:
    pin = partial_pin(tmp_path, remote, make_sdist(index, "model", "1.0", HELD))
    fetch(tmp_path / "project", pin)
    shutil.rmtree(index)
    covered = fetch(tmp_path / "project", pin)
    assert (covered.covered, covered.bytes_received) == (3, 0)


def test_without_the_listing_a_release_says_what_it_needs(
    tmp_path: Path, index: Path, remote: Remote
) -> None:
    sha256 = make_sdist(index, "model", "1.0", HELD)
    pin = partial_pin(tmp_path, remote, sha256, files=False)
    with pytest.raises(
        SourceUnavailable, match=r"can be used only with patches/model/upstream.listing"
    ):
        open_upstream(tmp_path / "project", pin)


def test_nothing_in_an_archive_is_executed(tmp_path: Path, index: Path, remote: Remote) -> None:
    touched = tmp_path / "touched"
    setup = f"open({str(touched)!r}, 'w')\nfrom setuptools import setup\nsetup()\n"
    files = {**HELD, "setuptools.py": setup.encode(), "pyproject.toml": b"[tool.x]\n"}
    sha256 = make_sdist(index, "model", "1.0", files, setup)
    assert fetch(tmp_path / "project", partial_pin(tmp_path, remote, sha256)).covered == 3
    assert not touched.exists()


def test_an_altered_archive_is_refused_before_it_is_opened(
    tmp_path: Path, index: Path, remote: Remote
) -> None:
    pinned = make_sdist(index, "model", "1.0", HELD)
    found = make_sdist(index, "model", "1.0", {**HELD, "extra.py": b"import os\n"})
    pin = partial_pin(tmp_path, remote, pinned)
    with pytest.raises(SourceUnavailable, match=f"archive of sha256 {pinned}, found {found}"):
        open_upstream(tmp_path / "project", pin)
    with Odb(repository("model")) as odb:
        assert odb.has(blob_id(content) for content in HELD.values()) == set()


@pytest.mark.forms(1)
@pytest.mark.parametrize("kept", [0, 1, 100, -1])
def test_a_truncated_archive_is_refused(
    tmp_path: Path, index: Path, remote: Remote, kept: int
) -> None:
    pinned = make_sdist(index, "model", "1.0", HELD)
    archive = index / "model-1.0.tar.gz"
    archive.write_bytes(archive.read_bytes()[:kept])
    with pytest.raises(SourceUnavailable, match=f"expected an archive of sha256 {pinned}, found"):
        open_upstream(tmp_path / "project", partial_pin(tmp_path, remote, pinned))


@pytest.mark.parametrize("kept", [0, 1, 30, 100, -200])
def test_an_archive_pinned_in_a_truncated_state_is_damaged(tmp_path: Path, kept: int) -> None:
    make_sdist(tmp_path, "model", "1.0", {**FILES, "x.bin": hashlib.sha256().digest() * 99})
    archive = tmp_path / "model-1.0.tar.gz"
    archive.write_bytes(archive.read_bytes()[:kept])
    with pytest.raises(FetchFailed, match=r"expected a .tar.gz archive, found a damaged one"):
        read_release(archive, None)


def test_a_release_the_index_lacks_is_a_reason(tmp_path: Path, index: Path, remote: Remote) -> None:
    index.mkdir()
    with pytest.raises(SourceUnavailable, match=r"pip's index has no model 1.0") as caught:
        open_upstream(tmp_path / "project", partial_pin(tmp_path, remote, "0" * 64))
    assert "model==1.0" in caught.value.detail


def archive_of(path: Path, *members: tuple[str, dict[str, Any]]) -> Path:
    """A tar.gz with members of given names and attributes."""
    with tarfile.open(path, "w:gz") as tar:
        for name, attributes in members:
            member = tarfile.TarInfo(name)
            content = attributes.pop("content", b"")
            member.size = len(content)
            for key, value in attributes.items():
                setattr(member, key, value)
            tar.addfile(member, io.BytesIO(content))
    return path


@pytest.mark.parametrize(
    ("name", "attributes", "error"),
    [
        ("m-1/../../evil", {}, "expected plain relative paths, found 'm-1/../../evil'"),
        ("/etc/passwd", {}, "expected plain relative paths, found '/etc/passwd'"),
        ("m-1/a\\..\\b", {}, "expected plain relative paths"),
        ("m-1/./a", {}, "expected plain relative paths"),
        ("m-1//a", {}, "expected plain relative paths"),
        ("m-1/l", {"type": tarfile.SYMTYPE, "linkname": "/etc/passwd"}, "found a link: 'm-1/l'"),
        ("m-1/l", {"type": tarfile.LNKTYPE, "linkname": "m-1/ok"}, "found a link: 'm-1/l'"),
        ("m-1/p", {"type": tarfile.FIFOTYPE}, "found a special file: 'm-1/p'"),
        ("m-1/d", {"type": tarfile.CHRTYPE}, "found a special file: 'm-1/d'"),
        ("other/a", {}, "expected one top folder 'm-1', found 'other/a'"),
        ("m-1/ok", {"content": b"2"}, "expected each file once, found 'ok' again"),
        ("m-1", {}, "expected files below a top folder, found 'm-1'"),
    ],
)
def test_members_that_no_release_needs_are_refused(
    tmp_path: Path, name: str, attributes: dict[str, Any], error: str
) -> None:
    members = (("m-1/ok", {"content": b"1"}), (name, dict(attributes)))
    with pytest.raises(FetchFailed) as caught:
        read_release(archive_of(tmp_path / "a.tar.gz", *members), None)
    assert error in str(caught.value)
    assert list(tmp_path.iterdir()) == [tmp_path / "a.tar.gz"]


def test_an_archive_that_unpacks_to_too_much_is_refused(tmp_path: Path) -> None:
    huge = tarfile.TarInfo("m-1/huge")
    huge.size = 2 << 30
    (tmp_path / "a.tar").write_bytes(huge.tobuf())
    (tmp_path / "a.tar.gz").write_bytes(gzip.compress((tmp_path / "a.tar").read_bytes()))
    with pytest.raises(FetchFailed, match="expected at most 1 GiB of files, found 'm-1/huge'"):
        read_release(tmp_path / "a.tar.gz", None)


def test_our_own_hash_check_names_both(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"x")
    with pytest.raises(FetchFailed, match=hashlib.sha256(b"x").hexdigest()):
        check_archive(Sdist("m", "1", "0" * 64), tmp_path / "x")


def release_pin(root: Path, index: Path, **more: Any) -> Pin:
    """A pin that is a source release, without any listing."""
    sha256 = make_sdist(index, "model", "1.0", HELD)
    release = {"name": "model", "version": "1.0", "sha256": sha256}
    entries = read_release(index / "model-1.0.tar.gz", None).entries
    entry = {"sdist": release, "tree": tree_objects(entries)[b""][0], "license": "MIT"}
    return load_pins(make_project(root, {"model": entry | more})).port("model")


def test_a_release_can_be_the_pin_itself(tmp_path: Path, index: Path) -> None:
    pin = release_pin(tmp_path / "project", index)
    with open_upstream(tmp_path / "project", pin) as upstream:
        assert sorted(upstream.listing()) == [
            b"LICENSE", b"PKG-INFO", b"setup.py", b"src/deep/layer.py", b"src/model.py",
        ]  # fmt: skip
        oids = {entry.oid for entry in upstream.listing().values()}
        assert upstream.odb.has(oids) == oids
        body = upstream.odb.read(upstream.commit)
    assert body.startswith(f"tree {pin.tree}\nauthor porter <porter@localhost> 946684800".encode())
    git("--git-dir", repository("model"), "fsck", "--strict", upstream.commit)


def test_the_commit_of_a_release_depends_on_the_pin_alone(tmp_path: Path, index: Path) -> None:
    commits = []
    for name in ("one", "two"):
        pin = release_pin(tmp_path / name, index)
        with open_upstream(tmp_path / name, pin) as upstream:
            commits.append(upstream.commit)
        shutil.rmtree(repository("model"))
    assert commits[0] == commits[1]


def test_a_release_that_is_not_the_pins_tree_is_refused(tmp_path: Path, index: Path) -> None:
    from porter.errors import CorruptSource

    pin = release_pin(tmp_path / "project", index, tree="1" * 40)
    with pytest.raises(CorruptSource, match=f"expected tree {'1' * 40}, found tree"):
        open_upstream(tmp_path / "project", pin)


def test_git_serves_a_release_pin_when_the_index_does_not(tmp_path: Path, index: Path) -> None:
    tagged = make_remote(tmp_path / "tagged", {**HELD, "tests/t.py": b""}, history=1)
    other = [{"url": tagged.url, "commit": tagged.commit}]
    pin = release_pin(tmp_path / "project", index, alternates=other)
    entries = read_release(index / "model-1.0.tar.gz", None).entries
    folder = tmp_path / "project/patches/model"
    folder.mkdir(parents=True)
    (folder / "upstream.listing").write_bytes(listing_text(entries))
    shutil.rmtree(index)
    covered = fetch(tmp_path / "project", pin)
    # setup.py and PKG-INFO are not in the repository; setup.py is empty, as tests/t.py is.
    assert covered.missing == (b"PKG-INFO",)


def test_executable_files_keep_their_mode(tmp_path: Path) -> None:
    path = archive_of(tmp_path / "a.tar.gz", ("m/run", {"mode": 0o755}), ("m/b", {"mode": 0o664}))
    modes = {name: entry.mode for name, entry in read_release(path, None).entries.items()}
    assert modes == {b"run": 0o100755, b"b": 0o100644}


def test_pip_is_asked_for_one_exact_archive(tmp_path: Path, index: Path) -> None:
    make_sdist(index, "model", "1.1", HELD)
    sha256 = make_sdist(index, "model", "1.0", HELD)
    assert len(bring_release(Sdist("model", "1.0", sha256), None, None).entries) == 5


def test_a_pip_that_crashes_is_reported_by_its_last_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = tmp_path / "python"
    broken.write_text(
        "#!/bin/sh\necho 'ERROR: Exception:\nTraceback (most recent call last):\n"
        '  File "x.py", line 1\nOSError: [Errno 28] No space left on device\' >&2\nexit 2\n'
    )
    broken.chmod(0o755)
    monkeypatch.setattr("sys.executable", str(broken))

    with pytest.raises(FetchFailed, match=r"^pip: OSError: \[Errno 28\] No space left on device$"):
        bring_release(Sdist("model", "1.0", "0" * 64), None, None)


@pytest.mark.forms(1)
@pytest.mark.parametrize(
    "project",
    [
        "",
        '[build-system]\nrequires = ["hatchling"]\nbuild-backend = "hatchling.build"\n',
        '[build-system]\nrequires = []\nbuild-backend = "own:inner.part"\nbackend-path = ["."]\n',
    ],
    ids=["setuptools", "another", "its own"],
)
def test_a_release_is_looked_up_whatever_builds_it_and_nothing_of_it_runs(
    tmp_path: Path, index: Path, project: str
) -> None:
    mark = tmp_path / "ran"
    run = f"open({str(mark)!r}, 'w')\n"
    files = {"own.py": run.encode()} | ({"pyproject.toml": project.encode()} if project else {})
    make_sdist(index, "model", "1.0", files, setup=run)
    sha256 = make_sdist(index, "model", "1.1", files, setup=run)
    sdist, release = look_up_release("model", None, None)
    assert sdist == Sdist("model", "1.1", sha256)
    assert release.blobs[blob_id(run.encode())] == run.encode()
    assert look_up_release("model", "1.0", None)[0].version == "1.0"
    assert not mark.exists()


def test_a_release_that_the_index_lacks_is_said(index: Path) -> None:
    with pytest.raises(FetchFailed, match="Could not find a version"):
        look_up_release("model", None, None)
