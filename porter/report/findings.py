"""What checks find, in the forms that people and CI systems read.

Text, JSON, GitHub annotations, SARIF (code scanning) and JUnit XML, all from one list of findings.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from porter.finding import Finding

FORMATS = ("text", "json", "github", "sarif", "junit")


def as_json(data: Any) -> str:
    """Indented JSON; dataclasses and bytes are written as they print."""
    return json.dumps(data, indent=2, ensure_ascii=False, default=_plain)


def _plain(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.decode("utf-8", "backslashreplace")
    return asdict(value)


def as_github(findings: Sequence[Finding]) -> str:
    """GitHub's workflow commands, one a line."""
    return "\n".join(
        f"::{'error' if f.severity == 'error' else 'notice'} "
        f"file={_property(f.file)},line={max(f.line, 1)},title={_property('porter ' + f.rule)}"
        f"::{_escape(f.text)}"
        for f in findings
    )


def _escape(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _escape(text).replace(":", "%3A").replace(",", "%2C")


def as_sarif(findings: Sequence[Finding], version: str) -> str:
    """SARIF 2.1.0 with one run."""
    rules = sorted({finding.rule for finding in findings})
    results = [
        {
            "ruleId": f.rule,
            "level": f.severity,
            "message": {"text": f.text},
            "locations": [
                {
                    "physicalLocation": {
                        "artifactLocation": {"uri": f.file},
                        "region": {"startLine": max(f.line, 1)},
                    }
                }
            ],
        }
        for f in findings
    ]
    tool = {"name": "porter", "version": version, "rules": [{"id": rule} for rule in rules]}
    return as_json(
        {
            "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
            "version": "2.1.0",
            "runs": [{"tool": {"driver": tool}, "results": results}],
        }
    )


def as_junit(suite: str, cases: Sequence[tuple[str, Sequence[Finding]]]) -> str:
    """JUnit XML: one test case per name, failed when it has findings."""
    from xml.sax.saxutils import quoteattr

    bad = sum(1 for _, findings in cases if any(f.severity == "error" for f in findings))
    lines = [
        '<?xml version="1.0" encoding="UTF-8"?>',
        f'<testsuite name={quoteattr(suite)} tests="{len(cases)}" failures="{bad}">',
    ]
    for name, findings in cases:
        errors = [finding for finding in findings if finding.severity == "error"]
        lines.append(f"  <testcase classname={quoteattr(suite)} name={quoteattr(name)}>")
        lines += [f"    <failure message={quoteattr(_printable(str(f)))}/>" for f in errors]
        lines.append("  </testcase>")
    return "\n".join([*lines, "</testsuite>"])


def _printable(text: str) -> str:
    """XML has no way to write most control characters."""
    return "".join(c if c.isprintable() or c in "\n\t" else f"\\x{ord(c):02x}" for c in text)
