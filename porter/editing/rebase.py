"""Move a port to another commit of its upstream: replay its levels there.

A patch whose lines are where they were, or moved, replays by itself. One that the upstream has
meanwhile changes nothing any more, and is dropped when the user says so. At a conflict the tree is
in git's own (:mod:`porter.editing.session`), on the new upstream, while pin and series stay as they
are until the last level is through: then pin, listing, series and lock change together.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from porter.editing import session as sessions
from porter.editing.land import land, read_files
from porter.editing.pin_move import MovedPort, bring_for_replay, find_pins, moved_port
from porter.editing.pin_text import pin_entry, with_values
from porter.editing.place import Place, open_place
from porter.editing.publish import (
    Request,
    off_levels,
    publish,
)
from porter.editing.refresh import (
    Changed,
    base_commit,
    picked,
    publish_picked,
    tree_repository,
)
from porter.editing.replay import Replay, replay, tree_of
from porter.editing.session import EditSession
from porter.editing.stack import Commit, Git, read_commits
from porter.errors import BadInput, CheckFailed, LocalEdits
from porter.git.objects import Oid
from porter.levels.lock import lock_path, read_lock
from porter.places import PINS_FILE, patches_dir
from porter.project_change import content_meanwhile, lock_project
from porter.series.series import SERIES_FILE, read_patch, read_series_file
from porter.terminal import listed
from porter.tree.locked import LockedTree
from porter.tree.populate import borrow_upstream, refresh
from porter.tree.submodules import follow, leave, refuse_edited, relinked
from porter.tree.tree import listed_paths, project_of, read_head, shown
from porter.upstream.gitfetch import Progress
from porter.upstream.pins import load_pins, parse_pins
from porter.upstream.sources import level0_commit

_PLACES = re.compile(rb"^(?:@@ -\d+(?:,\d+)? \+\d+(?:,\d+)? @@.*|index .*)\n", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Rebased:
    """A series on another upstream: what became of each level (same, moved, changed, dropped).

    ``range_diff`` is what ``git range-diff`` says of the old and the new commits.
    """

    changed: Changed
    onto: Oid
    levels: tuple[tuple[str, str], ...]
    notes: tuple[str, ...] = ()
    range_diff: str = ""


def rebase(
    start: str | None,
    root: Path,
    port: str,
    onto: str | None,
    *,
    url: str | None = None,
    drop_merged: bool = False,
    progress: Progress | None = None,
) -> Rebased:
    """Replay the series of ``port`` on the commit ``onto`` of its upstream, and move the pin.

    ``onto`` is a branch, tag, commit or version, of the repository ``url`` if the pin is to name
    another one; None: where the pins file has it already, from where levels.lock had it. Raises
    CheckFailed at a conflict (in a tree the conflict is then in its files), and for levels that the
    upstream has, unless ``drop_merged``.
    """
    text = (root / PINS_FILE).read_text("utf-8")
    notes: tuple[str, ...] = ()
    if onto is not None or url is not None:
        new = find_pins(root, port, onto or "HEAD", url, progress)
        text, notes, before = new.text, new.notes, text
    else:
        before = _pin_of_lock(root, port, text)
    what = f"rebase {port}" + (f" --url {url}" if url else "") + (f" --onto {onto}" if onto else "")
    moved_to = level0_commit(parse_pins(text.encode(), root / PINS_FILE).port(port))
    with _pin_at(root, before), open_place(start, root, port, what) as place:
        if place.base.oid == moved_to:
            raise BadInput(f"{root / PINS_FILE}: {port} is at {moved_to[:10]} already")
        with moved_port(root, port, text, progress=progress) as moved:
            return _replayed(place, moved, text, notes, drop_merged)


def _pin_of_lock(root: Path, port: str, text: str) -> str:
    """Return the pins file with the pin as levels.lock has it."""
    path = root / PINS_FILE
    pin, lock = load_pins(root).port(port), read_lock(root, port)
    name_it = f"name the new upstream: `porter rebase {port} --onto REF`"
    if lock is None:
        raise BadInput(
            f"{lock_path(root, port)}: not there, so nothing says where {port} was; put the pin"
            f" back and {name_it}"
        )
    if lock.upstream["tree"] == pin.tree:
        raise BadInput(f"{path}: {port} is where its levels.lock has it; {name_it}")
    if pin.commit is None:
        raise BadInput(f"{path}: {port} is a source release: put the pin back and {name_it}")
    values: dict[tuple[str | int, ...], str] = {
        ("commit",): lock.upstream["commit"],
        ("tree",): lock.upstream["tree"],
    }
    return with_values(text, port, values, path)


def _pin_at(root: Path, text: str) -> AbstractContextManager[None]:
    """Let the pins file be ``text``, under which the series stands; back to its own on failure."""
    if (root / PINS_FILE).read_bytes() == text.encode():
        return nullcontext()
    return content_meanwhile(root, PINS_FILE, text.encode())


def _replayed(
    place: Place, moved: MovedPort, text: str, notes: Sequence[str], drop_merged: bool
) -> Rebased:
    git = place.repository.git
    if place.broken is not None:
        raise CheckFailed(f"{place.broken.why}; mend it at the pin that it has first")
    bring_for_replay(git, place.base.oid, place.commits, moved)
    _borrow(place, moved)
    commits = place.commits
    done = replay(git, moved.commit, commits)
    merged = _merged(git, done)
    if merged and drop_merged:
        commits = tuple(each for each in commits if each.level not in merged)
        done = replay(git, moved.commit, commits)
    elif merged:
        raise CheckFailed(
            f"{place.repository.folder}: the upstream has {listed(merged)} already:"
            " --drop-merged takes such levels out of the series; nothing changed"
        )
    if done.left:
        return _stop(place, moved, text, notes, done, merged, drop_merged)
    repository = replace(place.repository, pins=moved.pins)
    request = _request(place.what, place.off, moved)
    old = _patches(repository.folder)
    published = publish(repository, base_commit(git, moved.commit), done.commits, request)
    levels = compared(old, _patches(repository.folder))
    diff = _range_diff(git, place.base.oid, place.commits, done)
    changed = Changed(published, None, dropped=tuple(merged))
    if place.held is not None:
        fresh, level = land(place.held.tree, place.held.lock, place.here, place.what)
        changed = replace(changed, tree=fresh, level=level)
    return Rebased(changed, moved.commit, levels, tuple(notes), diff)


def _merged(git: Git, done: Replay) -> list[str]:
    """Return the levels that change nothing on the new upstream."""
    found, tree = [], tree_of(git, done.base)
    for commit in done.commits:
        if commit.tree == tree:
            found.append(commit.level)
        tree = commit.tree
    return found


def _borrow(place: Place, moved: MovedPort) -> None:
    """Let the repository see the new upstream; a tree also gets its sparse checkout."""
    if place.held is None:
        body = place.repository.git("cat-file", "commit", moved.commit).out
        if b"\nparent " in body.partition(b"\n\n")[0]:
            shallow = place.repository.objects.parent / "shallow"
            lines = shallow.read_text() if shallow.exists() else ""
            shallow.write_text(f"{lines}{moved.commit}\n")
        return
    borrow_upstream(place.held.tree, moved.pins, moved.pin)


def _request(what: str, off: Collection[str], moved: MovedPort) -> Request:
    return Request(what, off, others=moved.others, files=moved.files)


def _patches(folder: Path) -> dict[str, bytes]:
    """Return the patches of a series by level, without their headers."""
    found = {}
    for line in read_series_file(folder / SERIES_FILE)[0]:
        patch = read_patch(folder / line.name)
        found[patch.level] = patch.raw[patch.diff.first_byte :]
    return found


def _digest(folder: Path) -> str:
    """Return a digest of the series file and the patches."""
    names = [SERIES_FILE, *sorted(path.name for path in folder.glob("*.patch"))]
    return hashlib.sha256(b"".join((folder / name).read_bytes() for name in names)).hexdigest()


def compared(old: Mapping[str, bytes], new: Mapping[str, bytes]) -> tuple[tuple[str, str], ...]:
    """Return what became of each level: same, moved (only places differ), changed or dropped."""
    rows = []
    for level, diff in old.items():
        if level not in new:
            rows.append((level, "dropped"))
        elif new[level] == diff:
            rows.append((level, "same"))
        elif _PLACES.sub(b"", new[level]) == _PLACES.sub(b"", diff):
            rows.append((level, "moved"))
        else:
            rows.append((level, "changed"))
    return tuple(rows)


def _range_diff(git: Git, base: str, commits: Sequence[Commit], done: Replay) -> str:
    if not commits or not done.commits:
        return ""
    ranges = (f"{base}..{commits[-1].oid}", f"{done.base}..{done.tip}")
    return git("range-diff", "--no-color", "--creation-factor=90", *ranges, check=False).text


def _stop(
    place: Place,
    moved: MovedPort,
    text: str,
    notes: Sequence[str],
    done: Replay,
    merged: Sequence[str],
    drop_merged: bool,
) -> Rebased:
    """Leave the conflict in the tree, on the new upstream. Without a tree nothing changes."""
    if place.held is None:
        port = place.repository.port
        raise CheckFailed(
            f"{place.repository.folder}: {done.left[0].level} conflicts in"
            f" {listed_paths(done.conflicts)}; nothing changed: the same command in a tree"
            f" (`porter apply {port} DIR`) lets you resolve it"
        )
    tree = place.held.tree
    head, branch = read_head(tree)
    files = read_files(tree)
    state = EditSession(
        place.what,
        head,
        branch,
        files.work,
        files.index,
        moved.commit,
        place.here,
        tuple(commit.level for commit in (*done.commits, *done.left)),
        sessions.carriers(tree, done.left),
        off=tuple(sorted(place.off)),
        dropped=tuple(merged),
        pins=text,
        pins_before=(place.repository.project / PINS_FILE).read_text("utf-8"),
        report={
            "notes": "\n".join(notes),
            "base": place.base.oid,
            "series": _digest(place.repository.folder),
            "drop merged": "yes" if drop_merged else "",
        },
    )
    try:
        return _go_on(place.held, lambda: sessions.start(tree, state, files, done.tip), None)
    except LocalEdits:
        if sessions.read_session(tree) is None:
            refresh(tree)
        raise


def continue_rebase(
    held: LockedTree, *, skip: bool = False, progress: Progress | None = None
) -> Rebased:
    """Go on after a conflict; with ``skip`` leave the level in conflict out."""
    tree, state = held.tree, sessions.need_session(held.tree, "rebase")
    if skip:
        return _go_on(held, lambda: sessions.skip(tree, state), progress)
    return _go_on(held, lambda: None, progress)


def _go_on(held: LockedTree, first: Callable[[], object], progress: Progress | None) -> Rebased:
    """Do ``first``, pick what is left, and finish."""
    tree = held.tree
    while True:
        try:
            first()
            state = sessions.need_session(tree, "rebase")
            sessions.pick_rest(tree, state)
        except CheckFailed:
            state = sessions.need_session(tree, "rebase")
            if not state.report.get("drop merged") or not sessions.stopped_empty(tree):
                raise
            first = partial(sessions.skip, tree, state)
        else:
            return _finish(held, state, progress)


def _finish(held: LockedTree, state: EditSession, progress: Progress | None) -> Rebased:
    tree = held.tree
    root, port = project_of(tree, writing=True), tree.record.port
    done, folder = picked(tree, state), patches_dir(root, port)
    old = _patches(folder)
    level0 = state.report["base"]
    links = relinked(tree, level0, "HEAD")
    refuse_edited(links, tree.record.levels[-1])
    before = read_commits(tree.git, level0, state.head, shown(tree.folder))
    with moved_port(root, port, _pins_now(root, port, state), progress=progress) as moved:
        repository = tree_repository(tree, moved.pins)
        request = _request(state.what, state.off or off_levels(folder), moved)
        with lock_project(root):
            is_same = state.report["series"] == _digest(folder)
            published = publish_picked(repository, done, request, state, is_same=is_same)
    fresh, level = land(tree, held.lock, state.stay, state.what, sessions.end_session)
    leave(links, held.lock.fd)
    follow(links, held.lock.fd)
    changed = Changed(published, level, fresh, state.dropped)
    diff = _range_diff(tree.git, level0, before, done)
    notes = tuple(state.report["notes"].splitlines())
    return Rebased(changed, Oid(state.base), compared(old, _patches(folder)), notes, diff)


def _pins_now(root: Path, port: str, state: EditSession) -> str:
    """Return the pins file as it is now, with the entries that the rebase moves.

    Raises CheckFailed when one of those was edited since the rebase began.
    """
    path = root / PINS_FILE
    text, before, after = path.read_text("utf-8"), state.pins_before, state.pins
    assert before is not None
    assert after is not None
    for name in (port, *load_pins(root).port(port).submodules.values()):
        old, new, now = (pin_entry(each, name, path).rstrip() for each in (before, after, text))
        if now not in (old, new):
            raise CheckFailed(
                f"{path}: the pin {name} was edited since the rebase began; put it back, then"
                " `porter rebase --continue`, or `porter rebase --abort`"
            )
        text = text.replace(now, new, 1)
    return text


def abort_rebase(held: LockedTree) -> EditSession:
    """Bring tree, pin and series back to how they stood before the command."""
    state = sessions.need_session(held.tree, "rebase")
    sessions.abort(held.tree, state)
    refresh(held.tree)  # which borrows and checks out what its own pin has
    return state
