"""Claims on outputs, from a recipe's text to its verdicts, on runs that are only said."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from porter.verify.judge.compare import judge
from porter.verify.judge.result import Verdict
from porter.verify.judge.tensors import text_difference
from porter.verify.plan.matrix import Failure, RunSpec
from porter.verify.recipe.claims import Allclose, Finite, LossCurve, Parity
from tests.verify.judging import Given, judged, planned, summaries


def draws(label: int = 0, number: int = 50) -> torch.Tensor:
    generator = torch.Generator().manual_seed(label)
    return torch.randn(number, generator=generator, dtype=torch.float64)


def gives(**by_level: torch.Tensor) -> Callable[[RunSpec], Given]:
    """Level N gives ``levelN`` as the output y, in float32; other levels what level 0 gives."""

    def given(spec: RunSpec) -> Given:
        exact = by_level.get(f"level{spec.level}", by_level["level0"])
        return {"y": exact if spec.dtype == "float64" else exact.float()}

    return given


def words(verdicts: list[Verdict]) -> list[tuple[int, str]]:
    return [(v.level, v.word) for v in verdicts]


def on_y(claim: str) -> str:
    return f"claims: [{{outputs: y, {claim}}}]\n"


@pytest.mark.parametrize(
    "claim",
    [
        "parity: {}",
        "finite: {}",
        'allclose: {atol: 0.01, reason: "r"}',
        'psnr: {at_least: 40, peak: 4, reason: "r"}',
        'same_distribution: {p: 0.01, reason: "r"}',
        "loss_curve: {}",
        "equal: {}",
        'within_ulps: {ulps: 4, reason: "r"}',
    ],
)
def test_a_nan_on_both_sides_is_not_equality(tmp_path: Path, claim: str) -> None:
    spoiled = draws()
    spoiled[7] = torch.nan

    verdicts = judged(tmp_path, on_y(claim), gives(level0=spoiled))

    assert verdicts
    assert all(verdict.bad for verdict in verdicts)


def test_finite_counts_what_is_not(tmp_path: Path) -> None:
    spoiled = draws()
    spoiled[:3] = torch.inf

    verdicts = judged(tmp_path, on_y("finite: {}"), gives(level0=draws(), level1=spoiled))

    assert words(verdicts) == [(0, "pass"), (1, "fail"), (2, "pass")]
    assert (verdicts[1].error, verdicts[1].detail) == (3, "3 inf of 50")


def test_finite_whole_numbers_could_not_fail() -> None:
    outcome = judge(Finite(), torch.arange(5), None, None)

    assert outcome.problem
    assert outcome.detail == "could not fail: int64[5] holds no infinity and no NaN"


def test_allclose_holds_each_element_to_its_own_bound() -> None:
    reference = torch.tensor([0.0, 1.0, 100.0], dtype=torch.float64)
    kind = Allclose(rtol=0.01, atol=0.1, reason="r")

    within = judge(kind, reference + torch.tensor([0.09, 0.1, 1.0]), reference, None)
    beyond = judge(kind, reference + torch.tensor([0.0, 0.2, 1.0]), reference, None)

    assert within.held
    assert not beyond.held
    assert (beyond.error, beyond.allowed) == (pytest.approx(0.2), pytest.approx(0.11))
    assert beyond.detail == "greatest difference at [1]: expected 1, found 1.2"


def test_allclose_of_images_counts_in_grey_levels() -> None:
    image = (torch.arange(48) * 5).to(torch.uint8).reshape(4, 4, 3)
    other = image.clone()
    other[0, 0, 0] += 2
    kind = Allclose(atol=1, reason="r")

    assert judge(kind, image + 1, image, None).held
    assert judge(kind, other, image, None).error == 2


@pytest.mark.parametrize("atol", [120, 300])
def test_a_bound_above_the_outputs_own_range_could_not_fail(atol: float) -> None:
    image = (torch.arange(48) * 5).to(torch.uint8).reshape(4, 4, 3)

    outcome = judge(Allclose(atol=atol, reason="r"), image, image, None)

    assert outcome.problem
    assert outcome.detail.startswith("could not fail: a ")
    assert outcome.detail.endswith("the reference lies between 0 and 235")


def falling(rate: float, steps: int = 20) -> torch.Tensor:
    return 2 * torch.exp(-rate * torch.arange(steps, dtype=torch.float64))


def test_a_loss_curve_may_lose_twice_what_level_0_has_lost_up_to_each_step() -> None:
    reference = falling(0.1)
    lost = 1e-4 * torch.arange(20, dtype=torch.float64)
    baseline = (reference + lost).float()

    within = judge(LossCurve(), (reference - 1.9 * lost).float(), reference, baseline)
    beyond = judge(LossCurve(), (reference + 2.2 * lost).float(), reference, baseline)

    assert within.held
    assert not beyond.held
    assert beyond.detail.startswith("departs at [1]: expected 1.80967, found 1.8098")


def test_a_loss_that_departs_early_is_not_excused_by_what_level_0_loses_late() -> None:
    reference = falling(0.1)
    baseline = reference.float()
    baseline[-1] += 0.5
    early = baseline.clone()
    early[3] += 0.01

    assert judge(LossCurve(), baseline, reference, baseline).held
    assert not judge(LossCurve(), early, reference, baseline).held


def test_a_curve_that_a_run_without_training_would_pass_could_not_fail() -> None:
    reference = falling(1e-9)

    outcome = judge(LossCurve(), reference.float(), reference, reference.float())

    assert outcome.problem
    assert outcome.detail.startswith("could not fail: a loss that never moves")


def test_parity_against_another_run_has_level_0s_error_as_its_allowance() -> None:
    reference = draws()
    baseline = (reference + 1e-3 * draws(1)).float()
    other = (reference + 1).float()

    near = judge(Parity(), other + 1.5e-3 * draws(2).float(), reference, baseline, other)
    far = judge(Parity(), baseline, reference, baseline, other)

    assert near.held
    assert not far.held


def test_against_the_level_before_each_level_is_held_to_its_neighbour(tmp_path: Path) -> None:
    recipe = on_y("against: {level: previous}, equal: {}") + "levels: {from: one}\n"

    verdicts = judged(
        tmp_path, recipe, gives(level0=draws(), level1=draws(1), level2=draws(1)), levels=4
    )

    assert words(verdicts) == [(1, "fail"), (2, "pass"), (3, "fail")]


def test_against_another_device_the_same_level_runs_on_both(tmp_path: Path) -> None:
    recipe = """\
        devices: [cpu, "sim:hpu"]
        claims:
          - {outputs: y, devices: [cpu], parity: {}}
          - {outputs: y, devices: ["sim:hpu"], against: {device: cpu}, equal: {}}
        """

    def given(spec: RunSpec) -> Given:
        off = 1e-3 if spec.device == "sim:hpu" and spec.level == 2 else 0
        return {"y": draws().to(getattr(torch, spec.dtype)) + off}

    verdicts = judged(tmp_path, recipe, given)

    assert [(v.device, v.level, v.word) for v in verdicts] == [
        ("cpu", 0, "baseline"),
        ("cpu", 1, "pass"),
        ("cpu", 2, "pass"),
        ("sim:hpu", 0, "pass"),
        ("sim:hpu", 1, "pass"),
        ("sim:hpu", 2, "fail"),
    ]


def test_what_another_run_lacks_or_gives_otherwise_is_told(tmp_path: Path) -> None:
    recipe = "claims: [{outputs: '*', against: {level: one}, equal: {}}]\nlevels: {from: two}\n"

    def given(spec: RunSpec) -> Given:
        if spec.level == 1:
            return {"y": draws(), "z": draws(), "only": draws()}
        return {"y": draws().float(), "z": draws()[:9], "new": draws()}

    details = {v.output: v.detail for v in judged(tmp_path, recipe, given)}

    assert details == {
        "y": "expected float64[50] as at level 1 one, cpu, found float32[50]",
        "z": "expected float64[50] as at level 1 one, cpu, found float64[9]",
        "new": "level 1 one, cpu does not record it: nothing to compare with",
        "only": "missing: level 1 one, cpu records it, this run does not",
    }


def test_a_run_to_compare_with_that_failed_is_told(tmp_path: Path) -> None:
    recipe = on_y("against: {level: one}, equal: {}") + "levels: {from: two}\n"

    verdicts = judged(
        tmp_path,
        recipe,
        lambda spec: Failure("exit", "ended", "") if spec.level == 1 else {"y": draws()},
    )

    assert summaries(verdicts) == [(2, "error", "the run to compare with failed: ended")]


def test_each_variant_has_a_reference_of_its_own(tmp_path: Path) -> None:
    recipe = on_y("parity: {}") + "vary: {steps: [4, 8]}\nlevels: [one]\n"

    def given(spec: RunSpec) -> Given:
        return {"y": draws(spec.values["steps"]).to(getattr(torch, spec.dtype))}

    verdicts = judged(tmp_path, recipe, given)

    assert [(v.variant, v.word) for v in verdicts] == [
        ((("steps", "4"),), "pass"),
        ((("steps", "8"),), "pass"),
    ]


def test_a_dead_output_without_a_reference_is_told_too(tmp_path: Path) -> None:
    verdicts = judged(tmp_path, on_y("finite: {}"), lambda _: {"y": torch.zeros(4)}, levels=1)

    assert [v.detail for v in verdicts] == [
        "the output is all zero: it proves nothing (zero-initialised weights? see probe.alive)"
    ]


def test_a_failed_reference_ends_only_what_needs_it(tmp_path: Path) -> None:
    recipe = """\
        claims: [{outputs: y, parity: {}}, {outputs: z, finite: {}}]
        levels: [one]
        """

    def given(spec: RunSpec) -> Given:
        if spec.dtype == "float64":
            return Failure("exit", "ended", "")
        return {"y": draws().float(), "z": draws().float()}

    verdicts = judged(tmp_path, recipe, given)

    assert (0, "error", "reference run (level 0, float64): ended") in summaries(verdicts)
    assert (1, "pass", "") in summaries(verdicts)


def test_a_bad_verdict_comes_with_the_command_that_narrows_it(tmp_path: Path) -> None:
    recipe = on_y("parity: {}") + "devices: ['sim:hpu']\nlevels: [one, two]\n"

    def given(spec: RunSpec) -> Given:
        if spec.level == 1:
            return Failure("exit", "ended", "")
        return {"y": (draws() + spec.level).to(getattr(torch, spec.dtype))}

    verdicts = judged(tmp_path, recipe, given)

    assert [v.narrow for v in verdicts] == [
        "",  # no level below it to search
        "porter compare port upstream two --recipe one --device sim:hpu --dtype float32",
    ]


def test_rates_are_judged_on_accelerators_only_and_that_is_said(tmp_path: Path) -> None:
    recipe = """\
        devices: [cpu, "sim:hpu", hpu]
        claims: [{throughput: rate, ratio: {level: one, at_least: 2}}]
        levels: [two]
        """
    rates = torch.linspace(9, 10, 20)

    verdicts = judged(tmp_path, recipe, lambda spec: {"rate": rates * spec.level})

    assert [(v.device, v.word) for v in verdicts] == [
        ("cpu", "skipped"),
        ("sim:hpu", "skipped"),
        ("hpu", "fail"),
    ]
    assert "simulated, and a simulation has no speed" in verdicts[1].detail
    assert verdicts[2].error == pytest.approx(2)


@pytest.mark.parametrize(("asked", "word"), [({}, "skipped"), ({"devices": "hpu"}, "error")])
def test_an_accelerator_that_is_not_there_is_skipped_unless_it_was_asked_for(
    tmp_path: Path, asked: dict[str, str], word: str
) -> None:
    recipe = on_y("finite: {}") + "devices: [hpu]\nlevels: [one]\n"

    verdicts = judged(tmp_path, recipe, lambda _: Failure("device", "no HPU here", ""), **asked)

    assert summaries(verdicts) == [(1, word, "no HPU here")]


def test_nothing_runs_that_no_claim_asks_for(tmp_path: Path) -> None:
    from porter.verify.plan.matrix import run_specs

    recipe = """\
        devices: [cpu, "sim:hpu"]
        vary: {steps: [4, 8]}
        claims:
          - {outputs: y, devices: [cpu], where: {steps: [4]}, parity: {}}
          - {counters: ops, devices: ["sim:hpu"], levels: [one], at_most: 8}
        """

    found = [
        (p.level, p.device, p.dtype, p.values["steps"])
        for p in run_specs(planned(tmp_path, recipe))
    ]

    assert found == [
        (0, "cpu", "float64", 4),
        (0, "cpu", "float32", 4),
        (0, "cpu", "float32", 4),  # shaken
        (1, "cpu", "float32", 4),
        (2, "cpu", "float32", 4),
        (1, "sim:hpu", "float32", 4),
        (1, "sim:hpu", "float32", 8),
    ]


TEXTS = st.text(st.sampled_from("ab\n\r"), max_size=6)


@given(found=TEXTS, expected=TEXTS)
def test_texts_differ_in_words_exactly_where_they_differ(found: str, expected: str) -> None:
    assert bool(text_difference(found, expected, files=False)) == (found != expected)


@given(
    found=st.sets(st.sampled_from("abcdefghij")), expected=st.sets(st.sampled_from("abcdefghij"))
)
def test_lists_of_files_differ_in_words_where_a_name_does(
    found: set[str], expected: set[str]
) -> None:
    texts = ("".join(f"{name}\n" for name in sorted(names)) for names in (found, expected))
    assert bool(text_difference(*texts, files=True)) == (found != expected)
