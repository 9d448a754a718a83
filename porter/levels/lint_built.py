"""The half of ``porter lint`` that needs the pinned tree."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from porter.errors import SourceUnavailable
from porter.finding import Finding
from porter.git.objects import MODE_LINK
from porter.git.quoting import show_path
from porter.levels.build import Builder, Step, Upstream
from porter.levels.lint import link_problem, lint_files, needs_less_context
from porter.levels.rediff import export_diffs
from porter.series.series import Patch
from porter.terminal import counted
from porter.upstream.pins import Pin
from porter.upstream.store import open_upstream


def lint_built(upstream: Upstream, port: str, patches: Sequence[Patch]) -> list[Finding]:
    """Apply the patches on the pin and judge how they apply.

    Raises SourceUnavailable when a level cannot even be stated from the sources.
    """
    context = upstream.pin.context
    with Builder(upstream) as builder:
        steps = builder.run(patches)
        findings = [finding for step in steps for finding in _applied(step, port)]
        exact = [step for step in steps if _contents_known(step)]
        diffs = export_diffs(
            builder.scratch(), [(step.parent, step.tree) for step in exact], context
        )
    for step, diff in zip(exact, diffs, strict=True):
        findings += _minimal(step.patch, diff, port, context)
    for step in steps:
        if any(change.claimed for change in step.changes):
            text = "no source covers all of its files: size and context are not checked"
            findings.append(Finding(_file(step, port), 0, "coverage", text, "note"))
    return findings


def _file(step: Step, port: str) -> str:
    return f"patches/{port}/{step.patch.name}"


def _contents_known(step: Step) -> bool:
    return not step.failures and not any(change.claimed for change in step.changes)


def _applied(step: Step, port: str) -> Iterator[Finding]:
    file = _file(step, port)
    for failure in step.failures:
        where = f"{failure.path} {failure.hunk}: " if failure.hunk else f"{failure.path}: "
        text = f"{where.lstrip(': ')}{failure.reason}; `porter check {port}` shows the lines"
        yield Finding(file, failure.line, "apply", text)
    for offset in step.offsets:
        text = f"{offset.path} {offset.hunk} applies only {abs(offset.lines)} lines "
        text += "further down" if offset.lines > 0 else "further up"
        yield Finding(file, offset.line, "offset", text + "; `porter export` writes it anew")
    yield from _moved_links(step, file)
    if step.sound and not step.failures and not step.offsets:
        yield from _ids(step, file)


def _moved_links(step: Step, file: str) -> Iterator[Finding]:
    """Links that only move: their target, relative to where they stand, is nowhere in the diff."""
    moved = {section.path: section for section in step.patch.files if not section.hunks}
    for change in step.changes:
        if change.path in moved and change.entry and change.entry.mode == MODE_LINK:
            told = link_problem(change.path, change.content or b"")
            if told:
                yield Finding(file, moved[change.path].line, "link", told)


def _ids(step: Step, file: str) -> Iterator[Finding]:
    """Index lines that state another new id than the patch makes."""
    made = {change.path: change.entry.oid for change in step.changes if change.entry is not None}
    for section in step.patch.files:
        stated, now = section.new_id, made.get(section.path)
        if stated is not None and now is not None and not now.startswith(stated):
            text = (
                f"{show_path(section.path)}: the index line states {stated}, the patch makes {now}"
            )
            yield Finding(file, section.line, "index", text)


def _minimal(patch: Patch, diff: bytes, port: str, context: int) -> list[Finding]:
    """Compare the patch's diff with what git exports for the same two trees."""
    mine = patch.raw[patch.diff.first_byte :]
    if mine == diff or patch.diff.oddities:
        return []
    file = f"patches/{port}/{patch.name}"
    for section in patch.files:
        if hunk := needs_less_context(section, context):
            text = (
                f"more than {counted(context, 'line')} of context; `porter export` writes it anew"
            )
            return [Finding(file, hunk.line, "size", text)]
    ours, gits = mine.split(b"\n"), diff.split(b"\n")
    same = next((n for n, (a, b) in enumerate(zip(ours, gits, strict=False)) if a != b), len(gits))
    size = f" in {len(gits)} lines, not {len(ours)}" if len(gits) != len(ours) else ""
    expected = show_path(gits[same])[:60] if same < len(gits) else "the end"
    text = f"git exports the same change otherwise{size}: here it has {expected!r}"
    return [Finding(file, patch.diff.first_line + same, "size", text + "; `porter export`")]


def lint_port(root: Path, pin: Pin, *, files_only: bool = False) -> list[Finding]:
    """Everything wrong with a port's series; only the files' own faults with ``files_only``.

    An upstream that no source serves is a note: what needs it was not judged.
    """
    findings, patches = lint_files(root, pin.name)
    usable = [p for p in patches if not any(problem.blocks for problem in p.problems)]
    if files_only or not patches:
        return findings
    try:
        upstream = open_upstream(root, pin)
        try:
            return findings + lint_built(upstream, pin.name, usable)
        finally:
            upstream.close()
    except SourceUnavailable as error:
        text = f"not applied on the pin: {error.reason}"
        return [*findings, Finding(f"patches/{pin.name}/series", 0, "coverage", text, "note")]
