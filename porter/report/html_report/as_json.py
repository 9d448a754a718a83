"""The report as JSON, for programs: everything but pictures and diffs."""

from __future__ import annotations

import dataclasses
from typing import Any

from porter.report.html_report.cells import Cell, ClaimResult
from porter.report.html_report.gather import PortSection, RecipeSection, Results
from porter.verify.judge.result import number_to_json, verdict_to_json


def as_plain(results: Results) -> dict[str, Any]:
    """Return plain values that JSON can hold; infinities and NaN are texts."""
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


def _port(port: PortSection) -> dict[str, Any]:
    return {
        "port": port.name,
        "pin": port.pinned,
        "levels": [{"number": level.number, "name": level.name} for level in port.levels],
        "recipes": [_recipe(recipe) for recipe in port.recipes],
        "migrated_calls": [dataclasses.asdict(call) for call in port.calls],
    }


def _recipe(recipe: RecipeSection) -> dict[str, Any]:
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
        "claims": [_claim(row) for row in cell.rows],
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
        "share": number_to_json(row.share),
        "seeds": row.seeds,
        "detail": verdict["detail"] or "",
    }
