"""Finding the level that broke a claim."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from porter.cli import main
from porter.verify.bisect import Border, covered_levels, find_border
from porter.verify.judge.result import Verdict
from tests.verify.folder_trees import FolderTrees, write_recipe
from tests.verify.judging import planned

BAD = Verdict(0, "", "float32", 0, "y", "parity", "fail")


class Levels:
    """Levels of which some are bad; remembers which were judged."""

    def __init__(self, *bad: int, other: int | None = None) -> None:
        self.bad = bad
        self.other = other
        self.judged: list[int] = []

    def __call__(self, level: int) -> list[Verdict]:
        self.judged.append(level)
        found = [replace(BAD, level=level, word="fail" if level in self.bad else "pass")]
        return [*found, replace(BAD, level=level, output="z")] if level == self.other else found


def border(levels: Levels, start: int, lowest: int = 0) -> Border:
    bad = [replace(BAD, level=start)]
    return find_border(range(lowest, 100), bad, levels, lambda *_: None)


@pytest.mark.parametrize("first", [1, 2, 37, 62, 63])
def test_the_first_bad_level_is_found_in_few_steps(first: int) -> None:
    levels = Levels(*range(first, 64))

    found = border(levels, 63)

    assert (found.last_good, found.first_bad) == (first - 1, first)
    assert [v.level for v in found.verdicts] == [first]
    assert len(levels.judged) <= 7


@pytest.mark.parametrize("bad", [(3, 9), (1, 2, 5, 9), (9,), (4, 5, 6, 8, 9)])
def test_a_border_is_real_though_the_claim_broke_more_than_once(bad: tuple[int, ...]) -> None:
    levels = Levels(*bad)

    found = border(levels, 9)

    assert found.last_good == found.first_bad - 1
    assert found.first_bad in bad
    assert found.last_good not in bad
    assert {found.first_bad, found.last_good} <= {*levels.judged, 9}


def test_a_claim_that_fails_from_the_start_has_no_level_that_broke_it() -> None:
    found = border(Levels(*range(10)), 9, lowest=2)

    assert (found.last_good, found.first_bad) == (None, 2)


def test_another_claims_failure_is_not_followed() -> None:
    found = border(Levels(8, 9, other=4), 9)

    assert found.first_bad == 8


def test_only_levels_that_the_claim_speaks_of_are_searched(tmp_path: Path) -> None:
    recipe = """\
        claims:
          - {outputs: y, levels: {from: two}, parity: {}}
          - {outputs: "*", finite: {}}
        """
    plan = planned(tmp_path, recipe, levels=6)

    assert covered_levels(plan, [BAD]) == [2, 3, 4, 5]
    assert covered_levels(plan, [replace(BAD, claim="finite")]) == [0, 1, 2, 3, 4, 5]
    assert covered_levels(plan, [replace(BAD, claim="", output="")]) == [0, 1, 2, 3, 4, 5]


PROBE = """
    from upstream_code import f
    def run(probe):
        probe.record("y", f(probe.normal("x", 200)))
    """


@pytest.fixture
def project(root: Path, trees: FolderTrees) -> Path:
    """A port whose fourth patch, ``drifts``, breaks the parity of y for good."""
    code = {name: f"def f(x): return x + 1  # {name}" for name in ("upstream", "a", "b", "c")}
    later = {name: f"def f(x): return x + 1.01  # {name}" for name in ("drifts", "d", "e")}
    trees.add("port", **code, **later)
    write_recipe(root, "port", "one", 'claims: [{outputs: "*", parity: {}}]\n', PROBE)
    patches = root / "patches" / "port"
    patches.mkdir(parents=True)
    names = [*code, *later][1:]
    files = [f"{n:04}-{name}.patch" for n, name in enumerate(names, 1)]
    (patches / "series").write_text("\n".join(files) + "\n")
    for file, name in zip(files, names, strict=True):
        head = "From: a <a@b>\nDate: Sat, 21 Nov 2026 08:30:00 +0000\n"
        text = f"{head}Subject: [PATCH] What {name} does\n\nWhy.\n\nLevel: {name}\n---\n"
        (patches / file).write_text(text)
    return root


def test_porter_bisect_names_level_patch_verdict_and_what_to_do_next(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["bisect", "port", "--recipe", "one"]) == 1

    printed = capsys.readouterr().out
    assert "level 6 e: fails\n" in printed
    assert "level 3 c: holds\n" in printed
    assert "level 4 drifts breaks it; level 3 c holds\n" in printed
    assert "patches/port/0004-drifts.patch: What drifts does\n" in printed
    assert "fail: level 4 drifts, float32, y, parity: greatest difference at [" in printed
    assert "narrow it down: porter compare port c drifts --recipe one --device cpu\n" in printed

    assert main(["bisect", "port", "--recipe", "one", "--level", "b"]) == 0
    assert "level 2 b keeps every claim: there is nothing to search\n" in capsys.readouterr().out

    assert main(["bisect", "port", "--recipe", "one", "--json"]) == 1
    border = json.loads(capsys.readouterr().out)["border"]
    assert (border["first_bad"], border["last_good"], border["level_name"]) == (4, 3, "drifts")
