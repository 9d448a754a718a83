"""Claims beside the mutants they measured, on the terminal."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

from porter.mutation.loose import ClaimRow, Measured, RecipeRows
from porter.mutation.margins import Margin
from porter.terminal import counted

_MOST_SHOWN = 5


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
        table.add_row(*_cells(row))
    console.print(table)
    for row in recipe.claims:
        _print_passed(console, recipe, row)
    console.print()


def _cells(row: ClaimRow) -> list[str]:
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
