"""Delete stored objects that no pin and no work tree needs any more.

Pins of every project that used this store count, and everything that its work trees reach.
"""

from __future__ import annotations

import argparse

from porter.errors import Exit


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "-n", "--dry-run", action="store_true", help="only show what would be deleted"
    )
    parser.add_argument(
        "--now",
        action="store_true",
        help="also delete what is younger than an hour or was used recently",
    )
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(args: argparse.Namespace) -> int:
    """Collect, and show what was deleted."""
    from porter.places import project_root
    from porter.report.terminal.transfers import size_text
    from porter.upstream.collect import collect

    freed = list(collect(project_root(), dry_run=args.dry_run, now=args.now))
    total = sum(each.size for each in freed)
    if args.json:
        import json

        rows = [{"what": each.what, "path": str(each.path), "size": each.size} for each in freed]
        print(json.dumps({"dry_run": args.dry_run, "freed": rows, "size": total}, indent=2))
        return Exit.OK
    for each in freed:
        print(f"{size_text(each.size):>9}  {each.what}: {each.path}")
    print(f"{size_text(total)} {'would be freed' if args.dry_run else 'freed'}")
    return Exit.OK
