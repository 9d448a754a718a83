"""Count the runs that a one-line change makes again, for each port of this repository.

    python bench/one_line.py [PORT ...] [--each] [--recipes] [--traces]

In a copy of the project one line of a Python file that the last patch adds or changes gets a
comment, and the tree is refreshed as ``porter refresh`` does it. With ``--each`` the same is done
for every patch below, each in a fresh copy; the line is then one that the levels above leave alone,
a line that the patch adds where there is one.

Nothing is run. The runs of all recipes are planned before and after the change, and a run has a
*new key* when its key is none of those before: a key holds the id of the whole tree. Runs are
counted once, however many recipes need them. *Other ports* are runs of recipes that have the port
for a companion. An environment is the same before and after, so none is built: a stand-in takes its
place in the keys. So do the names of a tree's files, which a change of a line leaves.

With ``--traces`` the cache (PORTER_CACHE, set) holds the traces of a verification before the
change, as of ``porter verify --tag quick``. A run with a new key takes the trace of one that read
nothing but files that are as they were (:mod:`porter.verify.cache.reads`). The others are *made
again*, and those without any trace count among them.

The upstreams are those of the pins, over git: a clone named by ``url.<clone>.insteadOf`` in git's
configuration serves as well. Printed as Markdown; ``--recipes`` adds a line for each recipe.
"""

from __future__ import annotations

import argparse
import datetime
import os
import shutil
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from porter.editing.refresh import refresh  # noqa: E402
from porter.git.objects import Oid  # noqa: E402
from porter.levels.levels import Level  # noqa: E402
from porter.mutation.mutation_run import SilentObserver  # noqa: E402
from porter.places import cache_dir, recipes_dir  # noqa: E402
from porter.series.diff import FilePatch, split_lines  # noqa: E402
from porter.tree.apply import apply_port  # noqa: E402
from porter.tree.locked import hold_tree  # noqa: E402
from porter.upstream.pins import load_pins  # noqa: E402
from porter.verify.cache.keys import RunKey, known_runs  # noqa: E402
from porter.verify.cache.reads import KnownReads  # noqa: E402
from porter.verify.cache.store import Places  # noqa: E402
from porter.verify.environment.venv import Environment  # noqa: E402
from porter.verify.execution.session import Session  # noqa: E402
from porter.verify.plan.matrix import Failure, RecipePlan, RunSpec, job_of, run_specs  # noqa: E402
from porter.verify.plan.port_trees import UpstreamTrees  # noqa: E402
from porter.verify.plan.select import Filters, make_plan, ports_with_recipes  # noqa: E402
from porter.verify.recipe.load import find_recipes  # noqa: E402

_STAND_IN = Environment("stand-in", "", Path(), {}, "", "")
_AROUND = 4
"""Lines on either side of the changed one that the levels above must hold as they are."""
QUICK = "quick"


@dataclass(frozen=True)
class RecipeKeys:
    """The keys of a recipe's runs; ``served`` are those that a trace in the cache serves."""

    planned: RecipePlan
    keys: frozenset[str]
    served: frozenset[str]

    @property
    def is_quick(self) -> bool:
        return QUICK in self.planned.loaded.recipe.tags


Planned = Mapping[str, RecipeKeys]
"""The planned recipes by name, ``port/recipe``."""


@dataclass(frozen=True)
class Place:
    """A line of a file of a level, counted from 0."""

    level: str
    path: str
    line: int


@dataclass(frozen=True)
class Counted:
    """How many runs are made again, and of how many."""

    again: int
    of: int

    def __str__(self) -> str:
        return f"{self.again} of {self.of}"


def plan_keys(root: Path, ports: Sequence[str], *, traces: bool = False) -> Planned:
    """Plan the recipes of some ports and return their runs' keys; nothing is run or built.

    With ``traces`` also those of the runs that the traces in the cache serve.
    """
    with closing(UpstreamTrees(root, load_pins(root), planning=not traces)) as trees:
        plan = make_plan(root, ports, trees, Filters())
        for one in plan.unreachable:
            print(f"{one.port}/{one.recipe or '*'}: not counted: {one.reason}", file=sys.stderr)
        places, reads = Places.under(cache_dir()), KnownReads()
        session = Session(trees, places, SilentObserver())
        found = {}
        for planned in plan.recipes:
            keys = {s: one.key for s, one in _known(planned, _STAND_IN).items()}
            served = _served(planned, session, reads) if traces else []
            own = frozenset(keys[spec] for spec in served)
            found[planned.name] = RecipeKeys(planned, frozenset(keys.values()), own)
    return found


def _known(planned: RecipePlan, environment: Environment) -> dict[RunSpec, RunKey]:
    return known_runs(planned, run_specs(planned), environment)


def _served(planned: RecipePlan, session: Session, reads: KnownReads) -> Iterator[RunSpec]:
    """Yield the runs of a recipe that find a trace of a run that read nothing else."""
    loaded = planned.loaded
    environment = session.find_environment(loaded.environment)
    if environment is None:
        return
    among = session.places.traces / loaded.port / loaded.name
    for spec, one in _known(planned, environment).items():
        job = job_of(planned, spec, one.facts, session.trees)
        if not isinstance(job, Failure) and any(reads.find(one.base, job.roots, among)):
            yield spec


def made_again(
    before: Planned, after: Planned, names: Iterable[str], *, by_reads: bool = False
) -> Counted:
    """Count the runs of the recipes of these names that no recipe had before the change.

    With ``by_reads`` those that a trace serves are left out.
    """
    had = {key for one in before.values() for key in one.keys}
    if by_reads:
        had |= {key for one in after.values() for key in one.served}
    needed = {key for name in names for key in after[name].keys}
    return Counted(len(needed - had), len(needed))


def places(trees: UpstreamTrees, port: str, level: Level) -> Iterator[Place]:
    """Yield lines of the Python files of a level's patch (of all its files where none is Python).

    Every level above holds the line and those around it. The lines that the patch adds come first.
    """
    assert level.patch is not None
    files = [file for file in level.patch.files if file.new_path is not None]
    python = [file for file in files if file.path.endswith(b".py")]
    above = trees.levels(port)[level.number :]
    for only_added in (True, False):
        for file in python or files:
            texts = [_content(trees, port, each, file.path) for each in above]
            lines = split_lines(texts[0])
            chosen = _added(file) if only_added else range(len(lines))
            for number in chosen:
                around = b"".join(lines[max(0, number - _AROUND) : number + _AROUND + 1])
                line = lines[number].rstrip()
                if line and not line.endswith(b"\\") and all(around in text for text in texts):
                    yield Place(level.name, os.fsdecode(file.path), number)


def _added(file: FilePatch) -> Iterator[int]:
    for hunk in file.hunks:
        number = hunk.new_start - 1
        for line in hunk.lines:
            if line[:1] == b"+":
                yield number
            number += line[:1] in (b"+", b" ")


def _content(trees: UpstreamTrees, port: str, level: Level, path: bytes) -> bytes:
    entry = trees.upstream(port).odb.flat(Oid(level.tree)).get(path)
    return trees.blob(port, entry.oid) if entry is not None and entry.is_blob else b""


def change_line(root: Path, port: str, place: Place, tree: Path) -> None:
    """Check the place's level out into the new folder ``tree``, add a comment to the line, refresh.

    Raises CheckFailed where a level above conflicts.
    """
    apply_port(root, port, tree, level=place.level, companions=False)
    file = tree / place.path
    lines = split_lines(file.read_bytes())
    body = lines[place.line].rstrip(b"\r\n")
    lines[place.line] = body + b"  # changed" + lines[place.line][len(body) :]
    file.write_bytes(b"".join(lines))
    with hold_tree(tree, "refresh") as held:
        refresh(held)


def dependents(root: Path, port: str) -> list[str]:
    """Return the other ports that have a recipe with ``port`` for a companion."""
    return [
        name
        for name in ports_with_recipes(root)
        if name != port
        and any(port in one.recipe.companions for one in find_recipes(recipes_dir(root, name)))
    ]


def copy_project(source: Path, target: Path) -> Path:
    """Copy the files of a project that planning reads to the new folder ``target``."""
    target.mkdir(parents=True)
    for name in ("patches", "recipes"):
        shutil.copytree(source / name, target / name)
    shutil.copy(source / "upstream_pins.yaml", target)
    return target


@dataclass(frozen=True)
class Change:
    """One line of a port changed: where, and all runs before and after."""

    port: str
    place: Place
    before: Planned
    after: Planned

    def counted(self, *, quick: bool = False, by_reads: bool = False) -> Counted:
        """Count the port's own runs, or those of some of its recipes."""
        names = [
            name
            for name, one in self.after.items()
            if one.planned.loaded.port == self.port and (one.is_quick or not quick)
        ]
        return made_again(self.before, self.after, names, by_reads=by_reads)

    @property
    def elsewhere(self) -> Counted:
        """Count the runs of other ports."""
        others = [n for n, one in self.after.items() if one.planned.loaded.port != self.port]
        return made_again(self.before, self.after, others)

    def row(self, *, traces: bool = False) -> str:
        """Return the row of the table."""
        cells = [self.port, self.place.level, f"`{self.place.path}`"]
        for quick in (True, False):
            by_reads = self.counted(quick=quick, by_reads=True)
            cells += [str(self.counted(quick=quick)), str(by_reads.again) if traces else ""]
        other = self.elsewhere
        return f"| {' | '.join([*cells, str(other) if other.of else ''])} |"

    def recipes(self) -> Iterator[str]:
        """Yield a line for each recipe with a run that is made again."""
        for name, one in self.after.items():
            counted = made_again(self.before, self.after, [name], by_reads=True)
            if counted.again:
                yield f"    {name}{' (quick)' if one.is_quick else ''}: {counted}"


HEAD = """\
| port | level | file | quick: new keys | made again | all: new keys | made again | other ports |
| --- | --- | --- | ---: | ---: | ---: | ---: | ---: |"""


def changes(
    source: Path, port: str, folder: Path, *, each: bool, traces: bool = False
) -> Iterator[Change]:
    """Change a line of a port's last level, with ``each`` of every level too; the last one first.

    The last level that is not off by default counts as last; one that is off comes before it.
    """
    with closing(UpstreamTrees(source, load_pins(source), planning=True)) as trees:
        levels = trees.levels(port)[1:]
        last = max(level.number for level in levels if not level.off)
        wanted = [level for level in reversed(levels) if each or level.number >= last]
        found = {level.number: next(places(trees, port, level), None) for level in wanted}
    ports = [port, *dependents(source, port)]
    before = plan_keys(source, ports, traces=traces)
    for level in wanted:
        place = found[level.number]
        if place is None:
            print(f"{port} {level.name}: the levels above change every line", file=sys.stderr)
            continue
        work = folder / f"{port}-{level.number}"
        root = copy_project(source, work / "project")
        change_line(root, port, place, work / "tree")
        after = plan_keys(root, ports, traces=traces)
        shutil.rmtree(work)
        yield Change(port, place, before, after)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("ports", nargs="*", help="default: all")
    parser.add_argument("--each", action="store_true", help="a line of every patch, not the last's")
    parser.add_argument("--recipes", action="store_true", help="and a line for each recipe")
    parser.add_argument("--traces", action="store_true", help="count by the traces in the cache")
    args = parser.parse_args()
    print(f"{datetime.date.today()}\n\n{HEAD}")
    with tempfile.TemporaryDirectory() as top:
        os.environ.setdefault("PORTER_CACHE", str(Path(top) / "cache"))
        os.chdir(top)  # out of this project: a tree is refreshed for its own
        for port in args.ports or ports_with_recipes(ROOT):
            for change in changes(ROOT, port, Path(top), each=args.each, traces=args.traces):
                print(change.row(traces=args.traces), flush=True)
                if args.recipes:
                    print("\n".join(change.recipes()), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
