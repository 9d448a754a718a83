"""Gather everything that a report shows from a project and its cache. Nothing is run."""

from __future__ import annotations

import platform
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from porter import __version__
from porter.atomic import read_json
from porter.errors import BadInput
from porter.report.ci.verify import ORDER, badness, worst_of_seeds
from porter.report.html_report.counters import LevelCounters, level_counters
from porter.report.html_report.events import RunEvents, ServedCall, run_events, served_calls
from porter.report.html_report.foreign import merged
from porter.report.html_report.images import SampleRow, sample_rows
from porter.report.html_report.stored import JudgedRecipe, StoredRun, judge_stored
from porter.series.header import FIELDS
from porter.series.series import Patch, Series
from porter.series.unified import diff_text, read_diff
from porter.terminal import plain
from porter.upstream.pins import Pin, load_pins
from porter.verify.cache.store import Places
from porter.verify.judge.result import Verdict, verdict_from_json
from porter.verify.known_wrong import Measured, read_measured, verdicts_with_known_wrong
from porter.verify.plan.matrix import RunSpec, judged_specs
from porter.verify.plan.select import Filters, make_plan
from porter.verify.plan.trees import ForeignLevel, SeriesTrees
from porter.verify.recipe.schema import UPSTREAM, is_simulated

if TYPE_CHECKING:
    from unidiff.patch import PatchedFile

    from porter.report.html_report.foreign import ForeignColumn

LineKind = Literal["file", "hunk", "add", "del", "same"]
MOST_LINES = 600
_KINDS: dict[str, LineKind] = {"+": "add", "-": "del"}
CellWord = Literal["pass", "baseline", "fail", "error", "skipped", "missing"]
"""The worst verdict's word; ``missing`` when no run is stored."""
ImportedVerdicts = Mapping[tuple[str, str, str], list[Verdict]]
"""Port, recipe, and the id of the foreign tree ("": the port's own levels) -> verdicts."""
_TIME = "%Y-%m-%d %H:%M UTC"


@dataclass(frozen=True)
class ClaimResult:
    """One claim on one output: the verdict on its worst seed, and the number of seeds."""

    verdict: Verdict
    seeds: int = 1


@dataclass(frozen=True)
class Cell:
    """The result of one recipe at one level on one device."""

    level: int
    level_name: str
    device: str
    word: CellWord
    rows: tuple[ClaimResult, ...] = ()

    @property
    def share(self) -> float | None:
        """The greatest used part of an allowance, of the claims that hold."""
        held = [row.verdict.share for row in self.rows if not row.verdict.bad]
        return max((share for share in held if share is not None), default=None)

    @property
    def has_known_wrong(self) -> bool:
        """Whether it was measured for a claim what known wrong trees give."""
        return any(row.verdict.known_wrong for row in self.rows)

    @property
    def bad(self) -> int:
        """How many claims do not hold."""
        return sum(row.verdict.bad for row in self.rows)


@dataclass(frozen=True)
class LevelDiff:
    """One level. ``lines`` are (kind, text) of its patch's diff, ``more`` how many are left out.

    A foreign tree has no patch, but the id of its git tree, ``tree``.
    """

    number: int
    name: str
    subject: str
    body: str
    fields: tuple[tuple[str, str], ...]
    added: int = 0
    removed: int = 0
    lines: tuple[tuple[LineKind, str], ...] = ()
    more: int = 0
    tree: str = ""

    @property
    def is_foreign(self) -> bool:
        """Whether it is no level of the port."""
        return bool(self.tree)


@dataclass(frozen=True)
class RunNote:
    """One stored run, as the report shows it."""

    spec: RunSpec
    stored: StoredRun
    events: RunEvents

    @property
    def label(self) -> str:
        """What distinguishes it from the other runs of its cell."""
        variant = [f"{name}={value}" for name, value in self.spec.variant]
        return ", ".join([self.spec.dtype, *variant, f"seed {self.spec.seed}"])

    @property
    def time(self) -> str:
        return datetime.fromtimestamp(self.stored.time, timezone.utc).strftime(_TIME)


@dataclass(frozen=True)
class RecipeSection:
    """One recipe: its cells by (level, device), its counters, images and runs."""

    name: str
    title: str
    tags: tuple[str, ...]
    devices: tuple[str, ...]
    cells: dict[tuple[int, str], Cell]
    counters: tuple[LevelCounters, ...]
    samples: tuple[SampleRow, ...]
    runs: tuple[RunNote, ...]
    stored: int
    wanted: int
    sandbox: str
    """The kinds of sandbox that the stored runs were made in; "" where none is known."""


@dataclass(frozen=True)
class PortSection:
    """One port: its source, levels and recipes."""

    name: str
    url: str
    pinned: str
    licence: str
    levels: tuple[LevelDiff, ...]
    recipes: tuple[RecipeSection, ...]
    calls: tuple[ServedCall, ...]

    @property
    def words(self) -> Counter[str]:
        """How many cells have each word."""
        return Counter(cell.word for recipe in self.recipes for cell in recipe.cells.values())

    @property
    def is_bad(self) -> bool:
        return bool(self.words["fail"] or self.words["error"])

    @property
    def bad_levels(self) -> frozenset[int]:
        """The levels at which a claim does not hold."""
        cells = (cell for recipe in self.recipes for cell in recipe.cells.values())
        return frozenset(cell.level for cell in cells if cell.bad)


@dataclass(frozen=True)
class Results:
    """A whole report; ``made`` is its time in UTC."""

    project: str
    version: str
    made: str
    machine: str
    ports: tuple[PortSection, ...]
    unreachable: tuple[str, ...]

    @property
    def words(self) -> Counter[str]:
        return sum((port.words for port in self.ports), Counter[str]())

    @property
    def claims(self) -> Counter[str]:
        """How many claims have each word, by their worst seeds."""
        return Counter(row.verdict.word for cell in self.cells() for row in cell.rows)

    @property
    def has_simulated(self) -> bool:
        return any(is_simulated(cell.device) for cell in self.cells())

    @property
    def sandbox(self) -> str:
        """The kinds of sandbox that all stored runs were made in."""
        kinds = {r.sandbox for port in self.ports for r in port.recipes}
        return ", ".join(sorted({kind for text in kinds for kind in text.split(", ") if kind}))

    def rows(self) -> Iterator[tuple[PortSection, RecipeSection, Cell]]:
        """Yield every cell, after its port and recipe."""
        for port in self.ports:
            for recipe in port.recipes:
                yield from ((port, recipe, cell) for cell in recipe.cells.values())

    def cells(self) -> Iterator[Cell]:
        return (cell for _, _, cell in self.rows())


def claim_results(verdicts: Iterable[Verdict]) -> tuple[ClaimResult, ...]:
    """Return a result per claim, output, dtype and variant, by its worst seed: the bad ones first,
    then those that use most of their allowance."""
    worst = sorted(worst_of_seeds(verdicts), key=lambda pair: badness(pair[0]), reverse=True)
    return tuple(ClaimResult(verdict, seeds) for verdict, seeds in worst)


def cell_of(level: int, level_name: str, device: str, verdicts: Sequence[Verdict]) -> Cell:
    """Return the cell of some verdicts; without any, one whose runs are missing."""
    rows = claim_results(verdicts)
    word: CellWord = max((row.verdict.word for row in rows), key=ORDER.index, default="missing")
    return Cell(level, level_name, device, word, rows)


def read_imported(paths: Iterable[Path]) -> ImportedVerdicts:
    """Read verdicts from files of ``porter verify --output FILE.json``. Raises BadInput.

    They fill cells whose runs are not all stored here: a failed run leaves no trace, and the jobs
    of a CI matrix run on other machines.
    """
    found: dict[tuple[str, str, str], list[Verdict]] = {}
    for path in paths:
        try:
            data = read_json(path)
            tree = str(data["tree"]["tree"]) if data.get("tree") else ""
            for recipe in data["recipes"]:
                several = [verdict_from_json(row) for row in recipe["verdicts"]]
                key = str(recipe["port"]), str(recipe["recipe"]), tree
                found.setdefault(key, []).extend(several)
        except FileNotFoundError:
            raise BadInput(f"{path}: expected a file of verdicts, found none") from None
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            problem = " ".join(f"{type(error).__name__}: {error}".split())
            expected = "what `porter verify --output FILE.json` writes"
            raise BadInput(f"{path}: expected {expected}, found {problem}") from None
    return found


def gather(
    root: Path,
    cache: Path,
    ports: Sequence[str] = (),
    filters: Filters | None = None,
    imported: ImportedVerdicts | None = None,
    foreign: ForeignColumn | None = None,
) -> Results:
    """Judge the stored runs of the ports' recipes (none named: of all).

    ``imported`` are verdicts of other verifications, for cells whose runs are not all stored;
    ``foreign`` is a tree that has a column beside its port's levels. Imports torch where tensors
    are compared or shown. Raises BadInput as a verification does.
    """
    pins = load_pins(root)
    trees = SeriesTrees(root, pins)
    plan = make_plan(root, ports, trees, filters or Filters())
    by_port: dict[str, list[JudgedRecipe]] = {}
    for planned in plan.recipes:
        judged, loaded = judge_stored(Places.under(cache), planned), planned.loaded
        if foreign and foreign.port == loaded.port and loaded.name in foreign.recipes:
            judged = merged(judged, foreign.recipes[loaded.name])
        by_port.setdefault(loaded.port, []).append(judged)
    return Results(
        project=root.name,
        version=__version__,
        made=datetime.now(timezone.utc).strftime(_TIME),
        machine=platform.platform(),
        ports=tuple(
            _port(root, pins.port(name), trees.series(name), recipes, imported or {}, foreign)
            for name, recipes in by_port.items()
        ),
        unreachable=(
            *(f"{one.port}/{one.recipe}: {one.reason}" for one in plan.unreachable),
            *(foreign.unreachable if foreign else ()),
        ),
    )


def _port(
    root: Path,
    pin: Pin,
    series: Series,
    recipes: Sequence[JudgedRecipe],
    imported: ImportedVerdicts,
    foreign: ForeignColumn | None,
) -> PortSection:
    measured = read_measured(root, pin.name)
    levels = level_diffs(series)
    if foreign and foreign.port == pin.name:
        levels.append(_foreign_level(foreign))
    return PortSection(
        name=pin.name,
        url=pin.url or "",
        pinned=pin.commit or (f"{pin.sdist.name} {pin.sdist.version}" if pin.sdist else ""),
        licence=pin.license_shown,
        levels=tuple(levels),
        recipes=tuple(_recipe(judged, imported, measured) for judged in recipes),
        calls=tuple(served_calls(recipes)),
    )


def _foreign_level(foreign: ForeignColumn) -> LevelDiff:
    fields = [("Tree", f"git tree {foreign.tree}")]
    if foreign.without:
        fields.append(("Not held", f"{', '.join(foreign.without)}: no such claim"))
    subject = f"{foreign.source}, no level of the port; held to {foreign.held_to}"
    return LevelDiff(foreign.number, foreign.name, subject, "", tuple(fields), tree=foreign.tree)


def _recipe(judged: JudgedRecipe, imported: ImportedVerdicts, measured: Measured) -> RecipeSection:
    planned, loaded = judged.planned, judged.planned.loaded
    cells = {}
    for level, device in sorted({(p.level, p.device) for p in judged_specs(planned)}):
        at = planned.levels[level]
        tree = str(at.tree) if isinstance(at, ForeignLevel) else ""
        elsewhere = imported.get((loaded.port, loaded.name, tree), [])
        verdicts = [v for v in judged.verdicts if (v.level, v.device) == (level, device)]
        if not verdicts or any((p.level, p.device) == (level, device) for p in judged.missing):
            other = [v for v in elsewhere if (v.level, v.device) == (level, device)]
            verdicts = other or verdicts
        verdicts = verdicts_with_known_wrong(verdicts, measured.get(loaded.name, {}))
        cells[level, device] = cell_of(level, at.name, device, verdicts)
    return RecipeSection(
        name=loaded.name,
        title=loaded.recipe.title,
        tags=loaded.recipe.tags,
        devices=tuple(dict.fromkeys(d for d in planned.devices if d in {k[1] for k in cells})),
        cells=cells,
        counters=tuple(level_counters(judged)),
        samples=tuple(sample_rows(judged)),
        runs=tuple(
            RunNote(spec, run, run_events(run))
            for spec in judged_specs(planned)
            if (run := judged.runs.get(spec))
        ),
        stored=len(judged.runs),
        wanted=len(judged.runs) + len(judged.missing),
        sandbox=", ".join(sorted({run.sandbox for run in judged.runs.values() if run.sandbox})),
    )


def level_diffs(series: Series) -> list[LevelDiff]:
    """Return every level of a port, level 0 first."""
    zero = LevelDiff(0, UPSTREAM, "The pinned upstream, unchanged", "", ())
    return [zero, *(_level(number, patch) for number, patch in enumerate(series.patches, 1))]


def _level(number: int, patch: Patch) -> LevelDiff:
    text = diff_text(patch)
    diff = read_diff(text)
    lines = _diff_lines(text, diff)
    header = patch.header
    fields = [
        ("Devices", ", ".join(header.devices)),
        ("Keeps", header.keeps),
        ("Gains", header.gains),
        ("Origin", header.origin),
        ("Forwarded", header.forwarded),
    ]
    return LevelDiff(
        number=number,
        name=patch.level,
        subject=header.subject,
        body=_why(header.body),
        fields=tuple((name, value) for name, value in fields if value),
        added=diff.added,
        removed=diff.removed,
        lines=tuple(lines[:MOST_LINES]),
        more=max(len(lines) - MOST_LINES, 0),
    )


def _why(body: str) -> str:
    """Return a header's text without the paragraphs of its fields."""
    paragraphs = body.split("\n\n")
    starts = tuple(f"{name}:" for name in FIELDS)
    return "\n\n".join(part for part in paragraphs if not part.startswith(starts)).strip()


def _diff_lines(text: str, files: Iterable[PatchedFile]) -> list[tuple[LineKind, str]]:
    """Return every line of a diff with its kind, as unidiff reads it."""
    kinds: dict[int, LineKind] = {}
    for line in (line for file in files for hunk in file for line in hunk):
        if line.diff_line_no is not None:
            kinds[line.diff_line_no] = _KINDS.get(line.line_type, "same")
    return [
        (kinds.get(number, "hunk" if raw.startswith("@@") else "file"), plain(raw.rstrip("\r")))
        for number, raw in enumerate(text.rstrip("\n").split("\n"), 1)
    ]
