"""Find the first module, and the op, at which one level diverges from another.

Of two levels the first is the correct one; LEVEL@DEVICE runs one on a device of its own, so that
one level can be compared on two devices. One of them may be a folder (or FOLDER@REV) that is no
level. A recipe's probe runs on both, with every module's inputs
and outputs recorded, and on the first in float64, which shows how much rounding explains.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import replace

from porter.commands.options import (
    add_json,
    add_repeated,
    add_sandbox,
    add_tree_or_port,
    project_folder,
    the_port,
)
from porter.errors import BadInput, Exit

EXAMPLES = (
    (
        "porter compare v-diffusion upstream report --recipe forward",
        "where level report diverges from level 0 in this recipe's probe",
    ),
    (
        "porter compare minimal@cpu minimal@sim:hpu --recipe forward",
        "in a tree: the same level of its port on two devices",
    ),
    ("porter compare 2 3 --port v-diffusion --dtype bfloat16", "levels by number, in one dtype"),
    (
        "porter compare v-diffusion upstream ../fork@sim:hpu --recipe forward",
        "where somebody's port of the same upstream diverges from it",
    ),
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "levels",
        nargs="+",
        metavar="LEVEL",
        help="the correct level, and the one that diverges from it; PORT may stand before them",
    )
    add_tree_or_port(parser)
    parser.add_argument(
        "--recipe", metavar="RECIPE", help="run this recipe's probe (default: the only one)"
    )
    parser.add_argument(
        "--device", metavar="DEVICE", help="run on this device (default: the recipe's first)"
    )
    parser.add_argument(
        "--dtype", metavar="DTYPE", help="run in this dtype (default: the recipe's first)"
    )
    parser.add_argument(
        "--seed", type=int, metavar="N", help="run with this seed (default: the recipe's first)"
    )
    add_repeated(
        parser, "--where", "NAME=VALUE", "a value of what the recipe varies, default: the first"
    )
    for option, default, text in (
        ("--factor", 2.0, "allow N times the first level's own error (default: 2)"),
        ("--ulps", 8.0, "and N ulps on top of that (default: 8)"),
        ("--sample", 1024, "compare N elements of each tensor, 0 for all (default: 1024)"),
    ):
        kind = type(default)
        parser.add_argument(option, type=kind, default=default, metavar="N", help=text)
    add_sandbox(parser)
    add_json(parser)


def run(args: argparse.Namespace) -> int:
    """Compare; exit code 1 when the levels diverge."""
    for text in args.where:
        if "=" not in text:
            raise BadInput(f"--where {text}: expected NAME=VALUE")
    if args.factor < 1 or args.ulps < 0 or args.sample < 0:
        raise BadInput("expected --factor of at least 1, --ulps and --sample of at least 0")
    if len(args.levels) == 3 and args.port is None:
        args.port = args.levels.pop(0)
    if len(args.levels) != 2:
        raise BadInput(f"compare: expected two levels, found {' '.join(args.levels)}")
    (first, second), root, port = args.levels, project_folder(args), the_port(args)

    from porter.report.terminal.divergence import as_json, lines
    from porter.report.terminal.progress import shown_session, transfer_bar
    from porter.verify.divergence.runs import CompareRequest, ComparisonRunner, choose
    from porter.verify.divergence.search import search
    from porter.verify.divergence.tolerance import Allowance
    from porter.verify.execution.run_probe import launcher
    from porter.verify.execution.session import Options
    from porter.verify.foreign.trees import with_foreign
    from porter.verify.plan.port_trees import open_trees

    same = ("recipe", "device", "dtype", "seed")
    where = dict(text.split("=", 1) for text in args.where)
    chosen = {name: getattr(args, name) for name in same}
    with open_trees(root) as own:
        with transfer_bar() as own.progress:
            trees, (first, second) = with_foreign(own, port, (first, second))
            request = CompareRequest(port=port, first=first, second=second, where=where, **chosen)
            comparison = choose(root, request, trees)
        options = Options(sandbox=args.sandbox)
        with shown_session(trees, options) as (session, _), launcher(session.places.runs) as start:
            held = replace(start, sandbox=session.sandbox)
            runs = ComparisonRunner(comparison, session, held)
            found = search(
                runs,
                Allowance(args.factor, args.ulps),
                exact=comparison.exact is not None,
                sample=args.sample or 2**40,
            )
    if args.json:
        print(json.dumps(as_json(comparison, found, runs.lacking), indent=1))
    else:
        print("\n".join(lines(comparison, found, runs.lacking)))
    return Exit.OK if found.activations.divergence is None else Exit.FAILED
