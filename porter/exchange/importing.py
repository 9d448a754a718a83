"""Make patches from elsewhere levels of a series.

Each patch is applied by ``git apply`` on the level before it. If git refuses, it is applied on the
files that its index lines name, and merged, as ``git am -3`` does. Nothing is written before all
patches are levels; a conflict stops in the tree, where ``porter import --continue`` goes on.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field, replace
from pathlib import Path

from porter.editing.level_commits import LevelCommits, copy_commits
from porter.editing.place import Place, detached
from porter.editing.publish import Request, level_part, publish
from porter.editing.refresh import Changed, change
from porter.editing.replay import absent_files, make_commit, merge, replay
from porter.editing.stack import Commit, autosquashed, read_range
from porter.errors import BadInput, CheckFailed, PorterError
from porter.exchange.foreign_header import Ask, Completed, Given, complete
from porter.exchange.incoming import Incoming
from porter.git.objects import Oid
from porter.git.run import first_error, run_git
from porter.levels.level_name import find_level
from porter.levels.levels import Level
from porter.series.diff import Diff
from porter.series.diffreader import parse_diff
from porter.terminal import counted
from porter.tree.tree import listed_paths

_NAMES = re.compile(rb"^(---|\+\+\+) ([^\t\r\n]+)", re.M)
_APPLY = ("apply", "--cached", "--whitespace=nowarn", "--allow-empty")


@dataclass(frozen=True, slots=True)
class Plan:
    """Where the levels go (``after`` a level; empty: at the end) and what the user says of them.

    ``others`` are files of the project that change with them, by path.
    """

    what: str
    after: str = ""
    _: KW_ONLY
    others: Mapping[str, bytes | None] = field(default_factory=dict)
    given: Given = field(default_factory=Given)
    ask: Ask | None = None


@dataclass(frozen=True, slots=True)
class Imported:
    """The changed series, and a line per thing that was changed in a patch to make it a level."""

    changed: Changed
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Level:
    """A patch as a commit on ``parents``; ``merged``: by 3-way, on another base."""

    done: Completed
    commit: Commit
    merged: bool = False
    strip: int = 1


def import_patches(
    series: LevelCommits, place: Place, items: Sequence[Incoming], plan: Plan
) -> Imported:
    """Make ``items`` levels of the series, all of them or none.

    Raises CheckFailed with git's words for a patch that does not apply, and for a conflict: in a
    tree that is then in its files.
    """
    if not items:
        raise BadInput(f"{plan.what}: no patch there")
    if len(items) > 1 and plan.given.values.keys() & {"Level", "Subject"}:
        raise BadInput(f"{plan.what}: {len(items)} patches cannot share one Level or Subject")
    series.bring({path for item in items for path in _paths(series, item)})
    below = {each.name for each in series.levels[1 : level_below(series, plan.after).number + 1]}
    before = [commit for commit in series.commits if commit.level in below]
    above = [commit for commit in series.commits if commit.level not in below]
    made, notes = _made(series, before[-1] if before else series.base, items, plan, place)
    if not made:
        raise BadInput(f"{plan.what}: nothing to import: {'; '.join(notes)}")
    on = [each.commit for each in made if not each.done.item.off]
    off = [each for each in made if each.done.item.off]
    commits = autosquashed([*before, *on, *above, *(each.commit for each in off)])
    names = series.off | {each.done.level for each in off}
    request = Request(plan.what, names, plan.others)
    if place.held is not None:
        tips = [each.commit.oid for each in made]
        copy_commits(series.git, place.held.tree.git_dir, tips, [series.levels[-1].commit])
        changed = change(place.held, commits, request, made[-1].done.level)
        changed = detached(changed, plan.what)
    else:
        changed = _without_tree(series, commits, request)
    folder = series.repository.folder
    files = {level_part(e.name): e.name for e in changed.published.patches if e.what != "removed"}
    for each in made:
        name = files.get(each.done.level)
        raw = (folder / name).read_bytes() if name else b""
        notes += [f"{name}: {text}" for text in _said(each, raw, series.repository.pin.context)]
    return Imported(changed, tuple(notes))


def level_below(series: LevelCommits, after: str) -> Level:
    """Return the level that the new ones go on top of: the last, or the one that the user names."""
    level = find_level(series.levels, after) if after else series.last_on()
    if level.off:
        raise BadInput(f"--after {level.name}: off by default; no level may build on it")
    return level


def _paths(series: LevelCommits, item: Incoming) -> set[bytes]:
    """Return the paths that a patch names, as far as git can read it."""
    paths = {path for file in parse_diff(item.diff).files for path in file.paths}
    for strip in _strips(item):
        form = ("apply", "--numstat", "-z", "--allow-empty", f"-p{strip}", "-")
        rows = series.git(*form, stdin=item.diff, check=False).out.split(b"\0")
        paths |= {row.split(b"\t", 2)[2] for row in rows if row.count(b"\t") >= 2}
    return paths


def _strips(item: Incoming) -> tuple[int, ...]:
    """Return how many path parts to strip, the likely number first.

    Names that all begin with git's a/ and b/ have one more than the files; -p0 would make a folder
    b of a patch that the series has already.
    """
    if not item.guess:
        return (item.strip,)
    rows = _NAMES.findall(item.diff)
    prefixes = {b"---": b"a/", b"+++": b"b/"}
    whole = all(name.startswith((prefixes[mark], b"/dev/null")) for mark, name in rows)
    return (1,) if rows and whole else (1, 0)


def _made(
    series: LevelCommits, tip: Commit, items: Sequence[Incoming], plan: Plan,
    place: Place,
) -> tuple[list[_Level], list[str]]:  # fmt: skip
    """Return the patches as commits, one on top of the other, and what was left out."""
    taken = {level.name for level in series.levels}
    made: list[_Level] = []
    notes: list[str] = []
    for item in items:
        if b"\n+++ " not in item.diff and b"diff --git " not in item.diff:
            notes.append(f"{item.where}: holds no diff; left out")
            continue
        done = complete(item, plan.given, taken, plan.ask)
        commit = _stated(series, done, tip)
        level, tip = _applied(series, tip, _Level(done, commit), place.held is not None)
        if level is None:
            notes.append(f"{item.where}: the series holds all of it already; left out")
            continue
        taken.add(done.level)
        made.append(level)
    return made, notes


def _stated(series: LevelCommits, done: Completed, tip: Commit) -> Commit:
    """Return the patch's author, date and message as git writes them, on an unchanged tree."""
    item = done.item
    author = item.author or _identity(series.repository.project)
    commit = Commit(Oid(""), (tip.oid,), tip.tree, author, item.date or _when(item), item.message)
    try:
        made = make_commit(series.git, commit)
    except PorterError as error:
        raise BadInput(f"{item.where}: From {author!r}, Date {item.date!r}: {error}") from None
    return read_range(series.git, f"{made.oid}^!", item.where)[0]


def _when(item: Incoming) -> str:
    """The time of a file that states none; without one, now."""
    return f"@{item.seconds} +0000" if item.seconds else ""


def _identity(folder: Path) -> str:
    answer = run_git(["var", "GIT_AUTHOR_IDENT"], cwd=folder, check=False)
    if answer.status:
        raise BadInput(
            f"the patch states no author, and git knows none ({first_error(answer.err)}); pass"
            " --author 'NAME <EMAIL>'"
        )
    return answer.out.decode("utf-8", "replace").rpartition(">")[0] + ">"


def _applied(
    series: LevelCommits, tip: Commit, level: _Level, may_stop: bool
) -> tuple[_Level | None, Commit]:
    """Return the patch as a commit, and the commit that the next patch applies on.

    The former is None for a patch that changes nothing. Raises CheckFailed.
    """
    item, git = level.done.item, series.git
    for strip in _strips(item):
        tree, words = _tree(series, tip.tree, replace(item, strip=strip))
        if tree == tip.tree:
            return None, tip
        if tree is not None:
            commit = make_commit(git, replace(level.commit, tree=tree))
            return replace(level, commit=commit, strip=strip), commit
        if strip == item.strip:
            refusal = words
    based = _on_own_base(series, tip.tree, item, level.commit)
    if based is None:
        raise CheckFailed(
            f"{item.where}: does not apply on {tip.level or 'level 0'}: {refusal}; and its index"
            " lines name no contents that are known here, to merge it by 3-way"
        )
    absent = absent_files(git, tip.tree, [based])
    merged, conflicts = merge(git, Oid(based.parents[0]), tip.tree, based, absent)
    if conflicts and not may_stop:
        raise CheckFailed(
            f"{item.where}: conflicts with {tip.level or 'level 0'} in {listed_paths(conflicts)};"
            f" `porter apply {series.repository.port}` makes a tree to import it in, where"
            " conflicts can be resolved"
        )
    if merged == tip.tree:
        return None, tip
    on_tip = make_commit(git, replace(level.commit, tree=merged))
    commit = based if conflicts else on_tip
    return replace(level, commit=commit, merged=True), on_tip


def _tree(
    series: LevelCommits, tree: Oid, item: Incoming, index: str = ""
) -> tuple[Oid | None, str]:
    """Return the tree after the patch, or None and all that git says."""
    env = {"GIT_INDEX_FILE": index} if index else {}
    if not index:
        (series.folder / "index.lock").unlink(missing_ok=True)
        series.git("read-tree", tree)
    reverse = ("--reverse",) if item.reverse else ()
    form = (*_APPLY, *reverse, f"-p{item.strip}", "-")
    answer = series.git(*form, stdin=item.diff, check=False, env=env)
    if answer.status:
        lines = (line.removeprefix("error: ").strip() for line in answer.err.splitlines())
        return None, "; ".join(filter(None, lines))
    return Oid(series.git("write-tree", "--missing-ok", env=env).text), ""


def _on_own_base(series: LevelCommits, tree: Oid, item: Incoming, commit: Commit) -> Commit | None:
    """Return the patch as a commit on the files that its index lines name, as ``git am -3`` does.

    None when their contents are not known here.
    """
    index = series.folder / "ancestor.index"
    index.unlink(missing_ok=True)
    series.git("read-tree", tree)
    form = ("apply", f"--build-fake-ancestor={index}", f"-p{item.strip}", "-")
    answer = series.git(*form, stdin=item.diff, check=False)
    if answer.status or item.reverse:
        return None
    base = Oid(series.git("write-tree", env={"GIT_INDEX_FILE": str(index)}).text)
    after, _ = _tree(series, base, item, str(index))
    if after is None:
        return None
    root = make_commit(series.git, replace(commit, parents=(), tree=base, message="base\n"))
    return make_commit(series.git, replace(commit, parents=(root.oid,), tree=after))


def _without_tree(series: LevelCommits, commits: Sequence[Commit], request: Request) -> Changed:
    done = replay(series.git, series.base.oid, commits)
    if done.left:
        port = series.repository.port
        raise CheckFailed(
            f"{port}: level {done.left[0].level} conflicts with what is imported below it, in"
            f" {listed_paths(done.conflicts)}; `porter apply {port}` makes a tree to import it in,"
            " where conflicts can be resolved"
        )
    return Changed(publish(series.repository, series.base, done.commits, request), None)


def _said(level: _Level, made: bytes, context: int) -> list[str]:
    """Return what had to change in a patch to make it a level, one sentence each."""
    item, done = level.done.item, level.done
    said = _reformed(item.diff, made, context) if made else []
    if level.merged:
        said.insert(0, "merged by 3-way: it was made for another base")
    if level.strip == 0:
        said.insert(0, "names without a/ and b/ (-p0)")
    texts = [f"from {item.where}" + (f": {', '.join(said)}" if said else "")]
    if done.unknown:
        texts.append(f"does not state {', '.join(done.unknown)}; `porter lint` lists them")
    if done.quoted:
        texts.append(f"{counted(done.quoted, 'line')} of its message quoted with `> `")
    return texts


def _reformed(given: bytes, made: bytes, context: int) -> list[str]:
    """Return how the diff ``made`` differs in form from the one given."""
    ours, theirs = parse_diff(made), parse_diff(given)
    if made[ours.first_byte :] == given[theirs.first_byte :]:
        return []
    said = []
    if any(line in (b"-- ", b"--") for line in given.split(b"\n")[-5:]):
        said.append("signature dropped")
    if b"---\n" in given[: theirs.first_byte] and b" | " in given[: theirs.first_byte]:
        said.append("diffstat dropped")
    if b"diff --git " not in given:
        return [*said, "written as a git diff"]
    ids = [oid for file in theirs.files for oid in (file.old_id, file.new_id)]
    if any(oid is None or len(oid) < 40 for oid in ids):
        said.append("index lines in full")
    hunks = [hunk for file in theirs.files for hunk in file.hunks]
    if any(max(hunk.leading, hunk.trailing) > context for hunk in hunks) or (
        _hunks(theirs) != _hunks(ours) and not any(hunk.leading >= context for hunk in hunks)
    ):
        said.append(f"{counted(context, 'line')} of context")
    elif _hunks(theirs) == _hunks(ours) and _places(theirs) != _places(ours):
        said.append("line numbers corrected")
    return said or ["written as porter exports it"]


def _hunks(diff: Diff) -> list[tuple[bytes, ...]]:
    return [hunk.lines for file in diff.files for hunk in file.hunks]


def _places(diff: Diff) -> list[int]:
    return [hunk.old_start for file in diff.files for hunk in file.hunks]
