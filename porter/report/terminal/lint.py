"""Findings of ``porter lint`` in every form."""

from __future__ import annotations

from collections.abc import Sequence

from porter.finding import Finding
from porter.report.ci.model import Case, as_json
from porter.report.ci.write import as_form
from porter.terminal import colour_wanted, counted, paint, plain


def render(ports: Sequence[tuple[str, Sequence[Finding]]], form: str, prefix: str = "") -> str:
    """Return findings by port as text, JSON, GitHub annotations, SARIF or JUnit."""
    findings = [finding for _, found in ports for finding in found]
    if form == "text":
        return "\n".join([*(_line(finding) for finding in findings), *_ends(ports)])
    if form == "json":
        wrong = any(finding.severity == "error" for finding in findings)
        return as_json({"ok": not wrong, "ports": [{"port": p, "findings": f} for p, f in ports]})
    return as_form(form, "porter lint", [Case(p, "series", found) for p, found in ports], prefix)


def _line(finding: Finding) -> str:
    colour = colour_wanted()
    where = f"{finding.file}:{finding.line}" if finding.line else finding.file
    style = "red" if finding.severity == "error" else "yellow"
    rule = paint(f"[{finding.rule}]", style, colour)
    return f"{paint(where, 'bold', colour)}: {plain(finding.text)} {rule}"


def _ends(ports: Sequence[tuple[str, Sequence[Finding]]]) -> list[str]:
    lines = []
    for port, findings in ports:
        wrong = sum(finding.severity == "error" for finding in findings)
        style = "red" if wrong else "green"
        summary = counted(wrong, "problem") if wrong else "fit for review"
        lines.append(f"{port}: {paint(summary, style, colour_wanted())}")
    return lines
