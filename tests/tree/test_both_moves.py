"""The fast and the full path of a move give the same tree, index and HEAD, or change nothing."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

from porter.errors import PorterError
from porter.tree.fast_checkout import by_name, fast_checkout
from porter.tree.locked import hold_tree
from porter.tree.move import move
from porter.tree.tree import pick_level
from tests.generated_trees import EXAMPLES
from tests.small_project import (
    Upstreams,
    make_upstream,
    pin_text,
    publish,
    sealed_git,
    write_files,
    write_series,
)
from tests.tree.conftest import REPOSITORY

FILES: dict[str, str | None] = {
    ".gitignore": "*.log\n",
    "README.md": "shapes\n",
    "pkg/a.py": "a = 0\n",
    "pkg/old.py": "old = 0\n",
    "tools/run": "exit 0\n",
    "shape": "a file\n",
}
STEPS: list[tuple[str, str, dict[str, str | None]]] = [
    ("edit", "Edit", {"pkg/a.py": "a = 1\n", "pkg/new.py": "new = 1\n"}),
    ("folder", "File to folder", {"shape": None, "shape/in/b.py": "b = 1\n", "deep/er/c.py": "c"}),
    ("gone", "Drop files", {"pkg/old.py": None, "pkg/a.py": "a = 2\n"}),
    ("file", "Folder to file", {"shape/in/b.py": None, "shape": "a file again\n"}),
]
PATHS = sorted({*FILES, *(path for _, _, files in STEPS for path in files)})
PLACES = sorted({*PATHS, "shape/in", "deep", "deep/er", "pkg", "notes.txt", "shape/mine.txt"})

Edit = tuple[str, str]
EDITS = st.one_of(
    st.tuples(
        st.sampled_from(("write", "delete", "link", "link out", "folder")), st.sampled_from(PLACES)
    ),
    st.tuples(st.sampled_from(("stage", "unstage")), st.sampled_from(PATHS)),
    st.tuples(st.just("ignore"), st.sampled_from(("new.py", "shape", "deep/"))),
    st.tuples(st.just("git"), st.sampled_from(("MERGE_HEAD", "index.lock", "branch", "commit"))),
)  # fmt: skip


@pytest.fixture(scope="module")
def shapes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tree whose levels edit, add and delete files, and turn a file into a folder and back."""
    top = tmp_path_factory.mktemp("shapes")
    work = make_upstream(top, "shapes", FILES)
    publish(top, "shapes", work)
    ids = [sealed_git(work, "rev-parse", f"HEAD{part}").strip() for part in ("", "^{tree}")]
    root = top / "project"
    root.mkdir()
    pin = pin_text(Upstreams(top, {"shapes": ids[0]}, {"shapes": ids[1]}), "shapes")
    (root / "upstream_pins.yaml").write_text(f"version: 1\npins:\n{pin}")
    write_series(root, "shapes", work, STEPS)
    env = {key: value for key, value in os.environ.items() if not key.startswith("GIT_")}
    env |= {"PORTER_CACHE": str(top / "cache"), "PORTER_ROOT": str(root), "HOME": str(top)}
    env |= {"PYTHONPATH": str(REPOSITORY), "GIT_CONFIG_NOSYSTEM": "1"}
    command = [sys.executable, "-m", "porter", "apply", "shapes", str(top / "tree")]
    subprocess.run(command, env=env, check=True, capture_output=True)
    return top / "tree"


@contextmanager
def copied(tree: Path) -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as folder:
        yield Path(shutil.copytree(tree, Path(folder) / "tree", symlinks=True))


def apply_edit(tree: Path, what: str, name: str) -> None:
    """Make one edit, unless the folder's present state rules it out."""
    path = tree / name
    is_locked = (tree / ".git" / "index.lock").exists()
    if what == "git":
        _edit_git(tree, name, is_locked)
    elif what == "ignore":
        write_files(tree, {".git/info/exclude": f"{name}\n"})
    elif what == "stage":
        parents = [tree / parent for parent in Path(name).parents]
        if path.is_file() and not any(parent.is_symlink() for parent in parents) and not is_locked:
            sealed_git(tree, "add", "--force", "--sparse", "--", name)
    elif what == "unstage":
        if not is_locked:
            sealed_git(tree, "rm", "--cached", "--quiet", "-r", "--ignore-unmatch", "--", name)
    else:
        with suppress(FileExistsError, NotADirectoryError, PermissionError):
            _edit_file(path, what)


def _edit_git(tree: Path, what: str, is_locked: bool) -> None:
    if what == "branch":
        sealed_git(tree, "symbolic-ref", "HEAD", "refs/heads/mine")
        sealed_git(tree, "update-ref", "HEAD", "ORIG_HEAD")
    elif what == "commit":
        if not is_locked:
            sealed_git(tree, "commit", "--quiet", "--allow-empty", "-m", "mine")
    else:
        (tree / ".git" / what).write_text("")


def _edit_file(path: Path, what: str) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
    if what == "delete":
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    if what == "write":
        path.write_text("mine\n")
    elif what == "folder":
        path.mkdir()
        (path / "mine.txt").write_text("mine\n")
    else:
        path.symlink_to("README.md" if what == "link" else "..")


def state(tree: Path) -> tuple[dict[str, str], str, str]:
    """Return the files, the index and HEAD."""
    files = {}
    for top, folders, names in os.walk(tree):
        if Path(top) == tree:
            folders.remove(".git")
        for name in [*names, *folders]:
            path = Path(top) / name
            if path.is_symlink():
                files[str(path.relative_to(tree))] = f"-> {path.readlink()}"
            elif path.is_file():
                mode = path.stat().st_mode & 0o777
                files[str(path.relative_to(tree))] = f"{mode:o} {path.read_text()}"
    assert not (tree / ".git" / "porter" / "move.json").exists()
    index = sealed_git(tree, "ls-files", "-s", "-t")
    return files, index, (tree / ".git" / "HEAD").read_text()


def full_move(tree: Path, level: str) -> bool:
    """Move as commands do when the fast path declines; return False if it is refused."""
    try:
        with hold_tree(tree, f"goto {level}") as held:
            move(held.tree, held.lock, pick_level(held.tree, level), f"goto {level}")
    except PorterError:
        return False
    return True


@settings(
    max_examples=EXAMPLES,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(st.integers(0, 4), st.integers(0, 4), st.lists(EDITS, max_size=3))
def test_both_ways_end_in_the_same_state(
    shapes: Path, start: int, target: int, edits: list[Edit]
) -> None:
    with copied(shapes) as fast:
        assert full_move(fast, str(start))
        sealed_git(fast, "update-ref", "ORIG_HEAD", "HEAD")
        for what, name in edits:
            apply_edit(fast, what, name)
        before = state(fast)
        with copied(fast) as full:
            is_done = fast_checkout(str(fast), by_name(str(target)), "goto")
            is_moved = full_move(full, str(target))
            event(f"fast: {is_done}, full: {is_moved}")

            assert state(full) == before or is_moved
            assert is_moved or not is_done
            assert state(fast) == (state(full) if is_done else before)


def test_an_ordinary_move_is_made_the_fast_way(shapes: Path) -> None:
    with copied(shapes) as tree:
        for level in ("0", "4", "1", "3", "2"):
            assert fast_checkout(str(tree), by_name(level), f"goto {level}")
        assert sealed_git(tree, "status", "--porcelain") == ""
