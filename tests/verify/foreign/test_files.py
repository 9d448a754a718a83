"""A foreign tree has the id that git would give it."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from porter.errors import BadInput
from porter.upstream.pins import tree_objects
from porter.verify.foreign.files import open_files
from tests.plain_upstream import git

NAMES = st.sampled_from(["a.py", "b c.txt", "ü", "d/e.py", "d/f/g", "ignored.log", "h/i.py"])


def id_of(text: str | Path) -> str:
    return tree_objects(open_files(str(text), Path()).entries)[b""][0]


def put(folder: Path, name: str, text: str, is_link: bool = False, mode: int = 0o644) -> None:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    if is_link:
        path.symlink_to(text or "a.py")
    else:
        path.write_text(text)
        path.chmod(mode)


@settings(max_examples=25, deadline=None)
@given(
    first=st.dictionaries(NAMES, st.text("ab\r\n", max_size=4), min_size=1),
    second=st.dictionaries(NAMES, st.text("ab\r\n", max_size=4), min_size=1),
    gone=st.sets(NAMES),
    links=st.sets(NAMES),
    executable=st.sets(NAMES),
)
def test_a_folders_tree_is_what_git_add_would_make(
    first: dict[str, str],
    second: dict[str, str],
    gone: set[str],
    links: set[str],
    executable: set[str],
) -> None:
    """``first`` is committed, ``gone`` deleted, ``second`` written, some as links."""
    with TemporaryDirectory() as place:
        folder = Path(place)
        git(folder, "init", "-q")
        (folder / ".gitignore").write_text("*.log\n")
        for name, text in first.items():
            put(folder, name, text)
        git(folder, "add", "-A", "-f")
        git(folder, "commit", "-qm", "first")
        for name in gone & first.keys():
            (folder / name).unlink()
        for name, text in second.items():
            put(folder, name, text, name in links, 0o755 if name in executable else 0o644)

        found = id_of(folder)

        git(folder, "add", "-A")
        assert found == git(folder, "write-tree")[1].decode().strip()
        git(folder, "commit", "-qm", "second", "--allow-empty")
        assert found == id_of(f"{folder}@HEAD")


def test_files_outside_a_sparse_checkout_belong_to_the_tree(tmp_path: Path) -> None:
    git(tmp_path, "init", "-q")
    for name in ("a/x", "b/y"):
        put(tmp_path, name, name)
    git(tmp_path, "add", "-A")
    git(tmp_path, "commit", "-qm", "all")
    git(tmp_path, "sparse-checkout", "set", "--no-cone", "/a/")

    assert not (tmp_path / "b" / "y").exists()
    assert id_of(tmp_path) == git(tmp_path, "write-tree")[1].decode().strip()


def test_a_submodule_is_its_files_where_checked_out_and_its_commit_elsewhere(
    tmp_path: Path,
) -> None:
    lib, tree = tmp_path / "lib", tmp_path / "tree"
    for folder in (lib, tree):
        folder.mkdir()
        git(folder, "init", "-q")
        put(folder, "own.py", folder.name)
        git(folder, "add", "-A")
        git(folder, "commit", "-qm", "one")
    git(tree, "-c", "protocol.file.allow=always", "submodule", "add", "-q", str(lib), "sub")
    git(tree, "commit", "-qm", "two")
    revision = open_files(f"{tree}@HEAD", Path()).entries

    there = open_files(str(tree), Path()).entries
    git(tree, "submodule", "deinit", "-q", "-f", "sub")
    away = open_files(str(tree), Path()).entries

    assert sorted(there) == [b".gitmodules", b"own.py", b"sub/own.py"]
    assert away == revision
    assert not away[b"sub"].is_blob


def test_a_folder_below_the_top_of_a_repository_is_a_tree_of_its_own(tmp_path: Path) -> None:
    git(tmp_path, "init", "-q")
    for name in ("top.py", "fork/x.py"):
        put(tmp_path, name, name)
    git(tmp_path, "add", "-A")
    git(tmp_path, "commit", "-qm", "all")

    assert list(open_files(str(tmp_path / "fork"), Path()).entries) == [b"x.py"]
    assert id_of(tmp_path / "fork") == id_of(f"{tmp_path / 'fork'}@HEAD")


def test_a_folder_that_the_repository_around_it_ignores_is_read_all_the_same(
    tmp_path: Path,
) -> None:
    git(tmp_path, "init", "-q")
    (tmp_path / ".gitignore").write_text("fork/\n")
    put(tmp_path, "fork/x.py", "x")

    assert list(open_files(str(tmp_path / "fork"), Path()).entries) == [b"x.py"]


def test_what_git_tracked_in_a_folder_that_became_a_link_is_gone(tmp_path: Path) -> None:
    git(tmp_path, "init", "-q")
    for name in ("a/x.py", "b/x.py"):
        put(tmp_path, name, name)
    git(tmp_path, "add", "-A")
    (tmp_path / "a" / "x.py").unlink()
    (tmp_path / "a").rmdir()
    (tmp_path / "a").symlink_to("b")

    found = id_of(tmp_path)

    git(tmp_path, "add", "-A")
    assert found == git(tmp_path, "write-tree")[1].decode().strip()


def test_a_file_that_changes_meanwhile_is_refused(tmp_path: Path) -> None:
    put(tmp_path, "x.py", "one")
    files = open_files(str(tmp_path), Path())
    put(tmp_path, "x.py", "two")

    with pytest.raises(BadInput, match=r"x\.py: it changed while porter read the tree"):
        files.read(files.entries)
