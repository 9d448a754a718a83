"""Say what this machine has: git, Python, torch, devices, disk, which sources answer, and which
ports can be checked and verified with that.
"""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from porter.commands.options import add_json, add_verbose
from porter.errors import Exit

if TYPE_CHECKING:
    from collections.abc import Sequence

    from porter.verify.plan.reachable import PortReach


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--offline", action="store_true", help="ask no source")
    parser.add_argument(
        "--deep", action="store_true", help="ask torch for devices too (takes seconds)"
    )
    add_verbose(parser)
    add_json(parser)


def run(args: argparse.Namespace) -> int:
    """Print the findings; exit 1 when something that porter cannot do without is amiss."""
    from porter.places import project_root
    from porter.upstream.doctor import ask_sources, examine
    from porter.upstream.pins import load_pins
    from porter.upstream.store import offline_asked
    from porter.verify.plan.reachable import reach_of_ports, what_would_help

    root = project_root()
    pins = load_pins(root)
    offline = args.offline or offline_asked()
    answers = ask_sources(pins, offline=offline)
    findings = examine(root, pins, answers, offline=offline, deep=args.deep)
    reaches = reach_of_ports(root, pins, answers, offline=offline)
    helps = what_would_help(pins, reaches, answers)
    failed = any(finding.ok is False for finding in findings)
    if args.json:
        import dataclasses
        import json

        rows = [dataclasses.asdict(finding) for finding in findings]
        ports = [{**dataclasses.asdict(reach), "whole": reach.whole} for reach in reaches]
        told = {"ok": not failed, "findings": rows, "ports": ports, "would_help": helps}
        print(json.dumps(told, indent=2))
        return Exit.FAILED if failed else Exit.OK
    topic = ""
    width = 0
    for finding in findings:
        if finding.topic != topic:
            topic = finding.topic
            width = max(len(f.subject) for f in findings if f.topic == topic and f.main)
            print(f"{topic}:")
        mark = {True: "ok", None: "--", False: "!!"}[finding.ok]
        if not finding.main:
            print(f"      {mark}  {finding.text}")
        else:
            print(f"  {mark}  {finding.subject:<{width}}  {finding.text}")
        if finding.detail and args.verbose:
            print(f"            {finding.detail}")
    _print_reach(reaches, helps)
    print("ok: fine   --: not here, porter works without   !!: must be put right")
    return Exit.FAILED if failed else Exit.OK


def _print_reach(reaches: Sequence[PortReach], helps: Sequence[str]) -> None:
    """Print a line a port, then what would make the others reachable."""
    from porter.terminal import counted, flow

    if not reaches:
        return
    print("ports: what can be checked and verified here")
    width = max(len(reach.port) for reach in reaches)
    for reach in reaches:
        mark = "ok" if reach.whole else "--"
        part = f"all but {counted(reach.files, 'file')}"
        checked = {"all": "all", "part": part, "ids": "ids alone", "nothing": "nothing"}
        told = f"check: {checked[reach.checked]}; verify: "
        told += f"{reach.reachable} of {counted(reach.recipes, 'recipe')}"
        print(f"  {mark}  {reach.port:<{width}}  {told}")
        if not reach.whole and reach.reason:
            print(f"        {reach.reason}")
    for way in helps:
        print("\n".join(flow(f"more with {way}", 6)))
