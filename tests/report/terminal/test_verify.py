"""What `porter verify` prints for people, from verdicts alone."""

from __future__ import annotations

from dataclasses import replace
from io import StringIO

import pytest
from rich.console import Console

from porter.report.ci.verify import plain_results
from porter.report.terminal.verify import Causes, print_result, print_summary, print_unreachable
from porter.verify.judge.result import RecipeResult, Verdict
from porter.verify.plan.select import Unreachable

ONE = Verdict(2, "norm", "float32", 0, "image", "parity", "pass", "max", 1e-6, 2e-6)
STEPS = (("steps", "8"),)


def printed(*verdicts: Verdict) -> str:
    out = StringIO()
    result = RecipeResult("port", "sampling", "a title", verdicts, 3, 1.0)
    console = Console(file=out, width=80)
    print_result(console, result)
    print_summary(console, [result], [])
    return out.getvalue()


def test_a_recipe_on_the_cpu_alone_does_not_name_devices() -> None:
    shown = printed(ONE)

    assert "2 norm, float32\n" in "\n".join(line.rstrip() for line in shown.splitlines())
    assert "cpu" not in shown


def test_devices_and_varied_values_are_named_and_simulated_ones_marked() -> None:
    shown = printed(ONE, replace(ONE, device="sim:hpu", variant=STEPS))

    assert "2 norm, cpu, float32" in shown
    assert "2 norm, sim:hpu (simulated), float32, steps 8" in shown
    assert max(map(len, shown.splitlines())) <= 80


@pytest.mark.parametrize(("word", "expected"), [
    ("pass", "1 recipe passed; 1 not reachable\n"),
    ("fail", "0 recipes passed; 1 failed: port/one; 1 not reachable\n"),
])  # fmt: skip
def test_the_summary_counts_what_passed_failed_and_was_not_reachable(
    word: str, expected: str
) -> None:
    verdicts = (replace(ONE, level=0, word="baseline"), replace(ONE, word=word))
    result = RecipeResult("port", "one", "one", verdicts, 4, 1.0)
    text = StringIO()

    print_summary(Console(file=text, width=200), [result], [Unreachable("other", "", "no source")])

    assert text.getvalue() == expected


def test_a_failure_shows_the_command_that_narrows_it() -> None:
    command = "porter compare port upstream norm --recipe sampling --device sim:hpu"
    bad = replace(ONE, device="sim:hpu", word="fail", detail="off by one", narrow=command)

    shown = printed(bad)

    assert f"    narrow it down: {command}\n" in shown
    assert "level 2 norm, sim:hpu (simulated), float32, image, parity: off by one" in shown


def test_warnings_of_runs_are_shown_a_few_times() -> None:
    out = StringIO()
    warnings = tuple(f"level 1, cpu, float32: printed much, {n}" for n in range(6))
    result = RecipeResult("port", "sampling", "a title", (ONE,), 3, 1.0, warnings=warnings)

    print_result(Console(file=out, width=80), result)

    assert out.getvalue().count("warning: level 1, cpu, float32: printed much") == 4
    assert "and 2 warnings more" in out.getvalue()
    assert plain_results([result], [], True)["recipes"][0]["warnings"] == list(warnings)


def test_a_lower_bound_looks_like_one() -> None:
    shown = printed(replace(ONE, claim="psnr", measure="dB", error=42.0, allowed=40.0, lower=True))

    row = next(line for line in shown.splitlines() if "image" in line)
    assert row.split() == ["image", "42", "dB", "≥", "40", "pass"]


def test_good_counters_do_not_hide_good_outputs() -> None:
    outputs = [replace(ONE, output=f"image/{n}") for n in range(6)]
    counters = [
        replace(
            ONE, subject="counters", output=f"c{n}", measure="count", error=8.0, allowed=8.0 + n
        )
        for n in range(6)
    ]

    shown = printed(*outputs, *counters)

    assert "image/0 (worst of 6)" in shown
    assert "c0 (worst of 6)" in shown


def test_what_was_skipped_is_printed_once_and_is_no_pass() -> None:
    reason = "not judged: sim:hpu is simulated, and a simulation has no speed"
    skipped = replace(ONE, output="rate", word="skipped", measure="", detail=reason)

    shown = printed(skipped, replace(skipped, level=3))

    assert shown.count(f"skipped: rate: {reason}") == 1
    assert shown.endswith("0 recipes passed; 1 skipped\n")


def test_json_holds_all_that_a_report_needs() -> None:
    verdict = replace(ONE, device="sim:hpu", variant=STEPS, narrow="porter compare")
    result = RecipeResult("port", "sampling", "a title", (verdict,), 3, 1.0)

    (data,) = plain_results([result], [], True)["recipes"]

    assert (data["port"], data["recipe"], data["title"]) == ("port", "sampling", "a title")
    assert (
        data["verdicts"][0].items()
        >= {
            "level": 2,
            "level_name": "norm",
            "device": "sim:hpu",
            "simulated": True,
            "dtype": "float32",
            "seed": 0,
            "variant": {"steps": 8},
            "subject": "outputs",
            "output": "image",
            "claim": "parity",
            "verdict": "pass",
            "measure": "max",
            "error": 1e-6,
            "allowed": 2e-6,
            "bound": "most",
            "narrow": "porter compare",
        }.items()
    )


LONG = Unreachable(
    "v-diffusion", "cfg-modify-image-everywhere",
    "no cfg_modify_image.py and 4 more: git.example.org does not answer", False, "git said\nmuch",
)  # fmt: skip


def unreachable_lines(*several: Unreachable, verbose: bool = False) -> list[str]:
    out = StringIO()
    print_unreachable(Console(file=out, width=80), several, verbose)
    return out.getvalue().splitlines()


def test_what_is_not_reachable_is_a_line_of_80_columns_each() -> None:
    port = Unreachable("far", "", "git.example.org does not answer")

    lines = unreachable_lines(LONG, port)

    assert len(lines) == 3
    assert max(map(len, lines)) <= 80
    assert lines[1].startswith("  v-diffusion/cfg-modify-image-everywhere: no cfg_modify_image.py")
    assert lines[2] == "  far: git.example.org does not answer"


def test_the_full_reason_is_printed_when_verbose() -> None:
    lines = unreachable_lines(LONG, verbose=True)

    assert lines[1].endswith("git.example.org does not answer")
    assert lines[2:] == ["      git said", "      much"]


def test_a_fault_is_printed_in_full_and_as_failed() -> None:
    (line,) = unreachable_lines(Unreachable("bad", "one", "the series does not apply " * 5, True))

    assert line.startswith("bad/one: failed: the series does not apply the series")


def test_json_keeps_the_whole_reason() -> None:
    (row,) = plain_results([], [LONG], False)["not_reachable"]

    assert (row["short"], row["reason"]) == (LONG.reason, LONG.detail)


COUNT = replace(ONE, subject="counters", output="graphs", claim="at_most", measure="count")


@pytest.mark.parametrize(
    ("verdict", "numbers"),
    [
        (replace(COUNT, error=7.0, allowed=150.0), ["7", "150"]),
        (replace(COUNT, error=1_234_567.0, allowed=2e6), ["1234567", "2000000"]),
        (replace(COUNT, error=12.5, allowed=33.0 + 1 / 3), ["12.5", "33.33"]),
        (replace(ONE, measure="elements", error=3.0, allowed=0.0), ["3", "elements", "0"]),
        (replace(ONE, measure="ulps", error=150.3, allowed=128.0), ["150", "ulps", "128"]),
        (replace(ONE, measure="SSIM", error=0.99, allowed=0.95), ["0.99", "SSIM", "0.95"]),
        (ONE, ["1.0e-06", "max", "2.0e-06"]),
    ],
)
def test_numbers_are_whole_where_they_count(verdict: Verdict, numbers: list[str]) -> None:
    row = next(
        line for line in printed(verdict).splitlines() if line.startswith("  " + verdict.output)
    )

    assert row.split() == [verdict.output, *numbers, "pass"]


def test_a_label_that_does_not_fit_has_a_line_of_its_own() -> None:
    long = replace(
        COUNT,
        level_name="upsampler-in-the-dtype-of-the-model",
        device="sim:hpu",
        variant=(("steps", "50"), ("sampler", '"dpm-solver"')),
        output="one/two/three/four/five/six/seven/eight/compilations_per_step",
        error=1.0,
        allowed=150.0,
    )

    lines = printed(long, replace(COUNT, error=1.0, allowed=2.0)).splitlines()

    heading = next(line for line in lines if "upsampler" in line)
    assert heading.endswith('sim:hpu (simulated), float32, steps 50, sampler "dpm-solver"')
    at = lines.index(f"  {long.output}")
    assert lines[at + 1].split() == ["1", "150", "pass"]
    assert len(lines[at + 1]) <= 80
    short = next(line for line in lines if line.split()[:1] == ["graphs"])
    assert lines[at + 1].index("pass") == short.index("pass")


DEAD = Verdict(
    1, "one", "float32", 0, "", "", "error", detail="ValueError: x",
    stderr="Traceback\n  torch/nn.py\nValueError: x\n", frames="net.py:5 in f: return g(x)",
)  # fmt: skip


def test_one_cause_is_told_once_with_the_runs_it_struck_and_its_lines_first() -> None:
    again = replace(DEAD, level=2, level_name="two")
    reference = replace(
        DEAD,
        level=0,
        level_name="upstream",
        detail=f"reference run (level 0, float64): {DEAD.detail}",
    )
    other = replace(DEAD, level=3, level_name="three", frames="net.py:9 in h: raise")

    lines = [line.strip() for line in printed(DEAD, again, reference, other).splitlines()]

    assert lines[1:5] == [
        "error: level 1 one, float32: ValueError: x",
        "the same in 2 more runs: level 2 two, float32; level 0 upstream, float32",
        "at net.py:5 in f: return g(x)",
        "| Traceback",
    ]
    assert sum("ValueError: x" in line and "error:" in line for line in lines) == 2
    assert "at net.py:9 in h: raise" in lines


def test_a_cause_that_another_recipe_showed_takes_a_line() -> None:
    out = StringIO()
    console, causes = Console(file=out, width=80), Causes()
    deep = replace(DEAD, frames="net.py:5 in f: return g(x)\nmain.py:1 in <module>: f()")
    script = replace(deep, detail=f"main.py: exit code 1, expected 0: {DEAD.detail}")
    other = replace(deep, detail="ValueError: y")

    for name, verdict in (("one", deep), ("two", script), ("three", other)):
        result = RecipeResult("port", name, "a title", (verdict,), 3, 1.0)
        print_result(console, result, causes=causes)

    lines = [line.strip() for line in out.getvalue().splitlines()]
    assert lines.count("at net.py:5 in f: return g(x), as in port/one") == 1
    assert lines.count("at net.py:5 in f: return g(x)") == 2
    assert lines.count("at main.py:1 in <module>: f()") == 2
    assert lines.count("| Traceback") == 2


def test_parts_of_runs_that_ended_alike_are_told_once() -> None:
    part = replace(DEAD, output="case/1", stderr="")
    others = (
        replace(part, output="case/2"),
        replace(part, output="case/1", device="sim:hpu"),
        replace(part, output="image", claim="parity", word="fail", detail="", frames=""),
    )

    lines = [line.strip() for line in printed(part, *others).splitlines()]

    assert lines[1:5] == [
        "error: level 1 one, float32, case/1: ValueError: x",
        "the same in 2 more: case/2; level 1 one, sim:hpu (simulated), float32, case/1",
        "at net.py:5 in f: return g(x)",
        "fail: level 1 one, float32, image, parity: found -, allowed -",
    ]
