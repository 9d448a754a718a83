"""Make wrong versions of a port on purpose, and count how many of them its recipes catch.

Only lines that the series added or changed are mutated: loops off by one, swapped operands, dropped
terms, wrong axes and dtypes, missing copies, calls and marks. Each mutant is tried on the recipes'
runs that execute its line. Survivors are shown as diffs; those that compute the same are listed by
hand in recipes/PORT/mutants/equivalent.yaml, with a reason.
"""

from __future__ import annotations

import argparse
import sys
from contextlib import contextmanager

from porter.commands.options import (
    add_cluster,
    add_flag,
    add_json,
    add_level_option,
    add_port,
    add_recipes,
    positive,
    project_folder,
    the_port,
)
from porter.errors import BadInput, Exit

TYPE_CHECKING = False  # typing itself is slow to import
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from porter.verify.execution.session import Options

AT_LEAST = 95.0


EXAMPLES = (
    ("porter mutate v-diffusion --list", "show the mutants of every level, try none"),
    ("porter mutate v-diffusion --level minimal --sample 20", "try 20 mutants of one level"),
    (
        "porter mutate v-diffusion --by-claim --recipe 'forward*'",
        "which mutants each claim with a stated bound catches",
    ),
    (
        "porter mutate v-diffusion --by-claim --record --recipe timesteps --sample 20",
        "record it, for porter verify to show beside the bounds",
    ),
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    from porter.mutation.edits import KINDS

    add_port(parser, "the port to make mutants of (default: the tree's)")
    add_level_option(parser, "only mutants of this level", repeated=True)
    parser.add_argument(
        "--at",
        default="",
        metavar="LEVEL",
        help="try them all at this level, where their lines still stand as in their own; those "
        "whose file a level between changes are left out (default: each at its own level)",
    )
    add_recipes(parser)
    parser.add_argument(
        "--kind",
        action="append",
        default=[],
        choices=KINDS,
        metavar="KIND",
        help=f"only this kind of mistake (may be given again): {', '.join(KINDS)}",
    )
    parser.add_argument(
        "--sample", type=positive, metavar="N", help="only N of the mutants, always the same ones"
    )
    add_flag(
        parser,
        "--by-claim",
        "try every mutant on all runs of each recipe, and show for every claim with a stated "
        "bound which mutants it measured, caught and passed; fail when it passes one that no "
        "other claim of its recipe catches",
    )
    add_flag(
        parser,
        "--record",
        "with --by-claim: write what the claims measured to recipes/PORT/mutants/measured.json, "
        "which porter verify shows beside their bounds",
    )
    add_flag(parser, "--list", "show the mutants as diffs, try none")
    parser.add_argument(
        "--jobs",
        type=positive,
        metavar="N",
        help="maximum number of mutants tried in parallel (default: number of CPUs)",
    )
    add_cluster(parser)
    parser.add_argument(
        "--at-least",
        type=float,
        default=AT_LEAST,
        metavar="PERCENT",
        help="fail below this share of caught mutants (default: %(default)g)",
    )
    add_json(parser)


def run(args: argparse.Namespace) -> int:
    from rich.console import Console

    from porter.mutation.mutants import level_scores, scores_json
    from porter.mutation.plan import MutantFilters, plan_mutants
    from porter.places import cache_dir
    from porter.report.terminal.mutation import (
        MutationDisplay,
        mutant_lines,
        mutants_json,
        print_recipes,
        print_score,
        print_survivors,
    )
    from porter.report.terminal.progress import transfer_bar
    from porter.terminal import counted, emit, emit_json
    from porter.verify.plan.port_trees import open_trees
    from porter.verify.plan.select import Filters

    if args.by_claim and args.list:
        raise BadInput("--list tries no mutant: expected it without --by-claim")
    if args.record and not args.by_claim:
        raise BadInput("--record: expected --by-claim beside it, found none")
    root, port = project_folder(args), the_port(args)
    recipes = Filters(recipes=tuple(args.recipe), tags=tuple(args.tag))
    wanted = MutantFilters(args.level, args.kind, args.sample, args.at)
    with open_trees(root) as trees:
        with transfer_bar() as trees.progress:
            plan = plan_mutants(root, port, trees, recipes, wanted)
        if plan.left_out:
            print(
                f"porter: {counted(plan.left_out, 'mutant')} left out: a level up to {args.at} "
                "changes the file again",
                file=sys.stderr,
            )
        if args.list and args.json:
            emit_json(mutants_json(plan.mutants))
        elif args.list:
            emit(mutant_lines(plan.mutants))
        if args.list:
            return Exit.OK
        with (
            MutationDisplay(port, len(plan.to_try)) as display,
            _options(args, display.say) as options,
        ):
            trying = (plan, trees, cache_dir(), options, display.say)
            if args.by_claim:
                from porter.mutation.loose import measure_claims, rows_as_json

                claims = measure_claims(*trying, display.count)
            else:
                from porter.mutation.mutation_run import try_mutants

                results = try_mutants(*trying, display.tried)
    console = Console(highlight=False)
    if args.by_claim:
        if args.record:
            from porter.verify.known_wrong import write_measured

            write_measured(root, port, {one.name: one.measured for one in claims})
        if args.json:
            emit_json(rows_as_json(port, claims, plan.possible))
        else:
            print_recipes(console, port, claims, len(plan.to_try), plan.possible)
        loose = any(row.is_loose for recipe in claims for row in recipe.claims)
        return Exit.FAILED if loose else Exit.OK
    if args.json:
        emit_json(scores_json(port, results, plan.possible))
    else:
        print_survivors(console, results)
        print_score(console, port, results, plan.possible)
    score = level_scores(results)[-1].score
    return Exit.OK if score is None or 100 * score >= args.at_least else Exit.FAILED


@contextmanager
def _options(args: argparse.Namespace, say: Callable[[str], None]) -> Iterator[Options]:
    """Give the options of the runs, with the cluster that makes them, if any."""
    from porter.verify.execution.session import Options

    options = Options(jobs=args.jobs)
    if args.cluster is None:
        yield options
        return
    from porter.verify.cluster.driver import open_cluster

    with open_cluster(args.cluster, options, say) as options:
        yield options
