"""``porter check`` and ``porter lock``: levels equal the lock, or the report says why not."""

from __future__ import annotations

import hashlib
import json
import shutil
import xml.etree.ElementTree as ET
from dataclasses import replace

import pytest

from porter.cli import main
from porter.errors import SourceUnavailable
from porter.levels.check import PatchReport, PortReport, check_port
from porter.levels.levels import ApplyFailed, build_levels, memo_dir
from porter.levels.lock import lock_path, lock_port
from porter.places import cache_dir
from porter.report.terminal.check import CheckRequest, summary
from porter.upstream.store import open_upstream
from tests.plain_upstream import git
from tests.small_port import SmallPort, changed


@pytest.fixture
def port(port: SmallPort) -> SmallPort:
    """A port with two levels."""
    port.add_patch("first", changed("a.py", 5))
    port.add_patch("second", changed("d/b.py", 3, 20) | {"d/gone.py": None, "new.py": "new\n"})
    return port


def lock(port: SmallPort) -> str:
    return lock_port(port.root, port.pins, port.pin)


def check(port: SmallPort, *, memo: bool = True) -> PortReport:
    return check_port(port.root, port.pins, port.pin, memo=memo)


def test_a_locked_series_is_ok_built_or_from_the_memo(port: SmallPort) -> None:
    lock(port)
    fresh, known = check(port, memo=False), check(port)
    assert fresh.ok
    assert known.ok
    assert (fresh.from_memo, known.from_memo) == (False, True)
    assert fresh.patches == known.patches


def test_the_levels_are_the_trees_of_the_upstreams_own_commits(port: SmallPort) -> None:
    upstream = open_upstream(port.root, port.pin)
    levels = build_levels(upstream, port.series(), write=True)
    wanted = git(port.upstream, "log", "--format=%T", "--reverse")[1].decode().split()
    assert [level.tree for level in levels] == wanted
    assert upstream.odb.has(level.commit for level in levels) == {lv.commit for lv in levels}
    git(upstream.git_dir, "fsck", "--strict", levels[-1].commit)


@pytest.mark.parametrize("command", ["check", "lint"])
def test_a_pin_without_a_series_is_no_port(
    port: SmallPort, command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.rmtree(port.folder)
    assert main([command, "small"]) == 2
    done = capsys.readouterr()
    [line] = (done.out + done.err).splitlines()
    assert "patches/small/series: expected a series file" in line
    assert "a pin without a series is no port and has no levels" in line


def test_locking_again_changes_no_byte(port: SmallPort) -> None:
    assert "2 levels locked" in lock(port)
    before = lock_path(port.root, port.name).read_bytes()
    assert "unchanged" in lock(port)
    assert lock_path(port.root, port.name).read_bytes() == before


def test_the_lock_says_which_levels_changed(port: SmallPort) -> None:
    lock(port)
    port.add_patch("third", {"new.py": "newer\n"})
    assert "new: third" in lock(port)


def test_without_a_lock_the_check_fails_and_says_how_to_write_it(port: SmallPort) -> None:
    report = check(port)
    assert not report.ok
    assert report.problems == ("no levels.lock; `porter lock small` writes it",)


def test_a_changed_patch_differs_in_every_id_that_changed(port: SmallPort) -> None:
    lock(port)
    path = port.folder / "0001-first.patch"
    path.write_bytes(path.read_bytes().replace(b"+changed 5", b"+altered 5"))
    first, second = check(port).patches
    assert first.status == second.status == "differs"
    assert [text.split()[0] for text in first.differences] == ["patch", "tree", "commit", "a.py"]
    assert [text.split()[0] for text in second.differences] == ["tree", "commit"]


def test_a_level_missing_from_the_series_is_reported(port: SmallPort) -> None:
    lock(port)
    (port.folder / "series").write_text("0001-first.patch\n")
    assert check(port).problems == ("level second is in levels.lock but not in the series",)


def test_every_failing_hunk_of_every_patch_is_reported(port: SmallPort) -> None:
    port.add_patch("third", changed("a.py", 5, 25, by="again"))
    lock(port)
    port.move_pin(changed("a.py", 4, 25, by="other") | changed("d/b.py", 19, by="other"))
    report = check(port)
    failures = [f for patch in report.patches for f in patch.failures if not f.by_git]
    assert [p.status for p in report.patches] == ["fails", "fails", "fails"]
    assert [(f.path, f.hunk) for f in failures] == [
        ("a.py", "@@ -2,7 +2,7 @@"),
        ("d/b.py", "@@ -17,7 +17,7 @@"),
        ("a.py", "@@ -2,7 +2,7 @@"),
        ("a.py", "@@ -22,7 +22,7 @@"),
    ]
    assert failures[1].expected[2] == b"b19\n"
    assert failures[1].found[2] == b"other 19\n"
    assert failures[1].at == 17
    words = [f.reason for patch in report.patches for f in patch.failures if f.by_git]
    assert words[0] == "git apply: patch failed: a.py:2; a.py: patch does not apply"
    assert len(words) == 3


def test_a_patch_above_a_failed_one_is_still_judged(port: SmallPort) -> None:
    port.move_pin(changed("a.py", 5, by="other"))
    assert [patch.status for patch in check(port).patches] == ["fails", "unjudged"]


def test_a_hunk_whose_lines_moved_names_the_line(port: SmallPort) -> None:
    text = changed("d/b.py")["d/b.py"]
    assert text is not None
    port.move_pin({"d/b.py": text.replace("b17\n", "") + "b17\nb18\nb19\nb20\n"})
    _, failure = check(port).patches[1].failures
    assert "the lines to change are at line" in failure.reason
    assert failure.moved is not None


def test_an_applied_patch_is_recognised(port: SmallPort) -> None:
    port.move_pin(changed("a.py", 5))
    _, failure = check(port).patches[0].failures
    assert failure.reason.startswith("already applied")


def test_a_file_that_moved_is_found_by_its_content(port: SmallPort) -> None:
    text = changed("d/b.py")["d/b.py"]
    port.move_pin({"d/b.py": None, "e/other.py": text})
    failure = next(f for f in check(port).patches[1].failures if f.path == "d/b.py")
    assert failure.moved_to == "e/other.py"


def test_hunks_that_git_takes_at_another_line_are_reported(port: SmallPort) -> None:
    text = changed("a.py")["a.py"]
    assert text is not None
    port.move_pin({"a.py": "new first line\n" + text})
    report = check(port)
    assert [(o.hunk, o.lines) for o in report.patches[0].offsets] == [("@@ -2,7 +2,7 @@", 1)]
    assert [patch.status for patch in report.patches] == ["ok", "ok"]


def test_building_refuses_with_all_failures(port: SmallPort) -> None:
    port.move_pin(changed("a.py", 5, by="other") | changed("d/b.py", 3, by="other"))
    with pytest.raises(ApplyFailed) as caught:
        build_levels(open_upstream(port.root, port.pin), port.series())
    assert sum(not failure.by_git for failure in caught.value.failures) == 2
    text = str(caught.value)
    assert "\n" not in text
    assert text.startswith(
        "0001-first.patch does not apply: a.py @@ -2,7 +2,7 @@: the nearest are at line 2: "
    )
    assert " (and 1 more); git apply: patch failed: a.py:2; a.py: patch does not apply; " in text


def test_a_spoiled_memo_is_ignored(port: SmallPort) -> None:
    lock(port)
    memos = [path for path in memo_dir().rglob("*") if path.is_file()]
    assert len(memos) == 2
    for path in memos:
        path.write_bytes(path.read_bytes()[:-9] + b"\0\0garbage")
    report = check(port)
    assert report.ok
    assert not report.from_memo


def test_the_command_exits_1_and_shows_the_lines_within_80_columns(
    port: SmallPort, capsys: pytest.CaptureFixture[str]
) -> None:
    port.move_pin(changed("a.py", 5, by="other"))
    assert main(["check", "small"]) == 1
    text = capsys.readouterr().out
    assert "      - a5\n      + other 5\n" in text
    assert "\x1b" not in text


def test_json_says_the_same(port: SmallPort, capsys: pytest.CaptureFixture[str]) -> None:
    port.move_pin(changed("a.py", 5, by="other"))
    assert main(["check", "--json"]) == 1
    data = json.loads(capsys.readouterr().out)
    failure = data["ports"][0]["patches"][0]["failures"][1]
    assert failure["expected"][3] == "a5\n"
    assert failure["found"][3] == "other 5\n"


@pytest.mark.parametrize("form", ["github", "sarif", "junit"])
def test_ci_formats_name_the_patch(
    port: SmallPort, capsys: pytest.CaptureFixture[str], form: str
) -> None:
    port.move_pin(changed("a.py", 5, by="other"))
    assert main(["check", "--format", form]) == 1
    assert "patches/small/0001-first.patch" in capsys.readouterr().out


def test_a_broken_lock_is_one_line_with_the_way_out(
    port: SmallPort, capsys: pytest.CaptureFixture[str]
) -> None:
    lock_path(port.root, port.name).write_text("<<<<<<< HEAD\n{}\n")
    assert main(["check"]) == 2
    assert "unresolved merge conflict" in capsys.readouterr().out
    assert "2 levels locked" in lock(port)


def test_half_a_character_in_a_lock_is_one_line(
    port: SmallPort, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "2 levels locked" in lock(port)
    path = lock_path(port.root, port.name)
    path.write_text(path.read_text().replace('"name": "', '"name": "\\ud800', 1))
    assert main(["check"]) == 2
    assert "surrogates not allowed" in capsys.readouterr().out


def cut_off(port: SmallPort, *, listed: bool = True) -> None:
    """Remove the upstream and the cache; keep its listing if ``listed``."""
    if listed:
        commit = port.pin.commit or ""
        listing = git(port.upstream, "ls-tree", "-r", commit)[1]
        (port.folder / "upstream.listing").write_bytes(listing)
        body = git(port.upstream, "cat-file", "commit", commit)[1]
        (port.folder / "upstream.commit").write_bytes(body)
    port.upstream.rename(port.upstream.with_name("elsewhere"))
    shutil.rmtree(cache_dir(), ignore_errors=True)


def respell(port: SmallPort, patch: str, old: bytes, new: bytes) -> None:
    """Change a patch file and its hash in the lock."""
    path = next(port.folder.glob(f"*-{patch}.patch"))
    before = path.read_bytes()
    assert old in before
    path.write_bytes(before.replace(old, new))
    sha256 = {name: hashlib.sha256(body).hexdigest() for name, body in
              (("old", before), ("new", path.read_bytes()))}  # fmt: skip
    text = lock_path(port.root, port.name).read_text()
    lock_path(port.root, port.name).write_text(text.replace(sha256["old"], sha256["new"]))


def test_without_any_source_the_ids_are_held_to_the_lock_as_stated(port: SmallPort) -> None:
    lock(port)
    built = check(port)
    cut_off(port)
    report = check(port)
    assert report.ok
    assert report.stated
    assert not report.complete
    assert [(p.status, p.tree, p.commit) for p in report.patches] == [
        ("stated", p.tree, p.commit) for p in built.patches
    ]
    assert not memo_dir().exists()


@pytest.mark.parametrize(("arguments", "code"), [([], 0), (["--strict"], 1), (["small"], 1)])
def test_what_no_source_serves_fails_only_when_asked_for(
    port: SmallPort, capsys: pytest.CaptureFixture[str], arguments: list[str], code: int
) -> None:
    lock(port)
    cut_off(port)
    assert main(["check", *arguments]) == code
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("small: not reachable: there is no git repository at ")
    assert lines[1:] == ["  2 levels: ids as the patches state them, no content seen"]


def test_what_git_said_is_reported_when_asked_for(
    port: SmallPort, capsys: pytest.CaptureFixture[str]
) -> None:
    cut_off(port)
    main(["check", "--verbose"])
    assert "does not appear to be a git repository" in capsys.readouterr().out


def test_without_a_listing_not_even_the_ids_are_checked(
    port: SmallPort, capsys: pytest.CaptureFixture[str]
) -> None:
    lock(port)
    cut_off(port, listed=False)
    assert main(["check"]) == 0
    assert (
        "not even its ids are checked: patches/small has no upstream.listing"
        in capsys.readouterr().out
    )


def test_a_wrong_lock_is_found_without_any_content(port: SmallPort) -> None:
    lock(port)
    tree = check(port).patches[1].tree
    cut_off(port)
    path = lock_path(port.root, port.name)
    path.write_text(path.read_text().replace(tree, "1" * 40))
    report = check(port)
    assert [patch.status for patch in report.patches] == ["stated", "differs"]
    assert main(["check"]) == 1


def test_a_wrong_new_id_of_an_index_line_is_found_without_any_content(port: SmallPort) -> None:
    lock(port)
    new = check(port).patches[0]
    blob = json.loads(lock_path(port.root, port.name).read_text())["levels"][0]["files"]["a.py"]
    cut_off(port)
    respell(port, "first", f"..{blob}".encode(), b".." + b"1" * 40)
    first, second = check(port).patches
    assert (first.status, second.status) == ("differs", "differs")
    assert f"tree is {first.tree}, locked {new.tree}" in first.differences


def test_a_wrong_old_id_of_an_index_line_is_found_without_any_content(port: SmallPort) -> None:
    lock(port)
    old = git(port.upstream, "rev-parse", f"{port.pin.commit}:a.py")[1].strip()
    cut_off(port)
    respell(port, "first", b"index " + old, b"index " + b"1" * 40)
    first, second = check(port).patches
    assert (first.status, second.status) == ("fails", "unjudged")
    assert "the patch was made on 111111111111" in first.failures[0].reason
    assert main(["check"]) == 1


def test_a_path_that_the_listing_does_not_hold_is_found_without_any_content(
    port: SmallPort, capsys: pytest.CaptureFixture[str]
) -> None:
    lock(port)
    cut_off(port)
    respell(port, "first", b"a.py", b"absent.py")
    assert main(["check"]) == 1
    printed = capsys.readouterr().out
    assert "absent.py\n      the file is not there" in printed


def test_a_deleted_file_with_other_lines_is_found_without_any_content(port: SmallPort) -> None:
    lock(port)
    cut_off(port)
    respell(port, "second", b"-gone\n", b"-gane\n")
    failures = [f for patch in check(port).patches for f in patch.failures]
    assert [(f.path, f.reason) for f in failures] == [
        ("d/gone.py", "the file to delete has other lines than the patch")
    ]


def test_what_only_git_decides_is_not_stated(port: SmallPort) -> None:
    lock(port)
    cut_off(port)
    old = b"index " + next(line for line in port.series().patches[0].raw.splitlines()
                           if line.startswith(b"index "))[6:46]  # fmt: skip
    respell(port, "first", old, old[:13])
    report = check(port)
    assert report.not_reachable is not None
    assert "0001-first.patch needs git" in report.unstated
    assert (report.ok, report.patches) == (True, ())


def test_a_source_that_serves_another_commit_is_no_matter_of_reach(port: SmallPort) -> None:
    lock(port)
    shutil.rmtree(cache_dir())
    text = (port.root / "upstream_pins.yaml").read_text()
    (port.root / "upstream_pins.yaml").write_text(text.replace(port.pin.commit or "", "b" * 40))
    assert check(port).not_reachable is None
    assert main(["check"]) == 1


def test_every_form_says_that_nothing_was_seen(
    port: SmallPort, capsys: pytest.CaptureFixture[str]
) -> None:
    lock(port)
    cut_off(port)
    outputs = {}
    for form in ("json", "junit", "sarif", "github"):
        assert main(["check", "--format", form]) == 0
        outputs[form] = capsys.readouterr().out
    (row,) = json.loads(outputs["json"])["ports"]
    assert (row["ok"], row["content"], row["error"]) == (True, "none", None)
    assert "does not appear to be a git repository" in row["not_reachable"]["detail"]
    skipped = [case.get("name") for case in ET.fromstring(outputs["junit"]).iter("testcase")
               if case.find("skipped") is not None]  # fmt: skip
    assert skipped == ["content", "1 first", "2 second"]
    (result,) = json.loads(outputs["sarif"])["runs"][0]["results"]
    assert (result["ruleId"], result["level"]) == ("coverage", "note")
    assert outputs["github"].startswith("::notice file=patches/small/series")


def test_strict_makes_it_an_error_in_every_form(
    port: SmallPort, capsys: pytest.CaptureFixture[str]
) -> None:
    lock(port)
    cut_off(port)
    outputs = {}
    for form in ("json", "junit", "sarif", "github"):
        assert main(["check", "--strict", "--format", form]) == 1
        outputs[form] = capsys.readouterr().out
    assert json.loads(outputs["json"])["ok"] is False
    suites = ET.fromstring(outputs["junit"])
    assert (suites.get("errors"), suites.get("failures")) == ("1", "0")
    (result,) = json.loads(outputs["sarif"])["runs"][0]["results"]
    assert result["level"] == "error"
    assert outputs["github"].startswith("::error file=patches/small/series")


def test_the_summary_says_how_many_ports_were_checked_and_which_were_not() -> None:
    away = SourceUnavailable("far: not reachable", reason="git.example does not answer")
    seen = PatchReport(1, "first", "0001-first.patch", "ok")
    part = replace(seen, not_covered=("a.py",))
    reports = [
        PortReport("near", "1" * 40, (seen,)),
        PortReport("half", "1" * 40, (part,)),
        PortReport("far", "1" * 40, (replace(part, status="stated"),), not_reachable=away),
        PortReport("bad", "1" * 40, (replace(seen, status="differs"),)),
    ]
    line = summary(reports, CheckRequest())
    assert line == (
        "3 of 4 ports checked, 1 failed: bad, 1 not reachable: far (ids as the patches state them,"
        " no content seen); checked in part: half"
    )
    assert summary(reports, CheckRequest(strict=True)) == f"{line}; that fails with --strict"
    assert [CheckRequest(strict=True).passes(report) for report in reports] == [
        True,
        False,
        False,
        False,
    ]
    assert [CheckRequest(named=True).passes(report) for report in reports] == [
        True,
        True,
        False,
        False,
    ]
    assert [CheckRequest().passes(report) for report in reports] == [True, True, True, False]
