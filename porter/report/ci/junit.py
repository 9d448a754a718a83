"""JUnit XML as Jenkins, GitLab and GitHub's test reporters read it.

The elements and attributes are those of Jenkins' junit-10.xsd. A case has one ``failure`` or
``error`` with all of its text, because most readers show only the first.
"""

from __future__ import annotations

from collections.abc import Sequence
from xml.etree import ElementTree
from xml.etree.ElementTree import Element, SubElement

from porter.report.ci.model import Case


def as_junit(tool: str, cases: Sequence[Case]) -> str:
    """Return ``testsuites`` with one suite per group of cases."""
    groups: dict[str, list[Case]] = {}
    for case in cases:
        groups.setdefault(case.group, []).append(case)
    suites = Element("testsuites", {"name": tool, **_counts(cases, skipped=False)})
    for group, own in groups.items():
        name = _printable(f"{tool} {group}")
        suite = SubElement(suites, "testsuite", {"name": name, **_counts(own)})
        for case in own:
            _add_case(suite, tool, case)
    ElementTree.indent(suites)
    text = ElementTree.tostring(suites, encoding="unicode")
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
