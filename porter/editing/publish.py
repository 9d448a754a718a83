"""Write commits as a port's patch series and its lock, always to the same bytes.

The commits between level 0 and HEAD become the series, one patch each. The header is the commit's
author, date and message (subject, body and fields). The diff has the fixed form of
:mod:`porter.levels.rediff` and the pin's number of context lines; git writes it in a scratch
repository without the user's configuration and attributes. So exporting an unchanged series changes
no byte on any machine.

Nothing is published before the new series was built and gave the commits' own trees. Then all files
change together (:mod:`porter.project_change`), and the state goes into the log that `porter undo`
walks along (:mod:`porter.editing.history`).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path

from porter.editing.history import History, State, commit_state, read_state
from porter.editing.kept import kept
from porter.editing.mentions import follow
from porter.editing.references import LevelChange
from porter.editing.stack import Commit, Git
from porter.errors import BadInput, CheckFailed
from porter.git.objects import Oid
from porter.git.quoting import show_path
from porter.levels.gitapply import Scratch
from porter.levels.levels import UPSTREAM, Level, build_levels
from porter.levels.lock import LOCK_FILE, Lock, lock_bytes, lock_of, read_lock
from porter.levels.rediff import export_diffs
from porter.places import PINS_FILE, patches_dir
from porter.project_change import lock_project
from porter.scratch import scratch_folder
from porter.series.header import FIELDS, parse_header
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
from porter.terminal import and_listed, listed
from porter.upstream.pins import Pin, Pins, load_pins
from porter.upstream.store import open_upstream


@dataclass(frozen=True, slots=True)
class Exported:
    """One patch file. ``what``: unchanged, rewritten, new; or removed, of the old series.

    A file that only has another number is renumbered; ``was`` is its old name.
    """

    name: str
    what: str
    was: str = ""


@dataclass(frozen=True)
class Repository:
    """Where the commits of a series are: a tree's repository, or the store's.

    ``pins`` and ``root`` are those that the new series stands on; ``project`` is the folder that it
    is written into, which is another one while the pin moves.
    """

    project: Path
    port: str
    pins: Pins
    git: Git
    objects: Path

    @property
    def pin(self) -> Pin:
        return self.pins.port(self.port)

    @property
    def folder(self) -> Path:
        """The folder of the series."""
        return patches_dir(self.project, self.port)


@dataclass(frozen=True, slots=True)
class Published:
    """What became of each patch file of ``folder``, and the paths of all files that changed.

    ``checked``: nothing was written, it was only compared.
    """

    folder: Path
    patches: tuple[Exported, ...]
    changed: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    checked: bool = False


@dataclass(frozen=True, slots=True)
class Request:
    """How to publish: for the command ``what``; ``off`` names levels that are off by default.

    ``failing`` are patch files, in order, that do not apply: they stay above the others.
    ``files`` are further files of the series' folder, by name, and ``others`` of the project, by
    path: the new content (None: delete). With
    ``check`` nothing is written. For ``renamed`` and ``parted`` see
    :class:`porter.editing.references.LevelChange`.
    """

    what: str
    off: Collection[str] = ()
    others: Mapping[str, bytes | None] = field(default_factory=dict)
    check: bool = False
    failing: Sequence[str] = ()
    files: Mapping[str, bytes | None] = field(default_factory=dict)
    renamed: Mapping[str, str] = field(default_factory=dict)
    parted: Mapping[tuple[str, str], str] = field(default_factory=dict)

    @property
    def command(self) -> str:
        return self.what.partition(" ")[0]


def publish(
    repository: Repository, base: Commit, commits: Sequence[Commit], request: Request
) -> Published:
    """Make ``commits``, on level 0's commit ``base``, the port's series; return what changed.

    What names a level elsewhere follows (:mod:`porter.editing.mentions`). Raises BadInput for a
    commit that cannot be a patch, saying what it lacks, and for a level that is off and not last.
    """
    with lock_project(repository.project), Scratch(repository.objects) as scratch:
        trees = [base.tree, *(commit.tree for commit in commits)]
        diffs = export_diffs(scratch, list(pairwise(trees)), repository.pin.context)
        files = rendered(commits, diffs)
        refuse_off_below([level_part(name) for name in files], request.off, repository.folder)
        if request.command != "export" and (pins := _standing_pins(repository)):
            files = kept(
                repository.project, pins, repository.port, repository.objects,
                files, diffs, request.renamed,
            )  # fmt: skip
        with scratch_folder("export") as staged:
            levels, upstream = _prove(repository, commits, files, staged)
        for name in request.failing:
            fresh = f"{len(files) + 1:04d}-{level_part(name)}.patch"
            files[fresh] = (repository.folder / name).read_bytes()
        old = [line.name for line in read_series_file(repository.folder / SERIES_FILE)[0]]
        done = _compare(repository.folder, old, files)
        if request.check:
            return Published(repository.folder, tuple(done), checked=True)
        contents: dict[str, bytes | None] = {name: None for name in old if name not in files}
        contents |= {**files, **request.files}
        text = (repository.folder / SERIES_FILE).read_text("utf-8")
        contents[SERIES_FILE] = _series_text(text, old, list(files), request).encode()
        claimed = sorted({show_path(path) for level in levels for path in level.claimed})
        notes = []
        if request.failing:
            notes.append(f"not locked: {request.failing[0]} does not apply")
        elif claimed:
            notes.append(f"not locked: no source covers {listed(claimed)}")
        elif (
            (repository.folder / LOCK_FILE).exists()
            or contents_differ(done)
            or PINS_FILE in request.others
        ):
            lock = lock_of(repository.pins, repository.pin, upstream, levels)
            contents[LOCK_FILE] = lock_bytes(lock)
        followed = follow(
            repository.project,
            LevelChange(
                repository.port,
                (UPSTREAM, *(_level_of(repository.folder / name) for name in old)),
                (*(level.name for level in levels), *map(level_part, request.failing)),
                request.renamed,
                request.parted,
            ),
            [*(level.tree for level in levels), *("" for _ in request.failing)],
            files,
            _locked_trees(repository),
        )
        request = replace(request, others={**followed.contents, **request.others})
        changed = write_series(repository.project, repository.port, contents, request)
        return Published(repository.folder, tuple(done), tuple(changed), (*notes, *followed.notes))


def _standing_pins(repository: Repository) -> Pins | None:
    """Return the pins that the standing series is on, which are not the new ones when the pin
    moves; None for a pin that somebody has moved by hand."""
    pins, lock = load_pins(repository.project), _lock(repository)
    moved = lock is not None and lock.upstream["tree"] != pins.port(repository.port).tree
    return None if moved else pins


def _locked_trees(repository: Repository) -> dict[str, str]:
    """Return the trees of the standing levels, as far as a lock states them."""
    lock = _lock(repository)
    return {level.name: level.tree for level in lock.levels} if lock else {}


def _lock(repository: Repository) -> Lock | None:
    try:
        return read_lock(repository.project, repository.port)
    except BadInput:
        return None


def _level_of(path: Path) -> str:
    """Return the level that a standing patch leads to."""
    header = parse_header(path.read_bytes())[0] if path.is_file() else None
    return header.level if header and header.level else level_part(path.name)


def refuse_off_below(names: Sequence[str], off: Collection[str], folder: Path) -> None:
    """Raise BadInput unless the levels that are off by default are the last of ``names``."""
    for below, above in pairwise(names):
        if below in off and above not in off:
            raise BadInput(
                f"{folder / SERIES_FILE}: {below} is off by default, so no level that is on can"
                f" stand above it: {above} would"
            )


def contents_differ(done: Sequence[Exported]) -> bool:
    """Return whether any patch file changes."""
    return any(each.what != "unchanged" for each in done)


def write_series(
    root: Path, port: str, contents: Mapping[str, bytes | None], request: Request
) -> list[str]:
    """Write files of a series' folder and others of the project, and log the state.

    The project's lock must be held.
    """
    history = History(root, port)
    folder = Path("patches") / port
    changes = {str(folder / name): content for name, content in contents.items()}
    changes |= request.others
    if all(_content(root / path) == content for path, content in changes.items()):
        return []
    tip = history.catch_up()
    now = read_state(root, port)
    files = {**now.files, **contents}
    others = [path for path in request.others if path != PINS_FILE]
    state = State(
        {name: content for name, content in files.items() if content is not None},
        _pins_after(root, port, now, request.others.get(PINS_FILE)),
        {path: content for path in others if (content := _content(root / path)) is not None},
        {path: content for path in others if (content := request.others[path]) is not None},
    )
    return commit_state(history, request.what, changes, state, {"From": tip.at})


def _pins_after(root: Path, port: str, now: State, text: bytes | None) -> Mapping[str, bytes]:
    from porter.editing.history import pin_entries
    from porter.upstream.pins import parse_pins

    if text is None:
        return now.pins
    path = root / PINS_FILE
    return pin_entries(parse_pins(text, path).port(port), text.decode(), path)


def _content(path: Path) -> bytes | None:
    return path.read_bytes() if path.is_file() else None


def rendered(commits: Sequence[Commit], diffs: Sequence[bytes]) -> dict[str, bytes]:
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
            f"{commit}: its message lacks {and_listed([f'`{name}:`' for name in lacking])};"
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


def _prove(
    repository: Repository, commits: Sequence[Commit], files: Mapping[str, bytes], staged: Path
) -> tuple[tuple[Level, ...], Oid]:
    """Build the new series; return its levels and level 0's commit.

    Raises CheckFailed unless it gives the commits' trees.
    """
    patches: list[Patch] = []
    for name, raw in files.items():
        (staged / name).write_bytes(raw)
        patches.append(read_patch(staged / name))
    with open_upstream(repository.pins.root, repository.pin) as upstream:
        series = Series(repository.port, staged, tuple(patches))
        levels = build_levels(upstream, series, memo=False)
    for commit, level in zip(commits, levels[1:], strict=True):
        if level.tree != commit.tree:
            raise CheckFailed(
                f"{commit}: its patch gives tree {level.tree}, expected {commit.tree};"
                " nothing was written"
            )
    return levels, upstream.commit


def _compare(folder: Path, old: Sequence[str], files: Mapping[str, bytes]) -> list[Exported]:
    gone = {_content(folder / name): name for name in old if name not in files}
    done = []
    for name, raw in files.items():
        there = _content(folder / name)
        if there is None and raw in gone:
            done.append(Exported(name, "renumbered", gone.pop(raw)))
            continue
        what = "new" if there is None else "unchanged" if there == raw else "rewritten"
        done.append(Exported(name, what))
    return [*done, *(Exported(name, "removed") for name in gone.values())]


def _series_text(text: str, old: Sequence[str], new: Sequence[str], request: Request) -> str:
    """Return the series file for ``new``; comments stay with their patch, which may be renamed.

    ``request.off`` names the levels that are off by default; an unchanged order changes no byte.
    """
    stated = {name for line in text.split("\n") for name in _off_name(line)}
    now_off = {name for name in new if level_part(name) in request.off}
    if list(old) == list(new) and now_off == stated:
        return text
    by_level = {request.renamed.get(level_part(name), ""): name for name in old}
    by_level |= {level_part(name): name for name in old}
    above: dict[str, list[str]] = {}
    own: dict[str, str] = {}
    waiting: list[str] = []
    for line in text.removesuffix("\n").split("\n") if text else ():
        words, _ = line_words(line)
        if words and words[0] in old:
            above[words[0]], own[words[0]] = waiting, line
            waiting = []
        else:
            waiting.append(line)
    lines: list[str] = []
    for name in new:
        before = by_level.get(level_part(name), "")
        line = OFF + name if name in now_off else name
        if before and (before in stated) == (name in now_off):
            line += own[before].partition(before)[2]  # options, a comment
        lines += [*above.get(before, ()), line]
    return "".join(f"{line}\n" for line in [*lines, *waiting])


def _off_name(line: str) -> list[str]:
    words, off = line_words(line)
    return words[:1] if off else []


def level_part(name: str) -> str:
    """Return the level that a patch's file name states."""
    return name.partition("-")[2].removesuffix(".patch")


def off_levels(folder: Path) -> set[str]:
    """Return the levels that a series file switches off by default."""
    return {level_part(line.name) for line in read_series_file(folder / SERIES_FILE)[0] if line.off}
