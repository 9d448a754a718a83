"""Events of stored runs, from their event and migration files: why graphs were compiled, what fell
back to the host or waited for it, and which CUDA calls the device served."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from porter.verify.cache.stored_trace import read_rows
from porter.verify.harness.events import EVENTS, MIGRATION

if TYPE_CHECKING:
    from porter.report.html_report.stored import JudgedRecipe, StoredRun

COSTLY = ("cpu_fallback", "host_sync", "h2d", "d2h", "dynamic_shape", "missing_dtype")
MOST = 12
_COST = {"what": "", "site": "", "source": "", "count": 1}
_CALL = ("file", "source", "kind", "asked", "served")


@dataclass(frozen=True)
class CompilationCause:
    """Graphs compiled for the same cause. ``number`` is the first of them, ``largest`` the most ops
    in one, ``nearest`` the earlier graph that is most similar, and ``differs`` how it differs."""

    number: int
    times: int
    largest: int
    why: str
    site: str
    nearest: int | None
    differs: tuple[str, ...]


@dataclass(frozen=True)
class RunEvents:
    """One run's events. ``sites`` are those of lines that cost something; ``more_causes`` and
    ``more_sites`` are the numbers of those left out."""

    compilations: tuple[CompilationCause, ...]
    more_causes: int
    sites: tuple[Mapping[str, Any], ...]
    more_sites: int
    warnings: tuple[str, ...]


@dataclass(frozen=True)
class ServedCall:
    """A CUDA call that a device served, and the levels that make it."""

    device: str
    site: str
    source: str
    kind: str
    asked: str
    served: str
    levels: tuple[int, ...]


def run_events(run: StoredRun) -> RunEvents:
    """Return the events of a run, the most costly first."""
    events = _lines(run, EVENTS)
    causes = _compilations(event for event in events if event.get("kind") == "compilation")
    sites = [{**_COST, **event} for event in events if event.get("kind") in COSTLY]
    sites.sort(key=lambda site: (COSTLY.index(site["kind"]), -site["count"]))
    warnings = [str(event.get("what", "")) for event in events if event.get("kind") == "warning"]
    return RunEvents(
        compilations=tuple(causes[:MOST]),
        more_causes=max(len(causes) - MOST, 0),
        sites=tuple(sites[:MOST]),
        more_sites=max(len(sites) - MOST, 0),
        warnings=tuple(dict.fromkeys([*map(str, run.head.get("warnings", ())), *warnings])),
    )


def _compilations(events: Iterable[Mapping[str, Any]]) -> list[CompilationCause]:
    found: dict[tuple[object, ...], CompilationCause] = {}
    for event in events:
        differs = tuple(str(words) for words in event.get("differs", ()))
        key = (event.get("why"), event.get("site"), differs)
        known = found.get(key) or CompilationCause(
            number=int(event.get("number", 0)),
            times=0,
            largest=0,
            why=str(event.get("why", "")),
            site=str(event.get("site", "")),
            nearest=event.get("nearest"),
            differs=differs,
        )
        largest = max(int(event.get("ops", 0)), known.largest)
        found[key] = replace(known, times=known.times + 1, largest=largest)
    return list(found.values())


def served_calls(recipes: Iterable[JudgedRecipe]) -> list[ServedCall]:
    """Return every CUDA call that stored runs of a port made, with the levels that make it.

    A call's line number changes between levels, so calls are distinguished by file and source text.
    """
    found: dict[tuple[str, ...], tuple[str, set[int]]] = {}
    for judged in recipes:
        for point, run in judged.runs.items():
            for row in _lines(run, MIGRATION):
                words = (str(row.get(word, "")).strip() for word in _CALL)
                key = (point.device, *words)
                site = f"{row.get('file', '')}:{row.get('line', '')}"
                found.setdefault(key, (site, set()))[1].add(point.level)
    return [
        ServedCall(device, site, source, kind, asked, served, tuple(sorted(levels)))
        for (device, _, source, kind, asked, served), (site, levels) in sorted(found.items())
    ]


def _lines(run: StoredRun, name: str) -> list[dict[str, Any]]:
    try:
        return read_rows(run.folder / name)
    except (OSError, ValueError):
        return []  # cut short: the rest of the run is shown nevertheless
