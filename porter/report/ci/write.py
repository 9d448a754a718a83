"""What a check found, as the cases of a report, and these in one of several forms.

The forms: GitHub annotations, SARIF for code scanning and JUnit test reports.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from porter import __version__
from porter.atomic import write_atomic
from porter.finding import Finding

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

SUFFIXES = {".json": "json", ".xml": "junit", ".sarif": "sarif", ".txt": "text"}
"""The form of a result file, by the suffix of its name."""
RULES = {
    "apply": "A patch does not apply to the level below it",
    "coverage": "No source serves a file, so a check was skipped",
    "diff": "A patch's diff is damaged",
    "differs": "A level is not what levels.lock says",
    "garbage": "A patch contains text that git apply would ignore",
    "header": "A patch's header lacks a field or has a wrong one",
    "index": "An index line states another id than the patch makes",
    "link": "A symbolic link points out of the tree",
    "lock": "levels.lock is absent, damaged or out of date",
    "name": "A patch's file name is not NNNN-level.patch",
    "offset": "A hunk applies at another line than it names",
    "path": "A patch touches a path outside the tree or inside .git",
    "series": "The series file is wrong",
    "signature": "A patch ends in a git version signature",
    "size": "A patch is not the smallest diff of its change",
    "submodule": "A patch touches a submodule",
    "whitespace": "A patch adds white space at the end of a line",
    "allclose": "An output is not within the stated tolerance",
    "counters": "A counter is not what a recipe claims",
    "equal": "An output is not bit-for-bit equal",
    "finite": "An output contains an infinity or a NaN",
    "loss_curve": "A loss curve diverges from level 0's",
    "nonfinite": "An overflow that a recipe records is no longer there",
    "parity": "A level's error is greater than level 0's allows",
    "psnr": "An image's peak signal-to-noise ratio is too low",
    "run": "A run failed, or a recipe proves nothing",
    "sandbox": "Runs were made in no sandbox",
    "same_distribution": "Random draws do not follow the reference's distribution",
    "ssim": "An image's structural similarity is too low",
    "throughput": "A level is slower than a recipe claims",
    "within_ulps": "An output is further from the reference than a recipe allows",
}
"""What each rule of ``porter lint``, ``check`` and ``verify`` finds."""
_GITHUB = {"error": "error", "warning": "warning", "note": "notice"}
"""GitHub's kinds of annotations by severity, the gravest first."""


@dataclass(frozen=True)
class Case:
    """One thing that was checked: a test case of the report.

    ``group`` is what it belongs to (a port, a recipe), ``findings`` what is wrong with it,
    ``broken`` whether it could not be judged at all, ``skipped`` why it was not checked.
    """

    group: str
    name: str
    findings: Sequence[Finding] = ()
    broken: bool = False
    skipped: str = ""

    @property
    def errors(self) -> list[Finding]:
        """The findings that fail the case; notes do not."""
        return [finding for finding in self.findings if finding.severity == "error"]


def as_json(data: Any) -> str:
    """Return indented JSON; dataclasses become objects, bytes become text."""
    return json.dumps(data, indent=2, ensure_ascii=False, default=_plain)


def _plain(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.decode("utf-8", "backslashreplace")
    return asdict(value)


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


def as_form(
    form: str,
    tool: str,
    cases: Sequence[Case],
    prefix: str,
    titles: Mapping[str, str] = RULES,
    properties: Mapping[str, str] = MappingProxyType({}),
) -> str:
    """Return cases as GitHub annotations, SARIF or JUnit XML.

    ``tool`` is the command that found them, ``prefix`` what :func:`folder_in_repository` returned,
    ``titles`` what each rule finds. ``properties`` hold for all cases: SARIF has them at its run,
    JUnit at every suite.
    """
    findings = [finding for case in cases for finding in case.findings]
    if form == "github":
        return _as_github(findings, prefix)
    if form == "sarif":
        return _as_sarif(tool, findings, prefix, titles, properties)
    return _as_junit(tool, cases, properties)


def _as_github(findings: Sequence[Finding], prefix: str = "") -> str:
    """Return one workflow command per line; ``prefix`` goes before every path.

    GitHub shows at most 10 errors and 10 notices per step, so errors come first.
    https://docs.github.com/actions/reference/workflow-commands-for-github-actions
    """
    ordered = sorted(findings, key=lambda finding: list(_GITHUB).index(finding.severity))
    return "\n".join(
        f"::{_GITHUB[f.severity]} "
        f"file={_property(prefix + f.file)},line={max(f.line, 1)}"
        f",title={_property('porter ' + f.rule)}::{_escape(f.text)}"
        for f in ordered
    )


def _escape(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _escape(text).replace(":", "%3A").replace(",", "%2C")


def _as_sarif(
    tool: str,
    findings: Sequence[Finding],
    prefix: str,
    titles: Mapping[str, str],
    properties: Mapping[str, str],
) -> str:
    """Return a log with one run, as SARIF 2.1.0 (OASIS, sarif-v2.1.0-os), for code scanning.

    ``prefix`` goes before every path; ``tool`` ("porter lint") distinguishes the runs on one
    commit.
    """
    rules = sorted({finding.rule for finding in findings})
    driver = {
        "name": "porter",
        "semanticVersion": __version__,
        "rules": [{"id": r, "shortDescription": {"text": titles.get(r, r)}} for r in rules],
    }
    run = {
        "tool": {"driver": driver},
        "automationDetails": {"id": f"{tool.replace(' ', '/')}/"},
        "results": [_result(finding, rules, prefix) for finding in findings],
        **({"properties": dict(properties)} if properties else {}),
    }
    schema = "https://json.schemastore.org/sarif-2.1.0.json"
    return as_json({"$schema": schema, "version": "2.1.0", "runs": [run]})


def _result(finding: Finding, rules: list[str], prefix: str) -> dict[str, Any]:
    from urllib.parse import quote

    where = {
        "artifactLocation": {"uri": quote(prefix + finding.file), "uriBaseId": "%SRCROOT%"},
        "region": {"startLine": max(finding.line, 1)},
    }
    return {
        "ruleId": finding.rule,
        "ruleIndex": rules.index(finding.rule),
        "level": finding.severity,
        "message": {"text": finding.text},
        "locations": [{"physicalLocation": where}],
    }


def _as_junit(tool: str, cases: Sequence[Case], properties: Mapping[str, str]) -> str:
    """Return ``testsuites`` with one suite per group of cases, as Jenkins, GitLab and GitHub's
    test reporters read it.

    The elements and attributes are those of Jenkins' junit-10.xsd. A case has one ``failure`` or
    ``error`` with all of its text, because most readers show only the first.
    """
    from xml.etree.ElementTree import Element, SubElement, indent, tostring

    groups: dict[str, list[Case]] = {}
    for case in cases:
        groups.setdefault(case.group, []).append(case)
    suites = Element("testsuites", {"name": tool, **_counts(cases, skipped=False)})
    for group, own in groups.items():
        name = _printable(f"{tool} {group}")
        suite = SubElement(suites, "testsuite", {"name": name, **_counts(own)})
        if properties:
            rows = SubElement(suite, "properties")
            for key, value in properties.items():
                SubElement(rows, "property", {"name": key, "value": _printable(value)})
        for case in own:
            _add_case(suite, tool, case)
    indent(suites)
    text = tostring(suites, encoding="unicode")
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{text}'


def _counts(cases: Sequence[Case], *, skipped: bool = True) -> dict[str, str]:
    counts = {
        "tests": len(cases),
        "failures": sum(bool(case.errors) and not case.broken for case in cases),
        "errors": sum(bool(case.errors) and case.broken for case in cases),
    }
    if skipped:
        counts["skipped"] = sum(bool(case.skipped) for case in cases)
    return {name: str(count) for name, count in counts.items()}


def _add_case(suite: Element, tool: str, case: Case) -> None:
    from xml.etree.ElementTree import SubElement

    owner = f"{tool}.{case.group}".replace(" ", ".").replace("/", ".")
    element = SubElement(suite, "testcase", classname=_printable(owner), name=_printable(case.name))
    if errors := case.errors:
        kind, first = "error" if case.broken else "failure", errors[0]
        named = {"message": _printable(first.text), "type": _printable(first.rule)}
        problem = SubElement(element, kind, named)
        problem.text = _printable("\n".join(map(str, errors)))
    elif case.skipped:
        SubElement(element, "skipped", message=_printable(case.skipped))
    if notes := [finding for finding in case.findings if finding.severity != "error"]:
        SubElement(element, "system-out").text = _printable("\n".join(map(str, notes)))


def _printable(text: str) -> str:
    """Escape control characters, most of which XML cannot hold."""
    return "".join(c if c.isprintable() or c in "\n\t" else f"\\x{ord(c):02x}" for c in text)


def write_files(files: Iterable[Path], render: Callable[[str], str]) -> None:
    """Write each file in the form that its suffix names."""
    for path in files:
        write_text(path, render(SUFFIXES[path.suffix]))


def write_text(path: Path, text: str) -> None:
    """Write a text file that ends in one newline, whole or not at all.

    A lone surrogate, which stands for a byte of a file's name that is not UTF-8, is escaped.
    """
    write_atomic(path, (text.rstrip("\n") + "\n").encode(errors="backslashreplace"))
