"""What ``porter scan`` found: for people grouped by rule, as data, and as findings for CI."""

from __future__ import annotations

from typing import Any

from porter.finding import Finding
from porter.scan.reading.rule import SEVERITIES, SURENESS, ScanFinding
from porter.scan.rules.registry import RULES
from porter.scan.scanning import Scan
from porter.terminal import and_listed, colour_wanted, counted, flow, paint, plain

_STYLES = {"error": "red", "warning": "yellow", "note": "dim"}


def scan_lines(scan: Scan, where: str) -> list[str]:
    """Return the findings, grouped by rule with its reasons said once, and a summary."""
    lines: list[str] = []
    for code in dict.fromkeys(sorted(finding.code for finding in scan.findings)):
        lines += [*_group([f for f in scan.findings if f.code == code]), ""]
    lines += [f"not read: {path}: {plain(why)}" for path, why in scan.unread]
    for device, place in sorted(scan.served.items()):
        lines.append(f"CUDA calls are served on {device} by its vendor's migration ({place})")
    return [*lines, _summary(scan, where)]


def _group(findings: list[ScanFinding]) -> list[str]:
    colour, rule = colour_wanted(), RULES[findings[0].code]
    lines = [paint(f"{rule.code} {rule.name}: {rule.title}", "bold", colour)]
    devices = [d for d in rule.reasons if any(d in f.severity for f in findings)]
    said: dict[str, list[str]] = {}
    for device in devices:
        said.setdefault(rule.reasons[device].text, []).append(device)
    for text, names in said.items():
        lines += flow(f"{and_listed(names)}: {text}", 2)
    lines += flow(f"mend: {rule.mend}", 2)
    for finding in findings:
        where = paint(f"{finding.file}:{finding.line}", "bold", colour)
        severity = paint(_severity(finding), _STYLES[finding.gravest], colour)
        lines.append(f"  {where}: {severity}, {finding.sure}")
        lines.append(f"      {plain(finding.source)}")
    return lines


def _severity(finding: ScanFinding) -> str:
    """Return ``error``, or ``hpu error, npu note`` where they differ."""
    if len(set(finding.severity.values())) == 1:
        return finding.gravest
    return ", ".join(f"{device} {severity}" for device, severity in finding.severity.items())


def _summary(scan: Scan, where: str) -> str:
    if not scan.findings:
        return f"{where}: {counted(scan.files, 'file')}, nothing found"
    parts = []
    for severity in SEVERITIES:
        number = sum(finding.gravest == severity for finding in scan.findings)
        if number:
            parts.append(counted(number, severity))
    sure = sum(finding.sure == SURENESS[0] for finding in scan.findings)
    return f"{where}: {counted(scan.files, 'file')}: {', '.join(parts)} ({sure} sure)"


def as_data(scan: Scan, where: str) -> dict[str, Any]:
    """Return the scan for JSON; each finding says everything about itself."""
    return {
        "scanned": where,
        "files": scan.files,
        "findings": [_as_data(finding) for finding in scan.findings],
        "not_read": [{"file": path, "why": why} for path, why in scan.unread],
        "served": scan.served,
    }


def _as_data(finding: ScanFinding) -> dict[str, Any]:
    rule = RULES[finding.code]
    return {
        "file": finding.file,
        "line": finding.line,
        "column": finding.column,
        "code": finding.code,
        "rule": finding.rule,
        "source": finding.source,
        "what": finding.what,
        "sure": finding.sure,
        "devices": {
            device: {
                "severity": severity,
                "why": rule.reasons[device].text,
                "source": rule.reasons[device].source,
            }
            for device, severity in finding.severity.items()
        },
        "mend": rule.mend,
    }


def as_findings(scan: Scan) -> list[Finding]:
    """Return the findings in the form that CI reports take."""
    return [
        Finding(f.file, f.line, f.code, f"{_text(f)} ({f.sure})", f.gravest) for f in scan.findings
    ]


def _text(finding: ScanFinding) -> str:
    rule = RULES[finding.code]
    devices = and_listed(list(finding.severity))
    return f"{rule.title}: {finding.what} (on {devices}); mend: {rule.mend}"
