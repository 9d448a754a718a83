"""Make wrong versions of a port on purpose, and say how many of them its recipes catch.

Only lines that the series added or changed are mutated: loops off by one, swapped operands, dropped
terms, wrong axes and dtypes, missing copies, calls and marks. Each mutant is tried on the recipes'
runs that execute its line. Survivors are shown as diffs; those that compute the same are listed by
hand in recipes/PORT/mutants/equivalent.yaml, with a reason.
"""

from __future__ import annotations

import argparse
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from porter.errors import BadInput, Exit

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from rich.console import Console
    from rich.status import Status

    from porter.mutation.mutants import Mutant
    from porter.mutation.mutation_run import MutationRun
    from porter.mutation.score import Outcome
    from porter.verify.plan.matrix import RecipePlan
    from porter.verify.plan.port_trees import UpstreamTrees

AT_LEAST = 95.0
_TOLD_EVERY = 25
"""Mutants from line to line of a log."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    from porter.mutation.edits import KINDS

    parser.add_argument("port", metavar="PORT", help="the port to make mutants of")
    for name, metavar, told in (
        ("--level", "LEVEL", "only mutants of this level: number, name or unique prefix"),
        ("--recipe", "NAME", "try only recipes of this name (a pattern)"),
        ("--tag", "TAG", "try only recipes with this tag (a pattern)"),
    ):
        parser.add_argument(
            name,
            action="append",
            default=[],
            metavar=metavar,
            help=f"{told} (may be given again)",
        )
    parser.add_argument(
        "--kind", action="append", default=[], choices=KINDS, help="only this kind of mistake"
    )
    parser.add_argument(
        "--sample", type=int, metavar="N", help="only N of the mutants, the same ones every time"
    )
    parser.add_argument(
        "--by-claim",
        action="store_true",
        help="try every mutant on all of each recipe, and say for every claim with a stated bound "
        "which mutants it measured, caught and passed; fail when it passes one that no other "
        "claim of its recipe catches",
    )
    parser.add_argument("--list", action="store_true", help="show the mutants as diffs, try none")
    parser.add_argument("--jobs", type=int, metavar="N", help="mutants tried at once")
    parser.add_argument(
        "--at-least",
        type=float,
        default=AT_LEAST,
        metavar="PERCENT",
        help="fail below this share of caught mutants (default: %(default)g)",
    )
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(args: argparse.Namespace) -> int:
    from porter.mutation.equivalents import load_equivalents
    from porter.mutation.mutants import sample
    from porter.places import project_root, recipes_dir
    from porter.report.terminal.transfers import transfer_bar
    from porter.verify.plan.port_trees import open_trees
    from porter.verify.plan.select import Filters, make_plan

    if args.sample is not None and args.sample < 1:
        raise BadInput(f"--sample {args.sample}: expected 1 or more")
    if args.jobs is not None and args.jobs < 1:
        raise BadInput(f"--jobs {args.jobs}: expected 1 or more")
    if args.by_claim and args.list:
        raise BadInput("--list tries no mutant: expected it without --by-claim")
    root = project_root()
    with open_trees(root) as trees:
        with transfer_bar() as trees.progress:
            filters = Filters(recipes=tuple(args.recipe), tags=tuple(args.tag))
            plan = make_plan(root, [args.port], trees, filters)
        everything = _mutants(trees, args.port)
        equivalents = load_equivalents(recipes_dir(root, args.port))
        equivalents.check(everything)
        chosen = _chosen(everything, trees, args)
        mutants = sample(chosen, args.sample) if args.sample else chosen
        if not mutants:
            raise BadInput(f"{args.port}: no mutants: the chosen levels change no Python line")
        if args.list:
            return _show(mutants, as_json=args.json)
        listed = {m.key: equivalents.reason(m) for m in mutants if equivalents.reason(m)}
        files: dict[int, set[str]] = {}
        for mutant in everything:
            files.setdefault(mutant.level, set()).add(mutant.path)
        watched = {level: sorted(paths) for level, paths in files.items()}
        if args.by_claim:
            wanted = [mutant for mutant in mutants if mutant.key not in listed]
            return _by_claim(args, trees, plan.recipes, wanted, watched, len(chosen))
        outcomes = _hunt(args, trees, plan.recipes, mutants, listed, watched)
    return _told(args, outcomes, len(chosen))


def _mutants(trees: UpstreamTrees, port: str) -> list[Mutant]:
    from porter.mutation.mutants import level_mutants

    return [
        mutant
        for level in trees.levels(port)
        for mutant in level_mutants(level, lambda blob: trees.blob(port, blob))
    ]


def _chosen(
    mutants: Sequence[Mutant], trees: UpstreamTrees, args: argparse.Namespace
) -> list[Mutant]:
    levels = {trees.find(args.port, text).number for text in args.level}
    return [
        mutant
        for mutant in mutants
        if (not levels or mutant.level in levels) and (not args.kind or mutant.kind in args.kind)
    ]


def _show(mutants: Sequence[Mutant], *, as_json: bool) -> int:
    if as_json:
        import json

        keys = ("key", "level_name", "path", "line", "kind", "changed")
        print(json.dumps([{key: getattr(m, key) for key in keys} for m in mutants], indent=2))
        return Exit.OK
    for mutant in mutants:
        print(f"{mutant.key}  {mutant.level_name}  {mutant.kind}  {mutant.path}:{mutant.line}")
        print("".join(f"  {line}\n" for line in mutant.diff().splitlines()[2:]))
    return Exit.OK


def _hunt(
    args: argparse.Namespace,
    trees: UpstreamTrees,
    recipes: Sequence[RecipePlan],
    mutants: Sequence[Mutant],
    listed: dict[str, str],
    watched: dict[int, list[str]],
) -> list[Outcome]:
    from porter.mutation.score import Outcome
    from porter.report.terminal.mutation import headline

    found = {
        m.key: Outcome(m, "equivalent", detail=listed[m.key]) for m in mutants if m.key in listed
    }
    wanted = [mutant for mutant in mutants if mutant.key not in listed]
    with _hunting(args, trees, watched) as (hunt, progress):
        for number, (outcome, _) in enumerate(hunt.run(recipes, wanted), 1):
            found[outcome.mutant.key] = outcome
            missed = sum(each.missed for each in found.values())
            if outcome.missed:
                progress.tell(headline(outcome))
            progress.at(number, f"{number} of {len(wanted)} mutants tried, {missed} not caught")
    return [found[mutant.key] for mutant in mutants]


def _by_claim(
    args: argparse.Namespace,
    trees: UpstreamTrees,
    recipes: Sequence[RecipePlan],
    mutants: Sequence[Mutant],
    watched: dict[int, list[str]],
    possible: int,
) -> int:
    from rich.console import Console

    from porter.mutation.loose import recipe_rows, rows_as_json
    from porter.mutation.margins import measure
    from porter.report.terminal.mutation import print_recipes

    tried = []
    with (
        _hunting(args, trees, watched) as (hunt, progress),
        hunt.opened(recipes, mutants) as (runs, grounds),
    ):
        for number, several in enumerate(measure(hunt, runs, grounds, mutants), 1):
            tried += several
            progress.at(number, f"{number} of {len(mutants)} mutants tried")
    rows = recipe_rows(grounds, tried)
    if args.json:
        import json

        print(json.dumps(rows_as_json(args.port, rows, possible), indent=2))
    else:
        print_recipes(Console(highlight=False), args.port, rows, len(mutants), possible)
    loose = any(row.is_loose for recipe in rows for row in recipe.claims)
    return Exit.FAILED if loose else Exit.OK


@dataclass(frozen=True)
class _Progress:
    """How a hunt goes on: a line that changes on a terminal, now and then a line in a log."""

    port: str
    console: Console
    status: Status | None

    def tell(self, line: str) -> None:
        """Print a line that stays."""
        self.console.print(f"porter: {line}", markup=False, soft_wrap=True)

    def say(self, line: str) -> None:
        """Say what is being done; in a log at once, for it may take minutes."""
        if self.status is not None:
            self.status.update(line)
        else:
            self.tell(line)

    def at(self, number: int, line: str) -> None:
        """Say how many mutants were tried."""
        if self.status is not None or number % _TOLD_EVERY == 0:
            self.say(f"{self.port}: {line}")


@contextmanager
def _hunting(
    args: argparse.Namespace, trees: UpstreamTrees, watched: dict[int, list[str]]
) -> Iterator[tuple[MutationRun, _Progress]]:
    import os

    from rich.console import Console

    from porter.mutation.mutation_run import MutationRun, Quiet
    from porter.places import cache_dir
    from porter.verify.cache.store import Places
    from porter.verify.execution.session import Options, Session

    jobs = args.jobs or len(os.sched_getaffinity(0))
    console = Console(stderr=True, highlight=False)
    session = Session(trees, Places.under(cache_dir()), Quiet(), Options(jobs=jobs))
    with ExitStack() as stack:
        status = stack.enter_context(console.status("")) if console.is_terminal else None
        progress = _Progress(args.port, console, status)
        yield MutationRun(session, _kept(args.port), watched, jobs, progress.say), progress


def _kept(port: str) -> Path:
    from porter.places import cache_dir

    return cache_dir() / "mutants" / port


def _told(args: argparse.Namespace, outcomes: Sequence[Outcome], possible: int) -> int:
    from porter.mutation.score import as_json, rows

    if args.json:
        import json

        print(json.dumps(as_json(args.port, outcomes, possible), indent=2))
    else:
        from rich.console import Console

        from porter.report.terminal.mutation import print_score, print_survivors

        console = Console(highlight=False)
        print_survivors(console, outcomes)
        print_score(console, args.port, outcomes, possible)
    score = rows(outcomes)[-1].score
    return Exit.OK if score is None or 100 * score >= args.at_least else Exit.FAILED
