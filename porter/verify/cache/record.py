"""Records of verifications, stored beside their traces, so that they can be judged again.

    traces/<port>/<recipe>/judged.json

holds the recipe's text (with its claims and thresholds), the levels, the trace of each run or why
it has none, and the verdicts. A folder of traces can be copied elsewhere and judged there.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import msgspec

from porter.atomic import read_json
from porter.errors import BadInput
from porter.levels.level_name import find_level
from porter.verify.cache.keys import RunKey
from porter.verify.cache.store import Places, write_cache
from porter.verify.judge.result import RecipeResult, Verdict, verdict_from_json, verdict_to_json
from porter.verify.plan.matrix import Failure, RecipePlan, RunSpec
from porter.verify.plan.select import plan_recipe
from porter.verify.plan.trees import LevelTree, NamedLevel, NotReachable
from porter.verify.recipe.load import LoadedRecipe, check_recipe
from porter.verify.recipe.schema import Recipe
from porter.yamlfile import loads

FORMAT = 2
RECORD = "judged.json"
_HEAD_BYTES = 200
NAME = re.compile(r"\w[\w.+-]*")


@dataclass(frozen=True)
class RecordedRun:
    """One run: the folder of its trace beside the record, or why it has none."""

    spec: RunSpec
    trace: str
    failure: Failure | None = None


@dataclass(frozen=True)
class Record:
    """One recipe's verification.

    ``key`` is the key of its verdicts, ``asked`` the devices requested by name, ``chosen`` the
    numbers of the judged levels, ``threads`` the number requested in place of the recipe's.
    """

    format: int
    key: str
    port: str
    recipe: str
    text: str
    levels: tuple[NamedLevel, ...]
    companions: tuple[tuple[str, NamedLevel], ...]
    chosen: tuple[int, ...]
    asked: tuple[str, ...]
    runs: tuple[RecordedRun, ...]
    verdicts: tuple[Verdict, ...]
    threads: int | None = None


def is_recorded(places: Places, planned: RecipePlan, key: str) -> bool:
    """Whether the record beside the traces has this key; reads the first bytes only."""
    try:
        with _path(places, planned).open("rb") as file:
            return f'"key": "{key}"'.encode() in file.read(_HEAD_BYTES)
    except OSError:
        return False


def write_record(
    places: Places,
    planned: RecipePlan,
    known: Mapping[RunSpec, RunKey],
    failures: Mapping[str, Failure],
    result: RecipeResult,
    key: str,
) -> None:
    """Write the record of a recipe's verification; ``failures`` maps a run's key to its failure.

    Raises CacheWriteError.
    """
    loaded = planned.loaded
    record = Record(
        format=FORMAT,
        key=key,
        port=loaded.port,
        recipe=loaded.name,
        text=loaded.path.read_text(encoding="utf-8"),
        levels=tuple(_recorded(level) for level in planned.levels),
        companions=tuple((name, _recorded(level)) for name, level in planned.companions),
        chosen=tuple(sorted(planned.chosen)),
        asked=tuple(sorted(planned.insisted)),
        runs=tuple(
            RecordedRun(spec, one.key, failures.get(one.key)) for spec, one in known.items()
        ),
        verdicts=(),
        threads=loaded.threads,
    )
    data = asdict(record) | {"verdicts": [verdict_to_json(v) for v in result.verdicts]}
    write_cache(_path(places, planned), json.dumps(data, indent=1))


def _recorded(level: LevelTree) -> NamedLevel:
    return NamedLevel(level.number, level.name, str(level.tree), level.off)


def _path(places: Places, planned: RecipePlan) -> Path:
    return places.traces / planned.loaded.port / planned.loaded.name / RECORD


def read_record(path: Path) -> Record:
    """Read a record. Raises BadInput for another file or another format.

    A record may come from elsewhere: its names must not lead out of the folders they are joined to.
    """
    try:
        found = read_json(path)
        if found.get("format") != FORMAT:
            raise BadInput(f"{path}: expected format {FORMAT}, found {found.get('format')}")
        verdicts = tuple(verdict_from_json(row) for row in found.pop("verdicts"))
        record = replace(msgspec.convert({**found, "verdicts": ()}, Record), verdicts=verdicts)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise BadInput(f"{path}: expected a record of a verification: {error}") from error
    rows = [("port", record.port), ("recipe", record.recipe)]
    rows += [(f"runs[{n}].trace", run.trace) for n, run in enumerate(record.runs)]
    rows += [(f"companions[{n}]", name) for n, (name, _) in enumerate(record.companions)]
    for key, name in rows:
        if not NAME.fullmatch(name):
            raise BadInput(f"{path}: {key}: expected the name of a folder here, found {name!r}")
    return record


def recorded_recipe(record: Record, path: Path) -> LoadedRecipe:
    """Return the recipe as recorded; ``path`` is only named in errors. Raises BadInput."""
    data = record.text.encode()
    document = loads(data, path, Recipe)
    check_recipe(document, probe=False)
    return LoadedRecipe(record.recipe, record.port, document, hashlib.sha256(data).hexdigest())


def plan_again(record: Record, loaded: LoadedRecipe) -> RecipePlan:
    """Plan a recipe on the record's levels. Raises BadInput for claims that match nothing."""
    chosen = frozenset(record.chosen)
    return plan_recipe(loaded, record.levels, chosen, RecordedTrees(record), record.asked)


class RecordedTrees:
    """The levels of a record, without their files."""

    def __init__(self, record: Record) -> None:
        self._levels: dict[str, tuple[NamedLevel, ...]] = {
            **{name: (level,) for name, level in record.companions},
            record.port: record.levels,
        }

    def levels(self, port: str) -> Sequence[NamedLevel]:
        if port not in self._levels:
            raise NotReachable(f"{port}: no companion when the traces were made")
        return self._levels[port]

    def find(self, port: str, text: str) -> NamedLevel:
        return find_level(self.levels(port), text)

    def folder(self, port: str, level: LevelTree, needs: tuple[str, ...]) -> Path:  # noqa: ARG002
        """See :class:`porter.verify.plan.trees.Trees`; nothing runs on it."""
        return Path()

    def mend(self, folder: Path) -> str:  # noqa: ARG002
        """See :class:`porter.verify.plan.trees.Trees`."""
        return ""
