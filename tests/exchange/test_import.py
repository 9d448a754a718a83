"""``porter import``: patches from elsewhere become levels, all of them or none."""

from __future__ import annotations

import base64
import os
from pathlib import Path

import pytest

from tests.plain_upstream import git
from tests.small_port import FILES, HEADER, SmallPort, changed
from tests.small_project import Upstreams, message, sealed_git, write_files
from tests.tree.conftest import Porter
from tests.tree.test_export import patches

DIFF = "--- a/a.py\n+++ b/a.py\n@@ -3,3 +3,3 @@\n a3\n-a4\n+hpu\n a5\n"


def series_of(port: SmallPort) -> list[str]:
    return [patch.name for patch in port.series().patches]


def test_bare_diff_becomes_a_level_that_lint_calls_incomplete(
    port: SmallPort, porter: Porter, tmp_path: Path
) -> None:
    diff = tmp_path / "Vendor HPU.diff"
    diff.write_text(DIFF)
    os.utime(diff, (1700000000, 1700000000))
    ran = porter("import", "small", diff)
    assert (ran.code, series_of(port)) == (0, ["0001-vendor-hpu.patch"]), ran.err
    assert "written as a git diff" in ran.err
    patch = port.series().patches[0]
    assert patch.header.author.email == "ada@example.org"
    assert patch.header.author.seconds == 1700000000
    linted = porter("lint", "small")
    assert linted.code == 1
    for name in ("Subject", "the reason", "Devices", "Keeps", "Gains", "Origin", "Forwarded"):
        assert f": {name}: not stated yet, found TODO" in linted.out
    assert linted.out.count("\n") == 8
    assert porter("check", "small").code == 0


def test_header_author_and_date_fill_a_bare_diff(
    port: SmallPort, porter: Porter, tmp_path: Path
) -> None:
    diff, head = tmp_path / "x.diff", tmp_path / "head"
    diff.write_text(DIFF)
    head.write_text(HEADER.format(name="gaudi"))
    ran = porter(
        "import", "small", "--header", head, "--header", "Gains=much", diff,
        "--author", "Bob Burn <bob@example.org>", "--date", "2020-02-03T04:05:06+0100",
    )  # fmt: skip
    assert (ran.code, series_of(port)) == (0, ["0001-gaudi.patch"]), ran.err
    raw = (port.folder / "0001-gaudi.patch").read_text()
    expected = HEADER.format(name="gaudi").replace("Gains: some", "Gains: much")
    expected = expected.replace("Ada Porter <ada@", "Bob Burn <bob@")
    expected = expected.replace("Thu, 7 Dec 2023 12:00:00 +0000", "Mon, 3 Feb 2020 04:05:06 +0100")
    assert raw.startswith(expected)
    assert porter("lint", "small").code == 0


def test_fields_are_asked_for_on_a_terminal(
    port: SmallPort, porter: Porter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from porter.commands import import_series

    answers = {"Subject": "Run on hpu", "Devices": "hpu", "Keeps": "all"}
    monkeypatch.setattr(import_series, "_ask", lambda: lambda _, name, __: answers.get(name, ""))
    (tmp_path / "x.diff").write_text(DIFF)
    assert porter("import", "small", tmp_path / "x.diff").code == 0
    header = port.series().patches[0].header
    assert (header.subject, header.devices, header.keeps) == ("Run on hpu", ("hpu",), "all")
    assert (header.gains, header.level) == ("TODO", "x")


def _mail(body: str, encoding: str = "8bit") -> bytes:
    data = body.encode()
    if encoding == "base64":
        data = base64.encodebytes(data)
    elif encoding == "quoted-printable":
        import quopri

        data = quopri.encodestring(data)
    head = (
        "From ada@example.org Thu Dec  7 12:00:00 2023\n"
        "From: =?UTF-8?q?Ada_P=C3=B6rter?= <a@b.org>\n"
        "Date: Thu, 7 Dec 2023 12:00:00 +0100\nSubject: Re: [PATCH v2 1/2] Gr=?UTF-8?B?w7bDn2U=?=\n"
        f"MIME-Version: 1.0\nContent-Type: text/plain; charset=UTF-8\n"
        f"Content-Transfer-Encoding: {encoding}\n\n"
    )
    return head.encode() + data + b"\n"


@pytest.mark.parametrize("encoding", ["8bit", "base64", "quoted-printable"])
def test_mail_is_read_as_git_reads_it(
    port: SmallPort, porter: Porter, tmp_path: Path, encoding: str
) -> None:
    text = f"Ein Grund: ö.\n---\n a.py | 2 +-\n\n{DIFF}-- \n2.39.5\n"
    (tmp_path / "mails").write_bytes(_mail(text, encoding))
    ran = porter("import", "small", tmp_path / "mails")
    assert ran.code == 0, ran.err
    assert "signature dropped, diffstat dropped" in ran.err
    header = port.series().patches[0].header
    assert (header.author.name, header.author.email) == ("Ada Pörter", "a@b.org")
    assert header.body.startswith("Ein Grund: ö.\n\nLevel: ")
    assert porter("check", "small").code == 0


def test_mailbox_of_several_mails_leaves_the_cover_letter_out(
    port: SmallPort, porter: Porter, tmp_path: Path
) -> None:
    second = DIFF.replace("a4", "a5").replace("hpu", "npu").replace(" a3", " hpu")
    second = second.replace(" a5\n", " a6\n").replace("@@ -3,3 +3,3 @@", "@@ -4,3 +4,3 @@")
    mails = [_mail("What this is.\n"), _mail(f"One.\n---\n{DIFF}"), _mail(f"Two.\n---\n{second}")]
    (tmp_path / "mails").write_bytes(b"".join(mails))
    ran = porter("import", "small", tmp_path / "mails")
    assert ran.code == 0, ran.err
    assert "mail 1: holds no diff; left out" in ran.err
    assert len(series_of(port)) == 2
    assert porter("check", "small").code == 0


def test_quilt_folder_with_options_comments_and_dep3(
    port: SmallPort, porter: Porter, tmp_path: Path
) -> None:
    folder = tmp_path / "debian" / "patches"
    folder.mkdir(parents=True)
    (folder / "series").write_text("# all of it\nplain.diff -p0  # as it is\n\nfix/dep3.patch\n")
    (folder / "plain.diff").write_text(DIFF.replace(" a/", " ").replace(" b/", " "))
    (folder / "fix").mkdir()
    (folder / "fix" / "dep3.patch").write_text(
        "Description: Make b better\n So that it is good.\n .\n More.\n"
        "Author: Bob <bob@example.org>\n"
        "Origin: vendor, https://example.org/1\nBug: https://example.org/2\n"
        "Forwarded: no\nLast-Update: 2020-02-03\n---\n"
        + "Index: x/d/b.py\n===\n--- x.orig/d/b.py\n+++ x/d/b.py\n@@ -1,2 +1,2 @@\n-b1\n+B1\n b2\n"
    )
    ran = porter("import", "small", tmp_path)
    assert ran.code == 0, ran.err
    assert series_of(port) == ["0001-plain.patch", "0002-dep3.patch"]
    header = port.series().patches[1].header
    assert (header.subject, header.author.name) == ("Make b better", "Bob")
    assert header.body.startswith("So that it is good.\n\nMore.\n\nLevel: dep3\n")
    assert (header.origin, header.forwarded) == ("vendor, https://example.org/1", "no")
    assert "Bug: https://example.org/2" in header.body
    assert header.date.startswith("Mon, 3 Feb 2020")
    assert porter("check", "small").code == 0


def test_refused_patch_shows_gits_words_and_changes_nothing(
    port: SmallPort, porter: Porter, tmp_path: Path
) -> None:
    before = {p.name: p.read_bytes() for p in port.folder.iterdir()}
    (tmp_path / "a.diff").write_text(DIFF)
    (tmp_path / "z.diff").write_text(DIFF.replace("-a4", "-other"))
    ran = porter("import", "small", tmp_path / "a.diff", tmp_path / "z.diff")
    assert (ran.code, ran.err.count("\n")) == (1, 1)
    assert "z.diff: does not apply on a: patch failed: a.py:3; a.py: patch does not" in ran.err
    assert {p.name: p.read_bytes() for p in port.folder.iterdir()} == before


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["small"], "expected SOURCE, or --tree TREE alone"),
        (["small", "nothing.diff"], "nothing.diff: expected a patch file or a quilt folder"),
        (["small", "."], "expected a folder with a quilt series file"),
        (["small", "--git", ".", "A..B"], "expected a git repository"),
        (["small", "--tree", "nothing"], "expected a git repository"),
        (["small", "x.diff", "--header", "Colour=red"], "expected a file or FIELD=VALUE"),
        (["small", "x.diff", "--header", "Devices=gpu"], "Devices: expected cpu, cuda"),
        (["small", "x.diff", "--author", "Ada"], "From 'Ada'"),
        (["small", "x.diff", "--after", "none"], "no level 'none'"),
        (["small", "x.diff", "x.diff", "--header", "Level=y"], "cannot share one Level"),
        (["small", "x.diff", "--like", "small"], "--like splits a --tree"),
    ],
)
def test_bad_input_is_one_line(
    port: SmallPort, porter: Porter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    words: list[str], why: str,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    (tmp_path / "x.diff").write_text(DIFF)
    ran = porter("import", *words)
    assert (ran.code, ran.err.count("\n")) == (2, 1), ran.err
    assert why in ran.err
    assert not list(port.folder.glob("*.patch"))


def test_commits_made_on_another_base_are_merged(port: SmallPort, porter: Porter) -> None:
    port.write(changed("a.py", 20))
    first = port.commit()
    port.write({"a.py": (port.upstream / "a.py").read_text().replace("a22\n", "hpu\n")})
    git(port.upstream, "add", "-A")
    text = "Half the fork\n\nIndex: no\n---\nLevel: O2\nKeeps: half"
    git(port.upstream, "commit", "-qm", text)
    ran = porter("import", "small", "--git", port.upstream, f"{first}..HEAD")
    assert ran.code == 0, ran.err
    assert "merged by 3-way" in ran.err
    raw = (port.folder / "0001-half-the-fork.patch").read_text()
    assert "+hpu" in raw
    assert "changed 20" not in raw
    assert "> Index: no\n> ---\n> Level: O2\nLevel: half-the-fork\n" in raw
    assert "\nKeeps: half\n" in raw
    assert "\nOrigin: commit " in raw
    assert porter("check", "small").code == 0


def test_what_the_series_holds_is_left_out(port: SmallPort, porter: Porter, tmp_path: Path) -> None:
    port.add_patch("one", changed("a.py", 4, by="hpu"))
    fork = port.upstream
    ran = porter("import", "small", "--git", fork, "HEAD")
    assert (ran.code, ran.err.count("\n")) == (2, 1)
    assert "holds all of it already" in ran.err


@pytest.mark.usefixtures("locked")
def test_import_in_a_tree_lands_on_the_new_level_and_is_undone(
    toy: Path, porter: Porter, project: Path, tmp_path: Path
) -> None:
    before = patches(project)
    (tmp_path / "more.diff").write_text("--- /dev/null\n+++ b/more.md\n@@ -0,0 +1 @@\n+more\n")
    os.chdir(toy)
    ran = porter("import", "toy", tmp_path / "more.diff", "--after", "widen-a")
    assert ran.code == 0, ran.err
    assert "level 2 of 4: more" in ran.out
    assert (toy / "more.md").read_text() == "more\n"
    assert sealed_git(toy, "status", "--porcelain") == ""
    assert porter("check", "toy").code == 0
    assert porter("undo", "toy").code == 0
    assert patches(project) == before
    assert porter("redo", "toy").code == 0
    assert "0002-more.patch" in patches(project)


def _conflicting(upstreams: Upstreams, tmp_path: Path) -> Path:
    """Return a mailbox of two commits on level 0; the first conflicts with level 1."""
    fork = tmp_path / "fork"
    sealed_git(tmp_path, "clone", "--quiet", str(upstreams.folder / "toy"), "fork")
    base = upstreams.commits["toy"]
    text = (fork / "pkg" / "a.py").read_text()
    write_files(fork, {"pkg/a.py": text.replace("a3 = 3", "a3 = 'mine'")})
    sealed_git(fork, "commit", "--quiet", "-am", message("mine", "Mine"))
    write_files(fork, {"pkg/a.py": text.replace("a3 = 3", "a3 = 'mine'").replace("a7 =", "A7 =")})
    sealed_git(fork, "commit", "--quiet", "-am", message("seven", "Seven"))
    mails = sealed_git(fork, "format-patch", "--stdout", "--full-index", base)
    (tmp_path / "mails").write_text(mails)
    return tmp_path / "mails"


@pytest.mark.usefixtures("locked")
def test_conflict_stops_in_the_tree_and_continues(
    toy: Path, porter: Porter, project: Path, upstreams: Upstreams, tmp_path: Path
) -> None:
    mails, before = _conflicting(upstreams, tmp_path), patches(project)
    ran = porter("import", "toy", mails)  # not in the tree
    assert (ran.code, ran.err.count("\n")) == (1, 1)
    assert "conflicts with drop-old in pkg/a.py" in ran.err
    os.chdir(toy)
    place = sealed_git(toy, "rev-parse", "HEAD")
    ran = porter("import", "toy", mails)
    assert (ran.code, ran.err.count("\n")) == (1, 1)
    assert "mine conflicts in pkg/a.py" in ran.err
    assert "`porter import --continue`" in ran.err
    assert patches(project) == before
    assert porter("import", "--abort").code == 0
    assert sealed_git(toy, "rev-parse", "HEAD") == place
    assert sealed_git(toy, "status", "--porcelain") == ""
    assert porter("import", "toy", mails).code == 1
    text = (toy / "pkg" / "a.py").read_text()
    head, _, rest = text.partition("<<<<<<<")
    (toy / "pkg" / "a.py").write_text(
        head + "a3 = 'both'\n" + rest.partition(">>>>>>>")[2].partition("\n")[2]
    )
    sealed_git(toy, "add", "pkg/a.py")
    ran = porter("import", "--continue")
    assert ran.code == 0, ran.err
    assert "level 5 of 5: seven" in ran.out
    assert b"+a3 = 'both'" in patches(project)["0004-mine.patch"]
    assert b"+A7 = 7" in patches(project)["0005-seven.patch"]
    assert porter("check", "toy", "--json").code == 0


def test_edits_and_own_commits_in_the_tree_are_not_mixed_in(
    toy: Path, porter: Porter, tmp_path: Path
) -> None:
    (tmp_path / "x.diff").write_text("--- /dev/null\n+++ b/x\n@@ -0,0 +1 @@\n+x\n")
    write_files(toy, {"README.md": "mine\n"})
    ran = porter("import", tmp_path / "x.diff", "-C", toy)
    assert (ran.code, "local edits in README.md" in ran.err) == (1, True)
    sealed_git(toy, "commit", "--quiet", "-am", "mine")
    ran = porter("import", tmp_path / "x.diff", "-C", toy)
    assert (ran.code, "HEAD has 1 commit that no level holds" in ran.err) == (1, True)


@pytest.fixture
def vendor(port: SmallPort, tmp_path: Path) -> Path:
    """A folder with the upstream's files, some of them changed, and what builds leave behind."""
    folder = tmp_path / "vendor"
    folder.mkdir()
    files = {**FILES, ".gitignore": "*.log\nbuilt/\n", "new.py": "new\n", **changed("a.py", 4)}
    files |= {"run.log": "x\n", "built/x": "x\n", "d/__pycache__/b.pyc": "x\n"}
    write_files(folder, {k: v for k, v in files.items() if k != "d/gone.py"})
    return folder


def test_whole_folder_is_one_level_without_what_a_build_leaves(
    port: SmallPort, porter: Porter, vendor: Path
) -> None:
    ran = porter("import", "small", "--tree", vendor)
    assert ran.code == 0, ran.err
    assert "left out, as its .gitignore says: built/, d/__pycache__/, run.log" in ran.err
    patch = port.series().patches[0]
    touched = sorted(path for file in patch.files for path in file.paths)
    assert touched == [b".gitignore", b"a.py", b"d/gone.py", b"new.py"]
    assert patch.header.origin == "the tree vendor"
    again = porter("import", "small", "--tree", vendor)
    assert (again.code, "no patch there" in again.err) == (2, True)


def test_whole_folder_is_split_as_another_port_is(
    port: SmallPort, porter: Porter, vendor: Path
) -> None:
    other = port.root / "patches" / "other"
    port.add_patch("first", changed("a.py", 9))
    port.add_patch("second", {"d/gone.py": None, **changed("a.py", 10)})
    port.folder.rename(other)
    port.folder.mkdir()
    (port.folder / "series").write_text("")
    ran = porter("import", "small", "--tree", vendor, "--like", "other")
    assert ran.code == 0, ran.err
    assert series_of(port) == ["0001-first.patch", "0002-second.patch", "0003-rest.patch"]
    files = [[file.path for file in patch.files] for patch in port.series().patches]
    assert files == [[b"a.py"], [b"d/gone.py"], [b".gitignore", b"new.py"]]
    assert port.series().patches[0].header.devices == ("hpu",)


def test_revision_of_a_fork_is_one_level(port: SmallPort, porter: Porter) -> None:
    port.write({"new.py": "new\n", **changed("a.py", 4)})
    port.commit()
    ran = porter("import", "small", "--tree", "HEAD", "--git", port.upstream)
    assert ran.code == 0, ran.err
    assert [file.path for file in port.series().patches[0].files] == [b"a.py", b"new.py"]
    assert porter("check", "small").code == 0


def test_a_diff_imported_again_makes_no_file_in_a_folder_b(
    toy: Path, porter: Porter, project: Path, tmp_path: Path
) -> None:
    diff = tmp_path / "vendor.diff"
    diff.write_text("--- /dev/null\n+++ b/more.md\n@@ -0,0 +1 @@\n+more\n")
    assert porter("import", diff, "-C", toy).code == 0
    before = patches(project)
    ran = porter("import", diff, "-C", toy)
    assert (ran.code, ran.err.count("\n")) == (2, 1)
    assert "the series holds all of it already" in ran.err
    assert patches(project) == before
    bare = tmp_path / "bare.diff"
    bare.write_text("--- /dev/null\n+++ other/more.md\n@@ -0,0 +1 @@\n+more\n")
    assert porter("import", bare, "-C", toy).code == 0
    assert (toy / "more.md").read_text() == "more\n"
    assert not (toy / "b").exists()
