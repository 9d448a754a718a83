"""What both ways of moving a tree share: the rules of what may be overwritten, and the journal.

Import-cost wall: :mod:`porter.tree.fast_checkout` moves a tree in milliseconds and
:mod:`porter.tree.move` handles every other case; so this module imports os alone.
"""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

JOURNAL = "move.json"
"""Name of the journal in ``.git/porter``; :mod:`porter.tree.journal` says what it is for."""
EMPTY_TREE = "4b825dc642cb6eb9a060e54bf8d69288fbee4904"
_UNFINISHED = {
    "MERGE_HEAD": "merge",
    "CHERRY_PICK_HEAD": "cherry-pick",
    "REVERT_HEAD": "revert",
    "rebase-merge": "rebase",
    "rebase-apply": "rebase or am",
    "porter/edit.json": "change of the series",
}


def unfinished_operation(git_dir: str) -> str | None:
    """Return the merge, rebase or the like that the user is in the middle of, if any."""
    for name, operation in _UNFINISHED.items():
        if os.path.lexists(os.path.join(git_dir, name)):
            return operation
    return None


def differing_files(
    levels: Sequence[Mapping[str, str | None]], one: int, other: int
) -> dict[str, tuple[str | None, str | None]]:
    """Return what differs between levels number ``one`` and ``other``: path -> (old id, new id).

    ``levels`` holds each level's own changes, path -> blob id (None: deleted), and for level 0
    every path that any level changes. A path whose mode alone differs is not in the result.
    """
    old: dict[str, str | None] = {}
    new: dict[str, str | None] = {}
    for number, files in enumerate(levels):
        if number <= one:
            old.update(files)
        if number <= other:
            new.update(files)
    return {path: (old[path], new[path]) for path in sorted(old) if old[path] != new[path]}


def occupied_paths(
    folder: str, differing: Mapping[str, tuple[object | None, object | None]]
) -> list[str]:
    """Return the paths a move adds (old None) where something stands that it would not remove.

    git is not asked: in a sparse checkout (2.39) it overwrites untracked files without a word.
    """
    tracked = {path for path, (old, _) in differing.items() if old is not None}
    added = [path for path, (old, new) in differing.items() if old is None and new is not None]
    return [path for path in added if _is_occupied(folder, path, tracked)]


def _is_occupied(folder: str, path: str, tracked: Collection[str]) -> bool:
    target = os.path.join(folder, path)
    if os.path.isdir(target) and not os.path.islink(target):
        return any(os.path.relpath(file, folder) not in tracked for file in _files_below(target))
    if os.path.lexists(target):
        return True
    while path := os.path.dirname(path):  # a file or link where a folder is to be
        above = os.path.join(folder, path)
        if (os.path.islink(above) or os.path.isfile(above)) and path not in tracked:
            return True
    return False


def _files_below(folder: str) -> list[str]:
    found = []
    for top, folders, files in os.walk(folder):
        links = [name for name in folders if os.path.islink(os.path.join(top, name))]
        found += [os.path.join(top, name) for name in [*files, *links]]
    return found


def is_refusal(err: str) -> bool:
    """Return whether ``git checkout`` found edits in its way, which it says before it writes.

    ``err`` is what git wrote to stderr. Any other failure may have left the tree half-way.
    """
    return "Aborting" in err.splitlines()


def checkout_journal(what: str, start: str | None, target: str) -> dict[str, str | None]:
    """Return the fields of the journal of a plain checkout; ``start`` is None in a new tree."""
    before = start or EMPTY_TREE
    return {
        "what": what,
        "head_from": start,
        "head_to": target,
        "work_from": before,
        "work_to": target,
        "index_from": before,
        "index_to": target,
    }
