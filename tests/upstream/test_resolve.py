"""What an argument of `porter add` names, and which commit a reference stands for."""

from __future__ import annotations

from pathlib import Path

import pytest

from porter.errors import BadInput, CorruptSource, SourceUnavailable
from porter.git.odb import Odb
from porter.upstream.resolve import (
    Address,
    Package,
    default_name,
    read_address,
    resolve,
    submodule_url,
)
from porter.upstream.store import repository
from tests.remotes import Remote, git, make_remote


@pytest.fixture
def remote(tmp_path: Path) -> Remote:
    made = make_remote(tmp_path / "remote")
    git("--git-dir", made.path, "tag", "light", made.commit)
    git("--git-dir", made.path, "tag", "-a", "-m", "x", "heavy", made.commit)
    git("--git-dir", made.path, "branch", "other/older", f"{made.commit}~1")
    return made


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("https://h.org/o/n", Address("https://h.org/o/n")),
        ("openai/CLIP", Address("https://github.com/openai/CLIP")),
        ("openai/CLIP.git", Address("https://github.com/openai/CLIP")),
        ("git@h.org:o/n.git", Address("ssh://git@h.org/o/n.git")),
        ("einops", Package("einops", None)),
        ("v-diffusion-pytorch==0.0.2", Package("v-diffusion-pytorch", "0.0.2")),
    ],
)
def test_an_argument_names_a_repository_or_a_package(text: str, found: object) -> None:
    assert read_address(text) == found


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("https://me:secret@h.org/x", "without a password"),
        ("ext::sh -c x", "expected a URL, OWNER/NAME of GitHub"),
        ("--upload-pack=x", "expected a URL, OWNER/NAME of GitHub"),
        ("-oProxyCommand=x:y/z", "expected a URL, OWNER/NAME of GitHub"),
        ("./nothing", "found no such folder"),
        ("a b", "expected a URL, OWNER/NAME of GitHub"),
        ("einops>=1", "expected a URL, OWNER/NAME of GitHub"),
    ],
)
def test_anything_else_is_refused_in_a_line(text: str, error: str) -> None:
    with pytest.raises(BadInput) as caught:
        read_address(text)
    assert error in str(caught.value)
    assert "secret" not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_folder_is_a_repository_or_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    git("init", "--quiet", tmp_path / "my model")
    (tmp_path / "plain").mkdir()
    monkeypatch.chdir(tmp_path)
    assert read_address("my model") == Address(f"file://{tmp_path}/my%20model")
    assert default_name(read_address("my model")) == "my-model"
    assert read_address("plain") == Package("plain", None)
    with pytest.raises(BadInput, match="expected a git repository, found a folder without one"):
        read_address("./plain")


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("https://h.org/o/Diffusion_From_Scratch.git", "diffusion-from-scratch"),
        ("https://h.org/o/CLIP/", "clip"),
        ("https://h.org/o/x.y", "x.y"),
    ],
)
def test_a_port_is_named_after_its_repository(url: str, name: str) -> None:
    assert default_name(Address(url)) == name


@pytest.mark.parametrize(
    "ref", [None, "main", "light", "heavy", "refs/tags/heavy", "refs/heads/main"]
)
def test_a_reference_stands_for_its_commit(remote: Remote, ref: str | None) -> None:
    found = resolve("m", Address(remote.url), ref)
    assert (found.source.commit, found.tree) == (remote.commit, remote.tree)
    with Odb(repository("m")) as odb:
        assert len(odb.flat(found.tree)) == 5  # every tree is in the store


@pytest.mark.parametrize("digits", [4, 12, 39, 40])
def test_a_commit_id_may_be_short_and_in_capitals(remote: Remote, digits: int) -> None:
    parent = git("--git-dir", remote.path, "rev-parse", "other/older").decode().strip()
    for commit in (remote.commit, parent):
        found = resolve("m", Address(remote.url), commit[:digits].upper())
        assert (found.source.commit, found.ref) == (commit, "")


def test_the_id_of_a_tag_stands_for_its_commit(remote: Remote) -> None:
    tag = git("--git-dir", remote.path, "rev-parse", "heavy").decode().strip()
    assert tag != remote.commit
    assert resolve("m", Address(remote.url), tag).source.commit == remote.commit


@pytest.mark.parametrize(
    ("ref", "error"),
    [
        ("maine", "no branch, tag or commit 'maine'; did you mean 'main'?"),
        ("xyz", "no branch, tag or commit 'xyz'; it has "),
        ("abcdef", "no commit of its branches and tags begins with abcdef"),
        ("1" * 40, f"no commit {'1' * 40}: "),
    ],
)
def test_a_wrong_reference_is_refused_and_the_near_one_named(
    remote: Remote, ref: str, error: str
) -> None:
    with pytest.raises(BadInput) as caught:
        resolve("m", Address(remote.url), ref)
    assert str(caught.value).startswith(f"{remote.url}: {error}")


def test_an_id_that_is_no_commit_is_refused(remote: Remote) -> None:
    with pytest.raises(BadInput, match="to be a commit, found a tree"):
        resolve("m", Address(remote.url), remote.tree)


def test_a_repository_that_is_not_there_is_not_reachable(tmp_path: Path) -> None:
    with pytest.raises(SourceUnavailable, match="not reachable: there is no git repository at"):
        resolve("m", Address(f"file://{tmp_path}/gone"), None)


def test_offline_nothing_is_asked(remote: Remote, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PORTER_OFFLINE", "1")
    with pytest.raises(SourceUnavailable, match="not reachable: porter is offline"):
        resolve("m", Address(remote.url), None)


def test_a_tree_whose_paths_lead_out_is_not_stored(tmp_path: Path) -> None:
    remote = make_remote(tmp_path / "remote", {".GIT/config": b"x", "a.py": b""})
    with pytest.raises(CorruptSource, match="expected plain paths"):
        resolve("m", Address(remote.url), None)
    assert not list(repository("m").rglob("*.pack"))


def test_the_users_git_configuration_counts(remote: Remote, tmp_path: Path) -> None:
    git("config", "--global", f"url.{remote.url}.insteadOf", "https://h.org/o/model")
    found = resolve("m", Address("https://h.org/o/model"), None)
    assert (found.source.url, found.source.commit) == ("https://h.org/o/model", remote.commit)


@pytest.mark.parametrize(
    ("url", "found"),
    [
        ("../lib", "https://h.org/o/lib"),
        ("../../p/lib.git", "https://h.org/p/lib.git"),
        ("./lib", "https://h.org/o/model/lib"),
        ("https://x.org/lib", "https://x.org/lib"),
    ],
)
def test_a_relative_submodule_starts_at_its_upstream(url: str, found: str) -> None:
    assert submodule_url(url, "https://h.org/o/model") == found
