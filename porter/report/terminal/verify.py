"""Results of ``porter verify`` in every form; for people, rich tables of 80 columns."""

from __future__ import annotations

import math
from collections.abc import Sequence
from io import StringIO
from typing import TYPE_CHECKING

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from porter.report.ci.verify import (
    STDERR_LINES,
    badness,
    cases,
    plain_results,
    sandboxes,
    worst_of_seeds,
)
from porter.report.ci.write import as_form, as_json
from porter.terminal import counted
from porter.verify.judge.result import RecipeResult, Verdict
from porter.verify.plan.select import Plan, Unreachable

if TYPE_CHECKING:
    from porter.verify.rejudge import Change

_STYLES = {
    "pass": "green",
    "baseline": "dim",
    "skipped": "yellow",
    "fail": "bold red",
    "error": "bold red",
}
_MOST_ROWS = 4
_MOST_WARNINGS = 4
_COLUMNS = 80


def print_result(
    console: Console, result: RecipeResult, every: bool = False, brief: bool = False
) -> None:
    """Print one recipe's table, then what is wrong in words.

    Unless ``every`` is set, a level with many outputs shows the bad ones and the worst good one.
    With ``brief``, a recipe that passed without skips and warnings takes one line.
    """
    is_plain = result.passed and result.judged and not result.warnings
    if brief and is_plain and all(verdict.word != "skipped" for verdict in result.verdicts):
        name = Text(f"{result.port}/{result.recipe}  ", style="bold")
        console.print(name + _ending(result), soft_wrap=True)
        return
    console.print(Text(f"{result.port}/{result.recipe}", style="bold") + Text(f"  {result.title}"))
    rows = [verdict for verdict, _ in worst_of_seeds(result.verdicts)]
    judged = [verdict for verdict in rows if verdict.measure]
    if judged:
        console.print(_table(judged, every))
    for verdict in rows:
        if verdict.bad:
            console.print(Text("  ") + fault(verdict), soft_wrap=True)
            _print_stderr(console, verdict.stderr)
            if verdict.narrow:
                console.print(Text(f"    narrow it down: {verdict.narrow}", "dim"), soft_wrap=True)
    for why in dict.fromkeys(_skipped(verdict) for verdict in rows if verdict.word == "skipped"):
        console.print(Text("  ") + Text("skipped: ", "yellow") + Text(why), soft_wrap=True)
    for warning in result.warnings[:_MOST_WARNINGS]:
        console.print(Text("  ") + Text("warning: ", "yellow") + Text(warning), soft_wrap=True)
    if len(result.warnings) > _MOST_WARNINGS:
        console.print(Text(f"  and {len(result.warnings) - _MOST_WARNINGS} warnings more"))
    console.print(Text("  ") + _ending(result))
    console.print()


def _ending(result: RecipeResult) -> Text:
    """Return whether a recipe passed, its number of runs, and how long they took."""
    seeds = len({verdict.seed for verdict in result.verdicts})
    shown = f"worst of {seeds} seeds, " if seeds > 1 else ""
    bad = sum(verdict.bad for verdict in result.verdicts)
    word = Text("passed", "green") if result.judged else Text("skipped", "yellow")
    if bad:
        word = Text(f"{bad} failed", "bold red")
    share = "all" if result.cached == result.runs else result.cached
    cached = f", {share} from the cache" if result.cached else ""
    return word + Text(f"  ({shown}{result.runs} runs{cached}, {result.seconds:.1f} s)")


def print_unreachable(
    console: Console, unreachable: Sequence[Unreachable], verbose: bool = False
) -> None:
    """Print what could not run here and why: a line of 80 columns each, or in full."""
    away = [one for one in unreachable if not one.fault]
    for one in unreachable:
        if one.fault:
            line = Text(f"{_name(one)}: ", "bold") + Text("failed", "bold red")
            console.print(line + Text(f": {one.reason}"), soft_wrap=True)
            if verbose:
                _print_detail(console, one)
    if not away:
        return
    more = "" if verbose else " (details: `porter verify --verbose`)"
    console.print(Text("not reachable", "yellow") + Text(f"{more}:"), soft_wrap=True)
    for one in away:
        head = f"  {_name(one)}: "
        reason = one.reason if verbose else _cut(one.reason, _COLUMNS - len(head))
        console.print(Text(head, "bold") + Text(reason), soft_wrap=True)
        if verbose:
            _print_detail(console, one)


def _name(one: Unreachable) -> str:
    return f"{one.port}/{one.recipe}" if one.recipe else one.port


def _cut(text: str, width: int) -> str:
    """Return as much of a text as fits."""
    text = " ".join(text.split())
    return text if len(text) <= width else text[: max(width - 3, 0)].rstrip(" ,;:(") + "..."


def _print_detail(console: Console, one: Unreachable) -> None:
    for line in one.detail.splitlines() if one.detail != one.reason else ():
        console.print(Text(f"      {line}", "dim"), soft_wrap=True)


def print_summary(
    console: Console, results: Sequence[RecipeResult], unreachable: Sequence[Unreachable]
) -> None:
    """Print the summary line: recipes passed, failed, not reachable."""
    failed = [f"{result.port}/{result.recipe}" for result in results if not result.passed]
    failed += [one.recipe or one.port for one in unreachable if one.fault]
    beyond = sum(not one.fault for one in unreachable)
    good = sum(result.passed and result.judged for result in results)
    skipped = sum(result.passed and not result.judged for result in results)
    parts = [f"{counted(good, 'recipe')} passed"]
    if failed:
        parts.append(f"{len(failed)} failed: {', '.join(failed)}")
    if skipped:
        parts.append(f"{skipped} skipped")
    if beyond:
        parts.append(f"{beyond} not reachable")
    if kinds := sandboxes(results):
        parts.append(f"sandbox: {kinds}")
    console.print(Text("; ".join(parts), "bold red" if failed else "bold green"), soft_wrap=True)


def print_changes(console: Console, changes: Sequence[Change]) -> None:
    """Print the verdicts of ``porter judge`` that differ from the recorded ones."""
    if not changes:
        console.print(Text("  no verdict changed", "dim"))
    for change in changes:
        words = f"{change.before or 'not judged'} -> {change.now or 'not judged'}"
        line = Text("  changed: ", "yellow") + Text(f"{where_words(change.verdict)}: {words}")
        console.print(line, soft_wrap=True)
    console.print()


def _table(verdicts: Sequence[Verdict], every: bool) -> Table:
    """Return a table with a heading per run, and a row per output or counter below it.

    Devices are named unless all runs are on the cpu; simulated ones are marked.
    """
    devices = {verdict.device for verdict in verdicts} != {"cpu"}
    table = Table(box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1), show_edge=False)
    table.add_column(
        f"level,{' device,' if devices else ''} dtype / output", overflow="fold", min_width=24
    )
    table.add_column("error", justify="right", no_wrap=True)
    table.add_column("allowed", justify="right", no_wrap=True)
    table.add_column("verdict", no_wrap=True)
    groups: dict[tuple[object, ...], list[Verdict]] = {}
    for verdict in verdicts:
        run = (verdict.level, verdict.device, verdict.dtype, verdict.variant)
        groups.setdefault(run, []).append(verdict)
    for group in groups.values():
        first = group[0]
        head = Text(f"{first.level} {first.level_name}, {run_words(first, devices)}", "bold")
        table.add_row(head, "", "", "")
        for verdict, note in _shown(group, every):
            least = "≥ " if verdict.lower else ""
            table.add_row(
                Padding(Text(verdict.output) + Text(note, "dim"), (0, 0, 0, 2)),
                _number(verdict.error, verdict.measure),
                least + _number(verdict.allowed, ""),
                Text(verdict.word, _STYLES[verdict.word]),
            )
    return table


def run_words(verdict: Verdict, device: bool = True) -> str:
    """Return a run's device (if wanted), dtype and variant: "sim:hpu (simulated), float32"."""
    words = []
    if device or verdict.simulated:
        words.append(f"{verdict.device} (simulated)" if verdict.simulated else verdict.device)
    words += [verdict.dtype] if verdict.dtype else []
    words += [f"{name} {text}" for name, text in verdict.variant]
    return ", ".join(words)


def _shown(group: list[Verdict], every: bool) -> list[tuple[Verdict, str]]:
    """Return the rows to show of one run, each with a note beside the output.

    Of many good outputs, or good counters, only the worst is shown.
    """
    shown: list[tuple[Verdict, str]] = []
    for subject in dict.fromkeys(verdict.subject for verdict in group):
        mine = [verdict for verdict in group if verdict.subject == subject]
        good = [verdict for verdict in mine if not verdict.bad]
        if every or len(good) <= _MOST_ROWS:
            shown += [(verdict, "") for verdict in mine]
            continue
        shown += [(verdict, "") for verdict in mine if verdict.bad]
        shown.append((max(good, key=badness), f" (worst of {len(good)})"))
    return shown


def _number(value: float | None, measure: str) -> str:
    if value is None:
        return "-"
    if not math.isfinite(value):
        return f"{value} {measure}".rstrip()
    if measure == "elements":
        return f"{value:.0f} el."
    if measure in ("count", "spread"):
        return f"{value:g}"
    if measure in ("dB", "SSIM", "p", "x"):
        return f"{value:.4g} {measure}"
    shown = f"{value:.2g}" if measure == "ulps" or value == int(min(value, 1e6)) else f"{value:.1e}"
    return f"{shown} {measure}".rstrip()


def fault(verdict: Verdict) -> Text:
    """Return one line: what is wrong, and where."""
    return Text(f"{verdict.word}: ", "bold red") + Text(
        f"{where_words(verdict)}: {verdict.detail or _numbers(verdict)}"
    )


def where_words(verdict: Verdict) -> str:
    """Return what a verdict is about: level, run, output and claim."""
    run = run_words(verdict, device=verdict.device != "cpu")
    level = f"level {verdict.level} {verdict.level_name}"
    return ", ".join(part for part in (level, run, verdict.output, verdict.claim) if part)


def _numbers(verdict: Verdict) -> str:
    limit = "at least" if verdict.lower else "allowed"
    found = _number(verdict.error, verdict.measure)
    return f"found {found}, {limit} {_number(verdict.allowed, '')}"


def _skipped(verdict: Verdict) -> str:
    """Return why a claim was not judged; the text is the same on all levels."""
    return f"{verdict.output}: {verdict.detail}" if verdict.output else verdict.detail


def _print_stderr(console: Console, stderr: str) -> None:
    lines = stderr.rstrip().splitlines()
    if len(lines) > STDERR_LINES:
        lines = [f"[{len(lines) - STDERR_LINES} lines before]", *lines[-STDERR_LINES:]]
    for line in lines:
        console.print(Text(f"    | {line}", "dim"), soft_wrap=True)


def render(
    plan: Plan,
    results: Sequence[RecipeResult],
    form: str,
    passed: bool,
    strict: bool,
    prefix: str = "",
) -> str:
    """Return all results as text with every output, JSON, GitHub annotations, SARIF or JUnit.

    ``prefix`` is the project's folder in its repository.
    """
    if form == "text":
        console = Console(file=StringIO(), width=100, highlight=False, color_system=None)
        with console.capture() as captured:
            for result in results:
                print_result(console, result, every=True)
            print_unreachable(console, plan.unreachable)
            print_summary(console, results, plan.unreachable)
        return captured.get()
    if form == "json":
        return as_json(plain_results(results, plan.unreachable, passed))
    return as_form(form, "porter verify", cases(plan, results, strict=strict), prefix)
