"""Show what this machine has: git, Python, torch, devices, disk, which sources answer, and which
ports can be checked and verified with that.
"""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from porter.commands.options import add_flag, add_json, add_verbose
from porter.errors import Exit
from porter.terminal import counted, emit, emit_json, flow

if TYPE_CHECKING:
    from porter.upstream.doctor import Fact
    from porter.upstream.pins import Pins
    from porter.verify.plan.reachable import PortReach

_MARKS = {True: "ok", None: "--", False: "!!"}


EXAMPLES = (
    ("porter doctor", "what this machine has, and which ports it can check and verify"),
    ("porter doctor --offline --deep", "contact no source, but ask torch for devices"),
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_flag(parser, "--offline", "contact no source")
    add_flag(parser, "--deep", "ask torch for devices too (takes seconds)")
    add_verbose(parser)
    add_json(parser)


def run(args: argparse.Namespace) -> int:
    """Print the findings; exit 1 when something that porter needs is missing."""
    from concurrent.futures import ThreadPoolExecutor

    from porter.upstream.doctor import ask_archive, ask_sources, examine
    from porter.upstream.store import offline_asked
    from porter.verify.plan.reachable import reach_of_ports, what_would_help

    pins = _pins()
    offline = args.offline or offline_asked()
    with ThreadPoolExecutor(max_workers=1) as pool:  # it may take as long as the slowest source
        asked = pool.submit(ask_archive, offline=offline)
        answers = ask_sources(pins, offline=offline)
        archive = asked.result()
    findings = examine(pins, answers, archive, offline=offline, deep=args.deep)
    findings.append(_sandbox())
    reaches = reach_of_ports(pins.root, pins, answers, offline=offline) if pins.pins else []
    helps = what_would_help(pins, reaches, answers)
    failed = any(fact.ok is False for fact in findings)
    if args.json:
        emit_json(
            {
                "ok": not failed,
                "findings": [dataclasses.asdict(fact) for fact in findings],
                "ports": [{**dataclasses.asdict(reach), "whole": reach.whole} for reach in reaches],
                "would_help": list(helps),
            }
        )
    else:
        emit(_lines(findings, reaches, helps, args.verbose))
    return Exit.FAILED if failed else Exit.OK


def _sandbox() -> Fact:
    from porter.upstream.doctor import Fact
    from porter.verify.execution.sandbox import NONE, description, find_sandbox

    found = find_sandbox("auto")
    text = description(found.kind)
    if found.kind == NONE:
        return Fact("runs", "sandbox", None, f"{text} ({found.why})")
    return Fact("runs", "sandbox", True, text)


def _pins() -> Pins:
    """Return the pins of the project here; outside a project there are none."""
    import os
    from pathlib import Path

    from porter.places import project_above
    from porter.tree.tree import project_of, tree_around
    from porter.upstream.pins import Pins, load_pins

    tree = tree_around()
    if tree is None and project_above() is None and not os.environ.get("PORTER_ROOT"):
        return Pins(Path.cwd(), {})
    return load_pins(project_of(tree))


def _lines(
    facts: Sequence[Fact], reaches: Sequence[PortReach], helps: Sequence[str], verbose: bool
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
