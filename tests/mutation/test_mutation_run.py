"""Mutants tried on recipes: caught, survived, not run; on levels that are plain folders."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from porter.errors import CheckFailed
from porter.mutation.mutants import Mutant, MutantResult
from porter.mutation.mutation_run import MutationRun
from porter.verify.cache.store import Places
from porter.verify.execution.session import Options, Session
from porter.verify.plan.select import Filters, make_plan
from tests.verify.conftest import Heard
from tests.verify.folder_trees import FolderTrees, write_recipe

LEVEL = """\
def f(x):
    y = x * 2 - 1
    if len(x) > 500:
        y = y + 0
    return y


def never(x):
    return x - 1
"""
PROBE = """
    from upstream_code import f
    def run(probe):
        probe.record("y", f(probe.normal("x", 200)))
    """
PARITY = 'claims: [{outputs: "*", parity: {}}]\n'
CHANGES = {
    "caught": ("x * 2 - 1", "x * 2", 2),
    "survived": ("len(x) > 500", "len(x) >= 500", 3),
    "not run": ("return x - 1", "return x", 9),
}


def mutant(status: str) -> Mutant:
    before, after, line = CHANGES[status]
    text = LEVEL.replace(before, after)
    return Mutant(1, "ported", "upstream_code.py", line, "dropped-term", LEVEL, text, (line, line))


Try = Callable[..., dict[str, tuple[MutantResult, bool]]]


@pytest.fixture
def attempt(tmp_path: Path, environments: Path, trees: FolderTrees, heard: Heard) -> Try:
    """Try the mutants of some statuses; give result by mutant key, with whether it was cached."""

    def run(*statuses: str) -> dict[str, tuple[MutantResult, bool]]:
        plan = make_plan(tmp_path, ["port"], trees, Filters())
        places = Places(environments, tmp_path / "traces", tmp_path / "runs")
        session = Session(trees, places, heard, Options(jobs=1))
        mutation_run = MutationRun(
            session, tmp_path / "kept", {1: ["upstream_code.py"]}, 2, heard.say
        )
        return {
            result.mutant.key: (result, known)
            for result, known in mutation_run.run(
                plan.recipes, [mutant(status) for status in statuses]
            )
        }

    trees.add("port", upstream="def f(x): return x + x - 1", ported=LEVEL)
    write_recipe(tmp_path, "port", "one", PARITY, PROBE)
    return run


def test_each_mutant_has_its_status(attempt: Try) -> None:
    found = attempt(*CHANGES)

    assert {status: found[mutant(status).key][0].status for status in CHANGES} == {
        status: status for status in CHANGES
    }
    caught = found[mutant("caught").key][0]
    assert (caught.by, caught.detail.split()[:2]) == ("one", ["y", "parity"])


def test_a_result_is_cached_until_something_changes(attempt: Try, tmp_path: Path) -> None:
    first = attempt("caught")
    again = attempt("caught")
    recipe = tmp_path / "recipes" / "port" / "one.yaml"
    recipe.write_text(recipe.read_text() + "tags: [quick]\n")
    changed = attempt("caught")

    key = mutant("caught").key
    assert [found[key][1] for found in (first, again, changed)] == [False, True, False]
    assert again[key][0] == first[key][0]


def test_another_recipe_leaves_what_the_others_found(attempt: Try, tmp_path: Path) -> None:
    key = mutant("survived").key
    attempt("survived", "caught")
    write_recipe(tmp_path, "port", "two", PARITY, PROBE.replace("200", "500"))

    more = attempt("survived", "caught")

    assert more[mutant("caught").key][1]
    assert (more[key][0].status, more[key][1]) == ("survived", False)
    again = attempt("survived")
    assert (again[key][0].status, again[key][1]) == ("survived", True)


def test_the_levels_own_files_stay_as_they_are(attempt: Try, trees: FolderTrees) -> None:
    attempt("caught")

    level = trees.levels("port")[1]
    assert (trees.folder("port", level, ()) / "upstream_code.py").read_text() == LEVEL


def test_a_recipe_that_fails_without_a_mutant_is_an_error(attempt: Try, tmp_path: Path) -> None:
    strict = 'claims: [{outputs: "*", equal: {}}, {outputs: "z", parity: {}}]\n'
    write_recipe(tmp_path, "port", "two", strict, PROBE)

    with pytest.raises(CheckFailed, match="port/two at level ported: expected every verdict"):
        attempt("caught")


def test_lines_of_a_compiled_graph_count_as_run(attempt: Try, tmp_path: Path) -> None:
    compiled = """
        import torch
        from upstream_code import f
        def run(probe):
            x = probe.normal("x", 200)
            probe.record("y", torch.compile(f, backend="eager")(x))
            probe.count("compiled_graphs", 1)
        """
    write_recipe(tmp_path, "port", "one", PARITY, compiled)

    (result, _) = attempt("caught")[mutant("caught").key]

    assert result.status == "caught"
