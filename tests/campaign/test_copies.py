"""What the campaign brings back is what was kept, and it sees every change."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.campaign.copies import Copies, without_objects


@pytest.fixture
def copies(tmp_path: Path) -> Copies:
    top = tmp_path / "top"
    (top / "a" / "deep").mkdir(parents=True)
    (top / "a" / "one").write_text("1")
    (top / "a" / "deep" / "two").write_text("2")
    (top / "link").symlink_to("a/one")
    (top / "empty").mkdir()
    (tmp_path / "kept").mkdir()
    made = Copies(top, tmp_path / "kept")
    made.keep("x")
    assert sorted(made.back("x")) == ["a", "a/deep", "a/deep/two", "a/one", "empty", "link"]
    return made


def _there(top: Path) -> dict[str, tuple[int, bytes | str]]:
    found: dict[str, tuple[int, bytes | str]] = {}
    for path in sorted(top.rglob("*")):
        mode = path.lstat().st_mode
        what: bytes | str = str(path.readlink()) if path.is_symlink() else ""
        found[str(path.relative_to(top))] = (
            mode,
            what or (path.read_bytes() if path.is_file() else ""),
        )
    return found


def _folder_for_file(top: Path) -> None:
    (top / "a" / "one").unlink()
    (top / "a" / "one" / "more").mkdir(parents=True)


def _file_for_folder(top: Path) -> None:
    shutil.rmtree(top / "a" / "deep")
    (top / "a" / "deep").symlink_to("/")


def _new_times(top: Path) -> None:
    path = top / "a" / "one"
    its = path.stat()
    path.write_text("9")
    os.utime(path, ns=(its.st_atime_ns, its.st_mtime_ns))


CHANGES: dict[str, Callable[[Path], object]] = {
    "nothing": lambda top: None,
    "the same size and times": _new_times,
    "a file more": lambda top: (top / "empty" / "new").write_text("new"),
    "a file less": lambda top: (top / "a" / "one").unlink(),
    "a folder less": lambda top: shutil.rmtree(top / "a"),
    "a mode": lambda top: (top / "a" / "one").chmod(0o755),
    "a folder's mode": lambda top: (top / "empty").chmod(0o700),
    "a link elsewhere": lambda top: ((top / "link").unlink(), (top / "link").symlink_to("x")),
    "a rename": lambda top: (top / "a" / "deep").rename(top / "empty" / "deep"),
    "a folder for a file": _folder_for_file,
    "a link for a folder": _file_for_folder,
}


@pytest.mark.parametrize("change", CHANGES)
def test_every_change_is_seen_and_taken_back(copies: Copies, change: str) -> None:
    before = _there(copies.top)
    assert copies.changes() == ()

    CHANGES[change](copies.top)

    assert bool(copies.changes()) == (change != "nothing")
    copies.back("x")
    assert _there(copies.top) == before
    assert copies.changes() == ()


def test_the_same_done_twice_leaves_the_same_state(copies: Copies) -> None:
    """Process ids and random letters in the names of temporary files are no difference."""
    states = []
    for name in (".x.8f3a21cc.new", ".x.91bb02de.new"):
        copies.back("x")
        (copies.top / "a" / name).write_text("half")
        states.append(copies.changes())
    copies.back("x")
    (copies.top / "a" / ".x.8f3a21cc.new").write_text("other")
    assert states[0] == states[1] != copies.changes()


def test_an_object_that_came_is_left_out_and_one_that_went_is_not(copies: Copies) -> None:
    objects = copies.top / "a" / "objects" / "ab"
    objects.mkdir(parents=True)
    (objects / ("0" * 38)).write_bytes(b"x")
    copies.keep("y")
    copies.back("y")
    (objects / ("1" * 38)).write_bytes(b"y")
    assert copies.changes()
    assert without_objects(copies.changes()) == ()
    (objects / ("0" * 38)).unlink()
    assert without_objects(copies.changes())
