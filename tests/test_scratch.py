"""Temporary folders: gone after use, and after a kill with the next one made."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from porter.scratch import ScratchFolder, scratch_folder, sweep

KILLED = """
import os, signal
from porter.scratch import ScratchFolder
(ScratchFolder("test").path / "file").write_text("x")
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", None)
    return tmp_path


def killed() -> None:
    root = str(Path(__file__).parents[1])
    env = {**os.environ, "PYTHONPATH": root}
    assert subprocess.run([sys.executable, "-c", KILLED], env=env).returncode == -signal.SIGKILL


def test_the_folder_of_a_killed_porter_goes_with_the_next(place: Path) -> None:
    killed()
    assert len(list(place.iterdir())) == 1
    with scratch_folder("test") as folder:
        assert list(place.iterdir()) == [folder]
    assert list(place.iterdir()) == []


def test_a_folder_in_use_stays(place: Path) -> None:
    mine = ScratchFolder("test")
    killed()
    with scratch_folder("test") as folder:
        assert sorted(place.iterdir()) == sorted([folder, mine.path])
    assert sweep() == []
    mine.close()
    mine.close()
    assert list(place.iterdir()) == []


def test_what_only_has_such_a_name_stays(place: Path) -> None:
    (place / "porter-scratch-file").write_text("mine")
    (place / "elsewhere").mkdir()
    (place / "porter-scratch-link").symlink_to(place / "elsewhere")
    assert sweep() == []
    assert len(list(place.iterdir())) == 3
