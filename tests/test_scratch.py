"""Folders for work in progress: none stays after its process, none is taken from a living one."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
import time
from pathlib import Path

import pytest

from porter.places import cache_dir
from porter.scratch import is_owned, make_owned, make_scratch, scratch_folder
from porter.upstream.collect import collect


def ended_process() -> int:
    process = subprocess.Popen([sys.executable, "-S", "-c", ""])
    process.wait()
    return process.pid


def left_by(process: int, base: Path, before: str = "", host: str = "") -> Path:
    folder = base / f"{before}{process}@{host or platform.node() or 'localhost'}-export-x1"
    folder.mkdir(parents=True)
    (folder / "file").write_text("left")
    return folder


@pytest.fixture
def staging() -> Path:
    return cache_dir() / "staging"


def test_a_folder_is_gone_after_its_block(staging: Path) -> None:
    with scratch_folder("export") as folder:
        assert folder.parent == staging
        assert is_owned(folder.name) is True

    assert list(staging.iterdir()) == []


def test_what_a_killed_process_left_goes_with_the_next_one(staging: Path) -> None:
    left, living = left_by(ended_process(), staging), left_by(os.getppid(), staging)
    abroad = left_by(1, staging, host="elsewhere")
    other = staging / "model@abc"
    other.mkdir()

    with scratch_folder("pins"):
        assert not left.exists()

    assert all(path.exists() for path in (living, abroad, other))


def test_gc_keeps_what_a_living_process_holds(
    tmp_path: Path, staging: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "upstream_pins.yaml").write_text("version: 1\npins: {}\n")
    held, left = make_owned(staging, "state"), left_by(ended_process(), staging)
    run = left_by(ended_process(), cache_dir() / "runs")
    abroad = left_by(ended_process(), tmp_path / "tmp", "porter-")
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "tmp"))
    then = time.time() - 7200
    os.utime(held, (then, then))

    list(collect(tmp_path, dry_run=False))

    assert held.exists()
    assert not any(path.exists() for path in (left, run, abroad))


def test_without_a_cache_it_is_in_the_temporary_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "tmp").mkdir()
    monkeypatch.setenv("PORTER_CACHE", str(tmp_path / "file" / "cache"))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "tmp"))
    left = left_by(ended_process(), tmp_path / "tmp", "porter-")
    strangers = left_by(ended_process(), tmp_path / "tmp", "")

    folder = make_scratch("export")

    assert folder.parent == tmp_path / "tmp"
    assert folder.name.startswith("porter-")
    assert not left.exists()
    assert strangers.exists()
