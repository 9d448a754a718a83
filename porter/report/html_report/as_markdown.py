"""Counters across levels as Markdown tables, for documentation."""

from __future__ import annotations

from collections.abc import Iterator

from porter.report.html_report.charts import exact
from porter.report.html_report.counters import MAIN, CounterSeries, LevelCounters
from porter.report.html_report.gather import RecipeSection, Results
from porter.verify.recipe.schema import is_simulated


def as_markdown(results: Results) -> str:
    """Return a table per recipe and device with counters: a row per claimed or main counter and
    variant, a column per level."""
    blocks = [
        "\n".join(_table(port.name, recipe, counters))
        for port in results.ports
        for recipe in port.recipes
        for counters in recipe.counters
    ]
    if not blocks:
        return "No stored run has counters: run `porter verify` first."
    return "\n\n".join(blocks)


def _table(port: str, recipe: RecipeSection, counters: LevelCounters) -> Iterator[str]:
    device = f"{counters.device} (simulated)" if is_simulated(counters.device) else counters.device
    yield f"#### {port}/{recipe.name} on {device}"
    yield ""
    yield f"{_text(recipe.title)}; {counters.dtype}; `porter report {port} --format markdown`"
    yield ""
    shown = [series for series in counters.table if _is_shown(series)]
    levels = shown[0].levels if shown else ()
    heads = [f"{n} {name}" for n, name in zip(levels, counters.level_names, strict=False)]
    yield f"| counter | {' | '.join(map(_text, heads))} |"
    yield f"| --- |{' ---: |' * len(heads)}"
    for series in shown:
        for label, values in series.values.items():
            name = f"`{_text(series.name)}`" + (f", {_text(label)}" if label else "")
            yield f"| {name} | {' | '.join(exact(value) for value in values)} |"


def _is_shown(series: CounterSeries) -> bool:
    return series.is_claimed or series.name in MAIN or "/" not in series.name


def _text(text: str) -> str:
    return " ".join(text.split()).replace("\\", "\\\\").replace("|", "\\|")
