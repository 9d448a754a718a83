"""Run the rules over files.

A rule is held against a file only if the file mentions what rules are about, so that most files of
a project are not even parsed. What a line is exempt from stands on it, as
``# porter: ignore[PT501] why``; ``# porter: ignore-file[PT5]`` anywhere exempts the file.
"""

from __future__ import annotations

import ast
import re
import warnings
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from porter.scan.reading.module import Module, find_marking
from porter.scan.reading.rule import (
    DEVICES,
    SEVERITIES,
    Device,
    Rule,
    ScanFinding,
    Severity,
    Spot,
    milder,
)
from porter.scan.sources import CodeFile

if TYPE_CHECKING:
    from porter.scan.measuring.running import Measurement

ABOUT = re.compile(
    rb"torch|cuda|nccl|flash_attn|xformers|bitsandbytes|mark_step|\.item\(|\.backward\("
)
"""What a file mentions that rules may find something in."""
_IGNORE = re.compile(r"#\s*porter:\s*ignore(?:\[([^\]]*)\])?")
_IGNORE_FILE = re.compile(r"#\s*porter:\s*ignore-file\[([^\]]+)\]")


@dataclass
class Scan:
    """What was found. ``files`` counts all; ``unread`` are those that are no Python, and why.

    ``served`` maps a device to the place where its vendor's package is told to serve CUDA calls;
    ``knows_devices``: a file imports a vendor's package. ``measurement`` is what a command counted.
    """

    findings: list[ScanFinding] = field(default_factory=list)
    files: int = 0
    unread: list[tuple[str, str]] = field(default_factory=list)
    served: dict[Device, str] = field(default_factory=dict)
    knows_devices: bool = False
    measurement: Measurement | None = None


def scan_files(
    files: Iterable[CodeFile],
    rules: Sequence[type[Rule]],
    devices: Sequence[Device] = DEVICES,
) -> Scan:
    """Hold ``rules`` against ``files``; findings are in the order of files and lines."""
    scan = Scan()
    modules = []
    for file in files:
        scan.files += 1
        if not ABOUT.search(file.content):
            continue
        try:
            module = read_module(file)
        except (SyntaxError, UnicodeDecodeError, ValueError, RecursionError) as error:
            scan.unread.append((file.path, str(error) or type(error).__name__))
            continue
        modules.append(module)
        scan.knows_devices |= bool(module.vendors)
        for device, line in module.serves.items():
            scan.served.setdefault(device, f"{file.path}:{line}")
    find_marking(modules)
    for module in modules:
        scan.findings += scan_module(module, rules, devices, set(scan.served))
    return scan


def read_module(file: CodeFile) -> Module:
    """Parse a file. Raises SyntaxError, UnicodeDecodeError or ValueError for what is no Python."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a file's own invalid escapes are not the user's matter
        return Module(file.path, file.text())


def scan_module(
    module: Module,
    rules: Sequence[type[Rule]],
    devices: Sequence[Device] = DEVICES,
    served: Collection[Device] = (),
) -> list[ScanFinding]:
    """Hold rules against one file: at most one finding for a rule and a line."""
    found: dict[tuple[int, str], ScanFinding] = {}
    for _, finding in spots_of(module, rules, devices, served):
        at = (finding.line, finding.code)
        if at not in found or _rank(finding) < _rank(found[at]):
            found[at] = finding
    return [found[at] for at in sorted(found)]


def spots_of(
    module: Module,
    rules: Sequence[type[Rule]],
    devices: Sequence[Device] = DEVICES,
    served: Collection[Device] = (),
) -> Iterator[tuple[Spot, ScanFinding]]:
    """Yield every spot that rules find in a file and no comment exempts, with what it shows as."""
    exempt = _Exemptions(module)
    for rule in rules:
        for spot in rule().find(module):
            finding = _finding(module, rule, spot, devices, served)
            if finding is not None and not exempt.covers(spot.node, rule.code):
                yield spot, finding


def _finding(
    module: Module,
    rule: type[Rule],
    spot: Spot,
    devices: Sequence[Device],
    served: Collection[Device],
) -> ScanFinding | None:
    severity: dict[Device, Severity] = {
        device: milder(reason.severity, spot.milder)
        for device, reason in rule.reasons.items()
        if device in devices and device in spot.devices
        if not (rule.served and device in served)
    }
    if not severity:
        return None
    node = spot.node
    line = module.source.line(node.lineno)
    what = " ".join(spot.what.split())
    return ScanFinding(
        module.path,
        node.lineno,
        node.col_offset + 1,
        rule.code,
        rule.name,
        line,
        what,
        spot.sure,
        severity,
        (node.end_lineno or node.lineno) if isinstance(node, ast.expr) else node.lineno,
    )


def _rank(finding: ScanFinding) -> int:
    return SEVERITIES.index(finding.gravest)


class _Exemptions:
    """The comments of a file that exempt lines, or all of it, from rules."""

    def __init__(self, module: Module) -> None:
        self._lines: dict[int, tuple[str, ...]] = {}
        self._file: tuple[str, ...] = ()
        for number, text in enumerate(module.lines() if "porter:" in module.text else (), 1):
            if "porter:" not in text:
                continue
            if found := _IGNORE_FILE.search(text):
                self._file += _codes(found[1])
            elif found := _IGNORE.search(text):
                self._lines[number] = _codes(found[1]) if found[1] else ("",)

    def covers(self, node: ast.expr | ast.stmt, code: str) -> bool:
        """Return whether a node's first or last line exempts it (a statement's first alone)."""
        if self._file and code.startswith(self._file):
            return True
        last = node.end_lineno if isinstance(node, ast.expr) else None
        lines = range(node.lineno, (last or node.lineno) + 1)
        return any(code.startswith(self._lines.get(line, ("?",))) for line in lines)


def _codes(text: str) -> tuple[str, ...]:
    return tuple(code.strip().upper() for code in text.split(",") if code.strip())
