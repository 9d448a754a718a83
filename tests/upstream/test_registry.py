"""The store's users: projects and work trees, by the paths of their folders."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from porter.upstream.registry import forget_gone, register, trees


@pytest.mark.parametrize("name", [b"plain", b"a line\nbreak", b"not UTF-8 \xff"])
def test_a_tree_is_registered_whatever_its_folder_is_called(
    name: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PORTER_CACHE", str(tmp_path / "cache"))
    folder = tmp_path / os.fsdecode(name)
    (folder / ".git").mkdir(parents=True)
    register("trees", folder)
    register("trees", tmp_path / "gone")
    forget_gone()
    assert trees() == (folder,)
    assert len(list((tmp_path / "cache" / "store" / "trees").iterdir())) == 1
