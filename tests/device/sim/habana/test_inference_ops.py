"""Reordered caches, repeated rows and fast arithmetic, as the bridge's own tests state them."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from porter.device.sim.activate import simulated
from porter.device.sim.habana import inference_ops  # noqa: F401

hpu: Any = torch.ops.hpu


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float8_e5m2, torch.int32])
@pytest.mark.parametrize("shape", [(2, 4, 3, 6, 2), (3, 4, 8, 5)])
def test_beams_are_reordered_between_two_positions(
    dtype: torch.dtype, shape: tuple[int, ...]
) -> None:
    generator = torch.Generator().manual_seed(1)
    cache = torch.randint(0, 100, shape, generator=generator).to(dtype)
    beams = torch.randint(0, 4, (shape[0], 4), generator=generator)
    start = torch.randint(0, 3, (shape[0],), generator=generator, dtype=torch.int32)
    length = torch.randint(0, 3, (shape[0],), generator=generator, dtype=torch.int32)
    packed = (beams * torch.tensor([64, 16, 4, 1])).sum(-1).to(torch.uint8)
    expected = cache.float()
    for row in range(shape[0]):
        part = expected[row].narrow(-2, int(start[row]), int(length[row]))
        part.copy_(part.index_select(0, beams[row]))
    given = cache.clone()

    made = hpu.kv_reorder(given, start, start + length, packed)

    assert torch.equal(made.float(), expected)
    assert torch.equal(given.float(), cache.float())
    assert hpu.kv_reorder_(given, start, start + length, packed) is given
    assert torch.equal(given.float(), expected)


def test_rows_are_repeated_in_place() -> None:
    rows = torch.arange(24.0).reshape(8, 3)
    expected = rows[[0, 0, 0, 0, 1, 1, 1, 1]]
    assert torch.equal(hpu.in_place_interleave(rows), expected)
    assert torch.equal(hpu.in_place_interleave_(rows), expected)
    assert torch.equal(rows, expected)


@pytest.mark.parametrize("name", ["exp", "sqrt", "rsqrt"])
def test_fast_arithmetic_computes_the_function(name: str) -> None:
    x = torch.linspace(0.1, 10, 50)
    assert torch.equal(getattr(hpu, f"{name}_fast_math")(x), getattr(torch, name)(x))


def test_graphs_with_a_reordered_cache_compile(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PT_HPU_LAZY_MODE", "0")
    with simulated("hpu"):
        cache = torch.arange(2.0 * 4 * 3 * 2).reshape(2, 4, 3, 2).to("hpu")
        start, end = (torch.tensor(each, dtype=torch.int32).to("hpu") for each in ([0, 1], [2, 3]))
        beams = torch.tensor([0b00011011, 0b11100100]).to(torch.uint8).to("hpu")
        reorder = torch.compile(hpu.kv_reorder, backend="hpu_backend", fullgraph=True)
        made = reorder(cache, start, end, beams).cpu()
        assert torch.equal(made, hpu.kv_reorder(cache, start, end, beams).cpu())
        assert torch.equal(made[0], cache[0].cpu())
        assert not torch.equal(made[1], cache[1].cpu())
    torch._dynamo.reset()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("scale", [1.3, 0.75])
def test_triangular_softmax_is_that_of_the_scores_below_the_diagonal(
    dtype: torch.dtype, scale: float
) -> None:
    scores = torch.randn(4, 7, 7, generator=torch.Generator().manual_seed(2)).to(dtype)
    expected = torch.zeros(4, 7, 7)
    for row in range(7):
        expected[:, row, : row + 1] = (scores[:, row, : row + 1].float() * scale).softmax(-1)

    made = hpu.scaled_triangular_softmax(scores, scale)
    retained, reciprocal, largest = hpu.scaled_triangular_softmax_retain(scores, scale)

    assert made.dtype == dtype
    assert torch.allclose(made.float(), expected, atol=1e-7 if dtype == torch.float32 else 4e-3)
    assert (reciprocal.dtype, largest.dtype) == (torch.float32, dtype)
    assert reciprocal.shape == largest.shape == (4, 7, 1)
    assert torch.equal(hpu.scaled_triangular_softmax(scores, scale, reciprocal, largest), retained)


def test_masked_softmax_adds_the_mask_to_the_scaled_scores() -> None:
    scores, mask = torch.randn(3, 5), torch.randint(0, 2, (3, 5)).float()
    expected = torch.softmax(scores * 0.17 + mask, -1)
    assert torch.allclose(hpu.scaled_masked_softmax(scores, mask, 0.17), expected)


@pytest.mark.parametrize("out_dtype", [None, torch.float8_e5m2])
@pytest.mark.parametrize("rows", [5, 1])
def test_masked_triangular_softmax_keeps_the_columns_of_each_group(
    rows: int, out_dtype: torch.dtype | None
) -> None:
    scores = torch.randn(4, rows, 5, generator=torch.Generator().manual_seed(3))
    bounds = [(1, 4), (0, 3)]
    expected = torch.zeros(4, rows, 5)
    for group, (start, end) in enumerate(bounds):
        for row in range(rows):
            stop = min(end, row + 1) if rows > 1 else end
            if start < stop:
                part = scores[2 * group : 2 * group + 2, row, start:stop] * 1.3
                expected[2 * group : 2 * group + 2, row, start:stop] = part.softmax(-1)

    made = hpu.scaled_masked_triangular_softmax(
        scores, torch.tensor(bounds).flatten(), 1.3, 2, True, 0, out_dtype
    )

    if out_dtype is not None:
        expected = expected.to(out_dtype).float()
    assert made.dtype == (out_dtype or torch.float32)
    assert torch.allclose(made.float(), expected, atol=0.26 if out_dtype else 1e-7)
    assert torch.equal(made.float() == 0, expected == 0)


def test_the_plain_index_is_an_index() -> None:
    x = torch.arange(125.0).reshape(5, 5, 5)
    first, second = torch.tensor([1, 2, 3]), torch.tensor([1, 3, 1])
    assert torch.equal(hpu.plain_index(x, [first, second]), x[[1, 2, 3], [1, 3, 1]])
