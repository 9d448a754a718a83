"""Counters of a recipe across levels: those drawn as charts, and all of them as a table."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from porter.verify.plan.matrix import RunSpec, judged_specs

if TYPE_CHECKING:
    from porter.report.html_report.judged import JudgedRecipe

MAIN = (
    "compilations", "graph_cache_hits", "graphs", "ops", "kernels", "cpu_fallback", "host_sync",
    "h2d", "d2h", "captures", "replays", "replayed_ops", "migrated_calls", "dynamic_shape",
    "missing_dtype",
)  # fmt: skip
"""The counters to show first, in this order."""
MOST_DRAWN = 8


@dataclass(frozen=True)
class CounterSeries:
    """One counter across levels: by variant (a label) the value at each level, None where no run is
    stored or the run does not count it."""

    name: str
    levels: tuple[int, ...]
    values: Mapping[str, tuple[float | None, ...]]
    is_claimed: bool

    @property
    def is_zero(self) -> bool:
        """Whether it is 0 everywhere."""
        return not any(value for values in self.values.values() for value in values)


@dataclass(frozen=True)
class LevelCounters:
    """All counters of a recipe on one device. ``drawn`` are those shown as charts."""

    device: str
    device_title: str
    dtype: str
    level_names: tuple[str, ...]
    drawn: tuple[CounterSeries, ...]
    table: tuple[CounterSeries, ...]
    zero: tuple[str, ...]


def level_counters(judged: JudgedRecipe) -> list[LevelCounters]:
    """Return the counters of each device with any, for the first seed and dtype."""
    planned = judged.planned
    recipe = planned.loaded.recipe
    found = []
    for device in planned.devices:
        specs = [
            spec
            for spec in judged_specs(planned)
            if (spec.device, spec.seed) == (device, recipe.seeds[0])
            and spec.dtype == recipe.dtypes[0]
            and spec in judged.runs
        ]
        names = {name for spec in specs for name in judged.runs[spec].counters}
        if names:
            found.append(_on_device(judged, device, specs, names))
    return [counters for counters in found if counters.table]


def _on_device(
    judged: JudgedRecipe, device: str, specs: list[RunSpec], names: Iterable[str]
) -> LevelCounters:
    claims = [c for c in judged.planned.loaded.recipe.claims if c.subject == "counters"]
    levels = tuple(sorted({spec.level for spec in specs}))
    labels = list(dict.fromkeys(_label(spec) for spec in specs))
    at = {(spec.level, _label(spec)): judged.runs[spec].counters for spec in specs}

    def series(name: str) -> CounterSeries:
        values = {
            label: tuple(at.get((level, label), {}).get(name) for level in levels)
            for label in labels
        }
        return CounterSeries(name, levels, values, any(claim.names(name) for claim in claims))

    everything = sorted((series(name) for name in names), key=_rank)
    shown = tuple(one for one in everything if one.is_claimed or not one.is_zero)
    drawn = [one for one in shown if one.is_claimed or _is_main(one.name)]
    return LevelCounters(
        device=device,
        device_title=judged.runs[specs[0]].device_title,
        dtype=specs[0].dtype,
        level_names=tuple(judged.planned.levels[level].name for level in levels),
        drawn=tuple(drawn[:MOST_DRAWN]),
        table=shown,
        zero=tuple(one.name for one in everything if one.is_zero and not one.is_claimed),
    )


def _label(spec: RunSpec) -> str:
    return ", ".join(f"{name}={value}" for name, value in spec.variant)


def _is_main(name: str) -> bool:
    return name in MAIN or ("/" not in name and not name.endswith("_bytes"))


def _rank(series: CounterSeries) -> tuple[object, ...]:
    """Order claimed counters first, then the main ones, then the rest by name."""
    order = MAIN.index(series.name) if series.name in MAIN else len(MAIN)
    return (not series.is_claimed, "/" in series.name, order, series.name)
