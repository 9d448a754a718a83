"""Recipes from file to verdict, on levels that are plain folders."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from porter.errors import BadInput
from porter.verify.harness import trace
from porter.verify.judge.result import RecipeResult
from porter.verify.plan import select
from porter.verify.plan.matrix import RunSpec
from porter.verify.plan.select import Filters, make_plan
from tests.verify.conftest import Heard, Verify
from tests.verify.folder_trees import PARITY, FolderTrees, write_recipe
from tests.verify.judging import judged

PROBE = """
    from upstream_code import f
    def run(probe):
        probe.record("y", f(probe.normal("x", 200)))
    """


def words(result: RecipeResult) -> list[tuple[int, str, str, str]]:
    return [(v.level, v.dtype, v.output, v.word) for v in result.verdicts]


def test_levels_that_keep_the_result_pass_and_one_that_does_not_fails(
    tmp_path: Path, trees: FolderTrees, verify: Verify
) -> None:
    trees.add(
        "port",
        upstream="def f(x): return (x * x).exp()",
        same="def f(x): return x.square().exp()",
        wrong="def f(x): return x.square().exp() * 1.001",
    )
    write_recipe(tmp_path, "port", "one", PARITY, PROBE)

    (result,) = verify(trees)

    assert words(result) == [
        (0, "float32", "y", "baseline"),
        (1, "float32", "y", "pass"),
        (2, "float32", "y", "fail"),
    ]
    assert not result.passed
    assert "greatest difference at [" in result.verdicts[2].detail


def test_a_probe_that_prints_megabytes_is_warned_of(
    tmp_path: Path, trees: FolderTrees, verify: Verify
) -> None:
    trees.add("port", upstream="def f(x): return x + 1", same="def f(x): return 1 + x")
    write_recipe(
        tmp_path, "port", "one", PARITY, PROBE.rstrip() + "\n        print('x' * 2_000_000)\n"
    )

    (result,) = verify(trees)

    (warning,) = result.warnings
    assert warning.startswith("level 0, cpu, float64 and 3 more: printed 2,000,001 bytes to stdout")
    assert result.passed


def test_an_overflow_that_a_level_mends_is_held_to_ulps(
    tmp_path: Path, trees: FolderTrees, verify: Verify
) -> None:
    trees.add(
        "port",
        upstream="def f(x): return (x * 400) * 400 / 400",
        mended="def f(x): return ((x.double() * 400) * 400 / 400).to(x.dtype)",
    )
    recipe = """\
        dtypes: [float16]
        claims:
          - outputs: "y"
            levels: {from: mended}
            within_ulps: {ulps: 1, reason: "level 0 overflows"}
          - outputs: "y"
            levels: [upstream]
            nonfinite: {reason: "the overflow"}
        """
    write_recipe(tmp_path, "port", "one", recipe, PROBE)

    (result,) = verify(trees)

    assert words(result) == [(0, "float16", "y", "pass"), (1, "float16", "y", "pass")]
    assert result.passed


def test_equal_runs_are_made_once(
    tmp_path: Path, trees: FolderTrees, verify: Verify, heard: Heard
) -> None:
    trees.add("port", upstream="def f(x): return x + 1", same="def f(x): return 1 + x")
    write_recipe(tmp_path, "port", "one", PARITY + "dtypes: [float64, float32]", PROBE)

    (result,) = verify(trees)

    assert result.passed
    assert result.runs == len(heard.runs) == 6  # the reference is level 0's run in float64


def test_a_probe_that_fails_at_one_level_is_a_line_and_the_rest_is_judged(
    tmp_path: Path, trees: FolderTrees, verify: Verify
) -> None:
    trees.add(
        "port",
        upstream="def f(x): return x + 1",
        broken="def f(x): raise RuntimeError('not ported')",
        mended="def f(x): return x + 1",
    )
    write_recipe(tmp_path, "port", "one", PARITY, PROBE)

    (result,) = verify(trees)

    broken = result.verdicts[1]
    assert [v.word for v in result.verdicts] == ["baseline", "error", "pass"]
    assert broken.detail == "RuntimeError: not ported"
    assert "upstream_code.py" in broken.stderr


def test_a_reference_that_fails_ends_the_recipe(
    tmp_path: Path, trees: FolderTrees, verify: Verify
) -> None:
    trees.add("port", upstream="def f(x): raise RuntimeError('old')", new="def f(x): return x")
    write_recipe(tmp_path, "port", "one", PARITY, PROBE)

    (result,) = verify(trees)

    assert [v.detail for v in result.verdicts] == [
        "reference run (level 0, float64): RuntimeError: old"
    ]


def test_without_its_reference_a_run_is_still_held_to_what_needs_none(
    tmp_path: Path, trees: FolderTrees, verify: Verify
) -> None:
    trees.add(
        "port",
        upstream="def f(p): raise RuntimeError('old')",
        new="def f(p): p.record('y', p.normal('x', 12)); p.count('calls', 3)",
    )
    recipe = """\
        levels: [new]
        claims:
          - {outputs: "*", parity: {}}
          - {counters: calls, equal: 3}
        """
    probe = "from upstream_code import f\ndef run(probe): f(probe)\n"
    write_recipe(tmp_path, "port", "one", recipe, probe)

    (result,) = verify(trees)

    assert [(v.subject, v.word) for v in result.verdicts] == [
        ("outputs", "error"),  # the reference run
        ("counters", "pass"),
    ]


def test_outputs_that_cannot_be_compared_are_told_in_words(
    tmp_path: Path, trees: FolderTrees, verify: Verify
) -> None:
    trees.add(
        "port",
        upstream="def f(p): p.record('y', p.normal('x', 12))",
        shape="def f(p): p.record('y', p.normal('x', 3, 4))",
        dtype="def f(p): p.record('y', p.normal('x', 12).double())",
        missing="def f(p): p.count('nothing', 1)",
        more="def f(p): p.record('y', p.normal('x', 12)); p.record('z', p.normal('x', 12))",
    )
    probe = "from upstream_code import f\ndef run(probe): f(probe)\n"
    write_recipe(tmp_path, "port", "one", PARITY, probe)

    (result,) = verify(trees)

    assert {v.level_name: v.detail for v in result.verdicts if v.bad} == {
        "shape": "expected shape [12] as at level 0, found [3, 4]",
        "dtype": "expected float32[12] as at level 0, found float64[12]",
        "missing": "missing: the reference run records it, this run does not",
        "more": "the reference run (level 0, float64) does not record it: nothing to compare with",
    }


@pytest.mark.parametrize(("dtypes", "missing"), [("", 0), (", dtypes: [float32, float16]", 2)])
def test_an_output_of_one_dtype_is_missing_in_another_only_where_a_claim_names_that(
    tmp_path: Path, dtypes: str, missing: int
) -> None:
    recipe = f"""\
        dtypes: [float32, float16]
        claims: [{{outputs: "*", parity: {{}}{dtypes}}}]
        """

    def gives(spec: RunSpec) -> dict[str, torch.Tensor]:
        names = ("y",) if spec.dtype == "float16" else ("y", "autocast")
        return {name: torch.arange(3, dtype=getattr(torch, spec.dtype)) for name in names}

    verdicts = judged(tmp_path, recipe, gives, levels=2)

    half = [verdict for verdict in verdicts if verdict.dtype == "float16"]
    assert sum(verdict.detail.startswith("missing") for verdict in half) == missing
    assert sum(not verdict.bad for verdict in half) == 2


def test_outputs_without_claims_and_claims_without_outputs_are_errors(
    tmp_path: Path, trees: FolderTrees, verify: Verify
) -> None:
    trees.add("port", upstream="def f(x): return x", new="def f(x): return 1 * x")
    claims = """\
        claims:
          - {outputs: y, levels: [upstream], within_ulps: {ulps: 1, reason: r}}
          - {outputs: "z*", parity: {}}
        """
    write_recipe(tmp_path, "port", "one", claims, PROBE)

    (result,) = verify(trees)

    assert [(v.level, v.detail) for v in result.verdicts if v.bad] == [
        (0, "the claim matches no output; recorded: y"),
        (1, "no claim covers this output at this level and dtype"),
    ]


def test_a_dead_output_is_an_error(tmp_path: Path, trees: FolderTrees, verify: Verify) -> None:
    trees.add("port", upstream="def f(x): return x * 0", new="def f(x): return x * 0")
    write_recipe(tmp_path, "port", "one", PARITY, PROBE)

    (result,) = verify(trees)

    assert [verdict.word for verdict in result.verdicts] == ["error"]
    assert "is all zero: it proves nothing" in result.verdicts[0].detail


def test_every_seed_is_judged(
    tmp_path: Path, trees: FolderTrees, verify: Verify, heard: Heard
) -> None:
    trees.add("port", upstream="def f(x): return x + 1", new="def f(x): return 1 + x")
    write_recipe(tmp_path, "port", "one", PARITY + "seeds: [3, 4]", PROBE)

    (result,) = verify(trees)

    assert {v.seed for v in result.verdicts} == {3, 4}
    assert result.runs == 8


def test_companions_are_importable_at_their_level_and_neighbours_of_the_probe_too(
    tmp_path: Path, trees: FolderTrees, verify: Verify
) -> None:
    trees.add("port", upstream="", new="#")
    trees.add("beside", upstream="", last="")
    for level, value in zip(trees.ports["beside"], (1.0, 2.0), strict=True):
        (level.folder / "src").mkdir()
        (level.folder / "src" / "friend.py").write_text(f"value = {value}")
    probe = """
        import friend, neighbour
        def run(probe):
            probe.record("y", probe.normal("x", 9) * friend.value + neighbour.value)
        """
    write_recipe(tmp_path, "port", "one", PARITY + "companions: {beside: last}", probe)
    (tmp_path / "recipes" / "port" / "neighbour.py").write_text("value = 10")

    (result,) = verify(trees)

    assert result.passed


def test_traces_are_kept_and_say_where_they_come_from(
    tmp_path: Path, trees: FolderTrees, verify: Verify
) -> None:
    trees.add("port", upstream="def f(x): return x + 1", new="def f(x): return 1 + x")
    write_recipe(tmp_path, "port", "one", PARITY, PROBE)

    verify(trees)

    kept = [
        trace.read(head.parent)
        for head in (tmp_path / "traces" / "port" / "one").glob("*/trace.json")
    ]
    assert sorted((t.facts.level, t.facts.dtype) for t in kept) == [
        (0, "float32"),
        (0, "float32"),  # shaken
        (0, "float64"),
        (1, "float32"),
    ]
    assert {t.facts.tree for t in kept} == {level.tree for level in trees.ports["port"]}
    assert list((tmp_path / "runs").iterdir()) == []


class TestPlan:
    """Choosing what to run."""

    @pytest.fixture(autouse=True)
    def two_ports(self, tmp_path: Path, trees: FolderTrees) -> None:
        for port in ("one", "two"):
            trees.add(port, upstream="", new="#")
            write_recipe(tmp_path, port, "fast", PARITY + "tags: [quick]", PROBE)
            write_recipe(tmp_path, port, "slow", PARITY + "needs: [big/]", PROBE)

    def chosen(self, root: Path, trees: FolderTrees, *ports: str, **filters: str) -> list[str]:
        plan = make_plan(root, ports, trees, Filters(**{k: (v,) for k, v in filters.items()}))
        return [f"{one.loaded.port}/{one.loaded.name}" for one in plan.recipes]

    def test_everything_by_default(self, tmp_path: Path, trees: FolderTrees) -> None:
        assert self.chosen(tmp_path, trees) == ["one/fast", "one/slow", "two/fast", "two/slow"]

    def test_ports_recipes_and_tags_narrow_it(self, tmp_path: Path, trees: FolderTrees) -> None:
        assert self.chosen(tmp_path, trees, "two") == ["two/fast", "two/slow"]
        assert self.chosen(tmp_path, trees, recipes="f*") == ["one/fast", "two/fast"]
        assert self.chosen(tmp_path, trees, recipes="two/*") == ["two/fast", "two/slow"]
        assert self.chosen(tmp_path, trees, tags="quick") == ["one/fast", "two/fast"]

    def test_planning_a_port_looks_into_no_other_ports_folder(
        self, tmp_path: Path, trees: FolderTrees, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(select, "ports_with_recipes", lambda _: pytest.fail("all were read"))

        assert self.chosen(tmp_path, trees, "two", "one")[0] == "two/fast"

    @pytest.mark.parametrize(
        ("ports", "filters", "message"),
        [
            (("thre",), {}, "thre: no recipes for it; there are one, two"),
            ((), {"recipes": "fats"}, "--recipe fats: matches nothing; did you mean 'fast'?"),
            ((), {"tags": "full"}, "--tag full: matches nothing; there are quick"),
            ((), {"levels": "7"}, "no level '7'"),
        ],
    )
    def test_a_filter_that_matches_nothing_is_an_error(
        self,
        tmp_path: Path,
        trees: FolderTrees,
        ports: tuple[str, ...],
        filters: dict[str, str],
        message: str,
    ) -> None:
        with pytest.raises(BadInput) as error:
            self.chosen(tmp_path, trees, *ports, **filters)

        assert str(error.value).startswith(message)

    def test_what_is_not_covered_is_listed_with_the_reason(
        self, tmp_path: Path, trees: FolderTrees
    ) -> None:
        trees.refused["one"] = "no source answers"
        trees.uncovered["big/"] = "big/file is not covered"

        plan = make_plan(tmp_path, (), trees, Filters())

        assert [one.loaded.name for one in plan.recipes] == ["fast"]
        assert [(u.port, u.recipe, u.reason) for u in plan.unreachable] == [
            ("one", "", "no source answers"),
            ("two", "slow", "big/file is not covered"),
        ]

    def test_a_wrong_requirements_file_is_told_before_anything_runs(
        self, tmp_path: Path, trees: FolderTrees
    ) -> None:
        write_recipe(tmp_path, "one", "fast", PARITY + "environment: old.txt", PROBE)
        (tmp_path / "recipes" / "one" / "old.txt").write_text("numpy\ntorch==1.0\n")

        with pytest.raises(BadInput, match=r"old\.txt:2: torch comes from the interpreter"):
            make_plan(tmp_path, ("one",), trees, Filters())

    @pytest.mark.parametrize(
        ("claim", "message"),
        [
            ("levels: [nwe], parity: {}", "levels: expected a level of one, found no level 'nwe'"),
            (
                "levels: [upstream], parity: {}",
                "claims: expected a claim on a level above upstream",
            ),
        ],
    )
    def test_a_claim_on_no_level_is_told_with_its_line(
        self, tmp_path: Path, trees: FolderTrees, claim: str, message: str
    ) -> None:
        write_recipe(tmp_path, "one", "fast", f'claims: [{{outputs: "*", {claim}}}]', PROBE)

        with pytest.raises(BadInput, match=r"fast\.yaml:4: claims") as error:
            make_plan(tmp_path, ("one",), trees, Filters())

        assert message in str(error.value)


def test_a_simulated_device_is_compared_and_counted(
    tmp_path: Path, trees: FolderTrees, verify: Verify
) -> None:
    trees.add(
        "port",
        upstream="def steps(x, n): return [x.add_(1).sum().item() for _ in range(n)]",
        fewer="def steps(x, n): [x.add_(1) for _ in range(n)]; return [x.sum().item()]",
    )
    recipe = """\
        devices: [cpu, "sim:hpu"]
        environ: {"sim:hpu": {PT_HPU_LAZY_MODE: "1"}}
        vary: {steps: [2, 4]}
        claims:
          - {outputs: y, parity: {}}
          - {counters: d2h, devices: ["sim:hpu"], levels: [fewer], independent_of: steps}
          - counters: d2h
            devices: ["sim:hpu"]
            levels: [fewer]
            less_than: {level: upstream, factor: 4}
            where: {steps: [4]}
        """
    probe = """
        from upstream_code import steps
        def run(probe):
            x = probe.normal("x", 64)
            steps(x, probe.parameters["steps"])
            probe.record("y", x)
        """
    write_recipe(tmp_path, "port", "one", recipe, probe)

    (result,) = verify(trees)

    assert [(v.word, v.detail) for v in result.verdicts if v.bad] == []
    assert {v.device for v in result.verdicts} == {"cpu", "sim:hpu"}
    assert {v.claim for v in result.verdicts} == {"parity", "independent_of", "less_than"}


def test_a_level_that_is_off_runs_only_where_a_recipe_names_it(
    tmp_path: Path, trees: FolderTrees, verify: Verify
) -> None:
    same = "def f(x): return x + 1"
    trees.add("port", upstream=same, ported=same, mended="def f(x): return x + 2")
    trees.ports["port"][-1] = replace(trees.ports["port"][-1], off=True)
    write_recipe(tmp_path, "port", "all", PARITY, PROBE)
    write_recipe(tmp_path, "port", "named", "levels: [mended]\n" + PARITY, PROBE)

    every, named = verify(trees)

    assert [level for level, *_ in words(every)] == [0, 1]
    assert [word for level, _, _, word in words(named) if level == 2] == ["fail"]


@pytest.mark.parametrize(("reads", "runs"), [("probe.level", 2), ("probe.level_name", 2), ("3", 1)])
def test_a_probe_that_reads_its_level_has_runs_of_its_own_on_equal_trees(
    tmp_path: Path, trees: FolderTrees, verify: Verify, heard: Heard, reads: str, runs: int
) -> None:
    trees.add("port", upstream="x = 1", same="x = 1")
    probe = f"""
        import torch
        def run(probe):
            probe.record_text("level", str({reads}))
            probe.record("x", probe.normal("x", 3))
        """
    write_recipe(tmp_path, "port", "one", 'claims: [{outputs: "*", equal: {}}]\n', probe)

    (result,) = verify(trees)

    assert len(heard.runs) == runs + 1  # and the reference, in float64
    assert result.passed is (reads == "3")


def test_a_probe_whose_files_do_not_name_its_level_cannot_read_it(
    tmp_path: Path, trees: FolderTrees, verify: Verify
) -> None:
    trees.add("port", upstream="x = 1", same="x = 1")
    probe = """
        def run(probe):
            probe.count("level", getattr(probe, "lev" + "el"))
        """
    write_recipe(tmp_path, "port", "one", "claims: [{counters: level, at_least: 1}]\n", probe)

    (result,) = verify(trees)

    assert "write `probe.level` or `probe.level_name`" in result.verdicts[0].detail


def test_a_device_that_does_not_exist_is_told_with_those_that_do(tmp_path: Path) -> None:
    write_recipe(tmp_path, "port", "one", PARITY + "devices: [gaudi]\n", PROBE)
    trees = FolderTrees(tmp_path / "trees")

    with pytest.raises(BadInput, match=r"devices\[0\]: expected one of cpu, cuda, .*'gaudi'$"):
        make_plan(tmp_path, (), trees, Filters())
    with pytest.raises(BadInput, match=r"^--device gaudi: no such device; there are cpu, cuda, "):
        make_plan(tmp_path, (), trees, Filters(devices=("gaudi",)))


def test_a_device_that_no_recipe_runs_on_is_told_with_those_they_do(
    tmp_path: Path, trees: FolderTrees
) -> None:
    trees.add("port", upstream="x = 1", one="x = 2")
    write_recipe(tmp_path, "port", "one", PARITY + 'devices: [cpu, "sim:npu"]\n', PROBE)

    with pytest.raises(BadInput, match=r"runs there; they run on cpu, sim:npu$"):
        make_plan(tmp_path, (), trees, Filters(devices=("sim:hpu",)))


def test_a_failed_run_names_the_lines_of_the_tree(
    tmp_path: Path, trees: FolderTrees, verify: Verify
) -> None:
    trees.add(
        "port",
        upstream="def f(x): return x",
        wrong="""
            def f(x):
                return g(x)
            def g(x):
                return x.reshape(7, 7)
            """,
    )
    write_recipe(tmp_path, "port", "one", PARITY, PROBE)

    (result,) = verify(trees)

    [bad] = [verdict for verdict in result.verdicts if verdict.bad]
    assert bad.frames.splitlines() == [
        "upstream_code.py:5 in g: return x.reshape(7, 7)",
        "upstream_code.py:3 in f: return g(x)",
    ]


@pytest.mark.parametrize(("levels", "suggested"), [("all", True), ("[wrong]", False)])
def test_bisect_is_suggested_only_where_there_are_levels_to_search(
    tmp_path: Path, trees: FolderTrees, verify: Verify, levels: str, suggested: bool
) -> None:
    trees.add("port", upstream="x = 1", wrong="1 / 0")
    probe = """
        import upstream_code
        def run(probe):
            probe.count("n", 1)
        """
    recipe = f"claims: [{{counters: n, at_least: 1}}]\nlevels: {levels}\n"
    write_recipe(tmp_path, "port", "one", recipe, probe)

    (result,) = verify(trees)

    [bad] = [verdict for verdict in result.verdicts if verdict.bad]
    assert bad.narrow.startswith("porter bisect") is suggested


ATTEMPTS = """
    from upstream_code import f
    def run(probe):
        for n in (1, 2):
            with probe.attempt(f"case/{n}"):
                x = probe.normal("x", 200)
                probe.record(f"case/{n}/out", f(x, n))
        probe.record("after", probe.normal("y", 3))
    """


def test_a_failed_attempt_is_an_error_and_everything_else_is_judged(
    tmp_path: Path, trees: FolderTrees, verify: Verify
) -> None:
    trees.add(
        "port",
        upstream="def f(x, n): return x * n",
        wrong="""
            def f(x, n):
                return x.reshape(7, 7) if n == 1 else x * 3
            """,
    )
    write_recipe(tmp_path, "port", "one", PARITY, ATTEMPTS)

    (result,) = verify(trees)

    bad = {v.output: v for v in result.verdicts if v.bad}
    assert {name: v.word for name, v in bad.items()} == {"case/1": "error", "case/2/out": "fail"}
    assert bad["case/1"].detail.startswith("RuntimeError: shape '[7, 7]' is invalid")
    assert bad["case/1"].frames.startswith("upstream_code.py:3 in f: return x.reshape(7, 7)")
    assert (1, "float32", "after", "pass") in words(result)


def test_an_attempt_that_fails_in_the_reference_is_told_there(
    tmp_path: Path, trees: FolderTrees, verify: Verify
) -> None:
    trees.add("port", upstream="def f(x, n): return x / (n - 1)", same="def f(x, n): return x * n")
    probe = ATTEMPTS.replace("f(x, n))", "f(x, n) if n > 1 else 1 / 0)")
    write_recipe(tmp_path, "port", "one", PARITY, probe)

    (result,) = verify(trees)

    assert {v.output for v in result.verdicts if v.bad} == {"case/1", "case/2/out"}
    assert all("ZeroDivisionError" in v.detail for v in result.verdicts if v.output == "case/1")


@pytest.mark.parametrize(("calls", "word"), [(10, "pass"), (0, "error")])
def test_a_callback_that_is_never_called_is_told_in_numbers(
    tmp_path: Path, trees: FolderTrees, verify: Verify, calls: int, word: str
) -> None:
    trees.add("port", upstream="calls = 10", other=f"calls = {calls} + 0")
    probe = """
        from upstream_code import calls
        def run(probe):
            with probe.attempt("given"):
                given = [probe.normal(f"x{n}", 3) for n in range(calls)]
                probe.record_calls("given", given, expect=10)
        """
    write_recipe(tmp_path, "port", "one", PARITY, probe)

    (result,) = verify(trees)

    at_one = [v for v in result.verdicts if v.level == 1]
    assert [v.word for v in at_one] == [word]
    if not calls:
        assert at_one[0].detail == "given: called 0 times, expected 10"


def test_files_and_texts_differ_in_words(
    tmp_path: Path, trees: FolderTrees, verify: Verify
) -> None:
    trees.add(
        "port", upstream="names = 'ab'; text = 'one\\ntwo'", other="names = 'bc'; text = 'one'"
    )
    probe = """
        from upstream_code import names, text
        def run(probe):
            (probe.scratch / "out").mkdir()
            for name in names:
                (probe.scratch / "out" / name).touch()
            probe.record_files("files", "out")
            probe.record_text("text", text)
        """
    write_recipe(tmp_path, "port", "one", 'claims: [{outputs: "*", equal: {}}]\n', probe)

    (result,) = verify(trees)

    assert {v.output: v.detail for v in result.verdicts if v.bad} == {
        "files": "the files differ: missing a; new c",
        "text": "line 2: expected 'two', found the end",
    }
