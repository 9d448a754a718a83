"""Every form of a diff that ``git apply`` takes is judged the same on a cold and a warm store."""

from __future__ import annotations

import os
import random
import re
import shutil
import tempfile
import zlib
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from porter.cli import main
from porter.errors import SourceUnavailable
from porter.git.objects import Oid, blob_id
from porter.levels.build import Builder
from porter.levels.gitapply import GitRefused, read_names
from porter.series.series import Patch, read_patch
from tests.generated_trees import EXAMPLES, Tree, edits, spoiled, trees
from tests.plain_upstream import PlainPin, PlainUpstream, git, write_tree
from tests.small_port import HEADER, SmallPort, changed

_SLOW = settings(
    max_examples=EXAMPLES,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
FAST = "/dev/shm" if Path("/dev/shm").is_dir() else None
FULL = ("--full-index", "--binary", "-M")
Form = Callable[[bytes], bytes]


def each_line(change: Callable[[bytes], bytes]) -> Form:
    """Change the lines of a diff's headers."""
    heads = (b"diff ", b"--- ", b"+++ ", b"index ", b"old mode", b"new ", b"deleted ")

    def form(raw: bytes) -> bytes:
        lines = raw.split(b"\n")
        return b"\n".join(change(line) if line.startswith(heads) else line for line in lines)

    return form


def after_names(words: bytes) -> Form:
    return each_line(lambda line: line + words if line[:4] in (b"--- ", b"+++ ") else line)


def without(*starts: bytes) -> Form:
    def form(raw: bytes) -> bytes:
        return b"".join(row for row in raw.splitlines(keepends=True) if not row.startswith(starts))

    return form


def with_index(raw: bytes) -> bytes:
    """The form of quilt and svn: an ``Index:`` line in place of git's."""
    line = b"Index: \\1\n" + b"=" * 67 + b"\n"
    return re.sub(rb"^diff --git a/(\S+) b/\S+\n(?:index .*\n)?", line, raw, flags=re.M)


def other_prefixes(raw: bytes) -> bytes:
    return raw.replace(b" a/", b" old/").replace(b" b/", b" new/")


FORMS: dict[str, Form] = {
    "git": lambda raw: raw,
    "mnemonic prefixes": lambda raw: raw.replace(b" a/", b" i/").replace(b" b/", b" w/"),
    "other prefixes": other_prefixes,
    "no prefix": lambda raw: raw.replace(b" a/", b" ").replace(b" b/", b" "),
    "no diff line": without(b"diff --git ", b"index "),
    "Index": with_index,
    "hg": lambda raw: re.sub(
        rb"^diff --git a/(\S+).*\nindex.*\n", rb"diff -r 1 \1\n", raw, flags=re.M
    ),
    "svn": lambda raw: after_names(b"\t(revision 7)")(with_index(raw)),
    "timestamps": lambda raw: after_names(b"\t2024-01-02 03:04:05.000000000 +0100")(
        without(b"diff --git ", b"index ")(raw)
    ),
    "tabs": after_names(b"\t"),
    "mode 100664": lambda raw: raw.replace(b"100644\n", b"100664\n"),
    "no index line": without(b"index "),
    "no data": lambda raw: re.sub(rb"GIT binary patch\n(?:.+\n|\n(?!diff))*", b"", raw),
    "differ": lambda raw: re.sub(rb"GIT binary patch\n(?:.+\n|\n(?!diff))*",
                                 b"Binary files differ\n", raw),
}  # fmt: skip


class Store(PlainUpstream):
    """An upstream whose contents come into the store when they are asked for."""

    def __init__(self, git_dir: Path, pin: PlainPin, contents: Iterable[bytes]) -> None:
        super().__init__(git_dir, pin)
        self.contents = {blob_id(content): content for content in contents}

    def blobs(self, oids: Iterable[Oid]) -> dict[Oid, bytes]:
        wanted = list(oids)
        for oid in wanted:
            put(self.git_dir, self.contents[oid])
        return self.odb.read_many(wanted)


def put(git_dir: Path, content: bytes) -> None:
    path = git_dir / "objects" / blob_id(content)[:2] / blob_id(content)[2:]
    path.parent.mkdir(exist_ok=True)
    if not path.exists():
        path.write_bytes(zlib.compress(b"blob %d\0" % len(content) + content))


def repository(top: Path, name: str, base: Tree) -> tuple[Path, Oid]:
    folder = top / name
    folder.mkdir()
    git(folder, "init", "-q")
    return folder, write_tree(folder, base)


def by_git(top: Path, base: Tree, raw: bytes) -> Oid | None:
    """The tree that ``git apply --index`` makes where only the base is known; None: refused."""
    folder, tree = repository(top, "reference", base)
    git(folder, "read-tree", "-u", "--reset", tree)
    code = git(folder, "apply", "--index", "-", data=raw, check=False)[0]
    return Oid(git(folder, "write-tree")[1].decode().strip()) if code == 0 else None


def by_porter(top: Path, base: Tree, patch: Patch, extra: Iterable[bytes] | None) -> Oid | None:
    """The tree that porter makes on a cold store, or on a warm one that holds ``extra`` too."""
    folder, tree = repository(top, "cold" if extra is None else "warm", base)
    for _, content in () if extra is not None else base.values():
        oid = blob_id(content)
        (folder / ".git" / "objects" / oid[:2] / oid[2:]).unlink(missing_ok=True)
    for content in extra or ():
        put(folder / ".git", content)
    upstream = Store(folder / ".git", PlainPin(tree), (body for _, body in base.values()))
    with upstream.odb, Builder(upstream) as builder:
        (step,) = builder.run([patch])
    return None if step.failures else step.tree


def check_one(base: Tree, after: Tree, raw: bytes) -> Oid | None:
    with tempfile.TemporaryDirectory(dir=FAST) as name:
        top = Path(name)
        path = top / "0001-x.patch"
        path.write_bytes(raw)
        patch = read_patch(path)
        expected = by_git(top, base, raw)
        assert by_porter(top, base, patch, None) == expected
        assert by_porter(top, base, patch, [body for _, body in after.values()]) == expected
        return expected


def diff(base: Tree, after: Tree) -> bytes:
    with tempfile.TemporaryDirectory(dir=FAST) as name:
        folder, old = repository(Path(name), "diff", base)
        return git(folder, "diff", *FULL, old, write_tree(folder, after))[1]


@_SLOW
@given(data=st.data())
def test_a_form_is_judged_as_git_judges_it_cold_and_warm(data: st.DataObject) -> None:
    base = data.draw(trees())
    after = data.draw(edits(base))
    raw = FORMS[data.draw(st.sampled_from(sorted(FORMS)))](diff(base, after))
    if data.draw(st.integers(0, 3)) == 0:
        raw = data.draw(spoiled(raw))
    check_one(base, after, raw)


TEXT = b"".join(b"line %d\n" % n for n in range(20))
BASE: Tree = {
    b"a.py": (0o100644, TEXT),
    b"src/a.py": (0o100644, TEXT),
    b"src/b.py": (0o100755, b"b\n" + TEXT),
}


@pytest.mark.parametrize("form", [name for name in FORMS if name != "no prefix"])
def test_a_change_of_text_is_taken_in_every_form(form: str) -> None:
    after = BASE | {
        path: (BASE[path][0], BASE[path][1].replace(b"line 7\n", b"seven\n"))
        for path in (b"src/a.py", b"src/b.py")
    }
    assert check_one(BASE, after, FORMS[form](diff(BASE, after))) is not None


def test_names_without_a_folder_are_read_as_git_guesses_them() -> None:
    after = BASE | {b"a.py": (0o100644, TEXT.replace(b"line 7\n", b"seven\n"))}
    assert check_one(BASE, after, FORMS["no prefix"](FORMS["svn"](diff(BASE, after)))) is not None


PICTURE = random.Random(1).randbytes(400)
OTHER = PICTURE[:200] + b"\0" + PICTURE[200:]


@pytest.mark.parametrize(
    ("base", "taken"),
    [
        ({b"p": (0o100644, PICTURE)}, False),
        ({b"p": (0o100644, PICTURE), b"q": (0o100644, OTHER)}, True),
    ],
)
def test_a_binary_without_data_is_taken_only_where_the_base_holds_its_result(
    base: Tree, taken: bool
) -> None:
    after = base | {b"p": (0o100644, OTHER)}
    raw = FORMS["differ"](diff(base, after))
    assert b"literal" not in raw
    assert (check_one(base, after, raw) is not None) is taken


def test_git_names_both_sides_of_a_rename_and_what_is_deleted() -> None:
    after = {b"b": BASE[b"a.py"], b"src/b.py": BASE[b"src/b.py"]}
    names = read_names(diff(BASE, after))
    assert names.paths == {b"a.py", b"b", b"src/a.py"}
    assert names.deleted == {b"a.py", b"src/a.py"}


def test_what_git_cannot_read_is_refused_in_its_words() -> None:
    with pytest.raises(GitRefused, match=r"corrupt patch at line 5") as refused:
        read_names(b"--- a/x\n+++ b/x\n@@ -1,2 +1,2 @@\n-a\n")
    assert refused.value.line == 5


def test_a_file_that_no_source_covers_is_named_in_any_form(tmp_path: Path) -> None:
    after = BASE | {b"src/a.py": (0o100644, TEXT.replace(b"line 7\n", b"seven\n"))}
    path = tmp_path / "0001-x.patch"
    path.write_bytes(FORMS["svn"](diff(BASE, after)))
    folder, tree = repository(tmp_path, "store", BASE)
    upstream = PlainUpstream(folder / ".git", PlainPin(tree), frozenset({blob_id(TEXT)}))
    (folder / ".git" / "objects" / blob_id(TEXT)[:2] / blob_id(TEXT)[2:]).unlink()
    with upstream.odb, Builder(upstream) as builder, pytest.raises(
        SourceUnavailable, match=r"0001-x.patch: src/a.py: the patch needs git"
    ):  # fmt: skip
        builder.run([read_patch(path)])


COMMANDS = (("lint",), ("lock",), ("check", "--no-memo"), ("apply",))


@pytest.mark.forms(1)
@pytest.mark.parametrize("form", ["svn", "mode 100664"])
def test_the_commands_say_the_same_before_and_after_a_fetch(
    port: SmallPort, capsys: pytest.CaptureFixture[str], tmp_path: Path, form: str
) -> None:
    path = port.add_patch("one", changed("d/b.py", 9))
    raw = path.read_bytes().removeprefix(HEADER.format(name="one").encode())
    path.write_bytes(HEADER.format(name="one").encode() + FORMS[form](raw))
    said = []
    for state in ("cold", "warm"):
        for command in COMMANDS:
            shutil.rmtree(Path(os.environ["PORTER_CACHE"]), ignore_errors=True)
            if state == "warm":
                assert main(["fetch", port.name]) == 0
            (port.folder / "levels.lock").unlink(missing_ok=True)
            folder = [str(tmp_path / state)] if command == ("apply",) else []
            capsys.readouterr()
            code = main([command[0], port.name, *folder, *command[1:]])
            out, err = capsys.readouterr()
            said.append((code, (out + err).replace(str(tmp_path / state), "TREE")))
    assert said[:4] == said[4:]
    assert [code for code, _ in said[:4]] == [1, 0, 1, 0]  # lint: the form; check: no lock
