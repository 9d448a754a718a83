"""What rounding explains, on tensors as they are kept, and which moments belong together."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from porter.verify.divergence.align import align
from porter.verify.divergence.timeline import Activation, TensorSample
from porter.verify.divergence.tolerance import Allowance, Difference, difference, differences
from porter.verify.harness.tensor_digest import Values, fingerprint, sample_tensor, tensors_in

RULE = Allowance(factor=2, ulps=8, loose_ulps=64)
EXACT = torch.linspace(-1, 2, 40, dtype=torch.float64).sin()


def seen(
    tensor: torch.Tensor, name: str = "0", sample: int = 1000, room: int = 10**9
) -> TensorSample:
    values = Values(room)
    row = sample_tensor(name, tensor, values, sample)
    assert row is not None
    place = row["at"]
    joined = b"".join(values.parts)
    kept = torch.frombuffer(bytearray(joined), dtype=torch.float64) if joined else torch.zeros(0)
    kept = kept[place[0] : place[0] + place[1]] if place else None
    shape = tuple(row["shape"])
    return TensorSample(name, shape, row["dtype"], row["digest"], row["step"], kept)


def held(
    second: torch.Tensor, first: torch.Tensor | None = None, exact: torch.Tensor | None = EXACT
) -> Difference:
    own = EXACT.float() if first is None else first
    return difference(seen(own), seen(second), None if exact is None else seen(exact), RULE)


def test_the_same_bits_do_not_differ() -> None:
    assert held(EXACT.float()).error == 0
    assert held(torch.full((3,), math.nan), torch.full((3,), math.nan)).error == 0


def test_twice_the_first_runs_own_error_is_allowed_and_more_is_not() -> None:
    noise = 1e-4 * torch.ones(40)
    first = (EXACT + noise).float()

    assert not held((EXACT - 1.9 * noise).float(), first).departs
    told = held((EXACT - 2.1 * noise).float(), first)
    assert told.departs
    assert told.own_error == pytest.approx(1e-4, rel=1e-2)
    assert told.share == pytest.approx(1.05, rel=1e-2)


def test_without_an_exact_run_the_two_are_held_to_each_other() -> None:
    eps = torch.finfo(torch.float32).eps

    assert not held(EXACT.float() + 60 * eps, exact=None).departs
    assert held(EXACT.float() + 70 * eps, exact=None).departs


def test_a_small_error_everywhere_shows_beside_one_great_element() -> None:
    exact = EXACT.clone()
    exact[0] = 1e4

    told = held((exact + 3e-3).float(), exact.float(), exact)

    assert (told.departs, told.measure) == (True, "rms")
    assert not held((exact + 1e-3).float(), exact.float(), exact).departs


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_what_only_the_second_run_cannot_represent_departs(bad: float) -> None:
    second = EXACT.float()
    second[3] = bad

    assert held(second).departs
    assert not held(EXACT.float(), second).departs  # the first overflows: no word on the second


def test_whole_numbers_have_no_rounding() -> None:
    told = held(torch.tensor([1, 2, 4]), torch.tensor([1, 2, 3]), None)

    assert (told.measure, told.error, told.departs) == ("elements", 1, True)


def test_a_difference_outside_the_kept_elements_is_owned_up_to() -> None:
    first = torch.arange(100.0)
    second = first.clone()
    second[1] = 7

    told = difference(seen(first, sample=10), seen(second, sample=10), None, RULE)

    assert not told.departs
    assert told.unseen


def test_tensors_kept_at_different_densities_are_compared_where_both_were() -> None:
    first, second = torch.arange(200.0), torch.arange(200.0)
    second[99] = 0
    dense, thin = seen(first, sample=40), seen(second, room=200 * 8 * 2)
    assert (dense.step, thin.step) == (5, 1)

    assert difference(dense, thin, None, RULE).unseen  # 99 is no multiple of 5
    second[100] = 0
    assert difference(dense, seen(second), None, RULE).departs


def test_a_full_store_thins_out_instead_of_stopping() -> None:
    values = Values(1000 * 8)
    steps = [sample_tensor("x", torch.arange(90.0), values, 1000) for _ in range(60)]

    found = [row["step"] for row in steps if row is not None]
    assert found[0] == 1
    assert sorted(set(found)) == [1, 9, 81]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bool, torch.int64])
def test_every_element_and_the_order_are_in_a_fingerprint(dtype: torch.dtype) -> None:
    drawn = torch.Generator().manual_seed(1)
    whole = torch.randint(0, 2, (200_003,), generator=drawn).to(dtype)
    seen_before = {fingerprint(whole), fingerprint(whole[:-1]), fingerprint(whole.flip(0))}

    for place in (0, 1, 65_536, 131_071, 200_001, 200_002):
        changed = whole.clone()
        changed[place] = 1 - int(changed[place])
        seen_before.add(fingerprint(changed))

    assert len(seen_before) == 9
    assert fingerprint(whole.clone()) == fingerprint(whole)


def test_tensors_are_found_in_whatever_holds_them() -> None:
    one = torch.ones(1)

    found = dict(tensors_in({"a": [one, 3], "b": (one, {"c": one})}))

    assert sorted(found) == ["a.0", "b.0", "b.1.c"]


def test_outputs_are_compared_by_name_and_else_by_place() -> None:
    first = [seen(torch.ones(2), "a"), seen(torch.zeros(2), "b")]
    second = [seen(torch.zeros(2), "b"), seen(torch.ones(2), "a")]

    assert not any(each.departs for each in differences(first, second, None, RULE))


def moment(number: int, path: str, kind: str = "out", **known: Any) -> Activation:
    rest = {"class_name": "Linear", "call": 0, "depth": 0, "site": "", "source": ""}
    return Activation(number, kind, path, tensors=known.pop("tensors", ()), **(rest | known))


def test_renamed_modules_are_recognised_by_class_shape_and_order() -> None:
    small, large = (seen(torch.ones(2)),), (seen(torch.ones(3)),)
    first = [moment(0, "N.a", tensors=small), moment(1, "N.b", tensors=large), moment(2, "N.c")]
    second = [
        moment(0, "N.x", tensors=small),
        moment(1, "N.new", class_name="Extra"),
        moment(2, "N.y", tensors=large),
        moment(3, "N.c"),
        moment(4, "N.c", call=1),
    ]

    found = align(first, second)

    assert found.renamed == {"N.x": "N.a", "N.y": "N.b"}
    assert found.pairs == {0: 0, 2: 1, 3: 2}
    assert found.only_second == ("N.new",)
    assert found.uneven == (("N.c", 1, 2),)
