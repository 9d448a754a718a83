"""Find the first module, and the op, at which one level departs from another.

A and B are levels; LEVEL@DEVICE puts one on a device of its own, so that the same level can be
compared on two. A recipe's probe runs on both with every module's inputs and outputs recorded, and
on A in float64, which tells what rounding explains.
"""

from __future__ import annotations

import argparse
import json

from porter.errors import BadInput, Exit


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("port", metavar="PORT")
    parser.add_argument(
        "first", metavar="A", help="the level that is right: number, name or prefix"
    )
    parser.add_argument("second", metavar="B", help="the level that departs from it")
    parser.add_argument("--recipe", metavar="NAME", help="whose probe (default: the only recipe)")
    parser.add_argument("--device", metavar="NAME", help="where (default: the recipe's first)")
    parser.add_argument("--dtype", metavar="NAME", help="in what (default: the recipe's first)")
    parser.add_argument("--seed", type=int, metavar="N", help="default: the recipe's first")
    parser.add_argument(
        "--where",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="which value of what the recipe varies (default: the first; may be given again)",
    )
    parser.add_argument(
        "--factor", type=float, default=2.0, metavar="N", help="times A's own error (default: 2)"
    )
    parser.add_argument(
        "--ulps", type=float, default=8.0, metavar="N", help="ulps on top of that (default: 8)"
    )
    parser.add_argument(
        "--sample",
        type=int,
        default=1024,
        metavar="N",
        help="elements kept of a tensor, 0 for all (default: 1024)",
    )
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(args: argparse.Namespace) -> int:
    """Compare; exit code 1 when something departs."""
    from porter.places import cache_dir, project_root
    from porter.report.terminal.divergence import as_json, lines
    from porter.report.terminal.transfers import transfer_bar
    from porter.verify.divergence.runs import CompareRequest, ComparisonRunner, choose
    from porter.verify.plan.port_trees import open_trees

    where = dict(_pair(text) for text in args.where)
    if args.factor < 1 or args.ulps < 0 or args.sample < 0:
        raise BadInput("expected --factor of at least 1, --ulps and --sample of at least 0")
    asked = CompareRequest(
        port=args.port,
        first=args.first,
        second=args.second,
        recipe=args.recipe,
        device=args.device,
        dtype=args.dtype,
        seed=args.seed,
        where=where,
    )
    root = project_root()
    with open_trees(root) as trees:
        with transfer_bar() as trees.progress:
            sides = choose(root, asked, trees)
        from rich.console import Console

        from porter.report.terminal.progress import RunningDisplay
        from porter.verify.cache.store import Places
        from porter.verify.divergence.search import search
        from porter.verify.divergence.tolerance import Allowance
        from porter.verify.execution.run_probe import launcher
        from porter.verify.execution.session import Session

        with RunningDisplay(Console(stderr=True, highlight=False)) as observer:
            session = Session(trees, Places.under(cache_dir()), observer)
            with launcher(session.places.runs) as start:
                runs = ComparisonRunner(sides, session, start)
                found = search(
                    runs,
                    Allowance(args.factor, args.ulps),
                    exact=sides.exact is not None,
                    sample=args.sample or 2**40,
                )
    if args.json:
        print(json.dumps(as_json(sides, found, runs.lacking), indent=1))
    else:
        print("\n".join(lines(sides, found, runs.lacking)))
    return Exit.OK if found.activations.divergence is None else Exit.FAILED


def _pair(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals:
        raise BadInput(f"--where {text}: expected NAME=VALUE")
    return name, value
