"""Samples and fingerprints of tensors."""

from __future__ import annotations

import pytest
import torch

from porter.verify.harness.activations import Values, fingerprint, sample_tensor, tensors_in


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
    found = {fingerprint(whole), fingerprint(whole[:-1]), fingerprint(whole.flip(0))}

    for position in (0, 1, 65_536, 131_071, 200_001, 200_002):
        changed = whole.clone()
        changed[position] = 1 - int(changed[position])
        found.add(fingerprint(changed))

    assert len(found) == 9
    assert fingerprint(whole.clone()) == fingerprint(whole)


def test_tensors_are_found_in_whatever_holds_them() -> None:
    one = torch.ones(1)

    found = dict(tensors_in({"a": [one, 3], "b": (one, {"c": one})}))

    assert sorted(found) == ["a.0", "b.0", "b.1.c"]
