"""JUnit XML as Jenkins, GitLab and GitHub's test reporters read it.

The elements and attributes are those of Jenkins' junit-10.xsd; a case has one ``failure`` or
``error`` with all of its text, because most readers show the first only.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from xml.sax.saxutils import escape, quoteattr

from porter.report.ci.write import Case


def as_junit(tool: str, cases: Sequence[Case]) -> str:
    """Return ``testsuites`` with one suite per group of cases."""
    groups: dict[str, list[Case]] = {}
    for case in cases:
        groups.setdefault(case.group, []).append(case)
    lines = ['<?xml version="1.0" encoding="UTF-8"?>']
    lines.append(f"<testsuites name={quoteattr(tool)}{_counts(cases, skipped=False)}>")
    for group, own in groups.items():
        lines.append(f"  <testsuite name={_attribute(f'{tool} {group}')}{_counts(own)}>")
        for case in own:
            lines += _case(tool, case)
        lines.append("  </testsuite>")
    return "\n".join([*lines, "</testsuites>"])


def _counts(cases: Sequence[Case], *, skipped: bool = True) -> str:
    errors = sum(bool(case.errors) and case.broken for case in cases)
    failures = sum(bool(case.errors) and not case.broken for case in cases)
    text = f' tests="{len(cases)}" failures="{failures}" errors="{errors}"'
    if skipped:
        text += f' skipped="{sum(bool(case.skipped) for case in cases)}"'
    seconds = [case.seconds for case in cases if case.seconds is not None]
    return text + (f' time="{sum(seconds):.3f}"' if seconds else "")


def _case(tool: str, case: Case) -> Iterator[str]:
    owner = f"{tool}.{case.group}".replace(" ", ".").replace("/", ".")
    head = f"    <testcase classname={_attribute(owner)} name={_attribute(case.name)}"
    if case.seconds is not None:
        head += f' time="{case.seconds:.3f}"'
    errors = case.errors
    notes = [finding for finding in case.findings if finding.severity != "error"]
    if not errors and not notes and not case.skipped:
        yield f"{head}/>"
        return
    yield f"{head}>"
    if errors:
        word = "error" if case.broken else "failure"
        body = escape(_printable("\n".join(map(str, errors))))
        kind = _attribute(errors[0].rule)
        yield f"      <{word} message={_attribute(errors[0].text)} type={kind}>{body}</{word}>"
    elif case.skipped:
        yield f"      <skipped message={_attribute(case.skipped)}/>"
    if notes:
        yield f"      <system-out>{escape(_printable(chr(10).join(map(str, notes))))}</system-out>"
    yield "    </testcase>"


def _attribute(text: str) -> str:
    return quoteattr(_printable(text))


def _printable(text: str) -> str:
    """XML has no way to write most control characters."""
    return "".join(c if c.isprintable() or c in "\n\t" else f"\\x{ord(c):02x}" for c in text)
