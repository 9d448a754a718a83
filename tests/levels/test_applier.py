"""The strict applier accepts unambiguous diffs only; trees are edited in memory."""

from __future__ import annotations

import pytest

from porter.git.objects import MODE_FILE, Entry, Oid, blob_id, decode_tree, encode_tree, hash_object
from porter.git.treeedit import PathConflict, TreeEdit
from porter.levels.applier import NotStrict, patched, unsafe_path
from porter.series.diff import FilePatch
from porter.series.diffreader import parse_diff

OLD = b"".join(b"%d\n" % n for n in range(1, 21))


def section(hunks: bytes) -> FilePatch:
    return parse_diff(b"diff --git a/x b/x\n--- a/x\n+++ b/x\n" + hunks).files[0]


MIDDLE = b"@@ -9,3 +9,3 @@\n 9\n-10\n+ten\n 11\n"


def test_a_hunk_is_taken_at_its_own_line() -> None:
    assert patched(section(MIDDLE), OLD) == OLD.replace(b"10\n", b"ten\n")


def test_a_later_hunk_counts_from_the_new_lines() -> None:
    hunks = b"@@ -2,3 +2,4 @@\n 2\n+new\n 3\n 4\n" + MIDDLE.replace(b"+9,3", b"+10,3")
    assert patched(section(hunks), OLD).startswith(b"1\n2\nnew\n3\n4\n5\n6\n7\n8\n9\nten\n11\n")


@pytest.mark.parametrize(
    ("hunks", "old"),
    [
        (MIDDLE, b"0\n" + OLD),  # one line off
        (MIDDLE.replace(b"-9,3 +9,3", b"-8,3 +8,3"), OLD),  # says another line
        (MIDDLE.replace(b"11\n", b"11\r\n"), OLD),  # other line end
        (b"@@ -1,2 +1,2 @@\n-9\n+nine\n 10\n", OLD),  # must begin the file
        (b"@@ -10,2 +10,2 @@\n 10\n-11\n+eleven\n", OLD),  # must end the file
        (b"@@ -19,2 +19,2 @@\n 19\n-20\n+x\n\\ No newline at end of file\n", OLD + b"21\n"),
        (b"@@ -19,2 +19,2 @@\n 19\n-20\n\\ No newline at end of file\n+x\n", OLD),
    ],
)
def test_a_hunk_that_git_would_have_to_look_for_is_left_to_git(hunks: bytes, old: bytes) -> None:
    with pytest.raises(NotStrict):
        patched(section(hunks), old)


def test_repeated_lines_do_not_mislead_the_search() -> None:
    old = b"a\n" * 20
    hunks = b"@@ -9,3 +9,3 @@\n a\n-a\n+b\n a\n"
    assert patched(section(hunks), old) == b"a\n" * 9 + b"b\n" + b"a\n" * 10


def edit(paths: list[bytes]) -> TreeEdit:
    bodies = {Oid("4b825dc642cb6eb9a060e54bf8d69288fbee4904"): b""}
    tree = TreeEdit(next(iter(bodies)), bodies.__getitem__)
    tree.change([(path, Entry(MODE_FILE, blob_id(path))) for path in paths])
    return tree


def test_folders_come_and_go_with_their_files_in_gits_order() -> None:
    tree = edit([b"a/x", b"a.b", b"a0"])
    body = tree.fresh[tree.write()]
    assert body == encode_tree(decode_tree(body).items())
    assert list(decode_tree(body)) == [b"a.b", b"a", b"a0"]
    tree.change([(b"a/x", None)])
    assert list(decode_tree(tree.fresh[tree.write()])) == [b"a.b", b"a0"]


def test_the_id_is_the_hash_of_what_is_handed_out() -> None:
    tree = edit([b"a/b/c", b"d"])
    tree.write()
    assert all(hash_object("tree", body) == oid for oid, body in tree.fresh.items())


@pytest.mark.parametrize("path", [b"a/x/below", b"a"])
def test_a_file_and_a_folder_cannot_share_a_name(path: bytes) -> None:
    tree = edit([b"a/x", b"d"])
    before = tree.write()
    with pytest.raises(PathConflict):
        tree.change([(path, Entry(MODE_FILE, blob_id(b""))), (b"d", None)])
    assert tree.write() == before
    assert tree.get(b"d") is not None


def test_a_file_may_take_the_place_of_a_folder_that_empties() -> None:
    tree = edit([b"a/x", b"a/y"])
    tree.change([(b"a/x", None), (b"a/y", None), (b"a", Entry(MODE_FILE, blob_id(b"")))])
    assert tree.get(b"a") == Entry(MODE_FILE, blob_id(b""))


@pytest.mark.parametrize(
    "path", [b"../a", b"a/../b\\c", b"a//b", b".git/x", b"d/.Git\\x", b"a:/..", "ü/..".encode()]
)
def test_a_path_that_git_might_refuse_is_left_to_git(path: bytes) -> None:
    assert unsafe_path(path)


@pytest.mark.parametrize("path", [b"a/b", b"a\\b", b".gitignore", "ü".encode(), b"a..b/.github"])
def test_plain_paths_are_taken(path: bytes) -> None:
    assert not unsafe_path(path)
