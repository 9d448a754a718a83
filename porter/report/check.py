"""How ``porter check`` shows what it found: one line per patch, then every failing hunk."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from porter.finding import Finding
from porter.report.findings import Case, as_form, as_json
from porter.terminal import colour_wanted, counted, paint, plain

if TYPE_CHECKING:
    from porter.levels.check import PatchReport, PortReport
    from porter.levels.diagnose import Failure

_STYLES = {"ok": "green", "differs": "red", "fails": "red", "unjudged": "yellow"}


def print_report(report: PortReport) -> None:
    """Write one port's report to stdout."""
    for line in _lines(report, colour_wanted()):
        print(line)


def _lines(report: PortReport, colour: bool) -> Iterator[str]:
    count = counted(len(report.patches), "patch")
    memo = ", from the memo" if report.from_memo and report.patches else ""
    title = paint(report.port, "bold", colour)
    if report.error is not None:
        yield f"{title}: {paint('not checked', 'red', colour)}: {report.error}"
        return
    yield f"{title} at {report.upstream[:12]}: {count}{memo}"
    width = max((len(p.level) for p in report.patches), default=0)
    for patch in report.patches:
        status = paint(f"{patch.status:<8}", _STYLES[patch.status], colour)
        name = f"{plain(patch.level):<{width}}"
        ids = f"  {patch.tree[:12]}  {counted(patch.files, 'file')}" if patch.tree else ""
        yield f"  {status} {patch.number:>3} {name}{ids}"
        yield from _details(patch, colour)
    for problem in report.problems:
        yield f"  {paint('differs', 'red', colour)}  {problem}"
    paths = sorted({path for patch in report.patches for path in patch.not_covered})
    if paths:
        yield (
            f"  {paint('not covered', 'yellow', colour)} by any source, ids as the patches state "
            f"them: {counted(len(paths), 'file')}"
        )
        yield from (f"    {plain(path)}" for path in paths)


def _details(patch: PatchReport, colour: bool) -> Iterator[str]:
    for difference in patch.differences:
        yield f"               {plain(difference)}"
    for offset in patch.offsets:
        yield (
            f"               {plain(offset.path)} {offset.hunk} stands {abs(offset.lines)} "
            f"lines {'below' if offset.lines > 0 else 'above'}; `porter export` writes it anew"
        )
    for failure in patch.failures:
        yield from _failure(failure, colour)


def _failure(failure: Failure, colour: bool) -> Iterator[str]:
    hunk = f" {failure.hunk}" if failure.hunk else ""
    where = f"{failure.patch}:{failure.line}" if failure.line else failure.patch
    moved = f"; it is now {failure.moved_to}" if failure.moved_to else ""
    yield f"    {paint(where, 'bold', colour)}: {plain(failure.path)}{hunk}"
    yield f"      {plain(failure.reason + moved)}"
    if not failure.hunk:
        return
    yield paint(f"      at line {failure.at} (-: expected, +: stands there)", "dim", colour)
    if not failure.found:
        yield "      (the file ends before)"
    for mark, line in _side_by_side(failure.expected, failure.found):
        text = f"      {mark} {_shown(line)}"
        yield paint(text, {"-": "red", "+": "green"}.get(mark), colour)


def _side_by_side(expected: Sequence[bytes], found: Sequence[bytes]) -> Iterator[tuple[str, bytes]]:
    from difflib import SequenceMatcher

    for tag, a, b, c, d in SequenceMatcher(None, expected, found, autojunk=False).get_opcodes():
        if tag == "equal":
            yield from ((" ", line) for line in expected[a:b])
        else:
            yield from (("-", line) for line in expected[a:b])
            yield from (("+", line) for line in found[c:d])


def _shown(line: bytes) -> str:
    text = line.removesuffix(b"\n").decode("utf-8", "backslashreplace")
    tail = "" if line.endswith(b"\n") else " (no newline)"
    if text.endswith("\r"):
        text, tail = text[:-1], " (CR)" + tail
    return "".join(c if c.isprintable() or c == "\t" else f"\\x{ord(c):02x}" for c in text) + tail


def render(reports: Sequence[PortReport], form: str, place: str = "") -> str:
    """All reports as text, JSON, GitHub annotations, SARIF or JUnit."""
    if form == "text":
        return "\n".join(line for report in reports for line in _lines(report, False))
    if form == "json":
        return as_json({"ok": all(r.ok for r in reports), "ports": [_data(r) for r in reports]})
    cases = [case for report in reports for case in _cases(report)]
    return as_form(form, "porter check", cases, place)


def _data(report: PortReport) -> dict[str, Any]:
    return {
        "port": report.port,
        "ok": report.ok,
        "upstream": report.upstream,
        "from_memo": report.from_memo,
        "error": str(report.error) if report.error else None,
        "problems": report.problems,
        "patches": report.patches,
    }


def _cases(report: PortReport) -> Iterator[Case]:
    folder = f"patches/{report.port}"
    own = [*report.problems, *([str(report.error)] if report.error else [])]
    problems = [Finding(f"{folder}/levels.lock", 0, "lock", text) for text in own]
    yield Case(report.port, "levels.lock", problems, broken=report.error is not None)
    for patch in report.patches:
        file = f"{folder}/{patch.patch}"
        found = [Finding(file, 0, "differs", text) for text in patch.differences]
        found += [
            Finding(
                file, f.line, "apply", f"{f.path} {f.hunk or ''}: {f.reason}".replace(" :", ":")
            )
            for f in patch.failures
        ]
        yield Case(report.port, f"{patch.number} {patch.level}", found)
