"""The pins file when a port moves: entries as text, source releases, and what stays."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

import pytest
import yaml

from porter.editing.pin_text import with_values, without_items
from porter.project_change import content_meanwhile, lock_project
from tests.remotes import make_sdist
from tests.small_project import message, sealed_git, snapshot, write_files
from tests.tree.conftest import Porter

FLOW = """version: 1
pins:
  one: {url: "file:///one", commit: aaa, tree: bbb, license: MIT} # mine
  two:
    url: file:///two
    commit: ccc # v1
    tree: ddd
    wanted: [a/, b.py, "c d.py"] # these
    submodules: {X: one}
  three:
    # above
    commit: eee
    wanted:
      - a/ # first
      # about b
      - b.py
    submodules:
      X: one
      Y: two
    license: MIT
"""


def test_values_change_and_every_other_byte_stays() -> None:
    path = Path("pins.yaml")
    text = with_values(FLOW, "one", {("commit",): "new", ("tree",): "tree"}, path, "v2")
    assert text == FLOW.replace("aaa", "new").replace("bbb", "tree")
    text = with_values(FLOW, "two", {("commit",): "new"}, path, "v2")
    assert text == FLOW.replace("ccc # v1", "new # v2")
    assert with_values(FLOW, "two", {("commit",): "new"}, path) == FLOW.replace("ccc # v1", "new")


@pytest.mark.parametrize(
    ("name", "key", "items", "was", "now"),
    [
        ("two", "wanted", ["b.py"], '[a/, b.py, "c d.py"] # these', '[a/, "c d.py"] # these'),
        ("two", "wanted", ["c d.py", "a/"], '[a/, b.py, "c d.py"]', "[b.py]"),
        ("two", "submodules", ["X"], "    submodules: {X: one}\n", ""),
        ("three", "wanted", ["a/"], "      - a/ # first\n", ""),
        ("three", "wanted", ["b.py"], "      - b.py\n", ""),
        ("three", "submodules", ["X"], "      X: one\n      Y", "      Y"),
        ("three", "submodules", ["X", "Y"], "    submodules:\n      X: one\n      Y: two\n", ""),
        ("three", "submodules", ["Z"], "", ""),
        ("one", "wanted", ["a/"], "", ""),
    ],
)
def test_items_go_and_every_other_byte_stays(
    name: str, key: str, items: list[str], was: str, now: str
) -> None:
    text = without_items(FLOW, name, key, items)
    assert text == (FLOW.replace(was, now) if was else FLOW)
    assert yaml.safe_load(text)


def test_a_file_has_its_content_back_after_a_failure(tmp_path: Path) -> None:
    root, pins = tmp_path / "small", tmp_path / "small" / "pins"
    (root / "patches").mkdir(parents=True)
    pins.write_bytes(b"own")
    seen = []
    with suppress(KeyboardInterrupt), content_meanwhile(root, "pins", b"other"):
        seen.append(pins.read_bytes())
        raise KeyboardInterrupt
    assert [*seen, pins.read_bytes()] == [b"other", b"own"]
    with lock_project(root):
        assert sorted(path.name for path in root.rglob("*")) == ["patches", "pins"]


def test_a_source_release_moves_to_another_version(
    project: Path, porter: Porter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    index = tmp_path / "index"
    monkeypatch.setenv("PIP_FIND_LINKS", str(index))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    rows = "".join(f"x{n}\n" for n in range(20))
    old = make_sdist(index, "rel", "1.0", {"rel/a.py": rows.encode()})
    new = make_sdist(index, "rel", "1.1", {"rel/a.py": f"# new\n{rows}".encode()})
    os.chdir(project)
    assert porter("add", "rel==1.0").code == 0
    tree = tmp_path / "work" / "rel"
    assert porter("apply", "rel", tree).code == 0
    write_files(tree, {"rel/a.py": rows.replace("x9", "nine")})
    sealed_git(tree, "commit", "--quiet", "-am", message("nine", "Nine"))
    os.chdir(tree)
    assert porter("refresh").code == 0
    before = snapshot(project)
    ran = porter("rebase", "--onto", "1.1", "--json")
    assert ran.code == 0, ran.err
    assert '"moved"' in ran.out
    assert snapshot(project)["upstream_pins.yaml"] == _moved(before, old, new, project)
    assert (tree / "rel" / "a.py").read_text() == "# new\n" + rows.replace("x9", "nine")
    assert porter("check", "rel").code == 0
    assert porter("undo").code == 0
    assert snapshot(project) == before
    ran = porter("rebase", "--onto", "7.0")
    assert (ran.code, ran.err.count("\n")) == (2, 1)
    assert "rel 7.0: no source release" in ran.err


def _moved(before: dict[str, str], old: str, new: str, project: Path) -> str:
    pins = yaml.safe_load((project / "upstream_pins.yaml").read_text())["pins"]
    was = yaml.safe_load(before["upstream_pins.yaml"])["pins"]["rel"]["tree"]
    text = before["upstream_pins.yaml"].replace('"1.0"', '"1.1"').replace(old, new)
    return text.replace(was, pins["rel"]["tree"])
