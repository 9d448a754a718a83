"""Say what this machine has: git, Python, torch, devices, disk, and which sources answer."""

from __future__ import annotations

import argparse

from porter.errors import Exit


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--offline", action="store_true", help="ask no source")
    parser.add_argument(
        "--deep", action="store_true", help="ask torch for devices too (takes seconds)"
    )
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(args: argparse.Namespace) -> int:
    """Print the findings; exit 1 when something that porter cannot do without is amiss."""
    from porter.places import project_root
    from porter.upstream.doctor import examine
    from porter.upstream.pins import load_pins
    from porter.upstream.store import offline_asked

    root = project_root()
    offline = args.offline or offline_asked()
    findings = examine(root, load_pins(root), offline=offline, deep=args.deep)
    failed = any(finding.ok is False for finding in findings)
    if args.json:
        import dataclasses
        import json

        rows = [dataclasses.asdict(finding) for finding in findings]
        print(json.dumps({"ok": not failed, "findings": rows}, indent=2))
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
    print("ok: fine   --: not here, porter works without   !!: must be put right")
    return Exit.FAILED if failed else Exit.OK
