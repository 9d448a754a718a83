"""The repository of a tree: borrowed objects, configuration, sparse checkout, end of history."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from porter.atomic import write_atomic
from porter.git.arguments import REMOTE
from porter.git.odb import lay_out_repository
from porter.tree.template import INCLUDE
from porter.upstream.store import Upstream

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


def _for_git(path: bytes) -> bool:
    """Return whether git itself reads this file, wanted or not, at least from the index."""
    return path.rpartition(b"/")[2] in (b".gitignore", b".gitattributes", b".gitmodules")


def bring_for_git(upstream: Upstream) -> set[bytes]:
    """Fetch the files that git itself reads; return those that came."""
    wanted = {path: entry.oid for path, entry in upstream.listing().items() if _for_git(path)}
    upstream.bring(wanted.values())
    there = upstream.odb.has(wanted.values())
    return {path for path, oid in wanted.items() if oid in there}


def connect(
    git_dir: Path,
    upstream: Upstream,
    paths: tuple[list[bytes], set[bytes]],
    work_tree: Path | None = None,
) -> None:
    """Make ``git_dir`` a repository that borrows from the store, with its sparse checkout.

    ``paths`` are all of the upstream's and those to check out; ``work_tree`` is a submodule's.
    """
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
    if work_tree is not None:
        config += f"[core]\n\tworktree = {os.path.relpath(work_tree, git_dir)}\n"
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
