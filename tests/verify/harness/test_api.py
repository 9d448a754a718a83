"""The probe's draws: the same numbers at every level and in every dtype."""

from __future__ import annotations

from pathlib import Path

import torch

from porter.device import open_device
from porter.verify.harness.api import Probe


def probe_in(dtype: torch.dtype, seed: int = 0, shaken: bool = False) -> Probe:
    return Probe(
        dtype=dtype,
        device=open_device("cpu"),
        seed=seed,
        parameters={},
        tree=Path(),
        companions={},
        folder=Path(),
        scratch=Path(),
        shaken=shaken,
    )


def test_every_dtype_sees_the_same_numbers_rounded() -> None:
    exact = probe_in(torch.float64).normal("x", 4, 5)

    assert torch.equal(probe_in(torch.float16).normal("x", 4, 5), exact.half())
    assert torch.equal(probe_in(torch.float32).normal("x", 4, 5), exact.float())


def test_draws_depend_on_label_and_seed_and_not_on_order() -> None:
    one, other = probe_in(torch.float64), probe_in(torch.float64)
    other.normal("y", 3)

    assert torch.equal(one.normal("x", 3), other.normal("x", 3))
    assert not torch.equal(one.normal("x", 3), one.normal("y", 3))
    assert not torch.equal(one.normal("x", 3), probe_in(torch.float64, seed=1).normal("x", 3))


def test_uniform_stays_in_its_range() -> None:
    drawn = probe_in(torch.float64).uniform("t", 1000, low=2, high=3)

    assert 2 <= float(drawn.min()) < 2.1
    assert 2.9 < float(drawn.max()) < 3


def test_alive_weights_follow_names_and_keep_activations_their_size() -> None:
    probe = probe_in(torch.float32)
    small = torch.nn.Sequential(torch.nn.Linear(64, 64), torch.nn.GroupNorm(1, 64))
    torch.nn.init.zeros_(small[0].weight)  # type: ignore[arg-type]
    renamed = torch.nn.Sequential(torch.nn.Linear(64, 64), torch.nn.LayerNorm(64))

    probe.alive(small)
    probe.alive(renamed)

    assert not small.training
    assert torch.equal(small[0].weight, renamed[0].weight)  # type: ignore[arg-type]
    assert torch.equal(small[1].weight, renamed[1].weight)  # type: ignore[arg-type]
    x = probe.normal("x", 256, 64)
    assert 0.8 < float(small[0](x).detach().std()) < 1.3


def test_a_module_drawn_in_float64_and_one_in_half_have_the_same_weights() -> None:
    exact = probe_in(torch.float64).alive(torch.nn.Linear(8, 8))
    half = probe_in(torch.float16).alive(torch.nn.Linear(8, 8))

    assert torch.equal(half.weight, exact.weight.half())


def test_recorded_values_are_copies() -> None:
    probe = probe_in(torch.float32)
    x = torch.zeros(3, requires_grad=True)

    probe.record("x", x)
    with torch.no_grad():
        x += 1

    assert probe.outputs["x"].tolist() == [0, 0, 0]
    assert not probe.outputs["x"].requires_grad
