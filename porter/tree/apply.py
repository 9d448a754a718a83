"""``porter apply``: a port's tree at a level, and its companions beside it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from porter.errors import BadInput
from porter.levels.level_name import find_level, last_level
from porter.tree.locked import hold_tree
from porter.tree.move import Moved, move
from porter.tree.populate import Built, build, make_tree
from porter.tree.site import default_folder, tree_at
from porter.tree.tree import Tree, TreeLevel, pick_level, position, shown

if TYPE_CHECKING:
    from porter.upstream.gitfetch import Progress


@dataclass(frozen=True)
class Applied:
    """A tree that is where it was asked to be: newly ``made``, or ``moved`` there."""

    tree: Tree
    level: TreeLevel
    made: bool
    moved: Moved | None = None
    companion: bool = False


def apply_port(
    root: Path,
    port: str,
    folder: Path | None,
    *,
    level: str | None = None,
    companions: bool = True,
    keep: bool = False,
    progress: Progress | None = None,
) -> list[Applied]:
    """Make (or move) the tree of ``port`` at ``folder``, then its companions' trees beside it.

    Every place is looked at, and everything fetched and built, before any folder is written.
    """
    from porter.upstream.pins import load_pins

    pins = load_pins(root)
    pin = pins.port(port)
    place = _absolute(folder) if folder is not None else default_folder(root, port)
    others = [pins.port(name) for name in pin.companions] if companions else []
    there = tree_at(place, port)
    beside = [(other.name, place.parent / other.name) for other in others]
    for name, companion_place in beside:
        _companion_at(companion_place, name, port)
    if there is not None:
        first = _move(there, level, keep)
    else:
        first = _make(build(root, port, progress), place, level, progress)
    done = [first]
    for name, companion_place in beside:
        tree = tree_at(companion_place, name)
        if tree is None:
            made = _make(build(root, name, progress), companion_place, None, progress)
            done.append(Applied(made.tree, made.level, True, companion=True))
        elif (at := position(tree).level) is not None:
            done.append(Applied(tree, at, False, companion=True))
    return done


def _absolute(folder: Path) -> Path:
    return folder.expanduser().resolve()


def _companion_at(place: Path, name: str, port: str) -> None:
    try:
        tree_at(place, name)
    except BadInput as error:
        raise BadInput(f"{error} ({name} belongs beside {port}; --alone leaves it out)") from None


def _make(built: Built, place: Path, level: str | None, progress: Progress | None) -> Applied:
    try:
        levels = built.tree_levels()
        target = find_level(levels, level) if level is not None else last_level(levels)
        place.parent.mkdir(parents=True, exist_ok=True)
        return Applied(make_tree(built, place, target, progress), target, made=True)
    finally:
        built.upstream.close()


def _move(tree: Tree, level: str | None, keep: bool) -> Applied:
    what = f"apply {tree.record.port}"
    if level is None:
        here = position(tree)
        at = f"at level {here.level}" if here.level else f"at {here.commit[:8]}"
        raise BadInput(
            f"{shown(tree.folder)}: already a tree of {tree.record.port}, {at};"
            " `porter goto LEVEL` or --level moves it"
        )
    with hold_tree(tree.folder, what) as held:
        target = pick_level(held.tree, level)
        return Applied(
            held.tree, target, False, move(held.tree, held.lock, target, what, keep=keep)
        )
