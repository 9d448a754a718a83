"""What names a level outside of YAML: migration logs, which follow it, and text, which is listed.

A log's file name and header state the level's number, name and tree. Its content belongs to the
tree, so a level that keeps its tree keeps its log.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from porter.editing.references import LevelChange, changed_yaml
from porter.git.run import run_git
from porter.places import migration_logs_dir
from porter.terminal import counted

_LOG = re.compile(r"(\d+)-(.+)\.(sim-[a-z]+\.txt)\Z")
_STATED = re.compile(r"^# Level (\d+) (\S+) of (\S+), tree ([0-9a-f]+),$", re.MULTILINE)
_LARGEST = 2**20
_MOST = 20
_GENERATED = ("levels.lock", "series", "upstream.listing")


@dataclass(frozen=True, slots=True)
class Followed:
    """New contents of files that name levels (None: delete), and what could not follow."""

    contents: Mapping[str, bytes | None]
    notes: tuple[str, ...] = ()


def follow(
    root: Path,
    change: LevelChange,
    trees: Sequence[str],
    patches: Mapping[str, bytes],
    before: Mapping[str, str],
) -> Followed:
    """Return what a change of levels means for the files that name them.

    ``trees`` are those of the new levels, level 0 first, "" for one that does not apply;
    ``before`` those of the old ones by name, as far as they are known; ``patches`` the new files.
    """
    contents: dict[str, bytes | None] = {}
    notes: list[str] = []
    if change.changes_names:
        edited, notes = changed_yaml(root, change)
        contents |= edited
    logs, more = _logs(root, change, trees, before)
    contents |= logs
    notes += more
    gone = [name for name in change.old if name not in change.new]
    for name in gone:
        listed = {note.partition(": ")[2] for note in notes}
        mentions = _mentions(root, change.port, name, contents, patches)
        found = [at for at in mentions if at not in listed]
        notes += [f"still names {name}: {at}" for at in found[:_MOST]]
        if len(found) > _MOST:
            notes.append(f"still names {name}: {len(found) - _MOST} more lines")
    return Followed(contents, tuple(notes))


def _logs(
    root: Path, change: LevelChange, trees: Sequence[str], before: Mapping[str, str]
) -> tuple[dict[str, bytes | None], list[str]]:
    folder = migration_logs_dir(root, change.port)
    there: dict[str, tuple[str, str, str, str]] = {}  # file name -> level, tree, ending, text
    for path in sorted(folder.glob("*.txt")) if folder.is_dir() else ():
        named, text = _LOG.match(path.name), path.read_text("utf-8", "replace")
        stated = _STATED.search(text)
        if named and stated:
            there[path.name] = stated[2], stated[4], named[3], text
    new: dict[str, str] = {}
    stale: list[str] = []
    for ending in sorted({row[2] for row in there.values()}):
        rows = [row for row in there.values() if row[2] == ending]
        for number, (name, tree) in enumerate(zip(change.new, trees, strict=True)):
            same = [row for row in rows if row[1] == tree]
            own = [row for row in rows if change.now(row[0]) == name]
            if found := [row for row in same if row in own] or same or own:
                old, at_tree = found[0][:2]
                line = f"# Level {number} {name} of {change.port}, tree {at_tree},"
                new[f"{number}-{name}.{ending}"] = _STATED.sub(line, found[0][3], count=1)
                if at_tree != tree and before.get(old, at_tree) == at_tree:  # now, not earlier
                    stale.append(name)
    at = folder.relative_to(root).as_posix()
    contents: dict[str, bytes | None] = {f"{at}/{name}": None for name in there if name not in new}
    contents |= {
        f"{at}/{name}": text.encode()
        for name, text in new.items()
        if name not in there or text != there[name][3]
    }
    notes = []
    if stale:
        notes.append(
            f"{at}: {counted(len(stale), 'log')} of earlier trees;"
            f" `porter migration-log {change.port}` renews them"
        )
    return contents, notes


def _mentions(
    root: Path,
    port: str,
    name: str,
    contents: Mapping[str, bytes | None],
    patches: Mapping[str, bytes],
) -> Iterator[str]:
    """Yield ``file:line`` for each line of the project's text that names a level.

    The port's own files come first, those of other ports are left out: their levels may have the
    name too. A name of one word, such as ``report``, is looked for in the port's own files alone.
    """
    own = f"patches/{port}"
    word = re.compile(
        rf"(?<![\w-])(?:\d+-)?{re.escape(name)}(?:(?=\.patch|\.sim-)|(?![\w-])(?!\.\w))".encode()
    )
    texts: dict[str, bytes | None] = {}
    others = {folder.name for folder in (root / "patches").iterdir()} - {port}
    for path in sorted(_files(root), key=lambda path: port not in _words(path)):
        words = _words(path)
        is_own = port in words
        if words[0] == "patches" or (not is_own and ("-" not in name or others & {*words})):
            continue
        texts[path] = contents[path] if path in contents else _read(root / path)
    texts |= {f"{own}/{path}": raw.partition(b"\n---\n")[0] for path, raw in patches.items()}
    for path, text in texts.items():
        if text and name.encode() in text and b"\0" not in text:
            for number, line in enumerate(text.split(b"\n"), 1):
                if word.search(line):
                    yield f"{path}:{number}"


def _words(path: str) -> list[str]:
    """Return a path's folders and its name without the suffix."""
    return [*path.split("/")[:-1], Path(path).stem]


def _files(root: Path) -> list[str]:
    """Return the files of the project: those git knows or would add, else all but trees."""
    answer = run_git(["ls-files", "-z", "-c", "-o", "--exclude-standard"], cwd=root, check=False)
    if answer.status == 0:
        found = answer.fields()
    else:
        found = []
        for folder, folders, files in os.walk(root):
            folders[:] = [
                each for each in folders
                if each[:1] != "." and not (Path(folder) / each / ".git").exists()
            ]  # fmt: skip
            found += [os.path.relpath(Path(folder) / each, root) for each in files]
    return sorted(path for path in set(found) if Path(path).name not in _GENERATED)


def _read(path: Path) -> bytes | None:
    try:
        return path.read_bytes() if path.stat().st_size <= _LARGEST else None
    except OSError:
        return None
