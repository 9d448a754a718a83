"""SARIF 2.1.0 (OASIS, sarif-v2.1.0-os), which code scanning reads."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from urllib.parse import quote

from porter import __version__
from porter.finding import Finding
from porter.report.ci.model import as_json

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
    "same_distribution": "Random draws do not follow the reference's distribution",
    "ssim": "An image's structural similarity is too low",
    "throughput": "A level is slower than a recipe claims",
    "within_ulps": "An output is further from the reference than a recipe allows",
}
"""What each rule of ``porter lint``, ``check`` and ``verify`` finds."""


def as_sarif(tool: str, findings: Sequence[Finding], prefix: str = "") -> str:
    """Return a log with one run; ``prefix`` goes before every path.

    ``tool`` ("porter lint") distinguishes the runs on one commit.
    """
    rules = sorted({finding.rule for finding in findings})
    driver = {
        "name": "porter",
        "semanticVersion": __version__,
        "rules": [{"id": r, "shortDescription": {"text": RULES.get(r, r)}} for r in rules],
    }
    run = {
        "tool": {"driver": driver},
        "automationDetails": {"id": f"{tool.replace(' ', '/')}/"},
        "results": [_result(finding, rules, prefix) for finding in findings],
    }
    schema = "https://json.schemastore.org/sarif-2.1.0.json"
    return as_json({"$schema": schema, "version": "2.1.0", "runs": [run]})


def _result(finding: Finding, rules: list[str], prefix: str) -> dict[str, Any]:
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
