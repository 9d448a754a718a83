"""A project with stored runs, where torch is installed."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.report.stored_project import StoredProject


@pytest.fixture
def stored(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> StoredProject:
    """Levels upstream, one, two with a lock; ``store()`` writes the runs."""
    pytest.importorskip("torch")
    pytest.importorskip("jinja2")
    from tests.report.stored_project import lock, make_stored_project

    project = make_stored_project(tmp_path)
    lock(monkeypatch, project)
    monkeypatch.setenv("PORTER_CACHE", str(project.cache))
    capsys.readouterr()
    return project
