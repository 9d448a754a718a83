"""The HTML report: what it shows, that it asks nobody for anything, that nothing gets injected."""

from __future__ import annotations

import json
import math
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from porter.cli import main

if TYPE_CHECKING:
    from tests.report.stored_project import StoredProject

HOSTILE = "</script><script>alert(1)</script><img src=x onerror=alert(1)>\"'&"


class Page(HTMLParser):
    """Tags with their attributes, and the text of what stands outside style and script."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self._text: list[str] = []
        self._inside = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self._inside = tag

    def handle_endtag(self, tag: str) -> None:
        self._inside = ""

    def handle_data(self, data: str) -> None:
        if self._inside not in ("style", "script"):
            self._text.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self._text).split())

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


def page_of(project: StoredProject) -> Page:
    from porter.report.html_report.page import as_html

    project.store()
    return Page(as_html(project.gather()))


def cells(page: Page) -> dict[str, str]:
    """Return what each cell of the matrix says, by "level device"."""
    found = {}
    for button in page.all("button"):
        if "cell" in (button.get("class") or "").split():
            device, level, said = re.match(
                r"(.*), level (\d+) \S+: (.*)", button["aria-label"] or ""
            ).groups()  # type: ignore[union-attr]
            found[f"{level} {device}"] = said
    return found


def test_every_cell_says_what_came_of_it(stored: StoredProject) -> None:
    from tests.report.stored_project import picture

    stored.runs[2, "cpu"] = {"outputs": {"image": picture("float32", 0.1)}}
    stored.runs[1, "sim:hpu"] = {"counters": {"compilations": 9}}
    stored.skipped.add((2, "sim:hpu"))

    page = page_of(stored)

    said = cells(page)
    assert said["0 cpu"].startswith("level 0, held to itself")
    assert said["1 cpu"].startswith("holds, 1 claim, at most ")
    assert said["2 cpu"] == "does not hold, 1 of 1 claim"
    assert said["1 sim:hpu"] == "does not hold, 1 of 2 claims"
    assert "2 sim:hpu" not in said
    assert "2 claims of 7 do not hold." in page.text
    assert "1 without a stored run" in page.text
    assert "porter compare small upstream two --recipe one --device cpu" in page.text


def test_a_cell_opens_the_errors_against_what_is_allowed(stored: StoredProject) -> None:
    page = page_of(stored)

    sheets = {tag["id"] for tag in page.all("section") if "popover" in tag}
    targets = {button["popovertarget"] for button in page.all("button")}
    assert len(sheets) == 6
    assert targets == sheets
    assert page.text.count("Of the allowance") == 6


def test_what_known_wrong_trees_measure_stands_beside_the_bound(
    stored: StoredProject, capsys: pytest.CaptureFixture[str]
) -> None:
    from porter.report.html_report.page import as_html
    from porter.verify.judge.result import KnownWrong
    from porter.verify.known_wrong import write_measured
    from porter.verify.recipe.claim_key import claim_key

    stored.store()
    claim = stored.plan().loaded.recipe.claims[1]
    known = {(claim_key(claim), "count"): KnownWrong("count", 5.0, 1200.0, 7)}
    write_measured(stored.port.root, "small", {"one": known})

    page = Page(as_html(stored.gather()))

    cell, *others = [td for td in page.all("td") if td.get("data-label") == "known wrong"]
    assert "7 wrong versions" in (cell["title"] or "")
    assert len(others) == 2  # a level each, on sim:hpu alone
    assert page.text.count("5 to 1,200") == 3
    assert page.text.count("Known wrong") == 3
    main(["report", "--format", "json"])
    data = json.loads(capsys.readouterr().out)
    claims = [c for cell in data["ports"][0]["recipes"][0]["cells"] for c in cell["claims"]]
    assert [c["known_wrong"]["nearest"] for c in claims if c["known_wrong"]] == [5, 5, 5]


@pytest.mark.parametrize(
    ("measure", "nearest", "farthest", "text"),
    [
        ("ulps", 7, 320.0, "7 to 320"),
        ("ulps", 8387304.0, 1.4e11, "8.4e+06 to 1.4e+11"),
        ("count", 8, 23456789, "8 to 23,456,789"),
        ("max", 0.25, 0.25, "0.25"),
        ("max", 0.25, math.inf, "0.25 to ∞"),
    ],
)
def test_a_range_is_short(measure: str, nearest: float, farthest: float, text: str) -> None:
    from porter.report.html_report.page import known_wrong
    from porter.verify.judge.result import KnownWrong, Verdict

    known = KnownWrong(measure, nearest, farthest, 2)
    verdict = Verdict(1, "one", "float32", 0, "y", "equal", "pass", known_wrong=known)

    assert known_wrong(verdict) == text


def test_simulated_is_said_wherever_a_simulated_result_is_shown(stored: StoredProject) -> None:
    page = page_of(stored)

    said = re.findall(r"sim:hpu(?! simulated).{10}", page.text)
    assert said == ["sim:hpu Only what"]  # the choice of the filter
    assert page.text.count("sim:hpu simulated") > 6
    assert page.text.count("1.5 s,") == 3  # of the real device's runs alone


def test_nothing_is_asked_of_anybody(stored: StoredProject) -> None:
    from porter.report.html_report.page import as_html

    stored.store()
    html = as_html(stored.gather())
    page = Page(html)

    loading = ("src", "srcset", "poster", "data", "action", "background")
    asked = [v for _, at in page.tags for k, v in at.items() if k in loading]
    asked += [at["href"] for name, at in page.tags if name == "link"]
    assert asked
    assert all((value or "").startswith("data:") for value in asked)
    assert all((at["href"] or "").startswith("#") for at in page.all("a"))
    assert not re.search(r"url\(|@import|fetch\(|XMLHttpRequest|import\(", html)
    (policy,) = [m["content"] or "" for m in page.all("meta") if m.get("http-equiv")]
    assert policy.startswith("default-src 'none'; img-src data:;")


def test_hostile_text_stays_text(stored: StoredProject) -> None:
    stored.title = HOSTILE
    stored.runs[1, "sim:hpu"] = {
        "counters": {HOSTILE: 3},
        "events": [
            {"kind": "compilation", "number": 1, "ops": 3, "why": HOSTILE, "site": HOSTILE,
             "nearest": 1, "differs": [HOSTILE]},
            {"kind": "host_sync", "what": HOSTILE, "site": HOSTILE, "source": HOSTILE, "count": 2},
            {"kind": "warning", "what": HOSTILE},
        ],
        "migration": [
            {"file": HOSTILE, "line": 1, "source": HOSTILE, "kind": "match", "asked": HOSTILE,
             "served": HOSTILE},
        ],
    }  # fmt: skip

    page = page_of(stored)

    assert len(page.all("script")) == 1
    assert all((image["src"] or "").startswith("data:image/png;") for image in page.all("img"))
    assert [k for _, at in page.tags for k in at if k.startswith("on")] == []
    assert page.text.count("alert(1)") > 8


def test_images_stand_beside_the_reference_with_their_difference(stored: StoredProject) -> None:
    from tests.report.stored_project import picture

    stored.runs[2, "cpu"] = {"outputs": {"image": picture("float32", 0.1)}}

    page = page_of(stored)

    assert [image["alt"] for image in page.all("img")] == [
        "The reference",
        "Level 2 on cpu",
        "Difference from the reference",
    ]
    assert page.text.count("same to 1/255") == 5
    assert "greatest difference 0.1" in page.text


def test_every_level_tells_why_and_shows_its_diff(stored: StoredProject) -> None:
    page = page_of(stored)

    ids = {tag.get("id") for tag in page.all("details")}
    assert {"small-level-0", "small-level-1", "small-level-2"} <= ids
    assert "A word on why." in page.text
    assert "-a5" in page.text
    assert "+changed 5" in page.text


def test_the_page_is_reachable_by_keyboard_and_named_for_readers(stored: StoredProject) -> None:
    page = page_of(stored)

    first = page.all("a")[0]
    assert (first["class"], first["href"]) == ("skip", "#main")
    ids = [at["id"] for _, at in page.tags if at.get("id")]
    assert len(ids) == len(set(ids))
    named = [v for _, at in page.tags for k, v in at.items() if k == "aria-labelledby"]
    assert named
    assert set(named) <= set(ids)
    assert all(at.get("alt") for at in page.all("img"))
    assert all(at.get("aria-label") for at in page.all("svg"))
    assert page.all("html")[0]["lang"] == "en"


def test_the_command_writes_the_file_and_says_how_large_it_is(
    stored: StoredProject, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stored.store()

    assert main(["report", "-o", str(tmp_path / "new" / "r.html")]) == 0

    assert (tmp_path / "new" / "r.html").read_text().startswith("<!doctype html>")
    assert re.search(r"r\.html: 6 cells, \d+ KiB$", capsys.readouterr().err.strip())


def test_a_folder_has_an_index_and_a_page_of_each_port(
    stored: StoredProject, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from tests.report.stored_project import picture

    stored.runs[1, "cpu"] = {"outputs": {"image": picture("float32", 0.5)}}
    stored.store()
    folder = tmp_path / "pages"

    assert main(["report", "-o", f"{folder}/"]) == 0

    name = "port-small.html"
    assert sorted(path.name for path in folder.iterdir()) == ["index.html", name]
    assert re.search(r"1 port, 6 cells, \d+ KiB in 2 files$", capsys.readouterr().err.strip())
    index = Page((folder / "index.html").read_text())
    links = [at["href"] for at in index.all("a")]
    assert name in links
    assert not index.all("script")
    ids = {at["id"] for _, at in Page((folder / name).read_text()).tags if at.get("id")}
    failing = [link for link in links if link.startswith(f"{name}#")]
    assert failing
    assert {link.partition("#")[2] for link in failing} <= ids


def test_a_folder_is_for_pages_alone(
    stored: StoredProject, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["report", "-o", str(tmp_path), "--format", "json"]) == 2

    assert "expected a file for json, found a folder" in capsys.readouterr().err


def test_markdown_has_a_row_a_counter_and_a_column_a_level(
    stored: StoredProject, capsys: pytest.CaptureFixture[str]
) -> None:
    stored.title = "pipes | in | titles"
    stored.store()

    assert main(["report", "--format", "markdown"]) == 0

    text = capsys.readouterr().out
    assert "#### small/one on sim:hpu (simulated)" in text
    assert "| counter | 0 upstream | 1 one | 2 two |" in text
    assert "| `kernels` | 40 | 39 | 38 |" in text
    assert "pipes \\| in \\| titles" in text


def test_json_holds_every_claim(stored: StoredProject, capsys: pytest.CaptureFixture[str]) -> None:
    stored.store()

    assert main(["report", "--format", "json"]) == 0

    data = json.loads(capsys.readouterr().out)
    (recipe,) = data["ports"][0]["recipes"]
    assert [cell["verdict"] for cell in recipe["cells"] if not cell["simulated"]] == [
        "baseline", "pass", "pass",
    ]  # fmt: skip
    assert recipe["cells"][-1]["claims"][0]["share"] <= 1


def test_verdicts_of_other_machines_fill_the_cells_that_are_not_stored(
    stored: StoredProject, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from porter.report.ci.verify import plain_results
    from porter.report.html_report.gather import read_imported
    from porter.verify.judge.result import RecipeResult, Verdict

    stored.skipped.add((2, "sim:hpu"))
    stored.store()
    died = Verdict(2, "two", "float32", 0, "", "", "error", detail="exit code 1", device="sim:hpu")
    here = Verdict(1, "one", "float32", 0, "image", "parity", "fail")
    file = tmp_path / "v.json"
    result = RecipeResult("small", "one", "t", (died, here), 1, 1.0)
    file.write_text(json.dumps(plain_results([result], [], False)))

    (recipe,) = stored.gather(read_imported([file])).ports[0].recipes

    assert recipe.cells[2, "sim:hpu"].word == "error"
    assert recipe.cells[1, "cpu"].word == "pass"
    file.write_text("[]")
    assert main(["report", "--verdicts", str(file)]) == 2
    assert "expected what `porter verify --output FILE.json` writes" in capsys.readouterr().err


def test_without_stored_runs_the_report_says_so(stored: StoredProject) -> None:
    stored.skipped = {(level, device) for level in range(3) for device in ("cpu", "sim:hpu")}

    page = page_of(stored)

    assert "No runs are stored." in page.text
    assert cells(page) == {}
