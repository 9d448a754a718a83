"""What ``porter scan`` found: for people grouped by rule, as data, and as findings for CI."""

from __future__ import annotations

from typing import Any

from porter.finding import Finding
from porter.scan.measuring.kinds import BY_CODE, KINDS, MeasuredKind
from porter.scan.measuring.running import Measurement
from porter.scan.reading.rule import SEVERITIES, SURENESS, Rule, ScanFinding
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
    if scan.measurement is not None:
        lines += _measured_lines(scan.measurement)
    return [*lines, _summary(scan, where)]


def _measured_lines(done: Measurement) -> list[str]:
    """Return a line per device: how the command ended there, and what it counted in all."""
    lines = []
    for device, totals in done.totals.items():
        parts = [counted(totals["ops"], "op")]
        parts += [
            counted(totals[name], kind.unit) for name, kind in KINDS.items() if totals.get(name)
        ]
        why = done.failed.get(device)
        end = f"stopped: {plain(why)}" if why else "ran to its end"
        lines += flow(f"{done.command} on sim:{device} {end}; {', '.join(parts)}", 0)
    return lines


def _group(findings: list[ScanFinding]) -> list[str]:
    colour, rule = colour_wanted(), _rule(findings[0].code)
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
        for counts in finding.measured:
            lines += flow(f"measured on {plain(counts)}", 6)
    return lines


def _rule(code: str) -> type[Rule] | MeasuredKind:
    return RULES[code] if code in RULES else BY_CODE[code]


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
        **_measurement(scan.measurement),
    }


def _measurement(done: Measurement | None) -> dict[str, Any]:
    if done is None:
        return {}
    runs = {
        device: {"ended": done.failed.get(device, ""), "totals": totals}
        for device, totals in done.totals.items()
    }
    return {"command": done.command, "runs": runs}


def _as_data(finding: ScanFinding) -> dict[str, Any]:
    rule = _rule(finding.code)
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
        **({"measured": list(finding.measured)} if finding.measured else {}),
    }


def as_findings(scan: Scan) -> list[Finding]:
    """Return the findings in the form that CI reports take."""
    return [
        Finding(f.file, f.line, f.code, f"{_text(f)} ({f.sure})", f.gravest) for f in scan.findings
    ]


def _text(finding: ScanFinding) -> str:
    rule = _rule(finding.code)
    devices = and_listed(list(finding.severity))
    measured = "".join(f"; measured on {said}" for said in finding.measured)
    return f"{rule.title}: {finding.what} (on {devices}){measured}; mend: {rule.mend}"
