"""``porter lint`` refuses every patch that is not fit for review, and says where."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from porter.cli import main
from porter.errors import BadInput
from porter.git.safepath import escapes, is_dot_git
from porter.levels.lint import lint_files, lint_port
from tests.small_port import HEADER, SmallPort, changed


def found(port: SmallPort, *, files_only: bool = False) -> list[str]:
    findings, _ = lint_port(port.root, port.pin, files_only=files_only)
    return [f"{f.file.removeprefix('patches/small/')}:{f.line} {f.rule}" for f in findings]


def test_a_good_series_is_fit(port: SmallPort, capsys: pytest.CaptureFixture[str]) -> None:
    port.add_patch("one", changed("a.py", 5))
    port.add_patch("two", {"new.py": "new\n", "d/gone.py": None, "e.bin": "\0\1"})
    assert main(["lint"]) == 0
    assert capsys.readouterr().out == "small: fit for review\n"


DIFF_HEAD = "diff --git a/{0} b/{0}\nnew file mode {1}\nindex {2}..{3}\n--- /dev/null\n+++ b/{0}\n"


def new_file(path: str, content: str, mode: int = 100644) -> str:
    from porter.git.objects import blob_id

    oid = blob_id(content.encode())
    head = DIFF_HEAD.format(path, mode, "0" * 40, oid)
    end = "" if content.endswith("\n") else "\n\\ No newline at end of file\n"
    return f"{head}@@ -0,0 +1 @@\n+{content}{end}"


@pytest.mark.parametrize(
    ("diff", "rule"),
    [
        (new_file("../out", "x\n"), "path"),
        (new_file("d/../../out", "x\n"), "path"),
        (new_file(".git/hooks/x", "x\n"), "path"),
        (new_file("d/.GIT/x", "x\n"), "path"),
        (new_file(".git /x", "x\n").replace("b/.git /x\n@@", "b/.git /x\t\n@@"), "path"),
        (new_file(".git./x", "x\n"), "path"),
        (new_file("GIT~1/x", "x\n"), "path"),
        (new_file("l", "/etc/passwd", 120000), "link"),
        (new_file("d/l", "../../x", 120000), "link"),
        (new_file("l", ".", 120000), "link"),
        (new_file("x", "x \n"), "whitespace"),
        (new_file("x", "x\t\n"), "whitespace"),
        (new_file("x", "x\n") + "-- \n2.39.5\n\n", "signature"),
        (new_file("x", "x\n") + "\nSome words.\n", "garbage"),
        (" x | 1 +\n\n" + new_file("x", "x\n"), "garbage"),
        (new_file("x", "x\n").replace("0" * 40, "0" * 7), "index"),
        (new_file("x", "x\n").replace("@@ -0,0 +1 @@", "@@ -0,0 +1,2 @@"), "diff"),
        ("diff --git a/S b/S\nnew file mode 160000\nindex 0000000..1111111\n", "submodule"),
        ("", "diff"),
    ],
)
def test_a_bad_patch_is_refused_from_its_file_alone(port: SmallPort, diff: str, rule: str) -> None:
    (port.folder / "0001-bad.patch").write_text(HEADER.format(name="bad") + diff)
    (port.folder / "series").write_text("0001-bad.patch\n")
    assert rule in {text.split()[1] for text in found(port, files_only=True)}


def test_a_link_inside_the_tree_is_fit(port: SmallPort) -> None:
    raw = HEADER.format(name="link") + new_file("d/l", "../a.py", 120000)
    (port.folder / "0001-link.patch").write_text(raw)
    (port.folder / "series").write_text("0001-link.patch\n")
    assert found(port) == []


def test_moving_a_link_so_that_it_points_out_of_the_tree_is_refused(port: SmallPort) -> None:
    (port.upstream / "d" / "l").symlink_to("../a.py")
    port.write_pins(port.commit())
    (port.upstream / "d" / "l").rename(port.upstream / "l")
    port.add_patch("one", {})
    assert found(port) == ["0001-one.patch:14 link"]


def test_repointing_a_link_out_of_the_tree_is_refused_without_mode_lines_too(
    port: SmallPort,
) -> None:
    (port.upstream / "d" / "l").symlink_to("../a.py")
    port.write_pins(port.commit())
    (port.upstream / "d" / "l").unlink()
    (port.upstream / "d" / "l").symlink_to("../../out")
    path = port.add_patch("one", {})
    assert found(port) == ["0001-one.patch:14 link"]
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join(line for line in lines if not line.startswith("index ")))
    assert "0001-one.patch:14 link" in found(port)


def test_a_file_that_becomes_a_link_inside_the_tree_is_fit(port: SmallPort) -> None:
    (port.upstream / "d" / "gone.py").unlink()
    (port.upstream / "d" / "gone.py").symlink_to("../a.py")
    port.add_patch("one", {})
    assert found(port) == []


@pytest.mark.parametrize("head", ["", "This repairs the second line.\n\n"])
def test_a_bare_diff_is_one_problem_that_names_the_way_in(port: SmallPort, head: str) -> None:
    for name in ("one", "two"):
        path = port.add_patch(name, {"a.py": f"{name}\n"})
        diff = path.read_text().removeprefix(HEADER.format(name=name))
        path.write_text(head + diff)
    findings, _ = lint_port(port.root, port.pin)
    assert [finding.file[-14:] for finding in findings] == ["0001-one.patch", "0002-two.patch"]
    for finding in findings:
        assert finding.text == (
            "a bare diff without a header; `porter import` takes it in and gives it one"
            " (From, Date, Subject, Level, Devices, Keeps, Gains, Origin, Forwarded)"
        )
    with pytest.raises(BadInput, match=r"0001-one.patch: a bare diff without a header; `porter i"):
        port.series()


def test_a_patch_is_named_after_its_place(port: SmallPort) -> None:
    port.add_patch("one", changed("a.py", 5)).rename(port.folder / "0004-one.patch")
    (port.folder / "series").write_text("0004-one.patch\n")
    (finding,) = lint_files(port.root, port.name)[0]
    assert finding.text.startswith("expected the file name 0001-one.patch, after its place")


def test_lines_that_belong_to_no_hunk_are_one_finding_and_git_is_heard(port: SmallPort) -> None:
    path = port.add_patch("one", changed("a.py", 5, 25))
    raw = path.read_text().replace("@@ -22", "\n@@ -22")
    path.write_text(raw)
    at = raw.splitlines().index("@@ -22,7 +22,7 @@ a21") + 1
    assert found(port) == [
        f"0001-one.patch:{at - 1} garbage", f"0001-one.patch:{at} diff",
        f"0001-one.patch:{at + 1} garbage", f"0001-one.patch:{at} apply",
    ]  # fmt: skip
    words = f"git apply: patch fragment without header at line {at}: @@ -22,7 +22,7 @@ a21"
    assert lint_port(port.root, port.pin)[0][-1].text == words


def test_crlf_files_may_gain_crlf_lines(port: SmallPort) -> None:
    port.add_patch("one", {"new.txt": "a\r\nb\r\n"})
    port.add_patch("two", {"new.txt": "a\r\nb\r\nc\r\n"})
    assert found(port) == []


def test_an_empty_line_added_at_the_end_is_white_space(port: SmallPort) -> None:
    path = port.add_patch("one", {"d/gone.py": "gone\n\n"})
    at = path.read_text().splitlines().index("+") + 1
    assert found(port) == [f"0001-one.patch:{at} whitespace"]


def spoil_series(change: Callable[[str], str]) -> Callable[[SmallPort], None]:
    def spoil(port: SmallPort) -> None:
        path = port.folder / "series"
        path.write_text(change(path.read_text()))

    return spoil


@pytest.mark.parametrize(
    ("spoil", "text"),
    [
        (spoil_series(lambda text: text + "0001-one.patch\n"), "series:3 series"),
        (spoil_series(lambda text: text.replace("0001-one", "#")), "0001-one.patch:0 series"),
        (spoil_series(lambda text: text + "0009-gone.patch\n"), "series:3 series"),
        (spoil_series(lambda text: text + "../x.patch\n"), "series:3 series"),
        (spoil_series(lambda text: text.replace(".patch\n", ".patch -R\n")), "series:2 series"),
    ],
)  # fmt: skip
def test_a_bad_series_file_is_refused(port: SmallPort, spoil, text: str) -> None:  # type: ignore[no-untyped-def]
    port.add_patch("one", changed("a.py", 5))
    spoil(port)
    assert text in found(port, files_only=True)


def test_a_missing_field_and_a_wrong_file_name_are_refused(port: SmallPort) -> None:
    path = port.add_patch("one", changed("a.py", 5))
    path.write_text(
        path.read_text().replace("Origin: nothing\n", "").replace("Level: one", "Level: 2a")
    )
    assert found(port, files_only=True) == ["0001-one.patch:0 header", "0001-one.patch:0 name"]


def test_a_hunk_that_applies_only_with_an_offset_is_refused(port: SmallPort) -> None:
    path = port.add_patch("one", changed("a.py", 15))
    raw = path.read_text()
    path.write_text(raw.replace("@@ -12,7 +12,7 @@", "@@ -10,7 +10,7 @@"))
    at = raw.splitlines().index("@@ -12,7 +12,7 @@ a11") + 1
    assert f"0001-one.patch:{at} offset" in found(port)


def test_a_hunk_that_does_not_apply_is_refused(port: SmallPort) -> None:
    path = port.add_patch("one", changed("a.py", 15))
    path.write_text(path.read_text().replace("\n a14\n", "\n a99\n"))
    git, hunk = lint_port(port.root, port.pin)[0]
    assert (git.rule, git.text) == (
        "apply", "git apply: patch failed: a.py:12; a.py: patch does not apply"
    )  # fmt: skip
    assert (hunk.rule, hunk.text.partition(":")[0]) == ("apply", "a.py @@ -12,7 +12,7 @@")


def test_an_index_line_that_lies_about_the_result_is_refused(port: SmallPort) -> None:
    path = port.add_patch("one", changed("a.py", 15))
    path.write_text(path.read_text().replace("+changed 15", "+edited 15"))
    assert "index" in {text.split()[1] for text in found(port)}


@pytest.mark.parametrize("options", [("-U9",), ("--patience", "-U4"), ("-U1",)])
def test_a_patch_bigger_than_need_be_is_refused(port: SmallPort, options: tuple[str, ...]) -> None:
    port.add_patch("one", changed("a.py", 15), *options)
    assert [text.split()[1] for text in found(port)] == ["size"]


def test_a_patch_with_idle_lines_is_refused(port: SmallPort) -> None:
    path = port.add_patch("one", changed("a.py", 15))
    raw = path.read_text().replace("\n a14\n", "\n-a14\n+a14\n")
    path.write_text(raw)
    assert [text.split()[1] for text in found(port)] == ["size"]


def test_all_of_an_unreachable_upstream_is_judged_but_what_needs_it(port: SmallPort) -> None:
    port.add_patch("one", changed("a.py", 5))
    port.upstream.rename(port.upstream.with_name("elsewhere"))
    assert found(port) == ["series:0 coverage"]
    [note] = lint_port(port.root, port.pin)[0]
    assert "not looked at are whether the hunks apply" in note.text


def test_without_a_source_a_series_is_fit_as_far_as_it_was_looked_at(
    port: SmallPort, capsys: pytest.CaptureFixture[str]
) -> None:
    port.add_patch("one", changed("a.py", 5))
    port.upstream.rename(port.upstream.with_name("elsewhere"))
    assert main(["lint"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[-1] == "small: fit for review, as far as it was looked at"


@pytest.mark.parametrize(
    ("keeps", "missing"),
    [
        ("images (recipes/small/one.yaml, two.yaml)", []),
        ("images (one.yaml), losses (recipes/mate/three.yaml)", []),
        ("images (recipes/small/onne.yaml)", ["recipes/small/onne.yaml"]),
        ("images (recipes/small/one.yaml, gone.yaml)", ["recipes/small/gone.yaml"]),
        ("images (recipes/mate/three.yaml, one.yaml)", ["recipes/mate/one.yaml"]),
        ("images (two.yaml), losses (recipes/other/x.yaml)", ["recipes/other/x.yaml"]),
        ("what config.yaml says", []),
    ],
)
def test_keeps_and_gains_name_recipes_that_exist(
    port: SmallPort, keeps: str, missing: list[str]
) -> None:
    for name in ("small/one", "small/two", "mate/three"):
        path = port.root / "recipes" / f"{name}.yaml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    path = port.add_patch("one", changed("a.py", 5))
    text = path.read_text()
    before = next(line for line in text.splitlines() if line.startswith("Keeps: "))
    path.write_text(text.replace(before, f"Keeps: {keeps}"))
    line = text.splitlines().index(before) + 1

    findings, _ = lint_port(port.root, port.pin)

    assert [(f.line, f.rule) for f in findings] == [(line, "recipe")] * len(missing)
    assert all(name in f.text for f, name in zip(findings, missing, strict=True))


def test_a_near_name_is_suggested_for_a_recipe_that_does_not_exist(port: SmallPort) -> None:
    (port.root / "recipes" / "small").mkdir(parents=True)
    (port.root / "recipes" / "small" / "sampling.yaml").touch()
    path = port.add_patch("one", changed("a.py", 5))
    path.write_text(path.read_text().replace("Gains: ", "Gains: speed (smapling.yaml), "))

    [finding] = lint_port(port.root, port.pin)[0]

    assert finding.text == (
        "Gains: expected a recipe, found recipes/small/smapling.yaml, which does not exist;"
        " did you mean recipes/small/sampling.yaml?"
    )


@pytest.mark.parametrize(
    "part", [b".git", b".GiT", b".git ", b".git. .", b"git~1", b".git::$DATA", b".git\\x",
             ".g\u200cit".encode(), b"x\\.git"],
)  # fmt: skip
def test_what_some_file_system_takes_for_dot_git_is_recognised(part: bytes) -> None:
    assert is_dot_git(part)


@pytest.mark.parametrize("part", [b".gitignore", b".github", b"git", b"x.git", b".gi t"])
def test_other_names_are_not(part: bytes) -> None:
    assert not is_dot_git(part)


@pytest.mark.parametrize(
    ("path", "out"),
    [(b"a/b", False), (b"a/../b", False), (b"..", True), (b"a/../../b", True), (b"/a", True),
     (b"a\\..\\..\\b", True), (b"C:x", True), (b".", True)],
)  # fmt: skip
def test_paths_that_lead_out_of_the_tree(path: bytes, out: bool) -> None:
    assert escapes(path) is out
