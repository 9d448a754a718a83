"""A source that covers some files: those are checked, the others are named."""

from __future__ import annotations

from pathlib import Path

import pytest

from porter.errors import SourceUnavailable
from porter.git.objects import Oid, blob_id
from porter.levels.build import Builder
from porter.levels.levels import build_levels, levels_of
from porter.series.series import Series, read_patch
from tests.plain_upstream import PlainPin, PlainUpstream, git, write_tree

FILE = 0o100644
BEFORE = {b"a": (FILE, b"1\n2\n3\n"), b"b": (FILE, b"x\n"), b"c": (FILE, b"\0bin")}
AFTER = BEFORE | {b"a": (FILE, b"1\n2\nthree\n"), b"b": (FILE, b"y\n")}


def case(folder: Path, *options: str, hidden: bytes = b"b") -> tuple[PlainUpstream, Series, Oid]:
    git(folder, "init", "-q")
    old, new = write_tree(folder, BEFORE), write_tree(folder, AFTER)
    path = folder / "0001-x.patch"
    path.write_bytes(git(folder, "diff", "--binary", *options, old, new)[1])
    gone = frozenset({blob_id(BEFORE[hidden][1])})
    upstream = PlainUpstream(folder / ".git", PlainPin(old), gone)
    for oid in gone:
        (folder / ".git" / "objects" / oid[:2] / oid[2:]).unlink()
    return upstream, Series("x", folder, (read_patch(path),)), new


def test_uncovered_files_take_the_id_that_the_patch_states(tmp_path: Path) -> None:
    upstream, series, tree = case(tmp_path, "--full-index")
    with upstream.odb:
        level = build_levels(upstream, series)[1]
    assert level.tree == tree
    assert level.claimed == {b"b"}


def test_a_wrong_old_id_of_an_uncovered_file_is_refused(tmp_path: Path) -> None:
    upstream, series, _ = case(tmp_path, "--full-index")
    path = series.patches[0].path
    raw = path.read_bytes()
    path.write_bytes(raw.replace(blob_id(b"x\n").encode(), b"0" * 39 + b"1"))
    with upstream.odb, pytest.raises(SourceUnavailable, match="no source covers this file"):
        build_levels(upstream, Series("x", tmp_path, (read_patch(path),)))


def test_a_wrong_old_id_of_an_uncovered_file_is_a_failure_where_ids_are_held_to_what_is_stated(
    tmp_path: Path,
) -> None:
    upstream, series, _ = case(tmp_path, "--full-index")
    path, stored = series.patches[0].path, b"x\n"
    path.write_bytes(path.read_bytes().replace(blob_id(stored).encode(), b"0" * 39 + b"1"))
    with upstream.odb, Builder(upstream, "uncovered") as builder:
        (step,) = builder.run([read_patch(path)])
    reason = f"its content is {blob_id(stored)[:12]}, the patch was made on 000000000000"
    assert [(f.path, f.reason) for f in step.failures] == [("b", reason)]
    assert not step.sound


def test_a_covered_file_is_judged_by_its_lines_beside_an_uncovered_one(tmp_path: Path) -> None:
    upstream, series, _ = case(tmp_path, "--full-index")
    path = series.patches[0].path
    path.write_bytes(path.read_bytes().replace(b" 2\n", b" two\n"))
    with upstream.odb, Builder(upstream, "uncovered") as builder:
        (step,) = builder.run([read_patch(path)])
    assert [(f.path, f.hunk is not None) for f in step.failures] == [("a", True)]


def test_an_abbreviated_index_line_cannot_stand_for_an_uncovered_file(tmp_path: Path) -> None:
    upstream, series, _ = case(tmp_path)
    with upstream.odb, pytest.raises(SourceUnavailable, match="not full"):
        build_levels(upstream, series)


def test_claimed_levels_are_not_remembered(tmp_path: Path) -> None:
    upstream, series, _ = case(tmp_path, "--full-index")
    with upstream.odb:
        build_levels(upstream, series)
        assert build_levels(upstream, series)[1].claimed == {b"b"}


def test_files_that_no_patch_touches_need_no_cover(tmp_path: Path) -> None:
    upstream, series, tree = case(tmp_path, "--full-index", hidden=b"c")
    with upstream.odb, Builder(upstream) as builder:
        levels = levels_of(upstream.pin.tree, upstream.commit, builder.run(series.patches))
    assert levels[1].tree == tree
    assert not levels[1].claimed
