"""The log of a series' states, which `porter undo` and `porter redo` walk along.

Every state of a series (its patches, series file, lock and the pin's entry) is a commit in
``history.git`` in the cache, on one branch per project and port. As in StGit's log, undoing
appends a state too, so nothing that a command replaced is lost. `git log` reads it; no garbage
collection touches it.

A commit's message is the command, then fields: ``From`` the state that undoing it leads to, ``At``
the state that an undo or redo restored, ``Redo`` the states that redoing goes through. A state that
somebody made without porter is recorded when the next command finds it.
"""

from __future__ import annotations

import hashlib
import os
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from porter.errors import BadInput, CheckFailed, PorterError
from porter.git.objects import Oid
from porter.git.objects import oid as checked_oid
from porter.git.odb import Odb, index_pack, lay_out_repository
from porter.git.run import first_error, run_git
from porter.places import PINS_FILE, cache_dir, patches_dir
from porter.project_change import held_lock

if TYPE_CHECKING:
    from porter.upstream.pins import Pin

_CONFIG = "[core]\n\trepositoryformatversion = 0\n\tbare = true\n[gc]\n\tauto = 0\n"
BY_HAND = "changed without porter"
_FIELD = re.compile(r"^(From|At|Redo): (.*)$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class State:
    """A series: the files in its folder, and the entries of its pins, by name.

    ``before`` and ``after`` are other files of the project that the command changed, such as
    recipes that name a level; they are no part of the series.
    """

    files: Mapping[str, bytes]
    pins: Mapping[str, bytes]
    before: Mapping[str, bytes] = field(default_factory=dict)
    after: Mapping[str, bytes] = field(default_factory=dict)

    def same_series(self, other: State) -> bool:
        return self.files == other.files and self.pins == other.pins


@dataclass(frozen=True, slots=True)
class Entry:
    """One row of the log. ``at`` is the state it stands for: itself, unless undone or redone."""

    oid: Oid
    what: str
    seconds: int
    at: Oid
    origin: Oid | None
    redo: tuple[Oid, ...] = ()


class History:
    """The log of one port's series in one project."""

    def __init__(self, root: Path, port: str) -> None:
        self.root, self.port = root, port
        self.git_dir = cache_dir() / "history.git"
        project = hashlib.sha256(os.fsencode(root.resolve())).hexdigest()[:16]
        self._ref = f"refs/heads/{project}/{port}"
        self._pending = f"refs/pending/{project}/{port}"

    def _git(self, *args: str, data: bytes | None = None, check: bool = True) -> bytes:
        where = f"--git-dir={self.git_dir}"
        lock = held_lock(self.root)
        done = run_git([where, *args], cwd=self.git_dir, stdin=data, check=check, keep_open=lock)
        return done.out

    def _resolve(self, ref: str) -> Oid | None:
        text = self._git("rev-parse", "--verify", "--quiet", ref, check=False).decode().strip()
        return Oid(text) if text else None

    def tip(self) -> Entry | None:
        """Return the newest row, or None for a series that no command has changed yet."""
        if not self.git_dir.is_dir():
            return None
        oid = self._resolve(self._ref)
        return None if oid is None else self.entry(oid)

    def _damaged(self, oid: Oid, why: str) -> BadInput:
        return BadInput(
            f"{self.git_dir}: the state {oid[:10]} of {self.port} is damaged ({why}); delete the"
            " folder: then only what `porter undo` knows is gone"
        )

    def entry(self, oid: Oid) -> Entry:
        """Return a row by its id."""
        text = self._git("log", "-1", "--format=%ct%n%B", oid, "--").decode()
        seconds, _, message = text.partition("\n")
        fields: dict[str, str] = dict(_FIELD.findall(message))
        origin = fields.get("From")
        try:
            for each in " ".join(fields.values()).split():
                checked_oid(each)
        except ValueError as error:
            raise self._damaged(oid, str(error)) from None
        return Entry(
            oid,
            message.partition("\n")[0],
            int(seconds),
            Oid(fields.get("At", oid)),
            Oid(origin) if origin else None,
            tuple(Oid(each) for each in fields.get("Redo", "").split()),
        )

    def entries(self) -> list[Entry]:
        """Return every row, the newest first."""
        if self.tip() is None:
            return []
        out = self._git("rev-list", "--first-parent", self._ref).decode().split()
        return [self.entry(Oid(oid)) for oid in out]

    def state(self, oid: Oid) -> State:
        """Return the state that a row holds."""
        with Odb(self.git_dir) as odb:
            tree = Oid(self._git("rev-parse", f"{oid}^{{tree}}").decode().strip())
            entries = odb.flat(tree)
            bodies = odb.read_many({entry.oid for entry in entries.values()})
        parts: dict[bytes, dict[str, bytes]] = {}
        for path, entry in entries.items():
            if entry.oid not in bodies:
                raise self._damaged(oid, f"no blob {entry.oid}")
            part, _, name = path.partition(b"/")
            parts.setdefault(part, {})[os.fsdecode(name)] = bodies[entry.oid]
        return State(*(parts.get(part, {}) for part in (b"files", b"pins", b"before", b"after")))

    def prepare(self, what: str, state: State, fields: Mapping[str, str]) -> Oid:
        """Store a state as the coming row. :meth:`adopt` makes it one, when the files are there."""
        lay_out_repository(self.git_dir, _CONFIG)
        tip = self._resolve(self._ref)
        message = "\n".join([what, "", *(f"{name}: {value}" for name, value in fields.items()), ""])
        lines = [
            f"commit {self._pending}\n".encode(),
            f"committer porter <porter@localhost> {int(time.time())} +0000\n".encode(),
            _data(message.encode()),
        ]
        if tip is not None:
            lines.append(f"from {tip}\n".encode())
        lines.append(b"deleteall\n")
        for part, files in (
            ("files", state.files),
            ("pins", state.pins),
            ("before", state.before),
            ("after", state.after),
        ):
            for name, content in sorted(files.items()):
                path = _quoted(f"{part}/{name}")
                lines += [b"M 100644 inline " + path + b"\n", _data(content)]
        lines.append(b"done\n")
        self._git("fast-import", "--quiet", "--done", "--force", data=b"".join(lines))
        made = self._resolve(self._pending)
        assert made is not None
        return made

    def adopt(self) -> None:
        """Make the prepared state the newest row."""
        self._git("update-ref", self._ref, self._pending)
        # It stays: to delete one of them git would lock all refs, of every project.

    def catch_up(self) -> Entry:
        """Record the series as it is, if no row does; return the newest row.

        After a kill a prepared state is adopted when the files are already its own.
        """
        now = read_state(self.root, self.port)
        for ref in (self._ref, self._pending):  # of a git that was killed: the project is locked
            self.git_dir.joinpath(f"{ref}.lock").unlink(missing_ok=True)
        there = self.git_dir.is_dir()
        pending = self._resolve(self._pending) if there else None
        adopted = self._resolve(self._ref) if there else None
        if pending not in (None, adopted) and self.state(pending).same_series(now):
            self.adopt()
        tip = self.tip()
        if tip is None or not self.state(tip.at).same_series(now):
            self.prepare(BY_HAND if tip else "as found", now, {"From": tip.at} if tip else {})
            self.adopt()
            tip = self.tip()
        assert tip is not None
        return tip


def _data(content: bytes) -> bytes:
    return b"data %d\n%b\n" % (len(content), content)


def _quoted(path: str) -> bytes:
    escaped = path.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return b'"' + os.fsencode(escaped) + b'"'


def read_state(root: Path, port: str) -> State:
    """Return the state of a port's series as the files of the project have it."""
    from porter.upstream.pins import load_pins

    folder, path = patches_dir(root, port), root / PINS_FILE
    names = sorted(p.name for p in folder.iterdir() if p.is_file() and p.name[:1] != ".")
    pins = pin_entries(load_pins(root).port(port), path.read_text("utf-8"), path)
    return State({name: (folder / name).read_bytes() for name in names}, pins)


def pin_entries(pin: Pin, text: str, path: Path) -> dict[str, bytes]:
    """Return the entries of a port's pin and its submodules' in the pins file ``text``, by name."""
    from porter.editing.pin_text import pin_entry

    names = (pin.name, *pin.submodules.values())
    return {name: pin_entry(text, name, path).encode() for name in names}


@dataclass(frozen=True, slots=True)
class Restored:
    """What an undo or a redo did: the command it took back or made again, and what it left."""

    what: str
    verb: str
    changed: tuple[str, ...]
    notes: tuple[str, ...] = ()


def undo(root: Path, port: str) -> Restored:
    """Take the newest change of a series back. Raises CheckFailed when there is none.

    Changes made without porter since the last command are a change of their own.
    """
    from porter.project_change import lock_project

    with lock_project(root):
        history = History(root, port)
        tip = history.catch_up()
        done = history.entry(tip.at)
        if done.origin is None:
            raise CheckFailed(f"{patches_dir(root, port)}: nothing to undo: {done.what}")
        target = history.entry(done.origin)
        redo = (done.oid, *tip.redo)
        made = history.state(done.oid)
        return _restore(
            history, f"undo {done.what}", done, target.oid, redo, made.after, made.before
        )


def redo(root: Path, port: str) -> Restored:
    """Make the change that was undone last again. Raises CheckFailed when there is none."""
    from porter.project_change import lock_project

    with lock_project(root):
        history = History(root, port)
        tip = history.catch_up()
        if not tip.redo:
            raise CheckFailed(f"{patches_dir(root, port)}: nothing to redo")
        done = history.entry(tip.redo[0])
        made = history.state(done.oid)
        what = f"redo {done.what}"
        return _restore(history, what, done, done.oid, tip.redo[1:], made.before, made.after)


def restore(root: Path, port: str, text: str) -> Restored:
    """Bring a series back to any state of its log, named by its id or a unique prefix of it."""
    from porter.project_change import lock_project

    with lock_project(root):
        history = History(root, port)
        history.catch_up()
        rows = [row for row in history.entries() if row.oid.startswith(text)]
        if len(rows) != 1 or not re.fullmatch(r"[0-9a-f]{4,40}", text):
            raise BadInput(
                f"{text}: expected the id of one state; `porter undo {port} --list` shows them"
            )
        target = history.entry(rows[0].at)
        return _restore(history, f"restore {target.oid[:10]}", target, target.oid, (), {}, {})


def _restore(
    history: History,
    what: str,
    done: Entry,
    target: Oid,
    redo: tuple[Oid, ...],
    there: Mapping[str, bytes],
    back: Mapping[str, bytes],
) -> Restored:
    """Write the state ``target``, and the other files ``back`` where they are still ``there``.

    A file of ``there`` alone is deleted.
    """
    root, folder = history.root, Path("patches") / history.port
    now, wanted = read_state(root, history.port), history.state(target)
    changes: dict[str, bytes | None] = {str(folder / name): None for name in now.files}
    changes |= {str(folder / name): content for name, content in wanted.files.items()}
    changes[PINS_FILE] = _pins_file(root, wanted.pins)
    others = {path: back.get(path) for path in (*back, *there)}
    edited = [path for path in others if _content(root / path) != there.get(path)]
    changes |= {path: content for path, content in others.items() if path not in edited}
    fields = {"At": target, "Redo": " ".join(redo)}
    if what.startswith("restore"):
        tip = history.tip()
        assert tip is not None
        fields = {"From": tip.at}
    changed = commit_state(history, what, changes, State(wanted.files, wanted.pins), fields)
    notes = tuple(f"{path}: edited since; left as it is" for path in edited)
    return Restored(done.what, what.partition(" ")[0], tuple(changed), notes)


def _pins_file(root: Path, entries: Mapping[str, bytes]) -> bytes:
    from porter.editing.pin_text import with_entry

    path = root / PINS_FILE
    text = path.read_text("utf-8")
    for name, entry in entries.items():
        text = with_entry(text, name, entry.decode(), path)
    return text.encode()


def _content(path: Path) -> bytes | None:
    return path.read_bytes() if path.is_file() else None


def commit_state(
    history: History,
    what: str,
    changes: Mapping[str, bytes | None],
    state: State,
    fields: Mapping[str, str],
) -> list[str]:
    """Change the project's files and record the state; return the changed paths.

    The project's lock must be held, and :meth:`History.catch_up` called.
    """
    from porter.project_change import change_files

    history.prepare(what, state, fields)
    changed = change_files(history.root, changes)
    history.adopt()
    return changed


def history_damage() -> tuple[int, list[str]]:
    """Return the number of logs and what ``git fsck`` finds wrong with them."""
    git_dir = cache_dir() / "history.git"
    if not git_dir.is_dir():
        return 0, []
    found = run_git([f"--git-dir={git_dir}", "fsck", "--full"], cwd=git_dir, check=False)
    if found.status == 0:
        return len(_refs(git_dir)), []
    lines = (found.err + found.out.decode(errors="replace")).splitlines()
    told = [line for line in lines if not line.startswith(("dangling", "notice"))]
    return len(_refs(git_dir)), told or [f"git fsck: exit code {found.status}"]


def repair_history() -> list[str]:
    """Keep the logs that git can read whole, and the damaged repository beside them.

    Return a line for each log that is lost, and one that says where the old repository is.
    """
    git_dir = cache_dir() / "history.git"
    fresh = git_dir.with_name(f"history.git.{os.urandom(4).hex()}.new")
    lay_out_repository(fresh, _CONFIG)
    lost = []
    for ref, oid in _refs(git_dir).items():
        where = [f"--git-dir={git_dir}", "pack-objects", "-q", "--revs", "--stdout"]
        packed = run_git(where, cwd=git_dir, stdin=f"{oid}\n".encode(), check=False)
        try:
            if packed.status:
                raise PorterError(first_error(packed.err))
            index_pack(fresh, packed.out)
            run_git([f"--git-dir={fresh}", "update-ref", ref, oid], cwd=fresh)
        except PorterError as error:
            lost.append(f"the log of {ref.rpartition('/')[2]} is lost: {error}")
    kept = git_dir.with_name(f"history.git.damaged-{time.strftime('%Y%m%dT%H%M%S')}")
    git_dir.rename(kept)
    fresh.rename(git_dir)
    return [*lost, f"the damaged repository is kept: {kept}"]


def _refs(git_dir: Path) -> dict[str, str]:
    """Return the logs by their refs, also those whose commit cannot be read."""
    loose = {
        str(path.relative_to(git_dir)): path.read_text(encoding="utf-8", errors="replace").strip()
        for path in (git_dir / "refs" / "heads").rglob("*")
        if path.is_file()
    }
    packed = git_dir / "packed-refs"
    rows = packed.read_text(encoding="utf-8").splitlines() if packed.is_file() else []
    names = (row.split(" ", 1) for row in rows if row[:1] not in ("#", "^"))
    return {ref: oid for oid, ref in names if ref.startswith("refs/heads/")} | loose
