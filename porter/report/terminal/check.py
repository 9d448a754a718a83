"""Results of ``porter check`` in every form: a line per patch, and every failing hunk."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from porter.finding import Finding
from porter.report.ci.write import Case, as_form, as_json
from porter.terminal import counted, listed, paint, plain

if TYPE_CHECKING:
    from porter.levels.check import PatchReport, PortReport
    from porter.levels.diagnose import PatchFailure

_STYLES = {
    "ok": "green", "stated": "yellow", "differs": "red", "fails": "red", "unjudged": "yellow",
}  # fmt: skip
AS_STATED = "ids as the patches state them, no content seen"


@dataclass(frozen=True)
class CheckRequest:
    """What fails a check besides errors: a ``named`` port that is not reachable and, with
    ``strict``, any file whose content was not checked.
    """

    strict: bool = False
    named: bool = False

    def passes(self, report: PortReport) -> bool:
        """Whether one port passes."""
        return report.ok and not self.lacks(report)

    def lacks(self, report: PortReport) -> bool:
        """Whether it fails for content that was not checked."""
        if report.not_reachable is not None:
            return self.strict or self.named
        return self.strict and bool(report.not_covered)


def summary(reports: Sequence[PortReport], request: CheckRequest) -> str:
    """Return how many ports were checked, which failed and which no source serves here."""
    failed = [report.port for report in reports if not report.ok]
    away = [report for report in reports if report.not_reachable is not None]
    in_part = [r.port for r in reports if r.not_reachable is None and r.not_covered]
    checked = sum(report.not_reachable is None and report.error is None for report in reports)
    parts = [f"{checked} of {counted(len(reports), 'port')} checked"]
    if failed:
        parts.append(f"{len(failed)} failed: {', '.join(failed)}")
    if away:
        parts.append(f"{len(away)} not reachable: {', '.join(report.port for report in away)}")
    text = ", ".join(parts)
    if stated := sum(report.stated for report in away):
        text += f" ({AS_STATED})" if stated == len(away) else f" (of {stated} the {AS_STATED})"
    if in_part:
        text += f"; checked in part: {', '.join(in_part)}"
    if any(request.lacks(report) for report in reports):
        text += f"; that fails {'with --strict' if request.strict else 'where ports are named'}"
    return text


def _away_lines(report: PortReport, colour: bool, verbose: bool) -> Iterator[str]:
    """Yield a port that no source serves, and what was checked of it nevertheless."""
    assert report.not_reachable is not None
    word = paint("not reachable", "yellow", colour)
    yield f"{paint(report.port, 'bold', colour)}: {word}: {plain(report.not_reachable.reason)}"
    if verbose:
        yield from (f"  {plain(line)}" for line in report.not_reachable.detail.splitlines())
    if report.unstated:
        if report.unstated != report.not_reachable.reason:
            yield f"  not even its ids are checked: {plain(report.unstated)}"
        return
    yield f"  {counted(len(report.patches), 'level')}: {AS_STATED}"
    wrong = [patch for patch in report.patches if patch.status != "stated"]
    yield from _patch_lines(wrong, report.problems, colour)


def _patch_lines(
    patches: Sequence[PatchReport], problems: Iterable[str], colour: bool
) -> Iterator[str]:
    width = max((len(p.level) for p in patches), default=0)
    for patch in patches:
        status = paint(f"{patch.status:<8}", _STYLES[patch.status], colour)
        name = f"{plain(patch.level):<{width}}"
        ids = f"  {patch.tree[:12]}  {counted(patch.files, 'file')}" if patch.tree else ""
        yield f"  {status} {patch.number:>3} {name}{ids}"
        for text in (*patch.differences, *map(str, patch.offsets)):
            yield f"               {plain(text)}"
        for failure in patch.failures:
            yield from _failure(failure, colour)
    for problem in problems:
        yield f"  {paint('differs', 'red', colour)}  {problem}"


def report_lines(report: PortReport, colour: bool, verbose: bool = False) -> Iterator[str]:
    """Yield the lines of one port's report."""
    if report.not_reachable is not None:
        yield from _away_lines(report, colour, verbose)
        return
    count = counted(len(report.patches), "patch")
    memo = ", from the memo" if report.from_memo and report.patches else ""
    title = paint(report.port, "bold", colour)
    if report.error is not None:
        yield f"{title}: {paint('not checked', 'red', colour)}: {report.error}"
        return
    yield f"{title} at {report.upstream[:12]}: {count}{memo}"
    yield from _patch_lines(report.patches, report.problems, colour)
    if paths := report.not_covered:
        yield (
            f"  {paint('not covered', 'yellow', colour)} by any source, ids as the patches state "
            f"them: {counted(len(paths), 'file')}"
        )
        yield from (f"    {plain(path)}" for path in paths)


def _failure(failure: PatchFailure, colour: bool) -> Iterator[str]:
    hunk = f" {failure.hunk}" if failure.hunk else ""
    where = f"{failure.patch}:{failure.line}" if failure.line else failure.patch
    moved = f"; it is now {failure.moved_to}" if failure.moved_to else ""
    path = f": {plain(failure.path)}{hunk}" if failure.path else ""
    yield f"    {paint(where, 'bold', colour)}{path}"
    yield f"      {plain(failure.reason + moved)}"
    if not failure.hunk:
        return
    yield paint(f"      at line {failure.at} (-: expected, +: found)", "dim", colour)
    if not failure.found:
        yield "      (the file ends before)"
    for mark, line in _side_by_side(failure.expected, failure.found):
        text = f"      {mark} {_shown(line)}"
        yield paint(text, {"-": "red", "+": "green"}.get(mark), colour)


def _side_by_side(expected: Sequence[bytes], found: Sequence[bytes]) -> Iterator[tuple[str, bytes]]:
    from difflib import SequenceMatcher

    for tag, a, b, c, d in SequenceMatcher(None, expected, found, autojunk=False).get_opcodes():
        yield from ((" " if tag == "equal" else "-", line) for line in expected[a:b])
        yield from (("+", line) for line in found[c:d] if tag != "equal")


def _shown(line: bytes) -> str:
    text = line.removesuffix(b"\n").decode("utf-8", "backslashreplace")
    tail = "" if line.endswith(b"\n") else " (no newline)"
    if text.endswith("\r"):
        text, tail = text[:-1], " (CR)" + tail
    return "".join(c if c.isprintable() or c == "\t" else f"\\x{ord(c):02x}" for c in text) + tail


def render(
    reports: Sequence[PortReport],
    form: str,
    prefix: str = "",
    request: CheckRequest = CheckRequest(),
) -> str:
    """Return all reports as text, JSON, GitHub annotations, SARIF or JUnit.

    ``prefix`` is the project's folder in its repository.
    """
    if form == "text":
        lines = [line for report in reports for line in report_lines(report, False)]
        return "\n".join([*lines, summary(reports, request)])
    if form == "json":
        return as_json(
            {
                "ok": all(request.passes(report) for report in reports),
                "summary": summary(reports, request),
                "not_reachable": [r.port for r in reports if r.not_reachable is not None],
                "ports": [_data(report, request) for report in reports],
            }
        )
    cases = [case for report in reports for case in _cases(report, request)]
    return as_form(form, "porter check", cases, prefix)


def _data(report: PortReport, request: CheckRequest) -> dict[str, Any]:
    away = report.not_reachable
    content = "part" if report.not_covered else "all"
    if report.error is not None or away is not None:
        content = "none"
    return {
        "port": report.port,
        "ok": request.passes(report),
        "content": content,
        "not_reachable": away and {"reason": away.reason, "detail": away.detail or str(away)},
        "ids_not_checked": report.unstated or None,
        "upstream": report.upstream,
        "from_memo": report.from_memo,
        "error": str(report.error) if report.error else None,
        "problems": report.problems,
        "patches": report.patches,
    }


def _cases(report: PortReport, request: CheckRequest) -> Iterator[Case]:
    folder = f"patches/{report.port}"
    own = [*report.problems, *([str(report.error)] if report.error else [])]
    problems = [Finding(f"{folder}/levels.lock", 0, "lock", text) for text in own]
    yield Case(report.port, "levels.lock", problems, broken=report.error is not None)
    if reason := _unchecked(report):
        lacks = request.lacks(report)
        severity: Literal["error", "note"] = "error" if lacks else "note"
        unchecked = Finding(f"{folder}/series", 0, "coverage", reason, severity)
        skipped = "" if lacks else reason
        yield Case(report.port, "content", [unchecked], broken=lacks, skipped=skipped)
    for patch in report.patches:
        file = f"{folder}/{patch.patch}"
        found = [Finding(file, 0, "differs", text) for text in patch.differences]
        found += [failure.finding(report.port) for failure in patch.failures]
        skipped = AS_STATED if patch.status == "stated" else ""
        yield Case(report.port, f"{patch.number} {patch.level}", found, skipped=skipped)


def _unchecked(report: PortReport) -> str:
    """Return what content of a port was not checked, and why."""
    if report.not_reachable is not None:
        why = report.unstated
        if why == report.not_reachable.reason:
            why = ""
        text = AS_STATED if report.stated else f"not even its ids are checked{why and ': '}{why}"
        return f"not reachable: {report.not_reachable.reason}; {text}"
    if paths := report.not_covered:
        return f"no source serves {listed(paths)}; their {AS_STATED}"
    return ""
