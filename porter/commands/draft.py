"""Draft a first port: make what `porter scan` found, and is sure how to mend, levels of a series.

A level per family, on top of the last one: minimal, randn-to-cpu, groupnorm-to-layernorm,
data-loading. Only lines that must change do; a family that changes nothing makes no level. What
porter is not sure of stays a finding of `porter scan`. For a folder in place of PORT (a path with a
slash), the edits are printed as a diff and nothing is written.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from porter.commands.options import (
    add_flag,
    add_json,
    add_port,
    add_repeated,
    changed_place,
)
from porter.errors import BadInput, Exit

if TYPE_CHECKING:
    from collections.abc import Sequence

    from porter.draft.drafting import DraftedLevel

EXAMPLES = (
    ("porter draft my-model", "add a level per family to the port's series"),
    ("porter draft my-model --family randn-to-cpu", "only the level randn-to-cpu"),
    ("porter draft my-model --dry-run", "show the levels as diffs, write nothing"),
    ("porter draft ../my-model > draft.diff", "the edits of a folder that is no port"),
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_port(parser, "the port, or a folder of code (default: the tree's port)")
    add_repeated(parser, "--family", "NAME", "only this family")
    add_flag(parser, "--dry-run", "print the levels as diffs, write nothing")
    add_json(parser)


def run(args: argparse.Namespace) -> int:
    from porter.draft.drafting import chosen_families, draft
    from porter.report.terminal.draft import draft_lines, left_line
    from porter.terminal import emit, emit_json

    families = chosen_families(args.family)
    port = args.port
    if port is not None and ("/" in port or port in (".", "..")):
        from porter.scan.sources import folder_files

        files = list(folder_files(Path(port).expanduser()))
        emit(draft_lines(draft(files, families), {file.path: file.content for file in files}))
        return Exit.OK

    from porter.draft.levels import add_levels, series_files
    from porter.editing.level_commits import level_commits
    from porter.report.terminal.editing import report_change

    with changed_place(args, *(f"--family {name}" for name in args.family)) as place:
        repository = place.repository
        with level_commits(repository.project, repository.port) as series:
            files = series_files(series)
            levels = draft(files, families)
            if args.dry_run:
                emit(draft_lines(levels, {file.path: file.content for file in files}))
                return Exit.OK
            if not levels:
                nothing = f"{repository.port}: nothing to draft"
                emit_json({"levels": []}) if args.json else emit([nothing])
                return Exit.OK
            _refuse_taken(levels, place.names)
            done = add_levels(series, place, levels)
    notes = [*left_line(levels), *done.notes]
    return report_change(place.held, done.changed, as_json=args.json, notes=tuple(notes))


def _refuse_taken(levels: Sequence[DraftedLevel], names: Sequence[str]) -> None:
    """Raise BadInput where the series has a level of a drafted one's name."""
    taken = [level.family.name for level in levels if level.family.name in names]
    if taken:
        raise BadInput(
            f"the series has a level {taken[0]!r} already, and there is more to draft for it; "
            f"`porter rename {taken[0]} NEW` it, or draft others with --family"
        )
