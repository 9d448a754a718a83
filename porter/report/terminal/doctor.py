"""What ``porter doctor`` found, as text and as JSON."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from porter.terminal import counted, flow

if TYPE_CHECKING:
    from porter.upstream.doctor import Finding
    from porter.verify.plan.reachable import PortReach

_MARKS = {True: "ok", None: "--", False: "!!"}


def doctor_json(
    findings: Sequence[Finding], reaches: Sequence[PortReach], helps: Sequence[str]
) -> dict[str, Any]:
    """Return findings, ports and what would make more reachable as plain values."""
    return {
        "ok": all(finding.ok is not False for finding in findings),
        "findings": [dataclasses.asdict(finding) for finding in findings],
        "ports": [{**dataclasses.asdict(reach), "whole": reach.whole} for reach in reaches],
        "would_help": list(helps),
    }


def doctor_lines(
    findings: Sequence[Finding],
    reaches: Sequence[PortReach],
    helps: Sequence[str],
    verbose: bool,
) -> Iterator[str]:
    """Yield the findings by topic, a line per port, and the key to the marks."""
    topic = ""
    width = 0
    for finding in findings:
        if finding.topic != topic:
            topic = finding.topic
            width = max(len(f.subject) for f in findings if f.topic == topic and f.main)
            yield f"{topic}:"
        mark = _MARKS[finding.ok]
        if not finding.main:
            yield f"      {mark}  {finding.text}"
        else:
            yield f"  {mark}  {finding.subject:<{width}}  {finding.text}"
        if finding.detail and verbose:
            yield f"            {finding.detail}"
    if reaches:
        yield from _port_lines(reaches, helps)
    yield "ok: fine   --: not here, porter works without   !!: must be fixed"


def _port_lines(reaches: Sequence[PortReach], helps: Sequence[str]) -> Iterator[str]:
    """Yield a line per port, then what would make the others reachable."""
    yield "ports: what can be checked and verified here"
    width = max(len(reach.port) for reach in reaches)
    for reach in reaches:
        mark = "ok" if reach.whole else "--"
        part = f"all but {counted(reach.files, 'file')}"
        checked = {"all": "all", "part": part, "ids": "ids alone", "nothing": "nothing"}
        text = f"check: {checked[reach.checked]}; verify: "
        text += f"{reach.reachable} of {counted(reach.recipes, 'recipe')}"
        yield f"  {mark}  {reach.port:<{width}}  {text}"
        if not reach.whole and reach.reason:
            yield f"        {reach.reason}"
    for way in helps:
        yield from flow(f"more with {way}", 6)
