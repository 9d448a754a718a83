"""Make a tree, and update one whose series changed.

A tree is made in its final folder. ``.git/porter/tree.json`` marked incomplete is written first, so
that the next ``porter apply`` recognises and continues a killed one. Any other failure removes what
was made.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from porter.atomic import write_atomic
from porter.errors import BadInput, CheckFailed, LocalEdits, SourceUnavailable
from porter.git.arguments import REMOTE, tree_arguments
from porter.git.odb import lay_out_repository
from porter.git.run import Answer, run_git
from porter.levels.level_name import Broken, find_level
from porter.levels.levels import Level, build_series
from porter.places import patches_dir
from porter.series.series import load_series
from porter.series.stamp import series_stamp
from porter.tree.journal import settle
from porter.tree.move import checkout_first, move
from porter.tree.template import INCLUDE, write_template
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
from porter.upstream.store import FileCoverage, Upstream, fetch, open_upstream

if TYPE_CHECKING:
    from porter.upstream.gitfetch import Progress

# `.git/config` is written once and then belongs to the user. It includes a file of porter's own for
# the settings that porter may have to change.
_CONFIG = """\
[core]
\trepositoryformatversion = 1
\tfilemode = true
\tbare = false
\tlogallrefupdates = true
[include]
\tpath = porter/config
"""
# Files as the level has them, whatever line ends the user prefers; no automatic gc, which would
# fail on the blobs that a partial clone lacks; no `git log -p` of all of upstream.
_OWN_CONFIG = """\
[core]
\tautocrlf = false
\tsafecrlf = false
[gc]
\tauto = 0
[maintenance]
\tauto = false
[log]
\tshowRoot = false
[advice]
\tdetachedHead = false
"""


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
    _connect(tree.git_dir, built.upstream, _present(built))
    settle(tree, lock.fd)
    _write_levels(tree, built)
    if tree.git("rev-parse", "--verify", "--quiet", "HEAD", check=False).status == 0:
        move(tree, lock, level, f"apply {built.pin.name}")
        _compare(folder, tree.git)
    else:
        checkout_first(tree, lock, level, f"apply {built.pin.name}")
    submodules = {
        path: _submodule(built, tree, path, name, lock, progress)
        for path, name in built.pin.submodules.items()
    }
    record = replace(tree.record, complete=True, submodules=submodules)
    write_record(tree.state_dir, record)
    return Tree(folder, record)


def _compare(folder: Path, git: Callable[..., Answer]) -> None:
    """Compare a resumed tree's files with its index before it is complete; write missing ones.

    Files are missing where an earlier attempt was killed while it removed them. Raises LocalEdits
    for files with another content: porter did not write them.
    """
    missing = git("ls-files", "--deleted", "-z").fields()
    if missing:
        paths = os.fsencode("".join(f"{path}\0" for path in missing))
        git("checkout-index", "-z", "--stdin", stdin=paths)
    git("update-index", "-q", "--refresh", check=False)
    edited = git("diff-files", "--name-only", "-z", "--ignore-submodules").fields()
    if edited:
        raise LocalEdits(
            f"{shown(folder)}: not finished by an earlier `porter apply`, and edited since:"
            f" {listed_paths(edited)}; move these files away, then apply again"
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
    present = wanted | (touched - missing) | submodules | _bring_for_git(built.upstream)
    return [*listing, *touched], present


def _for_git(path: bytes) -> bool:
    """Return whether git itself reads this file, wanted or not, at least from the index."""
    return path.rpartition(b"/")[2] in (b".gitignore", b".gitattributes", b".gitmodules")


def _bring_for_git(upstream: Upstream) -> set[bytes]:
    """Fetch the files that git itself reads; return those that came."""
    wanted = {path: entry.oid for path, entry in upstream.listing().items() if _for_git(path)}
    upstream.bring(wanted.values())
    there = upstream.odb.has(wanted.values())
    return {path for path, oid in wanted.items() if oid in there}


def _connect(git_dir: Path, upstream: Upstream, paths: tuple[list[bytes], set[bytes]]) -> None:
    """Make ``git_dir`` a repository that borrows from the store, with its sparse checkout."""
    everything, present = paths
    config = _OWN_CONFIG + INCLUDE
    if upstream.pin.url is not None:
        # A partial clone of the real upstream: git fetches on demand what porter did not bring. But
        # not where git's own files are missing: it would fetch them at every `git status`.
        # (No partialclonefilter: it would make the remote a promisor whatever -c says.)
        promisor = all(path in present for path in everything if _for_git(path))
        config += f'[remote "{REMOTE}"]\n\turl = {upstream.pin.url}\n'
        config += f"\tpromisor = {str(promisor).lower()}\n"
    patterns = sparse_patterns(everything, present)
    if patterns is None:
        config += "[core]\n\tsparseCheckout = false\n"
    else:
        lines = b"".join(pattern + b"\n" for pattern in patterns)
        write_atomic(git_dir / "info" / "sparse-checkout", lines)
        config += "[core]\n\tsparseCheckout = true\n\tsparseCheckoutCone = false\n"
    _cut_history(git_dir, upstream)
    write_atomic(git_dir / "porter" / "config", config.encode())
    lay_out_repository(git_dir, _CONFIG, upstream.git_dir / "objects")


def _cut_history(git_dir: Path, upstream: Upstream) -> None:
    """Tell git that history ends at the pinned commit: the store has none below it.

    Earlier pins stay in ``shallow``, since commits of the user's own may descend from them.
    """
    body = upstream.odb.read(upstream.commit)
    if b"\nparent " not in body.split(b"\n\n", 1)[0]:
        return
    path, line = git_dir / "shallow", upstream.commit.encode()
    before = path.read_bytes().splitlines() if path.exists() else []
    if line not in before:
        write_atomic(path, b"".join(each + b"\n" for each in [*before, line]))


def sparse_patterns(everything: Iterable[bytes], present: set[bytes]) -> list[bytes] | None:
    """Return the sparse-checkout patterns that select ``present``; None when that is everything.

    They select all but the absent files, so a file that the user adds anywhere else belongs to the
    tree. git matches every path against every pattern: a pattern for each of 800 files would make
    each checkout slow, so a folder without any selected file is one pattern.
    """
    folders: dict[bytes, list[bytes]] = {b"": []}
    total: dict[bytes, int] = {}
    there: dict[bytes, int] = {}
    for path in {*everything, *present}:
        here = path in present
        child = path
        while child:
            folder = child.rpartition(b"/")[0]
            siblings = folders.setdefault(folder, [])
            if child == path or child not in total:
                siblings.append(child)
            total[child] = total.get(child, 0) + 1
            there[child] = there.get(child, 0) + here
            child = folder
    if all(there[child] == total[child] for child in folders[b""]):
        return None
    patterns = [b"/*"]
    waiting = sorted(folders[b""], reverse=True)
    while waiting:
        path = waiting.pop()
        if not there[path]:
            patterns.append(b"!/" + _escaped(path) + (b"/" if path in folders else b""))
        elif there[path] < total[path]:
            waiting += sorted(folders[path], reverse=True)
    return patterns


def _escaped(path: bytes) -> bytes:
    for char in b"\\*?[":
        path = path.replace(bytes([char]), b"\\" + bytes([char]))
    return path[:-1] + b"\\ " if path.endswith(b" ") else path


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


def _submodule(
    built: Built, tree: Tree, path: str, name: str, lock: TreeLock, progress: Progress | None
) -> str:
    """Check a submodule out at its pin; return "" or why that failed."""
    from git.config import GitConfigParser  # slow to import

    pin = built.pins.port(name)
    try:
        coverage = fetch(built.root, pin, None, progress=progress)
        upstream = open_upstream(built.root, pin, progress=progress)
    except SourceUnavailable as error:
        return str(error)
    with upstream:
        folder = tree.folder / path
        own = tree.git_dir / "modules" / path
        folder.mkdir(parents=True, exist_ok=True)
        missing = set(coverage.missing)
        listing = upstream.listing()
        present = {p for p in listing if pin.wants(p) and p not in missing}
        present |= _bring_for_git(upstream)
        register("trees", folder)
        _connect(own, upstream, (list(listing), present))
        with open(own / "porter" / "config", "a") as config:
            config.write(f"[core]\n\tworktree = {os.path.relpath(folder, own)}\n")
        for stale in ("index.lock", "HEAD.lock"):
            (own / stale).unlink(missing_ok=True)
        write_atomic(folder / ".git", f"gitdir: {os.path.relpath(own, folder)}\n".encode())
        where = tree_arguments(str(folder), str(own))
        head = run_git([*where, "rev-parse", "-q", "--verify", "HEAD"], cwd=folder, check=False)
        if head.status != 0:
            form = ("checkout", "--detach", "--force", "--quiet", upstream.commit)
            run_git([*where, *form], cwd=folder, keep_open=(lock.fd,))
        else:
            _compare(folder, lambda *words, **how: run_git([*where, *words], cwd=folder, **how))
        config_file = str(tree.git_dir / "config")
        with GitConfigParser(config_file, read_only=False, merge_includes=False) as settings:
            section = f'submodule "{path}"'
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
        record = replace(_record(built, complete=True), submodules=tree.record.submodules)
        if here.level is not None and here.level.commit not in {level.commit for level in new}:
            record = replace(record, former=here.level)
        register("trees", tree.folder)
        _connect(tree.git_dir, built.upstream, _present(built))
        fresh = Tree(tree.folder, record)
        _write_levels(fresh, built)
        write_record(tree.state_dir, record)
        return fresh
