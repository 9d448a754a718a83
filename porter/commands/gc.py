"""Delete stored objects that no pin and no work tree needs any more, and unused files of the cache.

Pins of every project that used this store count, and everything that its work trees reach; of the
wheels of bundles, those that a project's requirements files name stay.
"""

from __future__ import annotations

import argparse

from porter.commands.options import add_flag, add_json, project_folder
from porter.errors import Exit

EXAMPLES = (
    ("porter gc --dry-run", "what would be deleted, and its size"),
    ("porter gc --now", "delete also what is younger than an hour or was used recently"),
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "-n", "--dry-run", action="store_true", help="only show what would be deleted"
    )
    add_flag(parser, "--now", "also delete what is younger than an hour or was used recently")
    add_json(parser)


def run(args: argparse.Namespace) -> int:
    """Collect, and show what was deleted."""
    from porter.bundle.collect import collect_wheels
    from porter.report.terminal.progress import size_text
    from porter.terminal import emit_json
    from porter.upstream.collect import collect

    root = project_folder(args)
    freed = list(collect(root, dry_run=args.dry_run, now=args.now))
    freed += collect_wheels(root, dry_run=args.dry_run, now=args.now)
    total = sum(each.size for each in freed)
    if args.json:
        rows = [{"what": each.what, "path": str(each.path), "size": each.size} for each in freed]
        emit_json({"dry_run": args.dry_run, "freed": rows, "size": total})
        return Exit.OK
    for each in freed:
        print(f"{size_text(each.size):>9}  {each.what}: {each.path}")
    print(f"{size_text(total)} {'would be freed' if args.dry_run else 'freed'}")
    return Exit.OK
