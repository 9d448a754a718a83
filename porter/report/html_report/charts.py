"""Column charts of counters across levels: geometry here, SVG in the page's template."""

from __future__ import annotations

from dataclasses import dataclass

from porter.report.html_report.counters import CounterSeries

WIDTH, HEIGHT = 320, 132
_TOP, _BOTTOM, _SIDE = 20, 20, 4
MOST_SHADES = 4


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
class Tick:
    """A level's number below its bars."""

    x: float
    text: str


@dataclass(frozen=True)
class Chart:
    """A chart of ``width`` x ``height`` user units; ``summary`` describes the bars in words."""

    name: str
    columns: tuple[Column, ...]
    ticks: tuple[Tick, ...]
    legend: tuple[str, ...]
    summary: str
    is_claimed: bool
    is_zero: bool
    left_out: int
    width: int = WIDTH
    height: int = HEIGHT
    base: int = HEIGHT - _BOTTOM


def chart(series: CounterSeries) -> Chart:
    """Draw a counter: a group of bars per level, a bar per variant (at most four)."""
    labels = list(series.values)[:MOST_SHADES]
    counted = [value for label in labels for value in series.values[label] if value is not None]
    greatest = max(counted, default=0) or 1
    slot = (WIDTH - 2 * _SIDE) / max(len(series.levels), 1)
    bar = min(slot * 0.8 / max(len(labels), 1), 36)
    columns, ticks = [], []
    for position, level in enumerate(series.levels):
        middle = _SIDE + slot * (position + 0.5)
        ticks.append(Tick(round(middle, 1), str(level)))
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
                    text=short(value) if bar * len(labels) >= 24 or len(labels) == 1 else "",
                    title=f"level {level}{', ' + label if label else ''}: {exact(value)}",
                )
            )
    return Chart(
        name=series.name,
        columns=tuple(columns),
        ticks=tuple(ticks),
        legend=tuple(label for label in labels if label),
        summary=_summary(series),
        is_claimed=series.is_claimed,
        is_zero=series.is_zero,
        left_out=len(series.values) - len(labels),
    )


def _summary(series: CounterSeries) -> str:
    parts = []
    for label, values in series.values.items():
        ends = [v for v in values if v is not None]
        if ends:
            where = f" with {label}" if label else ""
            parts.append(
                f"{exact(ends[0])} at the first level, {exact(ends[-1])} at the last{where}"
            )
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
