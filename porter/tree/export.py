"""``porter export``: write a tree's commits as the patch series, always to the same bytes.

The commits between level 0 and HEAD become the series, one patch each. The header is the commit's
author, date and message (subject, body and fields). The diff has the fixed form of
:mod:`porter.levels.rediff` and the pin's number of context lines; git writes it in a scratch
repository without the user's configuration and attributes. So exporting an unchanged series changes
no byte on any machine.

Nothing is published before the new series was built and gave the commits' own trees; then files are
written to a staging folder and renamed. After a kill between two renames the same export again
completes it: the commits still exist.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from collections.abc import Set as AbstractSet
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from porter.atomic import write_atomic
from porter.errors import BadInput, CheckFailed
from porter.git.objects import Oid
from porter.levels.gitapply import Scratch
from porter.levels.levels import build_levels
from porter.levels.rediff import export_diffs
from porter.places import patches_dir
from porter.series.header import FIELDS, listed, parse_header
from porter.series.rendering import mail_message, render_header
from porter.series.series import (
    OFF,
    SERIES_FILE,
    Patch,
    Series,
    line_words,
    read_patch,
    read_series_file,
)
from porter.tree.tree import Tree, shown, tree_root
from porter.upstream.pins import load_pins
from porter.upstream.store import open_upstream


@dataclass(frozen=True, slots=True)
class Exported:
    """One patch file. ``what``: unchanged, rewritten, new; or removed, of the old series."""

    name: str
    what: str


@dataclass(frozen=True, slots=True)
class Commit:
    """What the export reads of a commit."""

    oid: Oid
    parents: tuple[str, ...]
    tree: Oid
    author: str
    date: str
    message: str

    def __str__(self) -> str:
        return f"commit {self.oid[:10]} ({self.message.partition(chr(10))[0]})"


def export_series(tree: Tree, *, drop: bool = False, check: bool = False) -> list[Exported]:
    """Write the tree's commits as the port's series; return what became of each patch file.

    With ``check`` nothing is written. With ``drop`` levels that HEAD lacks leave the series. Raises
    BadInput for a commit that cannot be a patch, saying what it lacks.
    """
    root, port = tree_root(tree), tree.record.port
    folder = patches_dir(root, port)
    with _series_lock(folder), Scratch(tree.git_dir / "objects") as scratch:
        commits = read_commits(tree, tree.record.levels[0].commit)
        trees = [tree.record.levels[0].tree, *(commit.tree for commit in commits)]
        context = load_pins(root).port(port).context
        diffs = export_diffs(scratch, list(pairwise(trees)), context)
        files = _rendered(commits, diffs)
        lines = read_series_file(folder / SERIES_FILE)[0]
        off = {_level_part(line.name) for line in lines if line.off}
        if off.isdisjoint(map(_level_part, files)):  # HEAD is below them: they stay as they are
            lines = [line for line in lines if not line.off]
        old = [line.name for line in lines]
        _refuse_dropping(folder, old, files, drop, tree)
        _prove(root, tree, commits, files, scratch.folder / "staged")
        done = _compare(folder, old, files)
        if not check:
            _publish(folder, old, files, done, off)
        return done


@contextmanager
def _series_lock(folder: Path) -> Iterator[None]:
    """Hold the folder's lock, so that exports into it take turns. It needs no lock file."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise CheckFailed(f"{shown(folder)}: another export is writing there") from None
        yield
    finally:
        os.close(descriptor)


def read_commits(tree: Tree, base: str) -> list[Commit]:
    """Return the commits after ``base`` up to HEAD, oldest first. Raises BadInput for a merge."""
    if tree.git("merge-base", "--is-ancestor", base, "HEAD", check=False).status != 0:
        raise BadInput(
            f"{shown(tree.folder)}: HEAD does not come from level 0 ({base[:10]}); rebase onto it"
        )
    form = "--format=" + "%x00".join(("%H", "%P", "%T", "%an <%ae>", "%aD", "%B"))
    out = tree.git("log", "-z", "--reverse", "--encoding=UTF-8", form, f"{base}..HEAD").out
    try:
        fields = out.decode("utf-8").split("\0")[:-1] if out else []
    except UnicodeDecodeError:
        raise BadInput(f"{shown(tree.folder)}: a commit message is not UTF-8") from None
    rows = [fields[at : at + 6] for at in range(0, len(fields), 6)]
    commits = [Commit(Oid(a), tuple(b.split()), Oid(c), d, e, f) for a, b, c, d, e, f in rows]
    for commit in commits:
        if len(commit.parents) != 1:
            raise BadInput(f"{commit}: a merge commit; a series is linear, rebase it first")
    return commits


def _rendered(commits: Sequence[Commit], diffs: Sequence[bytes]) -> dict[str, bytes]:
    """Return each commit as a patch file, by its name: its number and its level.

    Raises BadInput if a commit's message cannot be a header, and for a repeated level name.
    """
    files: dict[str, bytes] = {}
    first: dict[str, Commit] = {}
    for number, (commit, diff) in enumerate(zip(commits, diffs, strict=True), 1):
        if not diff:
            raise BadInput(f"{commit}: changes no file; drop it, or merge it with another")
        raw = render_header(commit.author, commit.date, commit.message) + diff
        level = _level_stated(commit, raw)
        if level in first:
            raise BadInput(f"{commit}: Level: {first[level]} already has the name {level!r}")
        first[level] = commit
        files[f"{number:04d}-{level}.patch"] = raw
    return files


def _level_stated(commit: Commit, raw: bytes) -> str:
    """Return the level that a patch's header names. Raises BadInput for a header that is wrong."""
    header, problems = parse_header(raw)
    lacking = [name for name in FIELDS if name not in header.lines]
    if lacking:
        raise BadInput(
            f"{commit}: its message lacks {listed([f'`{name}:`' for name in lacking])};"
            " add that with `git commit --amend` (or `git rebase -i`)"
        )
    for problem in problems:
        raise BadInput(f"{commit}: {problem.text}")
    who = f"{header.author.name} <{header.author.email}>"
    if who != commit.author:
        raise BadInput(f"{commit}: git am reads its author {commit.author!r} as {who!r}")
    if header.message != mail_message(commit.message):
        raise BadInput(
            f"{commit}: its message would not survive as a mail: no [..] or `Re:` before the"
            " subject, no line `---` or `diff -` in the text"
        )
    return header.level


def _refuse_dropping(
    folder: Path, old: Sequence[str], files: dict[str, bytes], drop: bool, tree: Tree
) -> None:
    kept = {_level_part(name) for name in files}
    gone = [
        name
        for name in old
        if (folder / name).exists()
        and f"{parse_header((folder / name).read_bytes())[0].level}.patch" not in kept
    ]
    if gone and not drop:
        raise BadInput(
            f"{shown(tree.folder)}: HEAD does not hold {listed(gone)}; go to the last level before"
            " exporting, or pass --drop to take them out of the series"
        )


def _prove(
    root: Path, tree: Tree, commits: Sequence[Commit], files: dict[str, bytes], staged: Path
) -> None:
    """Build the new series; raise CheckFailed unless it gives the commits' trees."""
    staged.mkdir()
    patches: list[Patch] = []
    for name, raw in files.items():
        (staged / name).write_bytes(raw)
        patches.append(read_patch(staged / name))
    with open_upstream(root, load_pins(root).port(tree.record.port)) as upstream:
        series = Series(tree.record.port, staged, tuple(patches))
        levels = build_levels(upstream, series, memo=False)
    for commit, level in zip(commits, levels[1:], strict=True):
        if level.tree != commit.tree:
            raise CheckFailed(
                f"{commit}: its patch gives tree {level.tree}, expected {commit.tree};"
                " nothing was written"
            )


def _compare(folder: Path, old: Sequence[str], files: dict[str, bytes]) -> list[Exported]:
    done = []
    for name, raw in files.items():
        path = folder / name
        there = path.read_bytes() if path.exists() else None
        what = "new" if there is None else "unchanged" if there == raw else "rewritten"
        done.append(Exported(name, what))
    return [*done, *(Exported(name, "removed") for name in old if name not in files)]


def _publish(
    folder: Path,
    old: Sequence[str],
    files: dict[str, bytes],
    done: Sequence[Exported],
    off: AbstractSet[str],
) -> None:
    """Publish the new files: write all of them first, then rename them, the series last.

    ``off`` has the levels (``name.patch``) that stay off by default.
    """
    staging = Path(tempfile.mkdtemp(prefix=".export-", dir=folder))
    try:
        changed = [each.name for each in done if each.what in ("new", "rewritten")]
        for name in changed:
            (staging / name).write_bytes(files[name])
        text = _series_text((folder / SERIES_FILE).read_text("utf-8"), old, list(files), off)
        for name in changed:
            (staging / name).replace(folder / name)
        if text is not None:
            write_atomic(folder / SERIES_FILE, text.encode())
        for name in old:
            if name not in files:
                (folder / name).unlink(missing_ok=True)
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _series_text(
    text: str, old: Sequence[str], new: Sequence[str], off: AbstractSet[str]
) -> str | None:
    """Return the series file for ``new``, comments kept with their patch; None if unchanged."""
    if list(old) == list(new):
        return None
    by_level = {_level_part(name): name for name in old}
    comments: dict[str, list[str]] = {}
    waiting: list[str] = []
    for line in text.removesuffix("\n").split("\n") if text else ():
        words, _ = line_words(line)
        if words and words[0] in old:
            comments[words[0]] = waiting
            waiting = []
        else:
            waiting.append(line)
    lines: list[str] = []
    for name in new:
        line = OFF + name if _level_part(name) in off else name
        lines += [*comments.get(by_level.get(_level_part(name), ""), ()), line]
    return "".join(f"{line}\n" for line in [*lines, *waiting])


def _level_part(name: str) -> str:
    return name.partition("-")[2]


def anchor(tree: Tree) -> bool:
    """Move a detached HEAD whose tree equals a level's to that level's commit.

    The levels must be those of the new series. Returns whether HEAD is on a level now.
    """
    head = tree.git("rev-parse", "HEAD", "HEAD^{tree}").text.split()
    if head[0] in {level.commit for level in tree.record.levels}:
        return True
    same = [level for level in tree.record.levels if level.tree == head[1]]
    if not same or tree.git("symbolic-ref", "--quiet", "HEAD", check=False).status == 0:
        return False
    commit = same[-1].commit
    tree.git("update-ref", "--no-deref", "-m", "porter: export", "HEAD", commit, head[0])
    return True
