"""Free wheels of bundles that no project's requirements files name any more.

A list of wheels belongs to one content of a requirements file, a version of Python and, where it
has packages without their dependencies, a release of torch. Lists of this interpreter's torch and
of any Python are kept for every registered project; another torch's for two weeks after they were
last used.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from pathlib import Path

from porter.errors import BadInput
from porter.places import cache_dir
from porter.upstream.collect import GRACE_SECONDS, UNUSED_SECONDS, Freed, free
from porter.upstream.registry import projects
from porter.verify.cache.store import Places
from porter.verify.environment.requirements import load_requirements
from porter.verify.environment.torch_layer import find_layer
from porter.verify.environment.wheels import (
    ANY_PYTHON,
    list_name,
    named_by,
    named_in,
    wheels_dir,
)


def collect_wheels(root: Path, *, dry_run: bool, now: bool = False) -> Iterator[Freed]:
    """Free lists that nothing refers to, and wheels that no list left names; yield each.

    ``now`` skips the grace of two weeks, and the hour's of wheels.
    """
    folder = wheels_dir(Places.under(cache_dir()).environments)
    lists = sorted(folder.glob("*.txt"))
    unused = time.time() - (0 if now else UNUSED_SECONDS)
    oldest = time.time() - (0 if now else GRACE_SECONDS)
    referred, whole = _referred({root.absolute(), *projects()}) if lists else (set(), set())
    kept: set[tuple[str, str]] = set()
    for path in lists:
        is_unread = path.name.rpartition("-")[0] in whole
        if path.name in referred or is_unread or path.stat().st_mtime > unused:
            kept |= named_in(path)
        else:
            yield free(path, "list of wheels that no requirements file names", dry_run)
    for path in sorted(folder.glob("*.whl")):
        if named_by(path) not in kept and path.stat().st_mtime <= oldest:
            yield free(path, "wheel that no list names", dry_run)


def _referred(roots: Iterable[Path]) -> tuple[set[str], set[str]]:
    """Return the lists that requirements files of projects name, and files that cannot be read."""
    found: set[str] = set()
    unread: set[str] = set()
    for root in roots:
        for path in (root / "recipes").rglob("*.txt"):
            try:
                requirements = load_requirements(path)
                layer = find_layer() if requirements.no_deps else None
            except BadInput:  # what it needs is not known
                unread.add(path.stem)
                continue
            found |= {list_name(requirements, layer, python) for python in ANY_PYTHON}
    return found, unread
