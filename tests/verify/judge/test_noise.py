"""An output's own noise: measured on a shaken run of level 0, and held against every tolerance."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from porter.verify.cache.keys import environ_of
from porter.verify.harness.shaken import VARIABLES, by_one_ulp
from porter.verify.judge.compare import judge
from porter.verify.judge.noise import Noise, drowned, noise_between
from porter.verify.plan.matrix import Failure, RunSpec, run_specs
from porter.verify.recipe.claims import (
    Allclose,
    LossCurve,
    OutputKind,
    Parity,
    Psnr,
    Ssim,
    WithinUlps,
)
from tests.verify.conftest import Verify
from tests.verify.folder_trees import PARITY, FolderTrees, write_recipe
from tests.verify.harness.test_api import probe_in
from tests.verify.judging import Given, judged, planned, summaries

DTYPES = (torch.float64, torch.float32, torch.float16, torch.bfloat16)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


# The shaking


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@given(values=st.lists(st.floats(-1e4, 1e4), min_size=1), seed=st.integers(0, 99))
def test_every_element_moves_to_a_neighbour(
    dtype: torch.dtype, values: list[float], seed: int
) -> None:
    before = torch.tensor(values, dtype=torch.float64).to(dtype)

    after = by_one_ulp(before, generator(seed))

    up = torch.nextafter(before, torch.full_like(before, math.inf))
    down = torch.nextafter(before, torch.full_like(before, -math.inf))
    assert after.dtype == dtype
    assert bool((((after == up) | (after == down)) & (before != 0) | (after == 0)).all())
    assert torch.equal(after[before == 0], before[before == 0])


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_what_has_no_finite_neighbour_stays(dtype: torch.dtype) -> None:
    greatest = torch.finfo(dtype).max
    values = torch.tensor([math.inf, -math.inf, math.nan, 0.0] + [greatest] * 64, dtype=dtype)

    after = by_one_ulp(values, generator())

    assert torch.equal(after[:2], values[:2])
    assert bool(after[2].isnan())
    assert bool(torch.isfinite(after[3:]).all())


def test_whole_numbers_are_no_floats_and_stay() -> None:
    assert torch.equal(by_one_ulp(torch.arange(5), generator()), torch.arange(5))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_a_shaken_probe_draws_neighbours_of_what_it_draws_otherwise(dtype: torch.dtype) -> None:
    settled, shaken = probe_in(dtype), probe_in(dtype, shaken=True)
    before, after = torch.nn.Linear(8, 8), torch.nn.Linear(8, 8)
    pairs = [
        (settled.normal("x", 100), shaken.normal("x", 100)),
        (settled.uniform("t", 100, low=1, high=2), shaken.uniform("t", 100, low=1, high=2)),
        (settled.alive(before).weight.detach(), shaken.alive(after).weight.detach()),
    ]

    for one, other in pairs:
        moved = (one.double() - other.double()).abs() / one.double().abs()
        assert bool((moved > 0).all())
        assert float(moved.max()) <= torch.finfo(dtype).eps


def test_a_probe_is_shaken_in_the_same_way_every_time() -> None:
    one, other = probe_in(torch.float32, shaken=True), probe_in(torch.float32, shaken=True)
    other.normal("before", 3)

    assert torch.equal(one.normal("x", 50), other.normal("x", 50))


# Which runs are shaken


def shaken_runs(tmp_path: Path, recipe: str) -> set[RunSpec]:
    return {spec for spec in run_specs(planned(tmp_path, recipe)) if spec.shaken}


def test_level_0_is_shaken_once_a_dtype_where_a_claim_has_a_tolerance(tmp_path: Path) -> None:
    found = shaken_runs(tmp_path, PARITY + "dtypes: [float32, float16]\n")

    assert found == {RunSpec(0, "cpu", dtype, 0, shaken=True) for dtype in ("float32", "float16")}


@pytest.mark.parametrize("kind", ["equal: {}", "finite: {}", "nonfinite: {reason: r}"])
def test_nothing_is_shaken_where_no_claim_excuses_rounding(tmp_path: Path, kind: str) -> None:
    assert shaken_runs(tmp_path, f'claims: [{{outputs: "*", {kind}}}]\n') == set()


def test_without_a_reference_the_run_that_is_compared_with_is_shaken(tmp_path: Path) -> None:
    found = shaken_runs(
        tmp_path,
        'levels: {from: one}\nclaims: [{outputs: "*", against: {level: one}, '
        "allclose: {atol: 1, reason: r}}]\n",
    )

    assert found == {RunSpec(1, "cpu", "float32", 0, shaken=True)}


def test_a_shaken_run_sets_other_kernels_and_the_recipes_variables_win(
    tmp_path: Path,
) -> None:
    plan = planned(tmp_path, PARITY + "environ: {MKL_CBWR: AVX2, OTHER: x}\n")
    settled = RunSpec(0, "cpu", "float32", 0)

    assert environ_of(plan.loaded, settled) == {"MKL_CBWR": "AVX2", "OTHER": "x"}
    assert environ_of(plan.loaded, replace(settled, shaken=True)) == {
        **VARIABLES,
        "MKL_CBWR": "AVX2",
        "OTHER": "x",
    }


# What the noise does to a claim

REFERENCE = torch.linspace(-1, 1, 400, dtype=torch.float64)
BASELINE = REFERENCE.float()


def noise_of(amount: float, dtype: torch.dtype = torch.float32) -> Noise:
    """The noise of an output of range 2 whose elements all move by ``amount``."""
    found = noise_between(REFERENCE.to(dtype), (REFERENCE + amount).to(dtype))
    assert found is not None
    return found


def test_parity_allows_four_times_the_noise_where_that_is_more() -> None:
    near = judge(Parity(), BASELINE + 3.9e-5, REFERENCE, BASELINE, None, noise_of(1e-5))
    far = judge(Parity(), BASELINE + 4.1e-5, REFERENCE, BASELINE, None, noise_of(1e-5))

    assert near.held
    assert not far.held
    assert near.noise == pytest.approx(1e-5, rel=1e-2)
    assert near.allowed == pytest.approx(4e-5, rel=1e-2)


def test_parity_allows_what_it_did_where_the_noise_is_less() -> None:
    baseline = BASELINE + 1e-3

    without = judge(Parity(), baseline, REFERENCE, baseline)
    within = judge(Parity(), baseline, REFERENCE, baseline, None, noise_of(1e-6))

    assert within.allowed == without.allowed


def test_a_loss_curve_allows_the_noise_up_to_each_step() -> None:
    reference = torch.tensor([3.0, 2.0, 1.0], dtype=torch.float64)
    settled = reference.float()
    noise = Noise(settled, settled + torch.tensor([0.0, 1e-4, 0.0]))

    late = judge(LossCurve(), settled + torch.tensor([0, 0, 3e-4]), reference, settled, None, noise)
    early = judge(
        LossCurve(), settled + torch.tensor([3e-4, 0, 0]), reference, settled, None, noise
    )

    assert late.held
    assert not early.held


IMAGE = (REFERENCE.reshape(20, 20) * 100).round() + 100
BOUNDS: list[tuple[OutputKind, float]] = [
    (WithinUlps(ulps=8, reason="r"), 16 * 1.2e-7),
    (Allclose(atol=1e-6, reason="r"), 2e-6),
    (Psnr(at_least=80, peak=2, reason="r"), 1e-3),
]


@pytest.mark.parametrize(("kind", "moved"), BOUNDS, ids=lambda x: type(x).__name__)
def test_a_stated_bound_below_the_noise_proves_nothing(kind: OutputKind, moved: float) -> None:
    sound = judge(kind, BASELINE, REFERENCE, BASELINE, None, noise_of(moved / 100))
    outcome = judge(kind, BASELINE, REFERENCE, BASELINE, None, noise_of(moved))

    assert sound.held
    assert sound.noise is not None
    assert outcome.problem
    assert "beyond the" in outcome.detail
    assert "fewer steps" in outcome.detail


def test_an_image_less_alike_to_its_shaken_twin_than_claimed_proves_nothing() -> None:
    image = IMAGE.to(torch.uint8)
    twin = image.clone()
    twin[::2] += 2
    claim = Ssim(at_least=0.9999, reason="r")

    outcome = judge(claim, image, image, image, None, Noise(image, twin))

    assert outcome.problem
    assert "SSIM" in outcome.detail


@pytest.mark.parametrize("kind", [Parity(), *(kind for kind, _ in BOUNDS)], ids=str)
def test_an_output_that_rounding_drowns_proves_nothing_whatever_is_claimed(
    kind: OutputKind,
) -> None:
    outcome = judge(kind, BASELINE, REFERENCE, BASELINE, None, noise_of(0.03))

    assert outcome.problem
    assert "by 0.03, 1.50% of its range of 2, more than 0.01" in outcome.detail


def test_half_precision_may_move_by_32_spacings() -> None:
    assert drowned(noise_of(0.05, torch.float16)) == ""
    assert drowned(noise_of(0.07, torch.float16)) != ""
    assert drowned(noise_of(0.4, torch.bfloat16)) == ""
    assert drowned(noise_of(0.6, torch.bfloat16)) != ""


def test_a_single_number_is_held_to_its_size() -> None:
    loss = torch.tensor(2.0)

    assert drowned(Noise(loss, loss + 0.01)) == ""
    assert drowned(Noise(loss, loss + 0.03)) != ""


def test_what_overflows_only_when_shaken_proves_nothing() -> None:
    settled = torch.tensor([1.0, 2.0])

    assert "not finite" in drowned(Noise(settled, torch.tensor([1.0, math.inf])))


def test_noise_is_not_told_where_level_0_overflows_or_shapes_differ() -> None:
    settled = torch.tensor([1.0, math.inf])

    assert noise_between(settled, settled) is None
    assert noise_between(torch.zeros(3), torch.zeros(4)) is None
    assert noise_between(torch.zeros(3), None) is None


# From runs to verdicts


def giving(shaken: Given) -> Callable[[RunSpec], Given]:
    """Every run gives the reference, the shaken one ``shaken``."""
    return lambda spec: shaken if spec.shaken else {"y": BASELINE}


def test_a_claim_is_held_against_the_noise_of_its_output(tmp_path: Path) -> None:
    recipe = 'claims: [{outputs: "*", within_ulps: {ulps: 8, reason: r}}]\n'

    verdicts = judged(tmp_path, recipe, giving({"y": BASELINE + 1e-4}))

    assert {(verdict.word, verdict.claim) for verdict in verdicts} == {("error", "within_ulps")}
    assert all(verdict.noise is not None for verdict in verdicts)


def test_a_shaken_run_that_fails_is_told_once(tmp_path: Path) -> None:
    broken = Failure("exception", "RuntimeError: boom", "")

    verdicts = judged(tmp_path, PARITY, giving(broken))

    bad = [verdict for verdict in verdicts if verdict.bad]
    assert summaries(bad) == [(0, "error", "shaken run: RuntimeError: boom")]
    assert len(verdicts) > 1


def test_a_shaken_run_that_was_not_made_changes_nothing(tmp_path: Path) -> None:
    verdicts = judged(tmp_path, PARITY, giving(Failure("missing", "was not run", "")))

    assert [verdict.word for verdict in verdicts] == ["baseline", "pass", "pass"]


CHAOTIC = """
    from upstream_code import f
    def run(probe):
        probe.record("y", f(probe.uniform("x", 50, low=0.2, high=0.8), probe.parameters["steps"]))
    """
LOGISTIC = """
    def f(x, steps):
        for _ in range(steps):
            x = 4 * x * (1 - x)
        return x
    """


@pytest.mark.parametrize(("steps", "word"), [(2, "pass"), (40, "error")])
def test_a_loop_that_amplifies_rounding_is_found_on_any_processor(
    tmp_path: Path, trees: FolderTrees, verify: Verify, steps: int, word: str
) -> None:
    """One ulp doubles at each step of the logistic map (its Lyapunov exponent is log 2)."""
    trees.add("port", upstream=LOGISTIC, same=LOGISTIC.replace("4 * x * (1 - x)", "4 * (x - x*x)"))
    recipe = f"{PARITY}parameters: {{steps: {steps}}}\nlevels: [same]\n"
    write_recipe(tmp_path, "port", "one", recipe, CHAOTIC)

    (result,) = verify(trees)

    assert [verdict.word for verdict in result.verdicts] == [word]
    assert ("its range" in result.verdicts[0].detail) == (word == "error")
