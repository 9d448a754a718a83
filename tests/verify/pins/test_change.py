"""How one output of a level differs between two states of its port, by its claim."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from porter.verify.judge.compare import judge
from porter.verify.pins.change import Recorded, judge_change
from porter.verify.recipe.claims import (
    Allclose,
    Claim,
    Equal,
    Finite,
    LossCurve,
    Parity,
    Psnr,
    WithinUlps,
)

PARITY = Claim(outputs="*", parity=Parity())
CLAIMS = [
    PARITY,
    Claim(outputs="*", loss_curve=LossCurve()),
    Claim(outputs="*", equal=Equal()),
    Claim(outputs="*", within_ulps=WithinUlps(ulps=40, reason="r")),
    Claim(outputs="*", allclose=Allclose(rtol=1e-5, atol=1e-6, reason="r")),
    Claim(outputs="*", psnr=Psnr(at_least=110, peak=4, reason="r")),
]


def state(reference: torch.Tensor, error: torch.Tensor, own_error: torch.Tensor) -> Recorded:
    """A state whose level and level 0 miss the reference by these errors."""
    exact = reference.double()
    return Recorded(found=(exact + error).float(), own=(exact + own_error).float(), reference=exact)


def small(seed: int, scale: float) -> torch.Tensor:
    return scale * torch.randn(20, generator=torch.Generator().manual_seed(seed)).double()


@pytest.mark.parametrize("claim", CLAIMS, ids=lambda claim: claim.kind_name)
@settings(deadline=None, max_examples=60)
@given(
    seed=st.integers(0, 10**6),
    copies=st.booleans(),
    move=st.sampled_from([0.0, 1e-6, 1.0]),
    error=st.sampled_from([0.0, 1e-8, 3e-7, 1e-6, 1e-5]),
)
def test_a_level_that_keeps_its_claim_in_both_states_passes(
    claim: Claim, seed: int, copies: bool, move: float, error: float
) -> None:
    """``copies``: the level records what level 0 does; else it has an error of its own."""
    before = small(seed, 1)
    references = (before, before + small(seed + 1, move))
    own = [small(seed + 2, 2e-7), small(seed + 3, 2e-7)]
    errors = own if copies else [small(seed + 4, error), small(seed + 5, error)]
    old, new = map(state, references, errors, own)
    held = []
    for each in (old, new):
        assert each.found is not None
        held.append(judge(claim.kind, each.found, each.reference, each.own).held)

    word = judge_change(claim, old, new).word

    assert word in ("same", "within", "moved") or not all(held)


@pytest.mark.parametrize("claim", CLAIMS, ids=lambda claim: claim.kind_name)
def test_a_level_that_stands_still_while_upstream_moves_differs(claim: Claim) -> None:
    before, none = small(0, 1), torch.zeros(20)
    old, new = state(before, none, none), state(before + 1, none - 1, none)

    found = judge_change(claim, old, new)

    assert (found.word, found.difference) == ("differs", pytest.approx(0, abs=1e-6))
    assert found.upstream == pytest.approx(1)
    assert "upstream's" in found.detail


@pytest.mark.parametrize("claim", CLAIMS, ids=lambda claim: claim.kind_name)
def test_a_level_that_moves_by_itself_differs(claim: Claim) -> None:
    before, none = small(0, 1), torch.zeros(20)

    found = judge_change(claim, state(before, none, none), state(before, none + 0.1, none))

    assert found.word == "differs"
    assert found.apart is not None
    assert found.allowed is not None
    assert found.apart > found.allowed


def test_an_opposite_move_of_the_same_size_differs() -> None:
    before, none = small(0, 1), torch.zeros(20)

    found = judge_change(PARITY, state(before, none, none), state(before + 1, none - 2, none))

    assert (found.word, found.difference) == ("differs", pytest.approx(1))


def test_rounding_alone_is_within_the_allowance() -> None:
    before, none = small(0, 1), torch.zeros(20)

    found = judge_change(PARITY, state(before, none, none), state(before, none + 2e-7, none))

    assert found.word == "within"


def test_bits_decide_what_is_the_same() -> None:
    zero, other = torch.tensor([0.0, 1.0]), torch.tensor([-0.0, 1.0])
    facts = {"own": zero, "reference": zero.double()}

    assert judge_change(PARITY, Recorded(zero, **facts), Recorded(zero, **facts)).word == "same"
    assert judge_change(PARITY, Recorded(zero, **facts), Recorded(other, **facts)).word == "within"


def test_without_a_bound_only_equal_bits_are_judged() -> None:
    claim, x = Claim(outputs="*", finite=Finite()), small(0, 1)

    assert judge_change(claim, Recorded(x), Recorded(x.clone())).word == "same"
    found = judge_change(claim, Recorded(x), Recorded(x + 1))
    assert (found.word, found.detail) == ("unjudged", "finite bounds no difference")
    assert judge_change(None, Recorded(x), Recorded(x + 1)).word == "unjudged"


def test_the_same_overflow_in_both_states_is_no_difference() -> None:
    x = torch.tensor([float("inf"), float("nan"), 1.0])

    found = judge_change(None, Recorded(x), Recorded(x + 1))

    assert (found.word, found.difference) == ("unjudged", 1.0)


@pytest.mark.parametrize(
    ("level", "upstream", "word"),
    [((2, 3), (2, 3), "moved"), ((2, 3), (2, 2), "differs"), ((2, 2), (2, 3), "differs")],
)
def test_a_shape_must_change_as_upstreams_does(
    level: tuple[int, int], upstream: tuple[int, int], word: str
) -> None:
    def of(size: int, own: int) -> Recorded:
        return Recorded(torch.ones(size), torch.ones(own), torch.ones(own).double())

    old, new = (of(*sizes) for sizes in zip(level, upstream, strict=True))

    assert judge_change(PARITY, old, new).word == word


@pytest.mark.parametrize(
    ("level", "upstream", "word"),
    [((0, 1), (0, 1), "moved"), ((0, 1), (1, 1), "differs"), ((1, 1), (1, 0), "differs")],
)
def test_an_output_must_come_and_go_as_upstreams_does(
    level: tuple[int, int], upstream: tuple[int, int], word: str
) -> None:
    def of(found: int, own: int) -> Recorded:
        return Recorded(torch.ones(2) if found else None, torch.ones(2) if own else None)

    old, new = (of(*there) for there in zip(level, upstream, strict=True))

    assert judge_change(PARITY, old, new).word == word
