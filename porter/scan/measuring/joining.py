"""Join what was counted to what rules found: by line, and by what a count can confirm."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from porter.scan.measuring.kinds import KINDS, MeasuredKind
from porter.scan.measuring.running import Measured
from porter.scan.reading.rule import Device, ScanFinding, Severity
from porter.terminal import counted


def joined(findings: Iterable[ScanFinding], measured: Iterable[Measured]) -> list[ScanFinding]:
    """Return the findings with what confirms them, and the rest as findings of their own.

    A count belongs to every finding of a rule that it can confirm whose code spans its line.
    """
    found = list(findings)
    said: dict[int, list[str]] = {}
    rest: dict[tuple[str, int, str], list[Measured]] = {}
    for each in measured:
        kind = KINDS[each.kind]
        own = [
            index
            for index, finding in enumerate(found)
            if finding.file == each.file
            and finding.line <= each.line <= max(finding.line, finding.last)
            and finding.code.startswith(kind.explains)
            and each.device in finding.severity
        ]
        for index in own:
            said.setdefault(index, []).append(_text(each, kind))
        if not own:
            rest.setdefault((each.file, each.line, each.kind), []).append(each)
    confirmed = [
        replace(finding, measured=tuple(said.get(index, ()))) for index, finding in enumerate(found)
    ]
    own_findings = [_finding(KINDS[key[2]], group) for key, group in rest.items()]
    return sorted([*confirmed, *own_findings], key=lambda each: (each.file, each.line, each.code))


def _text(each: Measured, kind: MeasuredKind) -> str:
    return f"{each.device}: {counted(each.count, kind.unit)} ({each.what})"


def _finding(kind: MeasuredKind, group: list[Measured]) -> ScanFinding:
    first = group[0]
    severity: dict[Device, Severity] = {
        each.device: kind.reasons[each.device].severity
        for each in group
        if each.device in kind.reasons
    }
    what = "; ".join(dict.fromkeys(each.what for each in group))
    return ScanFinding(
        first.file,
        first.line,
        1,
        kind.code,
        kind.name,
        first.source,
        what,
        "measured",
        severity,
        first.line,
        tuple(_text(each, kind) for each in group),
    )
