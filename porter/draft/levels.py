"""Make drafted levels part of a series: commits on top of its last level, by the import's engine.

Author and date are those of the pinned commit, so that a draft of the same upstream has the same
bytes on every machine and on every day.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from porter.draft.drafting import DraftedLevel
from porter.draft.recipe_claims import with_claims
from porter.editing.level_commits import LevelCommits
from porter.editing.place import Place
from porter.exchange.importing import Imported, Plan, import_patches
from porter.exchange.incoming import Incoming
from porter.git.objects import MODE_FILE, Entry, Oid
from porter.scan.rules.registry import RULES
from porter.scan.sources import CodeFile, level_files
from porter.terminal import and_listed, counted

AUTHOR = "porter draft <porter@localhost>"
_FORM = ("diff-tree", "-p", "-r", "--binary", "--full-index", "--no-renames")


def series_files(series: LevelCommits) -> list[CodeFile]:
    """Return the Python files of the series' last level.

    Raises SourceUnavailable for files that no source serves.
    """
    return list(level_files(series.upstream, series.last_on()))


def add_levels(series: LevelCommits, place: Place, levels: Sequence[DraftedLevel]) -> Imported:
    """Add drafted levels at the end of the series, and what they gain to recipes of a command."""
    others = with_claims(series.repository.project, series.repository.port, levels)
    entries = series.upstream.odb.flat(series.last_on().tree)
    series.bring({path.encode() for level in levels for path in level.files})
    tree, date = series.last_on().tree, _pinned_date(series)
    items = []
    for level in levels:
        after = _with_files(series, tree, level.files, entries)
        diff = series.git(*_FORM, tree, after).out
        items.append(
            Incoming(
                f"draft {level.family.name}",
                level.family.name,
                diff,
                author=AUTHOR,
                date=date,
                message=message(level, sorted(others)),
            )
        )
        tree = after
    return import_patches(series, place, items, Plan(place.what, others=others))


def message(level: DraftedLevel, recipes: Sequence[str] = ()) -> str:
    """Return the message of a level's commit: what it does, why, and what is to be proved.

    ``recipes`` are those of a command, which prove it. The level's name is left to the import,
    which finds a free one.
    """
    family = level.family
    done = [
        f"- {RULES[code].code} {RULES[code].name}:"
        f" {counted(sum(each.code == code for each in level.mended), 'spot')}"
        for code in level.codes
    ]
    left = f"\n\n{_left(level)}" if level.left else ""
    return (
        f"{family.subject}\n\n{family.why}\n\nDrafted from what `porter scan` found:\n\n"
        + "\n".join(done)
        + left
        + f"\n\nDevices: {family.devices}\nKeeps: {_proved(family.keeps, recipes)}\n"
        f"Gains: {_proved(family.gains, recipes)}\n"
        f"Origin: porter draft, {and_listed(level.codes)}\nForwarded: not-needed\n"
    )


def _proved(text: str, recipes: Sequence[str]) -> str:
    """Return what a level keeps or gains, with the recipes that prove it where there are any."""
    what = text.partition(", to prove")[0]
    return f"{what} ({and_listed(recipes)})" if recipes else text


def _left(level: DraftedLevel) -> str:
    codes = sorted({each.code for each in level.left})
    many = counted(len(level.left), "finding")
    return f"Not sure how to mend, so left as it is: {many} of {and_listed(codes)}."


def _pinned_date(series: LevelCommits) -> str:
    """Return the date of the pinned commit as a mail has it."""
    return series.git("log", "-1", "--format=%ad", "--date=rfc", series.upstream.commit).text


def _with_files(
    series: LevelCommits, tree: Oid, files: Mapping[str, bytes], entries: Mapping[bytes, Entry]
) -> Oid:
    """Write a tree with the new contents of some files; a file keeps its mode."""
    index = {"GIT_INDEX_FILE": str(series.folder / "draft.index")}
    series.git("read-tree", tree, env=index)
    rows = []
    for path, content in files.items():
        blob = series.git("hash-object", "-w", "--stdin", stdin=content).text
        known = entries.get(path.encode())
        mode = known.mode if known is not None else MODE_FILE
        rows.append(f"{mode:o} {blob}\t{path}")
    series.git("update-index", "--index-info", stdin="\n".join([*rows, ""]).encode(), env=index)
    return Oid(series.git("write-tree", "--missing-ok", env=index).text)
