"""What a report's style and structure promise of small screens, held without a browser."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from porter.cli import main
from porter.report.html_report.counters import SLOT, WIDTH, CounterSeries, chart
from porter.report.html_report.page import FOLDER

if TYPE_CHECKING:
    from tests.report.stored_project import StoredProject

STYLE = re.sub(
    r"/\*.*?\*/", "", (FOLDER / "style.css").read_text(encoding="utf-8"), flags=re.DOTALL
)
RULE = re.compile(r"([^{}]+)\{([^{}]*)\}")


def declarations(selector: str, style: str = STYLE) -> dict[str, str]:
    """Return what the rules of exactly one selector declare, later rules over earlier ones."""
    found: dict[str, str] = {}
    for names, body in RULE.findall(style):
        if " ".join(names.split()) == selector:
            for part in filter(str.strip, body.split(";")):
                name, _, value = part.partition(":")
                found[name.strip()] = value.strip()
    return found


def in_media(query: str) -> str:
    """Return the style within a media query."""
    start = STYLE.index(f"@media ({query}) {{")
    end = STYLE.index("\n}", start)
    return STYLE[STYLE.index("{", start) + 1 : end]


PLAIN = STYLE[: STYLE.index("@media (max-width")]


def test_chart_labels_are_at_least_11_pixels_at_any_size_of_the_page() -> None:
    sizes = [
        float(size)
        for names, body in RULE.findall(STYLE)
        if "text" in names and ".chart" in names
        for size in re.findall(r"(?<![\w.])([\d.]+)px", body)
    ]

    assert sizes
    assert min(sizes) >= 11
    # A chart is shown at its width or larger: it scrolls where it does not fit.
    part = (FOLDER / "parts.html").read_text(encoding="utf-8")
    assert 'style="min-width:{{ drawn.width }}px"' in part
    for levels in (1, 8, 12):
        values = {"": tuple(float(n) for n in range(levels))}
        drawn = chart(CounterSeries("ops", tuple(range(levels)), values, False))
        assert drawn.width >= WIDTH
        assert drawn.width >= SLOT * levels


def test_the_first_column_stays_and_failing_levels_come_first_on_small_screens() -> None:
    small = in_media("max-width: 60rem")

    assert declarations(".matrix .on th", PLAIN)["position"] == "sticky"
    assert declarations(".matrix .corner", PLAIN)["position"] == "sticky"
    assert declarations(".matrix tr", small)["display"] == "flex"
    orders = [
        int(declarations(f".matrix tr > {which}", small)["order"])
        for which in (":first-child", ".bad", "*", ".rest")
    ]
    assert orders == sorted(set(orders))


def test_that_there_is_more_to_scroll_to_is_told_and_shown() -> None:
    assert declarations(".cue", PLAIN)["display"] == "none"
    assert declarations(".cue", in_media("max-width: 40rem"))["display"] == "block"
    assert declarations(".sheer", PLAIN)["background"].count("scroll no-repeat") == 2


@pytest.mark.parametrize(
    "selector",
    [
        ".claims th, .claims tr:not(.detail) td, .places :is(th, td), .data :is(th, td)",
        ".cell",
        ".matrix thead a",
        ".matrix .on th",
        ".n",
    ],
)
def test_nothing_wraps_inside_a_cell(selector: str) -> None:
    assert declarations(selector)["white-space"] == "nowrap"


def test_every_cell_of_a_failing_level_is_marked(stored: StoredProject) -> None:
    from tests.report.stored_project import picture
    from tests.report.test_page import page_of

    stored.runs[1, "cpu"] = {"outputs": {"image": picture("float32", 0.1)}}

    page = page_of(stored)

    marked = [at.get("class") or "" for name, at in page.tags if name in ("th", "td")]
    assert sum("bad" in words.split() for words in marked) == 3  # its heading, and two devices
    assert "scroll sideways" not in page.text  # three levels fit


def test_more_levels_than_fit_a_phone_are_told(stored: StoredProject) -> None:
    from tests.report.stored_project import picture
    from tests.report.test_page import page_of
    from tests.small_port import changed

    stored.port.add_patch("three", changed("a.py", 7))
    assert main(["lock", "small"]) == 0
    stored.runs[1, "cpu"] = {"outputs": {"image": picture("float32", 0.1)}}

    page = page_of(stored)

    assert "4 levels: scroll sideways for the others. Those that fail come first." in page.text
