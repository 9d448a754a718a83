"""The report as plain values, for programs: everything but pictures and diffs."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

from porter.report.html_report.cells import Cell
from porter.report.html_report.gather import PortReport, RecipeReport, Results


def as_plain(results: Results) -> dict[str, Any]:
    """Return values that JSON can hold; infinities and NaN are texts."""
    return {
        "version": 1,
        "project": results.project,
        "porter": results.version,
        "made": results.made,
        "cells": dict(results.words),
        "claims": dict(results.claims),
        "ports": [_port(port) for port in results.ports],
        "not_reachable": list(results.unreachable),
    }


def _port(port: PortReport) -> dict[str, Any]:
    return {
        "port": port.name,
        "pin": port.pinned,
        "levels": [{"number": level.number, "name": level.name} for level in port.levels],
        "recipes": [_recipe(recipe) for recipe in port.recipes],
        "migrated_calls": [dataclasses.asdict(call) for call in port.calls],
    }


def _recipe(recipe: RecipeReport) -> dict[str, Any]:
    return {
        "recipe": recipe.name,
        "title": recipe.title,
        "runs_stored": recipe.stored,
        "runs_wanted": recipe.wanted,
        "cells": [_cell(cell) for cell in recipe.cells.values()],
        "counters": [
            {
                "device": counters.device,
                "device_title": counters.device_title,
                "counters": [dataclasses.asdict(series) for series in counters.table],
            }
            for counters in recipe.counters
        ],
    }


def _cell(cell: Cell) -> dict[str, Any]:
    return {
        "level": cell.level,
        "level_name": cell.level_name,
        "device": cell.device,
        "simulated": cell.is_simulated,
        "verdict": cell.word,
        "claims": [
            {
                "output": row.verdict.output,
                "claim": row.verdict.claim,
                "dtype": row.verdict.dtype,
                "variant": dict(row.verdict.variant),
                "verdict": row.verdict.word,
                "measure": row.verdict.measure,
                "error": _finite(row.verdict.error),
                "allowed": _finite(row.verdict.allowed),
                "share": _finite(row.share),
                "seeds": row.seeds,
                "detail": row.verdict.detail,
            }
            for row in cell.rows
        ],
    }


def _finite(value: float | None) -> float | str | None:
    return value if value is None or math.isfinite(value) else str(value)
