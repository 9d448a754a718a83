"""The comparison of two states of a port (``porter verify --pin``) for people."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from porter.report.ci.verify import STDERR_LINES
from porter.terminal import counted, listed
from porter.verify.pins.plan import PinPlan
from porter.verify.pins.result import WORDS, Change, RecipeChanges, Word, all_passed
from porter.verify.pins.states import State
from porter.verify.recipe.schema import is_simulated

_STYLES = {"differs": "bold red", "error": "bold red", "moved": "cyan", "skipped": "yellow"}
_AGREE: tuple[Word, ...] = ("same", "within")
_MOST_OUTPUTS = 3


def print_states(console: Console, plan: PinPlan, old: State, new: State) -> None:
    """Print what is compared with what, and the levels that only one state has."""
    port = plan.port
    console.print(
        Text(port, "bold")
        + Text(f": {old.name} (upstream {old.upstream(port)}) -> ")
        + Text(f"{new.name} (upstream {new.upstream(port)})"),
        soft_wrap=True,
    )
    if plan.shared:
        console.print(Text(f"  {counted(len(plan.shared), 'level')} in both"))
    for state, names in ((old, plan.only_old), (new, plan.only_new)):
        if names:
            console.print(Text(f"  only at {state.name}: {listed(names, 12)}"), soft_wrap=True)
    console.print()


def print_changes(console: Console, result: RecipeChanges, every: bool = False) -> None:
    """Print one recipe: a line per level, and below one that changed its worst outputs.

    With ``every``, all outputs of every level.
    """
    console.print(Text(f"{result.port}/{result.recipe}", "bold") + Text(f"  {result.title}"))
    rows = [change for change in result.changes if change.output]
    if rows:
        console.print(_table(_worst_of_seeds(rows), every))
    for change in result.changes:
        if change.bad or change.word == "skipped":
            words = [f"level {change.level} {change.level_name}", _run(change), change.output]
            where = ", ".join(word for word in words if word)
            start = Text(f"  {change.word}: ", _STYLES[change.word])
            console.print(start + Text(f"{where}: {change.detail}"), soft_wrap=True)
            for line in change.stderr.rstrip().splitlines()[-STDERR_LINES:]:
                console.print(Text(f"    | {line}", "dim"), soft_wrap=True)
    for why in dict.fromkeys(c.detail for c in result.changes if c.word == "unjudged"):
        console.print(Text(f"  unjudged: {why}"), soft_wrap=True)
    if not result.changes:
        console.print(Text("  no claim on an output of a level that both have"))
    cached = f", {result.cached} from the cache" if result.cached else ""
    console.print(Text(f"  ({counted(result.runs, 'run')}{cached}, {result.seconds:.1f} s)"))
    console.print()


def print_summary(console: Console, plan: PinPlan, results: Sequence[RecipeChanges]) -> None:
    """Print in one line how many recipes and levels differ, and which."""
    levels: dict[tuple[str, str], Word] = {}
    for result in results:
        for change in result.changes:
            key = (result.recipe, change.level_name)
            levels[key] = _worse(levels.get(key, "same"), change.word)
    parts = [f"{counted(len(results), 'recipe')} compared"]
    for word in reversed(WORDS):
        at = [f"{recipe} {level}" for (recipe, level), its in levels.items() if its == word]
        if at and word in ("error", "differs"):
            parts.append(f"{word}: {listed(at)}")
        elif at:
            parts.append(f"{word} at {counted(len(at), 'level')}")
    empty = [result.recipe for result in results if not result.changes]
    parts += [f"nothing to compare: {', '.join(empty)}"] if empty else []
    parts += [f"{len(plan.unreachable)} not reachable"] if plan.unreachable else []
    style = "bold green" if all_passed(plan, results) else "bold red"
    console.print(Text("; ".join(parts), style), soft_wrap=True)


def _worse(one: Word, other: Word) -> Word:
    return max(one, other, key=WORDS.index)


def _worst_of_seeds(changes: Iterable[Change]) -> list[Change]:
    """Return one change for each output of each run: the worst of its claims and seeds."""
    worst: dict[tuple[object, ...], Change] = {}
    for change in changes:
        key = (change.level, change.device, change.dtype, change.variant, change.output)
        worst[key] = max(worst.get(key, change), change, key=lambda one: one.badness)
    return list(worst.values())


def _table(changes: Sequence[Change], every: bool) -> Table:
    table = Table(box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1), show_edge=False)
    table.add_column("level / output", overflow="fold", min_width=20)
    for name in ("change", "upstream", "apart", "allowed"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("result", no_wrap=True)
    by_level: dict[int, list[Change]] = {}
    for change in changes:
        by_level.setdefault(change.level, []).append(change)
    for number, own in sorted(by_level.items()):
        worst, shown = max(own, key=lambda one: one.badness), _shown(own, every)
        title = Text(f"{number} {own[0].level_name}", "bold")
        title += Text(f"  {counted(len(own), 'output')}", "dim")
        figures = ("",) * 4 if shown else _figures(worst)
        table.add_row(title, *figures, _word(worst))
        for change in shown:
            output = Padding(Text(f"{change.output}, {_run(change)}"), (0, 0, 0, 2))
            table.add_row(output, *_figures(change), _word(change))
    return table


def _shown(changes: Sequence[Change], every: bool) -> list[Change]:
    """Return the outputs to show below a level: the worst, unless all agree."""
    if every:
        return list(changes)
    apart = [change for change in changes if change.word not in _AGREE]
    return sorted(apart, key=lambda one: one.badness, reverse=True)[:_MOST_OUTPUTS]


def _figures(change: Change) -> tuple[str, ...]:
    numbers = (change.difference, change.upstream, change.apart, change.allowed)
    return tuple(_number(number) for number in numbers)


def _number(value: float | None) -> str:
    if value is None:
        return "-"
    if not math.isfinite(value):
        return f"{value:g}"
    return f"{value:.0f}" if value == int(min(value, 1e7)) else f"{value:.1e}"


def _word(change: Change) -> Text:
    return Text(change.word, _STYLES.get(change.word, ""))


def _run(change: Change) -> str:
    """Return a run's device, if it is not the cpu, its dtype and the values of what varies."""
    device = f"{change.device} (simulated)" if is_simulated(change.device) else change.device
    words = [] if change.device in ("cpu", "") else [device]
    words += [change.dtype] if change.dtype else []
    return ", ".join([*words, *(f"{name} {text}" for name, text in change.variant)])
