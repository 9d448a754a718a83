"""A mutation run on the terminal: the score of each level, and what survived as diffs."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from porter.mutation.score import Outcome, Row, rows


def print_score(console: Console, port: str, outcomes: Sequence[Outcome], possible: int) -> None:
    """Print the table of a port's levels; ``possible`` is the number before sampling."""
    table = Table(title=f"{port}: mutants", title_justify="left", box=None, pad_edge=False)
    table.add_column("LEVEL")
    for name in ("MUTANTS", "CAUGHT", "SURVIVED", "NOT RUN", "EQUIVALENT", "SCORE"):
        table.add_column(name, justify="right")
    for each in rows(outcomes):
        table.add_row(*_cells(each))
    console.print(table)
    if possible > len(outcomes):
        console.print(f"a sample of {len(outcomes)} of {possible} mutants")


def _cells(each: Row) -> list[str]:
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
