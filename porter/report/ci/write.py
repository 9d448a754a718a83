"""Write the cases of a check in one of several forms, to a string or to files.

The forms: GitHub annotations, SARIF for code scanning (:mod:`porter.report.ci.sarif`) and JUnit
test reports (:mod:`porter.report.ci.junit`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from porter.atomic import write_atomic
from porter.finding import Finding
from porter.report.ci.model import Case

SUFFIXES = {".json": "json", ".xml": "junit", ".sarif": "sarif", ".txt": "text"}
"""The form of a result file, by the suffix of its name."""


def folder_in_repository(root: Path) -> str:
    """Return the project's folder in its git repository, as ``sub/folder/`` ("" at the top).

    CI systems want paths from the top of the repository; findings have them from the project.
    """
    top = root.resolve()
    for folder in (top, *top.parents):
        if (folder / ".git").exists():
            inside = top.relative_to(folder).as_posix()
            return "" if inside == "." else f"{inside}/"
    return ""


def as_form(form: str, tool: str, cases: Sequence[Case], prefix: str) -> str:
    """Return cases as GitHub annotations, SARIF or JUnit XML.

    ``tool`` is the command that found them, ``prefix`` what :func:`folder_in_repository` returned.
    """
    findings = [finding for case in cases for finding in case.findings]
    if form == "github":
        return _as_github(findings, prefix)
    if form == "sarif":
        from porter.report.ci.sarif import as_sarif

        return as_sarif(tool, findings, prefix)
    from porter.report.ci.junit import as_junit

    return as_junit(tool, cases)


def _as_github(findings: Sequence[Finding], prefix: str = "") -> str:
    """Return one workflow command per line; ``prefix`` goes before every path.

    GitHub shows at most 10 errors and 10 notices per step, so errors come first.
    https://docs.github.com/actions/reference/workflow-commands-for-github-actions
    """
    ordered = sorted(findings, key=lambda finding: finding.severity != "error")
    return "\n".join(
        f"::{'error' if f.severity == 'error' else 'notice'} "
        f"file={_property(prefix + f.file)},line={max(f.line, 1)}"
        f",title={_property('porter ' + f.rule)}::{_escape(f.text)}"
        for f in ordered
    )


def _escape(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _escape(text).replace(":", "%3A").replace(",", "%2C")


def write_files(files: Iterable[Path], render: Callable[[str], str]) -> None:
    """Write each file in the form that its suffix names."""
    for path in files:
        write_text(path, render(SUFFIXES[path.suffix]))


def write_text(path: Path, text: str) -> None:
    """Write a text file that ends in one newline, whole or not at all."""
    write_atomic(path, (text.rstrip("\n") + "\n").encode())
