"""The diff parser is byte-exact and reports everything that git would not have written."""

from __future__ import annotations

import pytest

from porter.git.quoting import quote, read_path, show_path, unquote
from porter.series.diffreader import parse_diff

PLAIN = b"""diff --git a/x b/x
index 1111111111111111111111111111111111111111..2222222222222222222222222222222222222222 100644
--- a/x
+++ b/x
@@ -1,2 +1,2 @@ def f():
 a
-b
+c
"""


def test_a_hunk_keeps_both_sides_to_the_byte() -> None:
    raw = PLAIN.replace(b"-b\n+c\n", b"-b\r\n+\xff\n\\ No newline at end of file\n")
    (file,) = parse_diff(raw).files
    assert file.hunks[0].old == (b"a\n", b"b\r\n")
    assert file.hunks[0].new == (b"a\n", b"\xff")
    assert (file.old_mode, file.new_mode, file.kind) == (0o100644, 0o100644, "modify")


def test_a_quoted_name_is_the_bytes_it_stands_for() -> None:
    raw = b"".join(
        line.replace(b"a/x", b'"a/\\303\\274\\n"').replace(b"b/x", b'"b/\\303\\274\\n"') + b"\n"
        for line in PLAIN.splitlines()
    )
    assert parse_diff(raw).files[0].path == "ü\n".encode()


def test_a_name_with_a_blank_is_read_from_both_halves() -> None:
    raw = b"diff --git a/b c b/b c\nold mode 100644\nnew mode 100755\n"
    (file,) = parse_diff(raw).files
    assert (file.path, file.old_mode, file.new_mode) == (b"b c", 0o100644, 0o100755)


def test_a_rename_without_content_has_both_names() -> None:
    raw = b"diff --git a/x b/y\nsimilarity index 100%\nrename from x\nrename to y\n"
    (file,) = parse_diff(raw).files
    assert (file.kind, file.old_path, file.new_path) == ("rename", b"x", b"y")


def test_empty_files_come_and_go_without_a_hunk() -> None:
    raw = (
        b"diff --git a/n b/n\nnew file mode 100644\nindex 0000000..e69de29\n"
        b"diff --git a/o b/o\ndeleted file mode 100644\nindex e69de29..0000000\n"
    )
    added, deleted = parse_diff(raw).files
    assert (added.kind, added.old_path, added.new_mode) == ("add", None, 0o100644)
    assert (deleted.kind, deleted.new_path, deleted.old_mode) == ("delete", None, 0o100644)


def test_binary_hunks_are_recognised_and_stepped_over() -> None:
    raw = (
        b"diff --git a/i b/i\nindex 1111111..2222222 100644\nGIT binary patch\n"
        b"literal 3\nKcmZQzXaE2J0{{SA\n\ndelta 5\nMcmZ\n\n" + PLAIN
    )
    diff = parse_diff(raw)
    assert [file.path for file in diff.files] == [b"i", b"x"]
    assert diff.files[0].binary is not None
    assert diff.files[0].binary.method == "literal"
    assert not diff.oddities


@pytest.mark.parametrize(
    ("spoil", "text"),
    [
        (lambda raw: raw.replace(b"@@ -1,2", b"@@ -1,3"), "ends inside a hunk"),
        (lambda raw: raw.replace(b" a\n", b"a\n"), "starts with a blank"),
        (lambda raw: raw.replace(b"--- a/x", b"--- a/y"), "disagree with"),
        (lambda raw: raw.replace(b"+++ b/x\n", b""), "`+++` line"),
        (lambda raw: raw.replace(b"-b\n+c\n", b" b\n"), "changes nothing"),
        (lambda raw: raw.replace(b" 100644", b" 100600"), "file mode"),
        (lambda raw: raw[:-1], "no newline"),
        (lambda raw: raw + b"@@ -9,2 +9,2 @@\n a\n-b\n+c\n@@ -1 +1 @@\n-a\n+b\n", "out of order"),
        (lambda raw: raw.replace(b"a/x b/x", b"x x"), "different names"),
        (lambda raw: b"--- a/x\n+++ b/x\n@@ -1 +1 @@\n" + raw, "outside of any"),
    ],
)  # fmt: skip
def test_what_git_would_not_have_written_is_an_oddity(spoil, text) -> None:  # type: ignore[no-untyped-def]
    assert any(text in oddity.text for oddity in parse_diff(spoil(PLAIN)).doubtful)


def test_a_signature_is_odd_but_harmless() -> None:
    diff = parse_diff(PLAIN + b"-- \n2.39.5\n\n")
    assert [oddity.line for oddity in diff.oddities] == [9, 10, 11]
    assert not diff.doubtful


@pytest.mark.parametrize("path", [b"plain", b"a b", b'q"\\', b"\xff\x00\x01\t\n", "ü".encode()])
def test_quoting_is_undone_exactly(path: bytes) -> None:
    assert unquote(quote(path) if quote(path) != path else b'"' + path + b'"') == (path, b"")
    assert read_path(show_path(path).encode()) == path
