"""What ``porter lint`` passes, ``porter export`` of the untouched tree leaves as it is."""

from __future__ import annotations

from pathlib import Path

import pytest

from porter.cli import main
from porter.levels import lint
from porter.levels.lint import lint_files
from porter.series.series import read_patch
from tests.small_port import HEADER, SmallPort, changed

SUBJECT = "Subject: [PATCH] Change {name}"
WHY = "A word on why."
VARIANTS = {
    "plain": [],
    "tag": [("[PATCH] Change", "[PATCH] [hpu] Change")],
    "no-patch": [("[PATCH] Change", "Change")],
    "numbered": [("[PATCH]", "[PATCH 1/3]")],
    "reply": [("[PATCH] Change", "[PATCH] Re: Change")],
    "blanks": [("Change", "Change ")],
    "folded": [("[PATCH] Change", "[PATCH]\n Change")],
    "tab": [("Change ", "Change\t")],
    "nbsp": [("Change ", "Change\u00a0")],
    "ideographic": [("Change ", "\u4fee\u3000")],
    "form-feed": [("Change ", "Change\f")],
    "encoded": [("Change", "=?UTF-8?q?=C3=84ndere?=")],
    "colon": [("Change", ": change")],
    "inside": [("Change", "Change [hpu] and")],
    "umlaut": [("Ada Porter", "Ada P\u00f6rter")],
    "quoted": [("Ada Porter", '"Porter, Ada"')],
    "comma": [("Ada Porter", "Porter, Ada")],
    "dot": [("Ada Porter", "Ada P.")],
    "quotes-inside": [("Ada Porter", '"Ada \\"the\\" Porter"')],
    "brackets": [("Ada Porter", "Ada (work) Porter")],
    "at": [("Ada Porter", "ada@home")],
    "long": [("Ada Porter", "Ada " + "Porter-" * 10)],
    "no-weekday": [("Thu, ", "")],
    "other-weekday": [("Thu, ", "Fri, ")],
    "two-digits": [("Thu, 7", "Thu, 07")],
    "minus-zero": [("+0000", "-0000")],
    "zone": [("+0000", "+0545")],
    "trailing": [(WHY, WHY + "  ")],
    "trailing-nbsp": [(WHY, WHY + "\u00a0")],
    "empty-lines": [(WHY, WHY + "\n\n\nMore.")],
    "first-empty": [(WHY, "\n" + WHY)],
    "no-empty": [(WHY + "\n", WHY)],
    "from-here": [(WHY, "From here on.")],
    "from-later": [(WHY, WHY + "\n\nFrom: Bob <b@c>")],
    "scissors": [(WHY, WHY + "\n\n-- >8 --")],
    "indented": [(WHY, WHY + "\n\n    diff --git a/x b/x\n    --- a/x")],
    "form-feed-line": [(WHY, WHY + "\n\f\nmore")],
    "dashes": [(WHY, WHY + "\n---\f\nmore")],
    "continued": [("Keeps: all", "Keeps: all\n and more")],
    "trailers": [("Forwarded: not-needed", "Forwarded: not-needed\nReviewed-by: Bob <b@c>")],
    "message-id": [("Subject", "Message-Id: <x@y>\nSubject")],
    "diffstat": [("---\n", "---\n x | 1 +\n\n")],
    "empty-before-diff": [("---\n", "---\n\n")],
}  # fmt: skip
"""Names of levels, and what is replaced in a good header."""
UNFIT = {
    "tag", "no-patch", "numbered", "reply", "blanks", "folded", "tab", "encoded", "colon", "quoted",
    "dot", "at", "long", "no-weekday", "other-weekday", "two-digits", "minus-zero", "trailing",
    "empty-lines", "first-empty", "message-id", "diffstat", "empty-before-diff",
}  # fmt: skip


def write(port: SmallPort, name: str, line: int) -> Path:
    """Append a patch whose header is a variant to the series."""
    path = port.add_patch(name, changed("a.py", *range(1, line + 1)))
    text = HEADER.format(name=name)
    head = text
    for old, new in VARIANTS[name]:
        assert old in head
        head = head.replace(old, new, 1)
    path.write_bytes(path.read_bytes().replace(text.encode(), head.encode(), 1))
    return path


@pytest.mark.parametrize("name", VARIANTS)
def test_lint_says_what_an_export_would_write(port: SmallPort, name: str) -> None:
    write(port, name, 1)
    findings = lint_files(port.root, port.name)[0]
    assert bool(findings) is (name in UNFIT), findings
    for finding in findings:
        assert finding.rule in ("header", "garbage")
        assert finding.line


def test_an_export_leaves_what_lint_passes(
    port: SmallPort, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fit = [name for name in VARIANTS if name not in UNFIT]
    for line, name in enumerate(fit, 1):
        write(port, name, line)
    assert main(["lint", port.name]) == 0
    assert main(["apply", port.name, str(tmp_path / "tree")]) == 0
    capsys.readouterr()
    assert main(["export", port.name, str(tmp_path / "tree"), "--check"]) == 0
    assert capsys.readouterr().out.count("unchanged ") == len(fit)


@pytest.mark.forms(6)
@pytest.mark.parametrize("name", sorted(UNFIT))
def test_an_export_writes_what_lint_then_passes(
    port: SmallPort, tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    write(port, name, 1)
    said = lint_files(port.root, port.name)[0][0].text
    assert main(["apply", port.name, str(tmp_path / "tree")]) == 0
    assert main(["export", port.name, str(tmp_path / "tree")]) == 0
    assert main(["lint", port.name]) == 0
    written = (port.folder / f"0001-{name}.patch").read_text("utf-8")
    if "`porter export` writes '" in said:
        assert said.split("writes '")[1].split("' here")[0] in written


def test_lint_reads_each_patch_once(port: SmallPort, monkeypatch: pytest.MonkeyPatch) -> None:
    patches = [port.add_patch("one", changed("a.py", 1)), port.add_patch("two", changed("a.py", 2))]
    read: list[Path] = []
    monkeypatch.chdir(port.root)
    monkeypatch.setattr(
        lint, "read_patch", lambda path, **how: (read.append(path), read_patch(path, **how))[1]
    )

    assert main(["lint", "--files-only"]) == 0
    assert read == patches
