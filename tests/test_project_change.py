"""Journals of a change: one that came with a project writes nothing outside it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from porter.errors import BadInput
from porter.project_change import change_files, content_meanwhile, settle_project


@pytest.fixture
def root(tmp_path: Path) -> Path:
    made = tmp_path / "project"
    (made / "patches" / ".change").mkdir(parents=True)
    (made / "patches" / ".change" / "0").write_text("hostile\n")
    (made / "pins").write_text("own\n")
    (made / "link").symlink_to(tmp_path)
    return made


@pytest.mark.parametrize(
    "row",
    [
        {"path": "../outside", "was": None, "staged": "0"},
        {"path": "link/outside", "was": None, "staged": "0"},
        {"path": ".git/hooks/post-checkout", "was": None, "staged": "0"},
        {"path": "{root}/../outside", "was": None, "staged": "0"},
        {"path": "new", "was": None, "staged": "../../../secret"},
        {"path": "", "was": None, "staged": None},
        {"path": "a\0b", "was": None, "staged": "0"},
        {"path": 5, "was": None, "staged": "0"},
        {"path": "new", "was": 5, "staged": "0"},
        {"path": "new"},
        "text",
        5,
    ],
)
def test_a_journal_that_leads_outside_is_refused(root: Path, row: object) -> None:
    (root.parent / "secret").write_text("mine\n")
    rows = json.dumps([row]).replace("{root}", str(root))
    (root / "patches" / ".change" / "journal.json").write_text(rows)
    before = sorted(root.parent.rglob("*"))
    with pytest.raises(BadInput, match=r"journal\.json: damaged") as refused:
        settle_project(root)
    assert "\n" not in str(refused.value)
    assert sorted(root.parent.rglob("*")) == before


def test_what_a_writer_killed_before_its_journal_left_is_deleted(root: Path) -> None:
    settle_project(root)
    assert not (root / "patches" / ".change").exists()


def test_a_file_has_its_own_content_again_unless_the_block_changed_it(root: Path) -> None:
    with content_meanwhile(root, "pins", b"lent\n"):
        assert (root / "pins").read_text() == "lent\n"
    assert (root / "pins").read_text() == "own\n"
    with pytest.raises(KeyError), content_meanwhile(root, "pins", b"lent\n"):
        raise KeyError
    assert (root / "pins").read_text() == "own\n"
    with content_meanwhile(root, "pins", b"lent\n"):
        change_files(root, {"pins": b"new\n"})
    assert (root / "pins").read_text() == "new\n"
    assert not (root / "patches" / ".change").exists()
