"""The report in a real browser: its script runs, nothing fails, no requests, it fits a phone."""

from __future__ import annotations

import json
import re
import shutil
import struct
import subprocess
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.processes import PATIENCE

if TYPE_CHECKING:
    from tests.report.stored_project import StoredProject

BROWSER = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
pytestmark = pytest.mark.skipif(BROWSER is None, reason="no Chromium on this machine")

LISTEN = """<script>
var refused = 0;
addEventListener("securitypolicyviolation", () => { refused += 1; });
</script>"""
PROBE = """<script>
addEventListener("load", () => {
  const cells = [...document.querySelectorAll("button.cell")];
  const form = document.querySelector("form.filter");
  const rows = [...document.querySelectorAll("tr.on")];
  const shown = () => rows.filter((row) => row.checkVisibility()).length;
  const state = {
    script: !form.hidden, rows: shown(),
    inner: innerWidth, wide: document.documentElement.scrollWidth,
    refused, requests: performance.getEntriesByType("resource").map((entry) => entry.name),
  };
  form.device.value = "cpu"; form.dispatchEvent(new Event("input")); state.cpu = shown();
  form.device.value = ""; form.bad.checked = true; form.dispatchEvent(new Event("input"));
  state.bad = shown(); form.bad.checked = false; form.dispatchEvent(new Event("input"));
  cells[0].click();
  state.open = document.querySelectorAll(".sheet:popover-open").length;
  state.inside = document.querySelector(".sheet:popover-open").getBoundingClientRect().width;
  document.title = JSON.stringify(state);
});
</script>"""


@pytest.fixture
def page(stored: StoredProject, tmp_path: Path) -> Path:
    from porter.report.html_report.page import as_html
    from tests.report.stored_project import picture

    stored.runs[2, "cpu"] = {"outputs": {"image": picture("float32", 0.1)}}
    stored.store()
    path = tmp_path / "report.html"
    path.write_text(as_html(stored.gather()))
    return path


def browse(
    page: Path, folder: Path, *arguments: str, width: int = 1280
) -> subprocess.CompletedProcess[str]:
    assert BROWSER is not None
    command = [
        BROWSER, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars",
        "--disable-background-networking", "--no-first-run", "--enable-logging=stderr",
        f"--user-data-dir={folder / 'profile'}", f"--window-size={width},844",
        "--virtual-time-budget=2000", *arguments, page.as_uri(),
    ]  # fmt: skip
    return subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=True)


def probed(page: Path, folder: Path, width: int) -> dict[str, Any]:
    copy = folder / "probed.html"
    html = page.read_text().replace("<head>", f"<head>{LISTEN}", 1)
    copy.write_text(html.replace("</body>", f"{PROBE}</body>"))
    done = browse(copy, folder, "--dump-dom", width=width)
    assert "CONSOLE" not in done.stderr
    title = re.search(r"<title>(\{.*\})</title>", done.stdout)
    assert title, done.stderr
    state: dict[str, Any] = json.loads(title[1].replace("&quot;", '"'))
    return state


@pytest.mark.parametrize("width", [390, 1280])
def test_the_page_works_and_fits(page: Path, tmp_path: Path, width: int) -> None:
    state = probed(page, tmp_path, width)

    assert state["script"] is True
    assert state["refused"] == 0
    assert [name for name in state["requests"] if not name.startswith("data:")] == []
    assert (state["rows"], state["cpu"], state["bad"], state["open"]) == (2, 1, 1, 1)
    assert state["wide"] <= state["inner"]
    assert 0 < state["inside"] <= state["inner"]


def test_a_screenshot_is_not_blank(page: Path, tmp_path: Path) -> None:
    shot = tmp_path / "shot.png"

    browse(page, tmp_path, f"--screenshot={shot}", width=390)

    width, height, values = pixels(shot.read_bytes())
    assert (width, height) == (390, 844)
    assert len(values) > 60


def pixels(png: bytes) -> tuple[int, int, set[int]]:
    """Return width, height, and the different bytes of the (filtered) rows."""
    width, height = struct.unpack(">II", png[16:24])
    at, body = 8, b""
    while at < len(png):
        (length,) = struct.unpack(">I", png[at : at + 4])
        if png[at + 4 : at + 8] == b"IDAT":
            body += png[at + 8 : at + 8 + length]
        at += length + 12
    return width, height, set(zlib.decompress(body))


MEASURE = """<script>
addEventListener("load", () => {
  for (const element of document.querySelectorAll("details")) element.open = true;
  const sticky = document.querySelector("tr.on th").getBoundingClientRect();
  const box = document.querySelector(".sheer").getBoundingClientRect();
  const inside = (element) => {
    const at = element.getBoundingClientRect();
    return at.left >= sticky.right - 1 && at.right <= Math.min(box.right, innerWidth) + 1;
  };
  const scales = [...document.querySelectorAll(".chart text")].map((text) =>
    parseFloat(getComputedStyle(text).fontSize) * text.getScreenCTM().a);
  const wraps = [];
  for (const cell of document.querySelectorAll("table :is(th, td)")) {
    if (cell.closest(".detail, .recipe") || !cell.checkVisibility()) continue;
    for (const walk = document.createTreeWalker(cell, NodeFilter.SHOW_TEXT); walk.nextNode();) {
      const range = document.createRange();
      range.selectNodeContents(walk.currentNode);
      const tops = new Set([...range.getClientRects()].map((rect) => Math.round(rect.top)));
      if (tops.size > 1 && walk.currentNode.data.trim()
          && getComputedStyle(walk.currentNode.parentElement).writingMode === "horizontal-tb")
        wraps.push(walk.currentNode.data.trim());
    }
  }
  const scroller = document.querySelector(".sheer");
  const scrolls = scroller.scrollWidth > scroller.clientWidth;
  const bad = [...document.querySelectorAll(".cell.fail")].map(inside);
  scroller.scrollLeft = 60;
  const after = document.querySelector("tr.on th").getBoundingClientRect();
  parent.postMessage(JSON.stringify({
    inner: innerWidth, dark: matchMedia("(prefers-color-scheme: dark)").matches,
    wide: document.documentElement.scrollWidth, bad, scrolls,
    smallest: Math.min(...scales), charts: scales.length, wraps,
    stays: Math.abs(after.left - sticky.left) <= 1,
    cue: document.querySelector(".cue").checkVisibility(),
  }), "*");
});
</script>"""


@pytest.fixture
def many_levels(stored: StoredProject, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A report with ten levels, of which the last fails on one device."""
    from porter.report.html_report.page import as_html
    from tests.report.stored_project import lock, picture
    from tests.small_port import changed

    for number in range(3, 10):
        stored.port.add_patch(f"a-level-of-a-long-name-{number}", changed("a.py", 4 + number))
    lock(monkeypatch, stored)
    stored.runs[9, "cpu"] = {"outputs": {"image": picture("float32", 0.1)}}
    stored.store()
    path = tmp_path / "many.html"
    path.write_text(as_html(stored.gather()))
    return path


def test_what_fails_is_seen_and_nothing_wraps_at_any_width(
    many_levels: Path, tmp_path: Path
) -> None:
    """In frames of these widths: a window of headless Chromium is no narrower than 500."""
    inner = tmp_path / "inner.html"
    inner.write_text(many_levels.read_text().replace("</body>", f"{MEASURE}</body>"))
    frames = "".join(
        f'<iframe src="inner.html" width="{width}" height="844" style="border:0"></iframe>'
        for width in (390, 768, 1280)
    )
    outer = tmp_path / "outer.html"
    outer.write_text(
        "<script>const all = []; onmessage = (event) => { all.push(JSON.parse(event.data));"
        f" document.title = JSON.stringify({{all}}); }};</script>{frames}"
    )
    for dark in (False, True):
        scheme = f"--blink-settings=preferredColorScheme={0 if dark else 1}"

        done = browse(outer, tmp_path, "--dump-dom", scheme, width=1400)

        title = re.search(r"<title>(\{.*\})</title>", done.stdout)
        assert title, done.stderr
        states = json.loads(title[1].replace("&quot;", '"'))["all"]
        assert sorted(state["inner"] for state in states) == [390, 768, 1280]
        for state in states:
            assert state["dark"] == dark
            assert state["wide"] <= state["inner"]
            assert state["bad"] == [True]
            assert state["charts"] > 0
            assert state["smallest"] >= 11
            assert state["wraps"] == []
            assert state["stays"]
            assert state["cue"] == (state["inner"] == 390)
            assert state["scrolls"] == (state["inner"] < 1280)
