"""The report as JSON (everything but pictures and diffs), and its counters as Markdown tables."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from porter.report.html_report.counters import MAIN, LevelCounters, exact
from porter.report.html_report.gather import ClaimResult, PortSection, RecipeSection, Results
from porter.verify.judge.result import number_to_json, verdict_to_json
from porter.verify.recipe.schema import is_simulated


def as_plain(results: Results) -> dict[str, Any]:
    """Return plain values that JSON can hold; infinities and NaN are texts."""
    return {
        "version": 1,
        "project": results.project,
        "porter": results.version,
        "made": results.made,
        "sandbox": results.sandbox,
        "cells": dict(results.words),
        "claims": dict(results.claims),
        "ports": [_port(port) for port in results.ports],
        "not_reachable": list(results.unreachable),
    }


def _port(port: PortSection) -> dict[str, Any]:
    return {
        "port": port.name,
        "pin": port.pinned,
        "levels": [
            {"number": level.number, "name": level.name}
            | ({"tree": level.tree} if level.is_foreign else {})
            for level in port.levels
        ],
        "recipes": [_recipe(recipe) for recipe in port.recipes],
        "migrated_calls": [asdict(call) for call in port.calls],
    }


def _recipe(recipe: RecipeSection) -> dict[str, Any]:
    return {
        "recipe": recipe.name,
        "title": recipe.title,
        "runs_stored": recipe.stored,
        "runs_wanted": recipe.wanted,
        "sandbox": recipe.sandbox,
        "cells": [
            {
                "level": cell.level,
                "level_name": cell.level_name,
                "device": cell.device,
                "simulated": is_simulated(cell.device),
                "verdict": cell.word,
                "claims": [_claim(row) for row in cell.rows],
            }
            for cell in recipe.cells.values()
        ],
        "counters": [
            {
                "device": counters.device,
                "device_title": counters.device_title,
                "counters": [asdict(series) for series in counters.table],
            }
            for counters in recipe.counters
        ],
    }


def _claim(row: ClaimResult) -> dict[str, Any]:
    """Return a verdict's JSON without its cell's fields, and with share and seeds."""
    verdict = verdict_to_json(row.verdict)
    return {
        "output": verdict["output"] or "",
        "claim": verdict["claim"] or "",
        "dtype": verdict["dtype"] or "",
        "variant": dict(row.verdict.variant),
        "verdict": verdict["verdict"],
        "measure": verdict["measure"] or "",
        "error": verdict["error"],
        "allowed": verdict["allowed"],
        "known_wrong": verdict["known_wrong"],
        "share": number_to_json(row.verdict.share),
        "seeds": row.seeds,
        "detail": verdict["detail"] or "",
    }


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
    shown = [s for s in counters.table if s.is_claimed or s.name in MAIN or "/" not in s.name]
    levels = shown[0].levels if shown else ()
    heads = [f"{n} {name}" for n, name in zip(levels, counters.level_names, strict=False)]
    yield f"| counter | {' | '.join(map(_text, heads))} |"
    yield f"| --- |{' ---: |' * len(heads)}"
    for series in shown:
        for label, values in series.values.items():
            name = f"`{_text(series.name)}`" + (f", {_text(label)}" if label else "")
            yield f"| {name} | {' | '.join(exact(value) for value in values)} |"


def _text(text: str) -> str:
    return " ".join(text.split()).replace("\\", "\\\\").replace("|", "\\|")
