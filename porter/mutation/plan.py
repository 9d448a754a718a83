"""Which mutants of a port are tried on which recipes: levels, kinds, sample and equivalents.

Mutants that compute the same, so that no recipe can catch them, are listed by hand with a reason in
``recipes/<port>/mutants/equivalent.yaml``::

    version: 1
    equivalents:
      - level: hpu-graph
        file: diffusion/graphs.py
        before: "if len(self.graphs) > self.most:"  # changed lines, as `porter mutate` shows them
        after: "if len(self.graphs) >= self.most:"
        reason: "how many graphs are kept changes memory, no result"

An entry that matches no mutant of the series is an error, so the list cannot go stale.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from porter.errors import BadInput
from porter.levels.levels import Level
from porter.mutation.mutants import Mutant, level_mutants, sample
from porter.places import recipes_dir
from porter.verify.plan.matrix import RecipePlan
from porter.verify.plan.port_trees import UpstreamTrees
from porter.verify.plan.select import Filters, make_plan
from porter.yamlfile import Document, load

FILE = Path("mutants") / "equivalent.yaml"
Text = Annotated[str, Meta(min_length=1, description="a text")]


class Equivalent(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One mutant that is not a mistake, and why."""

    level: Text
    file: Text
    before: Text
    after: str
    reason: Text

    def matches(self, mutant: Mutant) -> bool:
        """Whether the entry means this mutant, on any line."""
        if (self.level, self.file) != (mutant.level_name, mutant.path):
            return False
        own = (_normalized(self.before), _normalized(self.after))
        return own == tuple(map(_normalized, mutant.changed))


class EquivalentsFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The file: format version and entries."""

    version: Literal[1]
    equivalents: tuple[Equivalent, ...]


@dataclass(frozen=True)
class Equivalents:
    """The entries of a port's file; none without a file."""

    document: Document[EquivalentsFile] | None

    @property
    def entries(self) -> tuple[Equivalent, ...]:
        return self.document.value.equivalents if self.document else ()

    def reason(self, mutant: Mutant) -> str:
        """Return why the mutant is equivalent; "" when it is not listed."""
        return next((entry.reason for entry in self.entries if entry.matches(mutant)), "")

    def check(self, mutants: Iterable[Mutant]) -> None:
        """Raise BadInput, with file and line, for an entry that matches none of ``mutants``."""
        known = list(mutants)
        for index, entry in enumerate(self.entries):
            if not any(entry.matches(mutant) for mutant in known):
                assert self.document is not None
                line = self.document.line(("equivalents", index))
                raise BadInput(
                    f"{self.document.path}:{line}: equivalents[{index}]: expected a mutant of the "
                    f"series, found none with these lines in {entry.file} at level {entry.level}; "
                    "`porter mutate PORT --list` shows them all"
                )


def load_equivalents(folder: Path) -> Equivalents:
    """Read the file in a port's recipe folder. Raises BadInput."""
    path = folder / FILE
    return Equivalents(load(path, EquivalentsFile) if path.is_file() else None)


def _normalized(text: str) -> str:
    """Return the text with every run of blanks as one, so that indentation does not matter."""
    return " ".join(text.split())


@dataclass(frozen=True)
class MutantFilters:
    """Which mutants are wanted: of these levels and kinds (none: all), at most ``sample``.

    ``at`` is the level to try them at; "": each at its own.
    """

    levels: Sequence[str] = ()
    kinds: Sequence[str] = ()
    sample: int | None = None
    at: str = ""


@dataclass(frozen=True)
class MutationPlan:
    """The mutants of one port and the recipes to try them on.

    ``possible`` is the number of mutants before sampling, ``equivalent`` the reason by the key of
    those that are listed as no mistake. ``left_out`` is the number of those that cannot be tried at
    the wanted level, since a level above their own changes their file. ``files`` are, by level
    number, the paths that any mutant of the port changes, in this plan or not: the lines that a run
    executes of them are found once.
    """

    port: str
    recipes: tuple[RecipePlan, ...]
    mutants: tuple[Mutant, ...]
    possible: int
    equivalent: Mapping[str, str]
    files: Mapping[int, Sequence[str]]
    left_out: int = 0

    @property
    def to_try(self) -> list[Mutant]:
        """The mutants that are mistakes."""
        return [mutant for mutant in self.mutants if mutant.key not in self.equivalent]


def plan_mutants(
    root: Path, port: str, trees: UpstreamTrees, recipes: Filters, mutants: MutantFilters
) -> MutationPlan:
    """Choose recipes and mutants.

    Raises BadInput when none are left, or when the list of equivalents names no mutant.
    """
    at = trees.find(port, mutants.at).number if mutants.at else None
    plan = make_plan(root, [port], trees, recipes)
    everything = [
        mutant
        for level in trees.levels(port)
        for mutant in level_mutants(level, lambda blob: trees.blob(port, blob))
    ]
    equivalents = load_equivalents(recipes_dir(root, port))
    equivalents.check(everything)
    levels = {trees.find(port, text).number for text in mutants.levels}
    possible = [
        mutant
        for mutant in everything
        if (not levels or mutant.level in levels)
        and (not mutants.kinds or mutant.kind in mutants.kinds)
    ]
    if not possible:
        raise BadInput(f"{port}: no mutants: the chosen levels change no Python line")
    wanted = len(possible)
    if at is not None:
        everything = _tried_at(at, everything, trees.levels(port))
        keys = {mutant.key for mutant in possible}
        possible = [mutant for mutant in everything if mutant.key in keys]
        if not possible:
            raise BadInput(
                f"{port}: --at {mutants.at}: none of the {wanted} mutants can be tried there: "
                "expected files that no level between theirs and it changes"
            )
    chosen = sample(possible, mutants.sample) if mutants.sample else possible
    files: dict[int, set[str]] = {}
    for mutant in everything:
        files.setdefault(mutant.level, set()).add(mutant.path)
    return MutationPlan(
        port,
        plan.recipes,
        tuple(chosen),
        len(possible),
        {m.key: reason for m in chosen if (reason := equivalents.reason(m))},
        {level: sorted(paths) for level, paths in files.items()},
        wanted - len(possible),
    )


def _tried_at(at: int, mutants: Iterable[Mutant], levels: Iterable[Level]) -> list[Mutant]:
    """Return the mutants whose file at level ``at`` is that of their own level, as mutants of it.

    They keep their names: ``level_name`` is the level whose patch is mutated.
    """
    last: dict[str, int] = {}
    for level in levels:
        if level.patch is not None and level.number <= at:
            last.update((file.path.decode(), level.number) for file in level.patch.files)
    return [replace(each, level=at) for each in mutants if last.get(each.path) == each.level]
