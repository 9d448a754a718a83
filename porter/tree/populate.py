"""Make a tree, and update one whose series changed.

A tree is made in its final folder. ``.git/porter/tree.json`` marked incomplete is written first, so
that the next ``porter apply`` recognises and continues a killed one. Any other failure removes what
was made.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from porter.errors import BadInput, CheckFailed, LocalEdits, SourceUnavailable
from porter.git.objects import Oid
from porter.levels.level_name import Broken, find_level
from porter.levels.levels import UPSTREAM, Level, build_series
from porter.places import patches_dir
from porter.series.series import load_series
from porter.series.stamp import series_stamp
from porter.tree.checkout_rules import EMPTY_TREE
from porter.tree.journal import settle
from porter.tree.move import checkout_first, move
from porter.tree.repository import bring_for_git, connect
from porter.tree.submodules import PINNED, Submodule, enter, relinked
from porter.tree.template import write_template
from porter.tree.tree import (
    LEVEL_REFS,
    Tree,
    TreeLevel,
    TreeRecord,
    listed_paths,
    open_tree,
    position,
    shown,
    tree_root,
    write_record,
)
from porter.tree.treelock import TreeLock
from porter.upstream.pins import Pin, Pins, load_pins
from porter.upstream.registry import register
from porter.upstream.sources import level0_commit
from porter.upstream.store import FileCoverage, Upstream, fetch, open_upstream

if TYPE_CHECKING:
    from porter.upstream.gitfetch import Progress


@dataclass(frozen=True)
class Built:
    """A port with its upstream in the store and every level's objects written.

    ``levels`` are those below the first patch that fails, ``broken`` the others.
    """

    root: Path
    pins: Pins
    pin: Pin
    upstream: Upstream
    coverage: FileCoverage
    levels: tuple[Level, ...]
    broken: Broken | None
    fingerprint: str

    def find(self, text: str) -> Level:
        """Return the level that ``text`` names. Raises as :func:`find_level` does."""
        return find_level(self.levels, text, self.broken)

    def default(self) -> Level:
        """Return the last level that is not off by default.

        Raises CheckFailed, naming the last level that applies, when that one cannot be built.
        """
        if self.broken is not None and not all(self.broken.off.values()):
            number, name = self.levels[-1].number, self.levels[-1].name
            raise CheckFailed(
                f"{self.broken.why}; `--level {number}` ({name}) is the last level that applies"
            )
        return [level for level in self.levels if not level.off][-1]

    def tree_levels(self) -> tuple[TreeLevel, ...]:
        """Return the levels as a tree remembers them."""
        listing = self.upstream.listing()
        touched = sorted({path for level in self.levels for path in level.files})
        base = {path: listing[path].oid if path in listing else None for path in touched}
        return tuple(
            TreeLevel(
                level.number,
                level.name,
                level.commit,
                level.tree,
                level.patch.header.subject if level.patch else "",
                {os.fsdecode(path): oid for path, oid in (level.files or base).items()},
                level.off,
            )
            for level in self.levels
        )


def build(root: Path, port: str, progress: Progress | None = None) -> Built:
    """Fetch what ``port`` wants and build its levels into the store, up to a patch that fails."""
    pins = load_pins(root)
    pin = pins.port(port)
    fingerprint = series_stamp(str(root), port)
    if pin not in pins.ports():
        where = patches_dir(root, port) / "series"
        raise BadInput(f"{port}: a pin, but no port: no {where}; `porter list` names the ports")
    series = load_series(root, port)
    coverage = fetch(root, pin, None, progress=progress)
    upstream = open_upstream(root, pin, progress=progress)
    series_built = build_series(upstream, series, write=True)
    levels, broken = series_built.levels, series_built.broken(port)
    listing = upstream.listing()
    touched = {path for level in levels for path in level.files if path in listing}
    upstream.bring(listing[path].oid for path in touched)  # a patch may touch unwanted files
    return Built(root, pins, pin, upstream, coverage, levels, broken, fingerprint)


def make_tree(
    built: Built, folder: Path, level: TreeLevel, progress: Progress | None = None
) -> Tree:
    """Check ``level`` out into ``folder``, which must be free (``porter.tree.apply`` checks)."""
    git_dir = folder / ".git"
    existed, ours = folder.exists(), (git_dir / "porter" / "tree.json").exists()
    (git_dir / "porter").mkdir(parents=True, exist_ok=True)
    with TreeLock(git_dir / "porter", f"apply {built.pin.name}") as lock:
        already = open_tree(folder)
        if already is not None and already.record.complete:
            raise BadInput(
                f"{shown(folder)}: another porter has just made a tree of"
                f" {already.record.port} there; `porter status` shows it"
            )
        try:
            return _make(built, folder, level, lock, progress)
        except BaseException:
            if not ours:
                _unmake(folder, existed)
            raise


def _make(
    built: Built, folder: Path, level: TreeLevel, lock: TreeLock, progress: Progress | None
) -> Tree:
    tree = Tree(folder, _record(built, complete=False))
    write_record(tree.state_dir, tree.record)
    register("trees", folder)
    connect(tree.git_dir, built.upstream, _present(built))
    reasons = _connect_submodules(built.root, built.pins, built.pin, tree, progress)
    tree = Tree(folder, replace(tree.record, submodules=reasons))
    settle(tree, lock.fd)
    _write_levels(tree, built)
    if head := tree.git("rev-parse", "--verify", "--quiet", "HEAD", check=False).text:
        _enter_submodules(tree, head, lock)
        move(tree, lock, level, f"apply {built.pin.name}")
        _compare(tree)
    else:
        checkout_first(tree, lock, level, f"apply {built.pin.name}")
    reasons = _enter_submodules(tree, level.commit, lock)
    record = replace(tree.record, complete=True, submodules=reasons)
    write_record(tree.state_dir, record)
    return Tree(folder, record)


def _compare(tree: Tree) -> None:
    """Compare a resumed tree's files with its index before it is complete; write missing ones.

    Files are missing where an earlier attempt was killed while it removed them. Raises LocalEdits
    for files with another content: porter did not write them.
    """
    missing = tree.git("ls-files", "--deleted", "-z").fields()
    if missing:
        paths = os.fsencode("".join(f"{path}\0" for path in missing))
        tree.git("checkout-index", "-z", "--stdin", stdin=paths)
    tree.git("update-index", "-q", "--refresh", check=False)
    _refuse_foreign(
        tree, tree.git("diff-files", "--name-only", "-z", "--ignore-submodules").fields()
    )


def _enter_submodules(tree: Tree, commit: str, lock: TreeLock) -> dict[str, str]:
    """Check out the submodules that ``commit`` has; return by path why one is not whole.

    Raises LocalEdits as :func:`_compare` does.
    """
    reasons = dict(tree.record.submodules)
    for each in relinked(tree, EMPTY_TREE, commit):
        sub = each.submodule
        if each.new is None or not sub.has(each.new):
            reasons[sub.path] = f"the level names commit {each.new}, its pin another"
        else:
            _refuse_foreign(tree, enter(sub, each.new, lock.fd))
    return reasons


def _refuse_foreign(tree: Tree, paths: Sequence[str]) -> None:
    if paths:
        raise LocalEdits(
            f"{shown(tree.folder)}: not finished by an earlier `porter apply`, and edited since:"
            f" {listed_paths(paths)}; move these files away, then apply again"
        )


def _unmake(folder: Path, existed: bool) -> None:
    """Remove a tree that could not be made. porter has just written everything in it.

    The record of an incomplete tree goes last, so that the next apply carries on after a kill.
    """
    git_dir = folder / ".git"
    for inside, kept in ((folder, git_dir), (git_dir, git_dir / "porter")):
        for child in inside.iterdir():
            if child == kept:
                continue
            shutil.rmtree(child) if child.is_dir() and not child.is_symlink() else child.unlink()
    shutil.rmtree(git_dir, ignore_errors=True)
    if not existed:
        try:
            folder.rmdir()
        except OSError:
            pass


def _record(built: Built, *, complete: bool) -> TreeRecord:
    missing = built.coverage.missing
    return TreeRecord(
        port=built.pin.name,
        root=str(built.root),
        fingerprint=built.fingerprint,
        levels=built.tree_levels(),
        source=built.coverage.source,
        files=built.coverage.covered,
        uncovered=tuple(os.fsdecode(path) for path in missing),
        complete=complete,
        broken=built.broken,
    )


def _present(built: Built) -> tuple[list[bytes], set[bytes]]:
    """Return (every path of every level, the paths checked out in a tree)."""
    listing = built.upstream.listing()
    claimed = {path for level in built.levels for path in level.claimed}
    missing = claimed.union(built.coverage.missing)
    touched = {path for level in built.levels for path in level.files}
    wanted = {path for path in listing if built.pin.wants(path)} - missing
    submodules = {path.encode() for path in built.pin.submodules}
    present = wanted | (touched - missing) | submodules | bring_for_git(built.upstream)
    return [*listing, *touched], present


def _write_levels(tree: Tree, built: Built) -> None:
    """Give the tree its own copy of the levels' objects, and a ref for each.

    Its own, because the store's garbage collection knows pins only: a tree must not lose its level
    when the series changes. Level 0 and its folders are a promisor pack, which tells `git fsck` and
    `git gc` that the upstream has the files missing here.
    """
    base, last = built.levels[0].commit, built.levels[-1].commit
    if base != last:
        _copy(tree, f"{last}\n^{base}\n", "--missing=allow-any")
    if built.pin.url is not None:
        _copy(tree, f"{base}\n", "--filter=blob:none", promisor=True)
    _write_level_refs(tree)
    write_template(tree.state_dir, {level.name for level in built.levels})


def _copy(tree: Tree, revisions: str, option: str, *, promisor: bool = False) -> None:
    """Copy borrowed objects into a pack of the tree's own."""
    form = ("pack-objects", "--revs", "--delta-base-offset", "-q", "--stdout", option)
    pack = tree.git(*form, stdin=revisions.encode()).out
    tree.git("index-pack", "--stdin", *(["--promisor"] if promisor else []), stdin=pack)


def _write_level_refs(tree: Tree) -> None:
    """Update ``refs/porter/levels/`` to the recorded levels."""
    wanted = {f"{LEVEL_REFS}{lv.number:04d}-{lv.name}": lv.commit for lv in tree.record.levels}
    rows = tree.git("for-each-ref", "--format=%(refname) %(objectname)", LEVEL_REFS).text
    there = dict(row.split(" ") for row in rows.splitlines())
    lines = [f"delete {ref}\n" for ref in there if ref not in wanted]
    lines += [f"update {ref} {oid}\n" for ref, oid in wanted.items() if there.get(ref) != oid]
    if lines:
        tree.git("update-ref", "--stdin", stdin="".join(lines).encode())


def _connect_submodules(
    root: Path, pins: Pins, pin: Pin, tree: Tree, progress: Progress | None
) -> dict[str, str]:
    """Make the repositories of the submodules; return by path why one is not whole ("": it is)."""
    return {
        path: _connect_submodule(root, pins.port(name), Submodule(tree, path), progress)
        for path, name in pin.submodules.items()
    }


def _connect_submodule(root: Path, pin: Pin, sub: Submodule, progress: Progress | None) -> str:
    from git.config import GitConfigParser  # slow to import

    try:
        coverage = fetch(root, pin, None, progress=progress)
        upstream = open_upstream(root, pin, progress=progress)
    except SourceUnavailable as error:
        return str(error)
    with upstream:
        missing, listing = set(coverage.missing), upstream.listing()
        present = {p for p in listing if pin.wants(p) and p not in missing}
        present |= bring_for_git(upstream)
        connect(sub.git_dir, upstream, (list(listing), present), work_tree=sub.folder)
        sub.git("update-ref", PINNED, upstream.commit)
        config_file = str(sub.tree.git_dir / "config")
        with GitConfigParser(config_file, read_only=False, merge_includes=False) as settings:
            section = f'submodule "{sub.path}"'
            settings.set_value(section, "url", pin.url or str(upstream.git_dir))
            settings.set_value(section, "active", "true")
    if missing:
        return f"{len(missing)} of {coverage.wanted} wanted files not covered by any source"
    return ""


def refresh(tree: Tree, progress: Progress | None = None) -> Tree:
    """Rebuild and record the levels of a tree whose series changed; touch no file.

    The tree's lock must be held. Raises as building the levels does.
    """
    here = position(tree)
    built = build(tree_root(tree), tree.record.port, progress)
    with built.upstream:
        new = built.tree_levels()
        submodules = {**tree.record.submodules, **_moved_submodules(built, tree, progress)}
        record = replace(_record(built, complete=True), submodules=submodules)
        if here.level is not None and here.level.commit not in {level.commit for level in new}:
            record = replace(record, former=here.level)
        register("trees", tree.folder)
        connect(tree.git_dir, built.upstream, _present(built))
        fresh = Tree(tree.folder, record)
        _write_levels(fresh, built)
        write_record(tree.state_dir, record)
        return fresh


def borrow_upstream(tree: Tree, pins: Pins, pin: Pin, progress: Progress | None = None) -> None:
    """Let a tree see another upstream of its port, and check out the files that ``pin`` wants.

    HEAD and the levels stay; :func:`refresh` brings the tree's own upstream back.
    """
    touched: dict[bytes, Oid | None] = {
        os.fsencode(path): None for path in tree.record.levels[0].files
    }
    coverage = fetch(pins.root, pin, None, progress=progress)
    with open_upstream(pins.root, pin, progress=progress) as upstream:
        listing = upstream.listing()
        upstream.bring(listing[path].oid for path in touched if path in listing)
        level0 = Level(0, UPSTREAM, pin.tree, upstream.commit, None, touched)
        built = Built(pins.root, pins, pin, upstream, coverage, (level0,), None, "")
        connect(tree.git_dir, upstream, _present(built))


def _moved_submodules(built: Built, tree: Tree, progress: Progress | None) -> dict[str, str]:
    """Connect the submodules whose pins are others now, so that a move can check them out."""
    moved = {}
    for path, name in built.pin.submodules.items():
        pin, sub = built.pins.port(name), Submodule(tree, path)
        if sub.pinned() != level0_commit(pin):
            moved[path] = _connect_submodule(built.root, pin, sub, progress)
    return moved
