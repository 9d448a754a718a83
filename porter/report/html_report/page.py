"""The report as self-contained HTML files: no script, font or image from anywhere else.

One file holds everything; or each port has a file of its own, beside an index that names them.

Templates, style and script are in ``porter/report/html_report/templates``. Autoescaping is on
everywhere, a Content-Security-Policy forbids every request, and the page is complete without its
script.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from porter.report.html_report.counters import WIDTH, chart, exact
from porter.report.html_report.gather import Cell, ClaimResult, Results
from porter.terminal import counted
from porter.verify.recipe.schema import is_simulated

if TYPE_CHECKING:
    from jinja2 import Environment

    from porter.verify.judge.result import Verdict

FOLDER = Path(__file__).parent / "templates"
MOST_ROWS = 40
"""Claims that a cell shows; how many more hold is stated."""
MOST_FAILURES = 12
_COUNTS = ("count", "elements")
GLYPHS = {
    "pass": "✓", "baseline": "○", "fail": "✕", "error": "!", "skipped": "~", "missing": "·",
}  # fmt: skip
WORDS = {
    "pass": "holds",
    "baseline": "level 0, held to itself",
    "fail": "does not hold",
    "error": "could not be judged",
    "skipped": "not judged here",
    "missing": "no run stored",
}


INDEX = "index.html"


def as_html(results: Results) -> str:
    """Return everything as one page."""
    return _rendered(results)


def as_pages(results: Results) -> dict[str, str]:
    """Return the index and a page of each port, by the names of their files."""
    pages = {INDEX: _rendered(results, is_index=True)}
    for port in results.ports:
        alone = replace(results, ports=(port,), unreachable=())
        pages[page_of(port.name)] = _rendered(alone, home=INDEX)
    return pages


def page_of(port: str) -> str:
    """Return the name of a port's file beside the index."""
    return f"port-{port}.html"  # no port's name makes it the index


def _rendered(results: Results, *, is_index: bool = False, home: str = "") -> str:
    environment = _environment()
    page = environment.get_template("page.html")
    return page.render(
        results=results,
        is_index=is_index,
        home=home,
        style=_file("style.css"),
        script=_file("page.js"),
        failures=_failures(results),
        devices=sorted({cell.device for cell in results.cells()}),
        ids=_ids(results),
    )


@cache
def _environment() -> Environment:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(FOLDER),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    filters = (number, known_wrong, exact, percent, counted, chart, span, page_of)
    environment.filters |= {function.__name__: function for function in filters}
    environment.tests["simulated"] = is_simulated
    environment.globals |= {
        "GLYPHS": GLYPHS,
        "WORDS": WORDS,
        "MOST_ROWS": MOST_ROWS,
        "MOST_FAILURES": MOST_FAILURES,
        "WIDTH": WIDTH,
        "bar": bar,
    }
    return environment


@cache
def _file(name: str) -> Any:
    """Return one of porter's own files, not to be escaped."""
    from markupsafe import Markup

    return Markup((FOLDER / name).read_text(encoding="utf-8"))


def _ids(results: Results) -> Mapping[tuple[str, str, int, str], str]:
    """Return an id for every cell, by port, recipe, level and device: the same on any page."""
    numbers: Counter[str] = Counter()
    found = {}
    for port, recipe, cell in results.rows():
        numbers[port.name] += 1
        place = (port.name, recipe.name, cell.level, cell.device)
        found[place] = f"cell-{port.name}-{numbers[port.name]}"
    return found


@dataclass(frozen=True)
class Broken:
    """One claim that does not hold on a device, at the levels of ``cells``; ``worst`` is the result
    furthest from its limit. Parts of a run that ended alike, its ``outputs``, are one."""

    port: str
    recipe: str
    device: str
    outputs: tuple[str, ...]
    worst: ClaimResult
    cells: tuple[Cell, ...]


def _failures(results: Results) -> list[Broken]:
    """Return the claims that do not hold, each once per device."""
    found: dict[tuple[str, ...], list[tuple[Cell, ClaimResult]]] = {}
    for port, recipe, cell in results.rows():
        for row in (row for row in cell.rows if row.verdict.bad):
            v = row.verdict
            what = (v.detail, v.frames) if v.word == "error" and v.frames else (v.output, v.claim)
            key = (port.name, recipe.name, cell.device, v.word, *what)
            found.setdefault(key, []).append((cell, row))
    return [
        Broken(
            port=key[0],
            recipe=key[1],
            device=key[2],
            outputs=tuple(dict.fromkeys(row.verdict.output for _, row in rows)),
            worst=max((row for _, row in rows), key=lambda row: row.verdict.share or 0.0),
            cells=tuple({cell.level: cell for cell, _ in rows}.values()),
        )
        for key, rows in found.items()
    ]


def number(value: float | None, measure: str = "", *, unit: bool = True) -> str:
    """Return an error or, without its ``unit``, a limit: "2.9e-05", "8 ulps", "3,250".

    What counts is whole, however large.
    """
    if value is None:
        return ""
    if not math.isfinite(value):
        shown = {math.inf: "∞", -math.inf: "-∞"}.get(value, "NaN")
    elif value == int(value) and (abs(value) < 1e7 or measure in _COUNTS):
        shown = f"{value:,.0f}"
    elif 0.01 <= abs(value) < 10_000:
        shown = f"{value:,.4g}"
    else:
        shown = f"{value:.1e}"
    return f"{shown} {measure}" if unit and measure in ("elements", "ulps", "dB") else shown


def known_wrong(verdict: Verdict) -> str:
    """Return what known wrong trees measure by a claim, the nearest first: "7 to 320"; or ""."""
    known = verdict.known_wrong
    if known is None:
        return ""
    is_whole = known.measure in _COUNTS
    texts = [
        number(end, known.measure, unit=False)
        if is_whole or abs(end) < 10_000 or not math.isfinite(end)
        else f"{end:.1e}"
        for end in (known.nearest, known.farthest)
    ]
    return " to ".join(dict.fromkeys(texts))


def percent(share: float | None) -> str:
    """Return the used part of an allowance: "0 %", "42 %", "13x"."""
    if share is None:
        return ""
    if not math.isfinite(share):
        return "∞"
    if share >= 10:
        return f"{share:,.0f}x" if share < 1e6 else "over 1,000,000x"
    return f"{share * 100:.0f} %" if share == 0 or share >= 0.005 else "<1 %"


def bar(share: float | None) -> int:
    """Return a bar's length in percent; 100 is the limit."""
    if share is None:
        return 0
    return 100 if not share < 1 else round(share * 100)


def span(levels: tuple[int, ...]) -> str:
    """Return level numbers in short form: "0-2, 5"."""
    parts: list[list[int]] = []
    for level in levels:
        if parts and level == parts[-1][-1] + 1:
            parts[-1].append(level)
        else:
            parts.append([level])
    return ", ".join(f"{p[0]}-{p[-1]}" if len(p) > 1 else str(p[0]) for p in parts)
