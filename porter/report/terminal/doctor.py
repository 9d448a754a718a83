"""What ``porter doctor`` found, as text and as JSON."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from porter.terminal import counted, flow

if TYPE_CHECKING:
    from porter.upstream.doctor import Fact
    from porter.verify.plan.reachable import PortReach

_MARKS = {True: "ok", None: "--", False: "!!"}


def doctor_json(
    facts: Sequence[Fact], reaches: Sequence[PortReach], helps: Sequence[str]
) -> dict[str, Any]:
    """Return facts, ports and what would make more reachable as plain values."""
    return {
        "ok": all(fact.ok is not False for fact in facts),
        "findings": [dataclasses.asdict(fact) for fact in facts],
        "ports": [{**dataclasses.asdict(reach), "whole": reach.whole} for reach in reaches],
        "would_help": list(helps),
    }


def doctor_lines(
    facts: Sequence[Fact],
    reaches: Sequence[PortReach],
    helps: Sequence[str],
    verbose: bool,
) -> Iterator[str]:
    """Yield the facts by topic, a line per port, and the key to the marks."""
    topic = ""
    width = 0
    for fact in facts:
        if fact.topic != topic:
            topic = fact.topic
            width = max(len(f.subject) for f in facts if f.topic == topic and f.main)
            yield f"{topic}:"
        mark = _MARKS[fact.ok]
        if not fact.main:
            yield f"      {mark}  {fact.text}"
        else:
            yield f"  {mark}  {fact.subject:<{width}}  {fact.text}"
        if fact.detail and verbose:
            yield f"            {fact.detail}"
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
