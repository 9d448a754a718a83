"""How ``porter lint`` shows what it found."""

from __future__ import annotations

from collections.abc import Sequence

from porter import __version__
from porter.finding import Finding
from porter.report.findings import as_github, as_json, as_junit, as_sarif
from porter.terminal import colour_wanted, counted, paint, plain


def render(cases: Sequence[tuple[str, Sequence[Finding]]], form: str) -> str:
    """Findings by port, as text, JSON, GitHub annotations, SARIF or JUnit."""
    findings = [finding for _, found in cases for finding in found]
    wrong = sum(finding.severity == "error" for finding in findings)
    if form == "json":
        return as_json({"ok": not wrong, "ports": [{"port": p, "findings": f} for p, f in cases]})
    if form == "github":
        return as_github(findings)
    if form == "sarif":
        return as_sarif(findings, __version__)
    if form == "junit":
        return as_junit("porter lint", cases)
    return "\n".join([*(_line(finding) for finding in findings), *_ends(cases)])


def _line(finding: Finding) -> str:
    colour = colour_wanted()
    where = f"{finding.file}:{finding.line}" if finding.line else finding.file
    style = "red" if finding.severity == "error" else "yellow"
    rule = paint(f"[{finding.rule}]", style, colour)
    return f"{paint(where, 'bold', colour)}: {plain(finding.text)} {rule}"


def _ends(cases: Sequence[tuple[str, Sequence[Finding]]]) -> list[str]:
    lines = []
    for port, findings in cases:
        wrong = sum(finding.severity == "error" for finding in findings)
        style = "red" if wrong else "green"
        told = counted(wrong, "problem") if wrong else "fit for review"
        lines.append(f"{port}: {paint(told, style, colour_wanted())}")
    return lines
