"""A mutation run on the terminal: progress, scores, survivors as diffs, and loose claims."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn
from rich.table import Table
from rich.text import Text

from porter.mutation.mutants import Mutant, MutantResult, level_scores
from porter.terminal import counted

if TYPE_CHECKING:  # these import torch
    from porter.mutation.loose import ClaimRow, RecipeRows
    from porter.mutation.margins import Margin

_MOST_SHOWN = 5
_BAR_WIDTH = 24
_LOG_EVERY = 25
"""Mutants between two lines of a log."""


class MutationDisplay:
    """Progress of a mutation run on stderr: a bar and what is being done, or the lines of a log.

    In a log, what is being done is printed at once, since it may take minutes, and the count after
    every :data:`_LOG_EVERY` mutants.
    """

    def __init__(self, port: str, total: int) -> None:
        self._port = port
        self._total = total
        self._done = self._missed = 0
        self._console = Console(stderr=True, highlight=False)
        self._bar = Progress(
            SpinnerColumn(),
            BarColumn(_BAR_WIDTH),
            TextColumn("{task.description}", markup=False),
            console=self._console,
            transient=True,
            disable=not self._console.is_terminal,
        )
        self._task = self._bar.add_task("", total=total)

    def __enter__(self) -> MutationDisplay:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def say(self, line: str) -> None:
        """Show what is being done."""
        if self._bar.disable:
            self._print(line)
        else:
            self._bar.update(self._task, description=line, completed=self._done)

    def tried(self, result: MutantResult) -> None:
        """Count a mutant that was tried, and print one that went unnoticed."""
        if result.missed:
            self._missed += 1
            self._print(headline(result))
        self.count(f", {self._missed} not caught")

    def count(self, note: str = "") -> None:
        """Count a mutant."""
        self._done += 1
        if not self._bar.disable or self._done % _LOG_EVERY == 0:
            self.say(f"{self._port}: {self._done} of {self._total} mutants tried{note}")

    def _print(self, line: str) -> None:
        self._console.print(f"porter: {line}", markup=False, soft_wrap=True)


def mutants_json(mutants: Sequence[Mutant]) -> list[dict[str, Any]]:
    """Return mutants as plain values."""
    keys = ("key", "level_name", "path", "line", "kind", "changed")
    return [{key: getattr(mutant, key) for key in keys} for mutant in mutants]


def mutant_lines(mutants: Sequence[Mutant]) -> Iterator[str]:
    """Yield every mutant as a heading and a diff."""
    for mutant in mutants:
        yield mutant.title
        yield from (f"  {line}" for line in mutant.diff().splitlines()[2:])
        yield ""


def print_score(
    console: Console, port: str, results: Sequence[MutantResult], possible: int
) -> None:
    """Print the scores of a port's levels; ``possible``: the number of mutants before sampling."""
    table = Table(title=f"{port}: mutants", title_justify="left", box=None, pad_edge=False)
    table.add_column("LEVEL")
    for name in ("MUTANTS", "CAUGHT", "SURVIVED", "NOT RUN", "EQUIVALENT", "SCORE"):
        table.add_column(name, justify="right")
    for one in level_scores(results):
        score = "-" if one.score is None else f"{one.score:.1%}"
        counts = (one.total, one.caught, one.survived, one.not_run, one.equivalent)
        table.add_row(one.level, *map(str, counts), score)
    console.print(table)
    if possible > len(results):
        console.print(f"a sample of {len(results)} of {possible} mutants")


def headline(result: MutantResult) -> str:
    """Return one line about a mutant that went unnoticed: name, position and why."""
    why = "no recipe runs this line" if result.status == "not run" else "every recipe passes"
    return f"{result.mutant.title}  {why}"


def print_survivors(console: Console, results: Sequence[MutantResult]) -> None:
    """Print every mutant that went unnoticed as a diff, with the reason."""
    for result in results:
        if not result.missed:
            continue
        console.print()
        console.print(headline(result), markup=False, soft_wrap=True)
        for line in result.mutant.diff().splitlines()[2:]:
            style = {"-": "red", "+": "green", "@": "cyan"}.get(line[:1], "")
            console.print(Text(f"  {line}", style=style), soft_wrap=True)


def print_recipes(
    console: Console, port: str, recipes: Sequence[RecipeRows], tried: int, possible: int
) -> None:
    """Print every recipe's claims with a stated bound; ``possible``: mutants before sampling."""
    for recipe in recipes:
        if recipe.claims:
            _print_recipe(console, port, recipe)
    if possible > tried:
        console.print(f"a sample of {tried} of {possible} mutants")
    loose = sum(row.is_loose for recipe in recipes for row in recipe.claims)
    claims = sum(len(recipe.claims) for recipe in recipes)
    console.print(
        f"{counted(claims, 'claim')} with a stated bound, {loose} weaker than a mutant "
        "that no other claim of the recipe catches",
        soft_wrap=True,
    )


def _print_recipe(console: Console, port: str, recipe: RecipeRows) -> None:
    console.print(
        f"{port}/{recipe.name}: runs over {counted(recipe.over, 'mutant')}, {recipe.caught} caught "
        f"({recipe.failed} by a run that failed), {recipe.missed} measured and passed, "
        f"{recipe.unmeasured} changed nothing that is measured",
        soft_wrap=True,
        markup=False,
    )
    table = Table(box=None, pad_edge=False)
    for name in ("LINE", "CLAIM", "BOUND"):
        table.add_column(name, overflow="fold")
    for name in ("CORRECT", "WEAKEST MUTANT", "CAUGHT", "PASSED"):
        table.add_column(name, justify="right")
    table.add_column("")
    for row in recipe.claims:
        table.add_row(
            str(row.line),
            row.subject,
            row.bound,
            "-" if row.correct is None else _number(row.correct),
            "-" if row.weakest is None else _number(row.weakest.margin),
            str(len(row.measured) - len(row.passed)),
            str(len(row.passed)),
            "loose" if row.is_loose else "",
        )
    console.print(table)
    for row in recipe.claims:
        _print_passed(console, recipe, row)
    console.print()


def _print_passed(console: Console, recipe: RecipeRows, row: ClaimRow) -> None:
    """Print the mutants that a claim passes; those that nothing else catches come first."""
    passed = sorted(row.passed, key=lambda one: one.elsewhere)
    for one in passed[:_MOST_SHOWN]:
        mutant = one.mutant
        found = " (another claim catches it)" if one.elsewhere else ""
        text = (
            f"  {recipe.path.name}:{row.line}: {row.bound} passes {_number(one.margin)} "
            f"({one.margin.where}) of {mutant.key}, {mutant.level_name} {mutant.kind} at "
            f"{mutant.path}:{mutant.line}{found}"
        )
        console.print(text, soft_wrap=True, markup=False)
    if len(passed) > _MOST_SHOWN:
        console.print(f"  and {len(passed) - _MOST_SHOWN} more; --json has them all")


def _number(margin: Margin) -> str:
    """Return the value with its unit, and the bound where it differs by element."""
    if margin.value is None:
        return "no value"
    text = f"{margin.value:.4g} {margin.measure}"
    fixed = margin.lower or margin.measure in ("ulps", "count")
    return text if fixed or margin.allowed is None else f"{text} of {margin.allowed:.3g}"
