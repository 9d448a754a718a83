"""``porter export``: commits become patches, always the same bytes."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.small_project import message, sealed_git, write_files
from tests.tree.conftest import Porter, head, porter_process


def patches(project: Path, port: str = "toy") -> dict[str, bytes]:
    """Every file of a series' folder."""
    return {p.name: p.read_bytes() for p in (project / "patches" / port).iterdir()}


def _path(name: str) -> str:
    return name.replace("more__md", "more.md").replace("__", "/")


def commit(tree: Path, text: str, **files: str) -> None:
    write_files(tree, {_path(name): content for name, content in files.items()})
    sealed_git(tree, "add", "--all", "--", *(_path(name) for name in files))
    sealed_git(tree, "commit", "--quiet", "--cleanup=verbatim", "-m", text)


def test_unchanged_series_changes_no_byte(toy: Path, porter: Porter, project: Path) -> None:
    before = patches(project)
    ran = porter("export", "toy", toy)
    assert ran.code == 0
    assert [line.split()[0] for line in ran.out.splitlines()] == ["unchanged"] * 3 + [
        "written",
        "work/toy:",
    ]
    assert patches(project) == before


def test_git_configuration_changes_no_byte(
    toy: Path, porter: Porter, project: Path, tmp_path: Path
) -> None:
    before = patches(project)
    settings = {
        "diff.noprefix": "true", "diff.mnemonicPrefix": "true", "diff.algorithm": "patience",
        "diff.context": "7", "diff.interHunkContext": "9", "diff.renames": "copies",
        "diff.suppressBlankEmpty": "true", "core.abbrev": "7", "core.quotePath": "false",
        "diff.external": "false", "diff.python.xfuncname": "^nothing$", "format.signature": "mine",
        "diff.indentHeuristic": "false", "diff.orderFile": str(tmp_path / "order"),
        "core.attributesFile": str(tmp_path / "attributes"),
    }  # fmt: skip
    write_files(tmp_path, {"order": "pkg/new.py\n", "attributes": "*.py diff=python -text\n"})
    for key, value in settings.items():
        sealed_git(toy, "config", key, value)
        sealed_git(tmp_path, "config", "--file", f"{Path.home()}/gitconfig", key, value)
    (toy / ".git" / "info" / "attributes").write_text("*.py binary\n")
    assert porter("export", "toy", toy, "--check").code == 0
    assert patches(project) == before


def test_new_commit_becomes_a_patch_and_a_level(toy: Path, porter: Porter, project: Path) -> None:
    commit(toy, message("say-more", "Say more"), more__md="new\n", **{"pkg__more.py": "more = 1\n"})
    ran = porter("export", "toy", toy)
    assert ran.code == 0, ran.err
    raw = (project / "patches" / "toy" / "0004-say-more.patch").read_bytes()
    assert raw.startswith(b"From: Ada <ada@example.org>\nDate: Tue, 2 Jan 2024 03:04:05 +0100\n")
    assert b"\nindex 0000000000000000000000000000000000000000.." in raw
    assert raw.rstrip(b"\n").endswith(b"+more = 1")
    assert "0004-say-more.patch" in (project / "patches" / "toy" / "series").read_text()
    assert "level 4 of 4: say-more" in porter("status", toy).out


def test_exported_tree_can_move_on(toy: Path, porter: Porter) -> None:
    commit(toy, message("say-more", "Say more"), **{"pkg__more.py": "more = 1\n"})
    assert porter("export", "toy", toy).code == 0
    assert porter("prev", toy).code == 0
    assert porter("next", toy).code == 0
    assert head(toy) == "Say more"
    assert sealed_git(toy, "status", "--porcelain") == ""


@pytest.mark.parametrize("field", ["Level", "Devices", "Keeps", "Gains", "Origin", "Forwarded"])
def test_commit_without_a_field_is_refused_by_name(
    toy: Path, porter: Porter, project: Path, field: str
) -> None:
    before = patches(project)
    lines = message("say-more", "Say more").splitlines(keepends=True)
    commit(toy, "".join(row for row in lines if not row.startswith(field)), **{"pkg__m.py": "m\n"})
    ran = porter("export", "toy", toy)
    assert ran.code == 2
    assert f"(Say more): its message lacks `{field}:`" in ran.err
    assert ran.err.count("\n") == 1
    assert patches(project) == before


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (
            message("say-more", "[draft] Say more"),
            "git am drops `[draft]`; write it as `draft: ...`",
        ),
        (message("say-more", "[PATCH] Say more"), "would not survive as a mail"),
        (message("say-more", "Say more").replace("Because", "---\nBecause"), "its message"),
        (message("say-more", "Say more").replace("hpu, npu", "gpu"), "found 'gpu'"),
        (message("widen-a", "Say more"), "already has the name 'widen-a'"),
    ],
)
def test_message_that_is_no_header_is_refused(
    toy: Path, porter: Porter, text: str, why: str
) -> None:
    commit(toy, text, **{"pkg__m.py": "m\n"})
    ran = porter("export", "toy", toy)
    assert (ran.code, ran.err.count("\n")) == (2, 1)
    assert why in ran.err


def test_empty_commit_is_refused(toy: Path, porter: Porter) -> None:
    sealed_git(toy, "commit", "--quiet", "--allow-empty", "-m", message("none", "Nothing"))
    assert "(Nothing): changes no file" in porter("export", "toy", toy).err


def test_merge_is_refused(toy: Path, porter: Porter) -> None:
    sealed_git(toy, "switch", "--quiet", "--create", "side", "HEAD~1")
    commit(toy, message("side", "Aside"), **{"pkg__side.py": "s\n"})
    sealed_git(toy, "merge", "--quiet", "-m", "Join", "refs/porter/levels/0003-drop-old")
    assert "(Join): a merge" in porter("export", "toy", toy).err


def test_lower_level_keeps_the_ones_above(toy: Path, porter: Porter, project: Path) -> None:
    porter("goto", "1", toy)
    before = patches(project)
    ran = porter("export", "toy", toy, "--drop")
    assert (ran.code, ran.out.count("unchanged")) == (0, 3)
    assert patches(project) == before


def test_level_that_head_leaves_out_goes_with_drop_alone(
    toy: Path, porter: Porter, project: Path
) -> None:
    before = patches(project)
    sealed_git(toy, "reset", "--quiet", "--hard", "HEAD~2")
    sealed_git(toy, "cherry-pick", "refs/porter/levels/0003-drop-old")
    ran = porter("export", "toy", toy)
    assert (ran.code, ran.err.count("\n")) == (2, 1)
    assert "HEAD does not hold add-new" in ran.err
    assert patches(project) == before
    assert porter("export", "toy", toy, "--drop").code == 0
    expected = {"series", "0001-widen-a.patch", "0002-drop-old.patch", "levels.lock"}
    assert set(patches(project)) == expected
    assert porter("undo", "toy").code == 0
    assert patches(project) == before


def test_amended_series_renames_its_files(toy: Path, porter: Porter, project: Path) -> None:
    (project / "patches" / "toy" / "series").write_text(
        "# the toy's patches\n0001-widen-a.patch\n"
        "# new file\n0002-add-new.patch\n0003-drop-old.patch\n"
    )
    sealed_git(toy, "reset", "--quiet", "--hard", "HEAD~3")
    commit(toy, message("first", "First of all"), **{"pkg__first.py": "f\n"})
    for ref in ("0001-widen-a", "0002-add-new", "0003-drop-old"):
        sealed_git(toy, "cherry-pick", f"refs/porter/levels/{ref}")
    assert porter("export", "toy", toy).code == 0
    assert (project / "patches" / "toy" / "series").read_text() == (
        "0001-first.patch\n# the toy's patches\n0002-widen-a.patch\n# new file\n"
        "0003-add-new.patch\n0004-drop-old.patch\n"
    )


def test_rename_carries_no_more_than_its_change(toy: Path, porter: Porter, project: Path) -> None:
    sealed_git(toy, "mv", "pkg/a.py", "pkg/z.py")
    sealed_git(toy, "commit", "--quiet", "-m", message("move-a", "Move a"))
    assert porter("export", "toy", toy).code == 0
    raw = (project / "patches" / "toy" / "0004-move-a.patch").read_bytes()
    assert b"similarity index 100%\nrename from pkg/a.py\nrename to pkg/z.py\n" in raw
    assert b"a20" not in raw


def test_binary_and_odd_names_survive(toy: Path, porter: Porter, project: Path) -> None:
    (toy / "pkg" / 'b\u00e9 "x".bin').write_bytes(bytes(range(256)))
    (toy / "pkg" / "crlf.txt").write_bytes(b"one\r\ntwo")
    sealed_git(toy, "add", "--all", "pkg")
    sealed_git(toy, "commit", "--quiet", "-m", message("odd", "Odd files"))
    ran = porter("export", "toy", toy)
    assert ran.code == 0, ran.err
    before = patches(project)
    assert porter("export", "toy", toy).code == 0
    assert patches(project) == before


def test_uncommitted_edits_are_reported_as_not_exported(toy: Path, porter: Porter) -> None:
    write_files(toy, {"README.md": "mine\n"})
    assert "1 edited file not committed" in porter("export", "toy", toy).err
    assert (toy / "README.md").read_text() == "mine\n"


def test_tree_of_another_port_is_refused(toy: Path, porter: Porter) -> None:
    assert "a tree of toy, expected mate" in porter("export", "mate", toy).err


def test_exports_at_once_leave_one_whole_series(toy: Path, porter: Porter, project: Path) -> None:
    commit(toy, message("say-more", "Say more"), **{"pkg__more.py": "more = 1\n"})
    running = [porter_process("export", "toy", toy) for _ in range(3)]
    codes = [process.wait() for process in running]
    assert codes == [0, 0, 0]
    assert len([n for n in patches(project) if n.endswith(".patch")]) == 4
    assert porter("export", "toy", toy, "--check").code == 0
