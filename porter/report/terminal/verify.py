"""Results of ``porter verify`` in every form; for people, tables that fit the screen."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from io import StringIO
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from rich.cells import cell_len
from rich.console import Console
from rich.text import Text

from porter.report.ci.verify import (
    STDERR_LINES,
    badness,
    by_cause,
    cases,
    plain_results,
    sandbox_words,
    sandboxes,
    unsandboxed,
    worst_of_seeds,
)
from porter.report.ci.write import as_form, as_json
from porter.terminal import counted
from porter.verify.judge.result import RecipeResult, Verdict, whole_text
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
_GAP = "   "
_LEAST_LABEL = 24
Causes = dict[tuple[str, str], str]
"""Of failed runs: deepest line of the tree and message -> the first recipe that ended so."""
OURS = " (ours)"
"""Marks a claim that is not contract: about the port's own patches."""


def print_result(
    console: Console,
    result: RecipeResult,
    every: bool = False,
    brief: bool = False,
    *,
    kinds: bool = False,
    causes: Causes | None = None,
) -> None:
    """Print one recipe's table, then what is wrong in words.

    Unless ``every`` is set, a level with many outputs shows the bad ones and the worst good one.
    With ``brief``, a recipe that passed without skips and warnings takes one line. With ``kinds``
    the rows of claims that are not contract are marked "ours"; what is wrong says so always. Of a
    cause that ``causes`` holds, of another recipe, only the deepest line is shown again.
    """
    causes = {} if causes is None else causes
    is_plain = result.passed and result.judged and not result.warnings
    if brief and is_plain and all(verdict.word != "skipped" for verdict in result.verdicts):
        name = Text(f"{result.port}/{result.recipe}  ", style="bold")
        console.print(name + _ending(result), soft_wrap=True)
        return
    console.print(Text(f"{result.port}/{result.recipe}", style="bold") + Text(f"  {result.title}"))
    rows = [verdict for verdict, _ in worst_of_seeds(result.verdicts)]
    judged = [verdict for verdict in rows if verdict.measure]
    if judged:
        for line in _table(judged, every, console, kinds):
            console.print(line, soft_wrap=True)
    for verdict, *others in by_cause(rows):
        console.print(Text("  ") + fault(verdict), soft_wrap=True)
        if others:
            console.print(Text(f"    the same in {_others_words(verdict, others)}"), soft_wrap=True)
        _print_cause(console, verdict, f"{result.port}/{result.recipe}", causes)
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


def _print_cause(console: Console, verdict: Verdict, name: str, causes: Causes) -> None:
    """Print the lines of the tree and the end of stderr, or that another recipe shows them."""
    deepest, *others = verdict.frames.splitlines() or [""]
    known = causes.setdefault((deepest, verdict.detail.rpartition(": ")[2]), name)
    if deepest and known != name:
        console.print(Text("    at ") + Text(deepest, "bold") + f", as in {known}", soft_wrap=True)
        return
    for frame in (deepest, *others) if deepest else ():
        console.print(Text("    at ") + Text(frame, "bold"), soft_wrap=True)
    _print_stderr(console, verdict.stderr)


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


def _table(
    verdicts: Sequence[Verdict], every: bool, console: Console, kinds: bool = False
) -> list[Text]:
    """Return the lines of a table with a heading per run, and a row per output or counter below it.

    Devices are named unless all runs are on the cpu; simulated ones are marked. A label that does
    not fit beside the numbers has a line of its own, above them.
    """
    devices = {verdict.device for verdict in verdicts} != {"cpu"}
    head = f"level,{' device,' if devices else ''} dtype / output"
    heads = ("error", "allowed", "known wrong")
    columns = 3 if any(verdict.known_wrong for verdict in verdicts) else 2
    rows = [_Row(Text(head, "bold"), heads, Text("verdict", "bold"))]
    groups: dict[tuple[object, ...], list[Verdict]] = {}
    for verdict in verdicts:
        run = (verdict.level, verdict.device, verdict.dtype, verdict.variant)
        groups.setdefault(run, []).append(verdict)
    for group in groups.values():
        first = group[0]
        words = f"{first.level} {first.level_name}, {run_words(first, devices)}"
        rows.append(_Row(Text(words, "bold")))
        for verdict, note in _shown(group, every):
            kind = OURS if kinds and verdict.contract is False else ""
            label = Text(f"  {verdict.output}") + Text(f"{kind}{note}", "dim")
            least = "≥ " if verdict.lower else ""
            allowed = least + _number(verdict.allowed, verdict.measure, unit=False)
            numbers = _number(verdict.error, verdict.measure), allowed, _known_wrong(verdict)
            rows.append(_Row(label, numbers, Text(verdict.word, _STYLES[verdict.word])))
    widths = [max(cell_len(row.numbers[column]) for row in rows) for column in range(columns)]
    beside = sum(widths) + len("verdict") + (columns + 1) * len(_GAP)
    room = max(console.width - beside, _LEAST_LABEL)
    width = min(room, max(_LEAST_LABEL, *(row.label.cell_len for row in rows)))
    rule = Text(("-" if console.options.ascii_only else "─") * (width + beside))
    top, *others = [line for row in rows for line in row.lines(width, widths)]
    return [top, rule, *others]


@dataclass(frozen=True)
class _Row:
    """A row of the table; a heading has no numbers."""

    label: Text
    numbers: tuple[str, str, str] = ("", "", "")
    word: Text = field(default_factory=Text)

    def lines(self, width: int, widths: Sequence[int]) -> list[Text]:
        if not self.word:
            return [self.label]
        cells = [" " * (w - cell_len(n)) + n for n, w in zip(self.numbers, widths, strict=False)]
        end = Text.assemble(*(part for cell in cells for part in (_GAP, cell)), _GAP, self.word)
        gap = width - self.label.cell_len
        if gap < 0:
            return [self.label, Text(" " * width) + end]
        return [self.label + " " * gap + end]


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


def _number(value: float | None, measure: str, *, unit: bool = True) -> str:
    """Return an error or, without its ``unit``, a limit: "2.9e-05 max", "8 ulps", "150"."""
    if value is None:
        return "-"
    if not math.isfinite(value):
        shown = str(value)
    elif measure in ("elements", "count"):
        shown = whole_text(value)
    elif measure in ("dB", "SSIM", "p", "x"):
        shown = f"{value:.4g}"
    elif value == int(min(value, 1e6)) or (measure == "ulps" and 100 <= value < 1e6):
        shown = f"{value:.0f}"
    else:
        shown = f"{value:.2g}" if measure == "ulps" else f"{value:.1e}"
    if measure == "count" or not unit:
        return shown
    return f"{shown} {measure}".rstrip()


def _known_wrong(verdict: Verdict) -> str:
    """Return what known wrong trees measure by the claim: "7 to 3.2e+02", the nearest first."""
    known = verdict.known_wrong
    if known is None:
        return ""
    ends = (known.nearest, known.farthest)
    return " to ".join(dict.fromkeys(_number(end, known.measure, unit=False) for end in ends))


def fault(verdict: Verdict) -> Text:
    """Return one line: what is wrong, and where."""
    kind = OURS if verdict.contract is False else ""
    return Text(f"{verdict.word}: ", "bold red") + Text(
        f"{where_words(verdict)}{kind}: {verdict.detail or _numbers(verdict)}"
    )


def where_words(verdict: Verdict) -> str:
    """Return what a verdict is about: level, run, output and claim."""
    run = run_words(verdict, device=verdict.device != "cpu")
    level = f"level {verdict.level} {verdict.level_name}"
    return ", ".join(part for part in (level, run, verdict.output, verdict.claim) if part)


def _others_words(first: Verdict, others: Sequence[Verdict]) -> str:
    """Return where else the cause of ``first`` struck: "2 more runs: ...", or "3 more: ..." with
    the parts of its own run by name."""

    def run(verdict: Verdict) -> object:
        return verdict.level, verdict.device, verdict.dtype, verdict.seed, verdict.variant

    is_parts = any(verdict.output for verdict in (first, *others))
    number = f"{len(others)} more" if is_parts else counted(len(others), "more run")
    places = (v.output if v.output and run(v) == run(first) else where_words(v) for v in others)
    return f"{number}: {'; '.join(dict.fromkeys(places))}"


def _numbers(verdict: Verdict) -> str:
    limit = "at least" if verdict.lower else "allowed"
    found = _number(verdict.error, verdict.measure)
    return f"found {found}, {limit} {_number(verdict.allowed, verdict.measure, unit=False)}"


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
    more: Mapping[str, Any] = MappingProxyType({}),
    why: str = "",
) -> str:
    """Return all results as text with every output, JSON, GitHub annotations, SARIF or JUnit.

    ``prefix`` is the project's folder in its repository; JSON has what is in ``more`` too.
    ``why`` says why runs were made in no sandbox.
    """
    if form == "text":
        console = Console(file=StringIO(), width=100, highlight=False, color_system=None)
        causes: Causes = {}
        with console.capture() as captured:
            for result in results:
                print_result(console, result, every=True, causes=causes)
            print_unreachable(console, plan.unreachable)
            print_summary(console, results, plan.unreachable)
        return captured.get()
    if form == "json":
        return as_json({**plain_results(results, plan.unreachable, passed), **more})
    found = cases(plan, results, strict=strict)
    if form != "junit":  # there a case is a test; the property says it
        found += unsandboxed(results, why)
    kinds = sandbox_words(results, why)
    properties = {"sandbox": kinds} if kinds else {}
    return as_form(form, "porter verify", found, prefix, properties=properties)
