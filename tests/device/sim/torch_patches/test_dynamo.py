"""``torch.compile`` on simulated tensors, by PyTorch's own Dynamo."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import nn

from porter.device.sim.activate import simulated

BACKEND = {"cuda": "inductor", "hpu": "hpu_backend", "npu": "npu"}


@pytest.fixture(autouse=True)
def _fresh_dynamo() -> Iterator[None]:
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    yield
    torch._dynamo.reset()


def _stats() -> dict[str, Any]:
    return dict(torch._dynamo.utils.counters["stats"])


@pytest.mark.parametrize("backend", ["eager", "own"])
def test_a_compiled_model_trains_to_the_same_bits(kind: str, backend: str) -> None:
    model = nn.Sequential(nn.Linear(4, 4), nn.LayerNorm(4)).to(kind)
    batch = torch.randn(3, 4, device=kind)
    compiled = torch.compile(
        model, backend=BACKEND[kind] if backend == "own" else backend, fullgraph=True
    )
    grads = []
    for each in (model, compiled):
        model.zero_grad()
        each(batch).square().mean().backward()
        grads.append([parameter.grad for parameter in model.parameters()])
    assert all(map(torch.equal, *grads))
    assert _stats()["unique_graphs"] == 1


def test_graph_breaks_and_recompilations_are_dynamos_own() -> None:
    def breaks(x: torch.Tensor) -> torch.Tensor:
        y = x + 1
        if y.sum().item() > 0:
            return y * 2
        return y

    with simulated("hpu"):
        step = torch.compile(breaks, backend="hpu_backend", dynamic=False)
        step(torch.ones(2, device="hpu"))
        step(torch.ones(3, device="hpu"))
        (reason,) = {r.reason.splitlines()[0] for r in torch._dynamo.utils.graph_break_reasons}
        failures = torch._dynamo.utils.guard_failures
        (guard, *_) = next(v for code, v in failures.items() if code.co_name == "breaks")
        assert "Tensor.item()" in reason
        assert "size mismatch at index 0. expected 2, actual 3" in guard
        assert torch._dynamo.utils.counters["graph_break"]


def test_a_full_graph_fails_where_there_is_a_break() -> None:
    def breaks(x: torch.Tensor) -> torch.Tensor:
        torch._dynamo.graph_break()
        return x + 1

    with simulated("npu"), pytest.raises(torch._dynamo.exc.Unsupported):
        torch.compile(breaks, backend="npu", fullgraph=True)(torch.ones(2, device="npu"))


def test_moves_and_constants_stand_in_the_graph(kind: str) -> None:
    def moving(x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        zeros = torch.zeros(2, device=x.device) + torch.tensor([1.0], device=x.device)
        return x.cpu(), x.to("cpu", torch.float64), torch.ones(2).to(kind), zeros

    for backend in ("eager", "aot_eager"):
        compiled = torch.compile(moving, backend=backend, fullgraph=True)
        found = compiled(torch.ones(2, device=kind))
        assert [each.device.type for each in found] == ["cpu", "cpu", kind, kind]
        assert found[3].tolist() == [1, 1]


def test_dynamic_shapes_compile_once() -> None:
    with simulated("npu"):
        compiled = torch.compile(lambda x: x * x.shape[0], backend="npu", dynamic=True)
        for rows in (3, 4, 5):
            assert compiled(torch.ones(rows, 2, device="npu")).sum() == rows * rows * 2
        assert _stats()["unique_graphs"] == 1


def test_autocast_in_a_graph_follows_the_devices_lists(kind: str) -> None:
    def step(x: torch.Tensor) -> torch.Tensor:
        with torch.autocast(kind, dtype=torch.bfloat16):
            return nn.functional.linear(x, x)

    batch = torch.randn(3, 3, device=kind)
    for backend in ("eager", "aot_eager"):
        compiled = torch.compile(step, backend=backend)(batch)
        assert compiled.dtype == torch.bfloat16
        assert torch.equal(compiled, step(batch))


def test_compilation_switched_off_runs_the_function(kind: str) -> None:
    model = nn.Linear(2, 2).to(kind)
    batch = torch.ones(1, 2, device=kind)
    assert torch.equal(torch.compile(model, disable=True)(batch), model(batch))
    assert not _stats()


def test_plain_tensors_compile_beside_a_simulation() -> None:
    with simulated("cuda"):
        assert torch.compile(lambda x: x + 1, backend="aot_eager")(torch.ones(2)).tolist() == [2, 2]
    with pytest.raises(Exception, match="hpu_backend"):
        torch.compile(lambda x: x, backend="hpu_backend")(torch.ones(1))
