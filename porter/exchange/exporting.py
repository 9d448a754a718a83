"""Give a port's levels to others: as a branch, a mailbox, a quilt folder or one diff.

git writes them, without the user's configuration, from the levels that the series in the project
gives. What is there is not overwritten unless the user says so.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path

from porter.atomic import write_atomic
from porter.editing.level_commits import LevelCommits, copy_commits
from porter.errors import BadInput, CheckFailed
from porter.exchange.incoming import read_source, repository_git
from porter.git.run import first_error
from porter.levels.level_name import find_level, find_number
from porter.levels.levels import UPSTREAM, Level
from porter.levels.rediff import export_options
from porter.series.mailinfo import strip_space
from porter.series.series import SERIES_FILE, Patch, line_words
from porter.terminal import counted, listed
from porter.tree.tree import open_tree
from porter.tree.treelock import TreeLock

_MAILS = (
    "--stdout", "--no-signature", "--no-cover-letter", "--no-numbered", "--no-thread", "--no-stat",
    "--subject-prefix=PATCH",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class GivenOut:
    """What was given out, and where; ``notes`` are what the receiver cannot do with it."""

    text: str
    notes: tuple[str, ...] = ()


def last_level(series: LevelCommits, text: str | None) -> Level:
    """Return the last level to give out: the named one, or the last that is not off by default."""
    level = find_level(series.levels, text) if text else series.last_on()
    if level.number == 0:
        raise BadInput(f"--level {text or 0}: the upstream; no patch leads to it")
    upto = series.levels[: level.number + 1]
    if claimed := sorted(path for each in upto for path in each.claimed):
        raise BadInput(
            f"{series.repository.port}: no source covers {os.fsdecode(claimed[0])}, which the"
            " series touches; --to-quilt needs no contents"
        )
    return level


def to_branch(
    series: LevelCommits, level: Level, name: str, repository: Path, force: bool
) -> GivenOut:
    """Make ``name`` a branch at a level, in a repository that has the pinned commit."""
    there = repository_git(repository)
    base = series.base.oid
    if there("cat-file", "-e", f"{base}^{{commit}}", check=False).status:
        raise BadInput(
            f"{repository}: no commit {base}, the pinned upstream; `git fetch"
            f" {series.repository.pin.url or 'URL'} {base}` there first"
        )
    if there("check-ref-format", "--branch", name, check=False).status:
        raise BadInput(f"--to-branch: expected a branch's name, found {name!r}")
    objects = Path(there("rev-parse", "--git-common-dir").text)
    copy_commits(series.git, repository / objects, [level.commit], [base])
    words = ("branch", *(["--force"] if force else []), name, level.commit)
    if (tree := open_tree(repository)) is None:
        answer = there(*words, check=False)
    else:
        with TreeLock(tree.state_dir, "export --to-branch"):
            answer = tree.git(*words, check=False)
    if answer.status:
        more = "" if force or "already exists" not in answer.err else "; --force moves it"
        raise BadInput(f"{repository}: {first_error(answer.err)}{more}")
    return GivenOut(f"{repository}: branch {name}, {_many(level)} on {base[:10]}")


def _many(level: Level) -> str:
    return counted(level.number, "level")


def mailbox(series: LevelCommits, level: Level) -> bytes:
    """Return the levels as ``git format-patch`` writes them."""
    form = (*export_options(series.repository.pin.context), *_MAILS)
    return series.git("format-patch", *form, f"{series.base.oid}..{level.commit}").out


def to_mailbox(series: LevelCommits, level: Level, path: Path, force: bool) -> GivenOut:
    """Write the levels as a mailbox that ``git am`` takes.

    Raises CheckFailed for a message that git would read differently.
    """
    _refuse_file(path, force)
    raw = mailbox(series, level)
    trial = series.folder / "trial.mbox"
    trial.write_bytes(raw)
    back = [strip_space(item.message) for item in read_source(series.git, trial)]
    for commit, message in zip_longest(series.commits[: level.number], back):
        if commit is None or strip_space(commit.message) != message:
            raise CheckFailed(
                f"{commit or path}: its message would not survive in a mailbox; reword it, or use"
                " --to-branch or --to-quilt"
            )
    write_atomic(path, raw)
    return GivenOut(f"{path}: {_many(level)} as mails; `git am --keep-cr` takes them")


def to_diff(series: LevelCommits, level: Level, path: Path, force: bool) -> GivenOut:
    """Write the difference from the upstream to a level as one diff."""
    _refuse_file(path, force)
    form = ("diff-tree", *export_options(series.repository.pin.context))
    write_atomic(path, series.git(*form, series.base.oid, level.commit).out)
    return GivenOut(f"{path}: {_many(level)} as one diff; `git apply` takes it")


def _refuse_file(path: Path, force: bool) -> None:
    if path.is_dir():
        raise BadInput(f"{path}: a folder; expected the name of a file")
    if path.exists() and not force:
        raise BadInput(f"{path}: exists; --force overwrites it")


def to_quilt(
    folder: Path, patches: Sequence[Patch], last: int | None, target: Path, force: bool
) -> GivenOut:
    """Write a series file and the patches it names into a folder, the same bytes.

    The series file comes last, so a killed porter leaves none or the old one, and the same command
    again completes the folder. ``last`` is the number of the last level; None means all, with those
    off by default.
    """
    if target.exists() and not target.is_dir():
        raise BadInput(f"{target}: a file; expected a new or an empty folder")
    chosen = list(patches if last is None else patches[:last])
    text = (folder / SERIES_FILE).read_text("utf-8")
    files = {patch.name: patch.raw for patch in chosen} | {SERIES_FILE: _cut(text, chosen).encode()}
    if not force and (others := _others(target, files)):
        raise BadInput(f"{target}: holds {listed(others)}; --force overwrites its series")
    for name in _listed_in(target) - files.keys():
        (target / name).unlink(missing_ok=True)
    for name, raw in files.items():
        write_atomic(target / name, raw)
    binary = [p.name for p in chosen if any(file.binary for file in p.files)]
    notes = [f"{listed(binary)}: binary contents, which quilt cannot apply"] if binary else []
    many = counted(len(chosen), "patch")
    return GivenOut(f"{target}: {many}; `quilt push -a` takes them", tuple(notes))


def patch_number(patches: Sequence[Patch], text: str) -> int:
    """Return the number of the level that ``text`` names, without building any."""
    number = find_number([UPSTREAM, *(patch.level for patch in patches)], text)
    if number == 0:
        raise BadInput(f"--level {text}: the upstream; no patch leads to it")
    return number


def _others(target: Path, files: Mapping[str, bytes]) -> list[str]:
    """Return what a folder holds that is not one of ``files``, nor what a killed writer left."""
    if not target.is_dir():
        return []
    found = []
    for path in sorted(target.iterdir()):
        left = path.name.startswith(tuple(f".{name}." for name in files))
        same = path.name in files and path.is_file() and path.read_bytes() == files[path.name]
        if not (same or (left and path.suffix == ".new")):
            found.append(path.name)
    return found


def _listed_in(target: Path) -> set[str]:
    """Return the patches of the series that stands in a folder."""
    try:
        lines = (target / SERIES_FILE).read_text("utf-8").split("\n")
    except FileNotFoundError:
        return set()
    names = {words[0] for words, _ in map(line_words, lines) if words}
    return {name for name in names if Path(name).name == name}


def _cut(text: str, chosen: Sequence[Patch]) -> str:
    """Return the series file without the patches that are not chosen, and theirs alone."""
    names = {patch.name for patch in chosen}
    lines = []
    for line in text.splitlines(keepends=True):
        words, _ = line_words(line.rstrip("\r\n"))
        if not words or words[0] in names:
            lines.append(line)
    return "".join(lines)
