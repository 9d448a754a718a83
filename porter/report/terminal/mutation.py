"""A mutation run on the terminal: scores, surviving mutants as diffs, and claims that are loose."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table
from rich.text import Text

from porter.mutation.score import Outcome, Row, rows
from porter.terminal import counted

if TYPE_CHECKING:  # these import torch
    from porter.mutation.loose import ClaimRow, Measured, RecipeRows
    from porter.mutation.margins import Margin

_MOST_SHOWN = 5


def print_score(console: Console, port: str, outcomes: Sequence[Outcome], possible: int) -> None:
    """Print the table of a port's levels; ``possible`` is the number before sampling."""
    table = Table(title=f"{port}: mutants", title_justify="left", box=None, pad_edge=False)
    table.add_column("LEVEL")
    for name in ("MUTANTS", "CAUGHT", "SURVIVED", "NOT RUN", "EQUIVALENT", "SCORE"):
        table.add_column(name, justify="right")
    for each in rows(outcomes):
        table.add_row(*_score_cells(each))
    console.print(table)
    if possible > len(outcomes):
        console.print(f"a sample of {len(outcomes)} of {possible} mutants")


def _score_cells(each: Row) -> list[str]:
    score = "-" if each.score is None else f"{each.score:.1%}"
    counts = (each.total, each.caught, each.survived, each.not_run, each.equivalent)
    return [each.level, *(str(count) for count in counts), score]


def headline(outcome: Outcome) -> str:
    """One line on a mutant that went unnoticed: its name, where it is, and why."""
    mutant = outcome.mutant
    why = "no recipe runs this line" if outcome.fate == "not run" else "every recipe passes"
    return f"{mutant.key}  {mutant.level_name}  {mutant.kind}  {mutant.path}:{mutant.line}  {why}"


def print_survivors(console: Console, outcomes: Sequence[Outcome]) -> None:
    """Print every mutant that went unnoticed: its name, why, and its diff."""
    for outcome in outcomes:
        if not outcome.missed:
            continue
        console.print()
        console.print(headline(outcome), markup=False, soft_wrap=True)
        for line in outcome.mutant.diff().splitlines()[2:]:
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
        table.add_row(*_claim_cells(row))
    console.print(table)
    for row in recipe.claims:
        _print_passed(console, recipe, row)
    console.print()


def _claim_cells(row: ClaimRow) -> list[str]:
    weakest = row.weakest
    return [
        str(row.line),
        row.subject,
        row.bound,
        "-" if row.correct is None else _number(row.correct),
        "-" if weakest is None else _number(weakest.margin),
        str(len(row.measured) - len(row.passed)),
        str(len(row.passed)),
        "loose" if row.is_loose else "",
    ]


def _print_passed(console: Console, recipe: RecipeRows, row: ClaimRow) -> None:
    """Print the mutants that a claim passes, those that nothing else catches first."""
    passed = sorted(row.passed, key=lambda one: one.elsewhere)
    for one in passed[:_MOST_SHOWN]:
        console.print(f"  {_passes(recipe, row, one)}", soft_wrap=True, markup=False)
    if len(passed) > _MOST_SHOWN:
        console.print(f"  and {len(passed) - _MOST_SHOWN} more; --json has them all")


def _passes(recipe: RecipeRows, row: ClaimRow, one: Measured) -> str:
    mutant = one.mutant
    found = " (another claim catches it)" if one.elsewhere else ""
    return (
        f"{recipe.path.name}:{row.line}: {row.bound} passes {_number(one.margin)} "
        f"({one.margin.where}) of {mutant.key}, {mutant.level_name} {mutant.kind} at "
        f"{mutant.path}:{mutant.line}{found}"
    )


def _number(margin: Margin) -> str:
    """The value with its unit; where the bound differs by element, also what is allowed there."""
    if margin.value is None:
        return "no value"
    text = f"{margin.value:.4g} {margin.measure}"
    fixed = margin.lower or margin.measure in ("ulps", "count")
    return text if fixed or margin.allowed is None else f"{text} of {margin.allowed:.3g}"
