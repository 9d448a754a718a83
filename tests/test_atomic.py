"""A file is replaced as a whole or stays as it was."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from porter.atomic import write_atomic, write_json


def test_a_file_is_replaced_and_its_folder_is_made(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b" / "file"

    write_atomic(path, b"one")
    write_atomic(path, b"two", sync=True)

    assert path.read_bytes() == b"two"
    assert [each.name for each in path.parent.iterdir()] == ["file"]


def test_the_users_umask_decides_on_the_mode(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        write_atomic(tmp_path / "file", b"")
    finally:
        os.umask(before)

    assert (tmp_path / "file").stat().st_mode & 0o777 == 0o640


def test_a_failure_leaves_the_old_content_and_names_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    path = tmp_path / "file"
    path.write_bytes(b"old")
    monkeypatch.setattr("porter.atomic.os.replace", full)

    with pytest.raises(OSError, match="No space left") as caught:
        write_atomic(path, b"new")

    assert caught.value.filename == str(path)
    assert path.read_bytes() == b"old"
    assert [each.name for each in tmp_path.iterdir()] == ["file"]


def test_a_cache_that_cannot_be_written_is_no_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")

    write_json(tmp_path / "file" / "below.json", [1])

    assert (tmp_path / "file").read_bytes() == b""


def test_what_a_killed_writer_left_goes_with_the_next_and_a_living_ones_stays(
    tmp_path: Path,
) -> None:
    import fcntl

    (tmp_path / ".file.0a0a0a0a.new").write_bytes(b"dead")
    (tmp_path / ".other.0a0a0a0a.new").write_bytes(b"of another file")
    alive = tmp_path / ".file.0b0b0b0b.new"
    with alive.open("wb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        write_atomic(tmp_path / "file", b"new")
        assert alive.exists()
    left = [each.name for each in tmp_path.iterdir() if "dead" in each.read_text()]
    assert left == []
    assert (tmp_path / ".other.0a0a0a0a.new").exists()
