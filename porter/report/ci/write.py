"""What checks find, as data for the forms that people and CI systems read.

One list of :class:`Case` makes all of them: :mod:`porter.report.ci.github` (annotations),
:mod:`porter.report.ci.sarif` (code scanning), :mod:`porter.report.ci.junit` (test reports) and
JSON.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from porter.atomic import write_atomic
from porter.finding import Finding

SUFFIXES = {".json": "json", ".xml": "junit", ".sarif": "sarif", ".txt": "text"}
"""The form a result file is written in, by the end of its name."""


@dataclass(frozen=True)
class Case:
    """One thing that was looked at: a test case of the report.

    ``group`` is what it belongs to (a port, a recipe), ``findings`` what is wrong with it,
    ``broken`` whether it could not be judged at all, ``skipped`` why it was not looked at.
    """

    group: str
    name: str
    findings: Sequence[Finding] = ()
    broken: bool = False
    skipped: str = ""
    seconds: float | None = None

    @property
    def errors(self) -> list[Finding]:
        """The findings that fail the case; notes do not."""
        return [finding for finding in self.findings if finding.severity == "error"]


def findings_of(cases: Iterable[Case]) -> list[Finding]:
    """Return the findings of all cases, in their order."""
    return [finding for case in cases for finding in case.findings]


def as_json(data: Any) -> str:
    """Indented JSON; dataclasses and bytes are written as they print."""
    return json.dumps(data, indent=2, ensure_ascii=False, default=_plain)


def _plain(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.decode("utf-8", "backslashreplace")
    return asdict(value)


def place_in_repository(root: Path) -> str:
    """Return the project's folder in its git repository, as ``sub/folder/`` ("" at the top).

    CI systems want paths from the top of the repository, findings have them from the project's.
    """
    top = root.resolve()
    for folder in (top, *top.parents):
        if (folder / ".git").exists():
            inside = top.relative_to(folder).as_posix()
            return "" if inside == "." else f"{inside}/"
    return ""


def as_form(form: str, tool: str, cases: Sequence[Case], place: str) -> str:
    """Write cases as GitHub annotations, SARIF or JUnit XML.

    ``tool`` is the command that found them, ``place`` is :func:`place_in_repository`'s.
    """
    if form == "github":
        from porter.report.ci.github import as_github

        return as_github(findings_of(cases), place)
    if form == "sarif":
        from porter.report.ci.sarif import as_sarif

        return as_sarif(tool, findings_of(cases), place)
    from porter.report.ci.junit import as_junit

    return as_junit(tool, cases)


def write_files(files: Iterable[Path], render: Callable[[str], str]) -> None:
    """Write each file in the form that its name asks for."""
    for path in files:
        write_text(path, render(SUFFIXES[path.suffix]))


def write_text(path: Path, text: str) -> None:
    """Write a file that appears whole or not at all, and ends in one newline."""
    write_atomic(path, (text.rstrip("\n") + "\n").encode())
