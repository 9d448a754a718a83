"""docs/mission.md has every item of the published documents, and its data agrees with the tree.

``.ci/mission.py`` derives an item's state; here it is held to the data as it stands, and shown to
fail on data that is wrong.
"""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from tests.conftest import PROJECT

SCRIPT = PROJECT / ".ci" / "mission.py"


def _loaded() -> ModuleType:
    spec = importlib.util.spec_from_file_location("mission", SCRIPT)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules["mission"] = module
    spec.loader.exec_module(module)
    return module


mission: Any = _loaded()


def told(
    *items: Any, red: tuple[tuple[str, str], ...] = (), port: str = "v-diffusion"
) -> list[str]:
    """Return the problems of a document of these items; ``red`` lists items and reasons."""
    source = mission.Source(title="A document", port=port, source="A README.", items=items)
    reds = tuple(mission.Red(document="one", item=item, reason=why) for item, why in red)
    data = mission.Mission(version=1, documents={"one": source}, red=reds)
    found: list[str] = mission.problems(data, mission.Project(PROJECT))
    return found


def item(**changed: Any) -> Any:
    """Return an item that is right, but for what is changed."""
    right = {
        "item": "--hmp",
        "kind": "option",
        "levels": ("mixed-precision",),
        "recipes": ("precision#*/model/autocast_bfloat16",),
        "names": ("--hmp",),
    }
    return mission.Item(**right | changed)


def run(*words: str | Path) -> int:
    """Run the script in this process; return its exit code."""
    code: int = mission.main([str(word) for word in words])
    return code


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A project of the same patches and recipes, with the page and its data to be changed."""
    (tmp_path / "docs").mkdir()
    for name in ("mission.md", "mission.yaml"):
        (tmp_path / "docs" / name).write_bytes((PROJECT / "docs" / name).read_bytes())
    for name in ("patches", "recipes"):
        (tmp_path / name).symlink_to(PROJECT / name)
    return tmp_path


def test_the_page_is_made_from_its_data_and_the_data_agrees_with_patches_and_recipes() -> None:
    done = subprocess.run([sys.executable, SCRIPT], capture_output=True, text=True)

    assert done.returncode == 0, done.stdout + done.stderr


def test_every_port_answers_to_a_document_and_every_state_occurs() -> None:
    data = mission.load(PROJECT / "docs" / "mission.yaml", mission.Mission).value
    project = mission.Project(PROJECT)
    pairs = [(source, each) for source in data.documents.values() for each in source.items]
    ports = {each.port or source.port for source, each in pairs}

    assert len(data.documents) == 5
    assert ports == {path.parent.name for path in PROJECT.glob("recipes/*/*.yaml")}
    assert {project.state(source, each) for source, each in pairs} == set(mission.STATES)


def test_an_item_that_is_right_has_no_problem() -> None:
    assert told(item()) == []


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "no such port": ({"port": "v-fusion"}, "expected a port, found v-fusion"),
    "no such level": ({"levels": ("half",)}, "expected levels of v-diffusion, found half"),
    "no level": ({"levels": ()}, "levels: expected those that the recipes show, found none"),
    "no such recipe": (
        {"recipes": ("precise",)},
        "expected recipes/v-diffusion/precise.yaml, found none",
    ),
    "a recipe that does not run there": (
        {"levels": ("report",)},
        "expected a claim at report, found none",
    ),
    "a claim that is not made": (
        {"recipes": ("precision#losses",)},
        "expected a claim on losses, found none",
    ),
    "a claim that is made elsewhere": (
        {"levels": ("minimal",)},
        "expected a claim at minimal, found none",
    ),
    "a level that no recipe shows": (
        {"levels": ("mixed-precision", "report")},
        "expected one with a claim at report, found none",
    ),
    "no name": ({"names": ()}, "names: expected what the document calls the option, found none"),
    "a name that is nowhere": ({"names": ("--fp8",)}, "names: expected --fp8 in a line"),
    "a part of a name": ({"names": ("--hm",)}, "names: expected --hm in a line"),
    "a name of a later level": ({"names": ("--no-graphs",)}, "names: expected --no-graphs in"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_is_not_so_is_told_and_leaves_the_item_without_a_recipe(case: str) -> None:
    changed, expected = WRONG[case]

    wrong, unlisted = told(item(**changed))[:2]

    assert expected in wrong
    if case != "no such port":
        assert unlisted.endswith("no recipe shows it: expected it under `red`, with a reason")


def test_a_name_of_the_level_is_found_without_a_recipe_that_has_it() -> None:
    graphs = item(levels=("hpu-graph",), recipes=("replay",), names=("--no-graphs",))

    assert told(graphs) == []


def test_a_line_that_a_later_patch_takes_back_has_no_names(tmp_path: Path) -> None:
    folder = tmp_path / "patches" / "a"
    folder.mkdir(parents=True)
    (folder / "series").write_text("0001-one.patch\n0002-two.patch\n")
    for name, level, line in (
        ("0001-one", "one", "+add('--old')"),
        ("0002-two", "two", "-add('--old')"),
    ):
        (folder / f"{name}.patch").write_text(
            "From: Ada Test <ada@example.org>\nDate: Tue, 2 Jan 2024 03:04:05 +0000\n"
            f"Subject: [PATCH] {level}\n\nSome words --told.\n\nLevel: {level}\n---\n"
            f"diff --git a/x.py b/x.py\n--- a/x.py\n+++ b/x.py\n@@ -1 +1 @@\n{line}\n"
        )
    port = mission.Port(tmp_path, "a")

    assert "--old" in port.added_text("one")
    assert "--old" not in port.added_text("two")
    assert "--told" not in port.added_text("two")


def test_an_item_without_a_recipe_is_listed_and_no_other_is() -> None:
    bare = mission.Item(item="-h", kind="option")
    card = mission.Item(item="speed", kind="result", card="a card's")
    why = (("-h", "no recipe prints the help"),)

    assert told(bare, card, red=why) == []
    assert told(bare) == ["one: -h: no recipe shows it: expected it under `red`, with a reason"]
    assert told(card, red=why) == [
        "red: one: -h: expected an item that no recipe shows, found none"
    ]
    assert told(item(), red=(("--hmp", "none"),)) == [
        "red: one: --hmp: expected an item that no recipe shows, found none"
    ]
    assert told(bare, red=why * 2) == ["red: one: -h: expected once, found 2 times"]
    assert told(card, card) == ["one: speed: expected once, found 2 times"]


def test_a_level_that_is_off_by_default_counts_where_a_recipe_names_it() -> None:
    off = item(levels=("upstream-bugs",), recipes=("upstream-bugs#positions",), names=("Absolute",))
    without = item(levels=("upstream-bugs",), recipes=("sampling",), names=("sampler",))

    assert told(off, port="diffusion-from-scratch") == []
    assert "expected a claim at upstream-bugs" in told(without, port="diffusion-from-scratch")[0]


def test_a_page_that_is_not_what_its_data_gives_is_shown_and_written(
    copy: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page = copy / "docs" / "mission.md"
    made = page.read_text(encoding="utf-8")
    page.write_text(made.replace("| all |", "| together |"), encoding="utf-8")

    assert run("--root", copy) == 1
    shown = capsys.readouterr().out
    assert "-| together |" in shown
    assert "run .ci/mission.py --write" in shown
    assert run("--root", copy, "--write") == 0
    assert page.read_text(encoding="utf-8") == made


def test_a_new_item_without_a_recipe_fails_the_check(
    copy: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = copy / "docs" / "mission.yaml"
    text = data.read_text(encoding="utf-8")
    data.write_text(text.replace("    items:\n", "    items:\n      - {item: new, kind: faq}\n", 1))

    assert run("--root", copy, "--write") == 1
    shown = capsys.readouterr().out
    assert "v-diffusion: new: no recipe shows it: expected it under `red`" in shown


def test_data_that_cannot_be_read_is_one_line(
    copy: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = copy / "docs" / "mission.yaml"
    text = data.read_text(encoding="utf-8")
    data.write_text(text.replace("kind: option", "kind: choice", 1), encoding="utf-8")

    assert run("--root", copy) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.count("\n") == 1
    assert "docs/mission.yaml:" in shown.err
    assert "choice" in shown.err
