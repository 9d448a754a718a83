"""Counters of a recipe across levels: those drawn as column charts, and all of them as a table.

A chart's geometry is computed here; its SVG is in the page's template.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from porter.verify.plan.matrix import RunSpec, judged_specs

if TYPE_CHECKING:
    from porter.report.html_report.stored import JudgedRecipe

MAIN = (
    "compilations", "graph_cache_hits", "graphs", "ops", "kernels", "cpu_fallback", "host_sync",
    "h2d", "d2h", "captures", "replays", "replayed_ops", "migrated_calls", "dynamic_shape",
    "missing_dtype",
)  # fmt: skip
"""The counters to show first, in this order."""
MOST_DRAWN = 8
MOST_SHADES = 4
WIDTH, HEIGHT = 240, 120
"""Of a chart, in CSS pixels: a page shows it at this size or larger, so its text is never smaller
than the style says."""
SLOT = 30
"""The least width of a level's bars, and so the most of a value's text above them."""
_TOP, _BOTTOM, _SIDE = 22, 20, 4


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


@dataclass(frozen=True)
class Column:
    """One bar. ``shade`` is the number of its variant, ``text`` its value in short form."""

    x: float
    y: float
    width: float
    height: float
    shade: int
    text: str
    title: str


@dataclass(frozen=True)
class Chart:
    """A chart of ``width`` x ``height`` CSS pixels; ``summary`` describes the bars in words.

    ``ticks`` are the levels, each below its bars.
    """

    series: CounterSeries
    columns: tuple[Column, ...]
    ticks: tuple[tuple[float, int], ...]
    legend: tuple[str, ...]
    summary: str
    width: int = WIDTH
    height: int = HEIGHT
    base: int = HEIGHT - _BOTTOM


def chart(series: CounterSeries) -> Chart:
    """Draw a counter: a group of bars per level, a bar per variant (at most four)."""
    labels = list(series.values)[:MOST_SHADES]
    counted = [value for label in labels for value in series.values[label] if value is not None]
    greatest = max(counted, default=0) or 1
    width = max(WIDTH, 2 * _SIDE + SLOT * len(series.levels))
    slot = (width - 2 * _SIDE) / max(len(series.levels), 1)
    bar = min(slot * 0.8 / max(len(labels), 1), 36)
    columns, ticks = [], []
    for position, level in enumerate(series.levels):
        middle = _SIDE + slot * (position + 0.5)
        ticks.append((round(middle, 1), level))
        for shade, label in enumerate(labels):
            value = series.values[label][position]
            if value is None:
                continue
            height = (HEIGHT - _TOP - _BOTTOM) * value / greatest
            height = max(height, 1.5 if value else 0.5)
            left = middle + (shade - len(labels) / 2) * bar
            columns.append(
                Column(
                    x=round(left + bar * 0.06, 1),
                    y=round(HEIGHT - _BOTTOM - height, 1),
                    width=round(bar * 0.88, 1),
                    height=round(height, 1),
                    shade=shade,
                    text=short(value) if bar >= 24 or len(labels) == 1 else "",
                    title=f"level {level}{', ' + label if label else ''}: {exact(value)}",
                )
            )
    return Chart(
        series=series,
        columns=tuple(columns),
        ticks=tuple(ticks),
        legend=tuple(label for label in labels if label),
        summary=_summary(series),
        width=width,
    )


def _summary(series: CounterSeries) -> str:
    parts = []
    for label, values in series.values.items():
        ends = [v for v in values if v is not None]
        if ends:
            where = f" with {label}" if label else ""
            last = f"{exact(ends[-1])} at the last{where}"
            parts.append(f"{exact(ends[0])} at the first level, {last}")
    return f"{series.name}: " + "; ".join(parts)


def exact(value: float | None) -> str:
    """Return a counter's value in full: "1,625.25", "12"."""
    if value is None:
        return "-"
    return f"{value:,.0f}" if value == int(value) else f"{value:,.6g}"


def short(value: float) -> str:
    """Return a counter's value in at most five characters: "12", "1.6k", "2.6M"."""
    for unit, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= unit:
            shown = f"{value / unit:.1f}".removesuffix(".0")
            return f"{shown if len(shown) < 5 else f'{value / unit:.0f}'}{letter}"
    return f"{value:.3g}"
