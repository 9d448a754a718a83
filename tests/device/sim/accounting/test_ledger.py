"""The accounting of a machine: everything a program did on a device, as JSON and by op."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from porter.device.sim.accounting.ledger import DeviceAccounting, accounting_of, open_accounting
from porter.device.sim.activate import activate, deactivate
from porter.device.sim.graphs.capture import CaptureRefused


def opened(kind: str, **options: bool) -> DeviceAccounting:
    return open_accounting(activate(kind), **options)


def test_ops_and_kernels_are_counted_by_op() -> None:
    accounting = opened("cuda")
    x = torch.ones(4, 4, device="cuda")
    accounting.reset()
    for _ in range(3):
        x.t().exp().t()
    counts = accounting.op_counts
    assert (counts.ops, counts.kernels) == (9, 3)
    assert counts.by_name()["aten.exp.default"] == 3


def test_copies_are_counted_with_bytes_and_lines() -> None:
    accounting = opened("cuda")
    device = torch.ones(4, 4).to("cuda")
    device.cpu()
    totals = accounting.counters.totals
    assert (totals["h2d"], totals["h2d_bytes"], totals["d2h_bytes"]) == (1, 64, 64)
    assert {event.site.file for event in accounting.counters.events} == {__file__}
    assert totals["host_sync"] == 2


def test_asynchronous_copy_from_pinned_memory_is_no_host_sync() -> None:
    accounting = opened("cuda")
    torch.ones(4).pin_memory().to("cuda", non_blocking=True)
    assert accounting.counters.totals["host_sync"] == 0


def test_copy_to_the_host_ends_the_lazy_graph() -> None:
    accounting = opened("hpu", lazy=True)
    torch.ones(4, device="hpu").exp().cpu()
    assert accounting.graphs is not None
    assert accounting.graphs.log[-1].why == "copy to the host by cpu"
    assert accounting.graphs.pending == 0


def test_printing_ends_the_lazy_graph() -> None:
    accounting = opened("hpu", lazy=True)
    repr(torch.ones(4, device="hpu").exp())
    assert accounting.graphs is not None
    assert accounting.graphs.graphs == 1


def test_json_says_simulated_and_names_lines_relative_to_the_tree() -> None:
    accounting = opened("hpu", lazy=True)
    steps = torch.ones(4, device="hpu")
    for i in range(2):
        steps[i].exp()
        accounting.mark_step()
    found = accounting.as_json(Path(__file__).parent)
    assert found["simulated"] is True
    assert (found["device"], found["mode"]) == ("sim:hpu", "lazy")
    assert " at test_ledger.py:" in found["graphs"]["compiled"][1]["differs"][-1]


def test_counting_from_zero_keeps_graphs_compiled() -> None:
    accounting = opened("hpu", lazy=True)
    x = torch.ones(4, device="hpu")
    accounting.mark_step()
    x.exp()
    accounting.mark_step()
    accounting.reset()
    x.exp()
    accounting.mark_step()
    assert accounting.graphs is not None
    assert (accounting.graphs.compilations, accounting.graphs.cache_hits) == (0, 1)


def test_dtype_that_gaudi_lacks_is_counted_with_its_line() -> None:
    accounting = opened("hpu")
    torch.ones(4, dtype=torch.float64).to("hpu")
    (event,) = accounting.counters.of_kind("dtype")
    assert (event.detail, event.site.file) == ("float64", __file__)


def test_accounting_ends_with_its_simulation() -> None:
    opened("npu")
    assert accounting_of("npu") is not None
    deactivate("npu")
    assert accounting_of("npu") is None


def capture_copy(
    accounting: DeviceAccounting, source: torch.Tensor, non_blocking: bool
) -> torch.Tensor:
    into = torch.zeros(4, device=accounting.machine.device())
    graph = accounting.new_graph()
    graph.capture_begin()
    into.copy_(source, non_blocking=non_blocking)
    graph.capture_end()
    source.fill_(2.0)
    graph.replay()
    return into


@pytest.mark.parametrize("kind", ["cuda", "npu", "hpu"])
def test_pageable_host_copy_in_a_capture_is_refused(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PORTER_STRICT_CAPTURE", "1")
    accounting = opened(kind, lazy=kind == "hpu")
    with pytest.raises(CaptureRefused, match=rf"copy.* at {__file__}"):
        capture_copy(accounting, torch.ones(4), False)


@pytest.mark.parametrize("kind", ["cuda", "npu", "hpu"])
def test_new_tensor_from_the_host_in_a_capture_is_refused(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PORTER_STRICT_CAPTURE", "1")
    accounting = opened(kind, lazy=kind == "hpu")
    accounting.new_graph().capture_begin()
    with pytest.raises(CaptureRefused):
        torch.ones(4).to(kind)


def test_hpu_takes_constants_from_the_host_once_and_counts_them() -> None:
    accounting = opened("hpu", lazy=True)
    with pytest.warns(UserWarning, match=rf"HPU graph capture: copy_ at {__file__}"):
        copied = capture_copy(accounting, torch.ones(4), False)
    assert copied.cpu().tolist() == [1.0] * 4  # the replay did not copy again
    assert accounting.counters.totals["captured_constant"] == 1


def test_pinned_copy_is_captured_as_a_copy_from_that_memory() -> None:
    accounting = opened("cuda")
    assert capture_copy(accounting, torch.ones(4).pin_memory(), True).cpu().tolist() == [2.0] * 4


def adamw_weights(kind: str, replayed: bool) -> torch.Tensor:
    accounting = opened(kind, lazy=kind == "hpu")
    torch.manual_seed(0)
    net = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.Dropout(0.5), torch.nn.Linear(8, 2))
    net.to(kind)
    optimizer = torch.optim.AdamW(net.parameters(), capturable=True)
    data = torch.randn(8, 5, 4, generator=torch.Generator().manual_seed(1))
    x = data[0].to(kind)

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        net(x).square().mean().backward()
        optimizer.step()

    step()
    graph = accounting.new_graph()
    batches = data[1:]
    if replayed:
        graph.capture_begin()
        step()
        graph.capture_end()
        batches = data[2:] if graph.limits.runs_while_capturing else batches
    for number, batch in enumerate(batches):
        x.copy_(batch)
        graph.replay() if replayed else step()
        assert number < 8
    return net[0].weight.detach().cpu()


@pytest.mark.parametrize("kind", ["cuda", "npu"])
def test_replayed_training_with_adamw_and_dropout_is_bit_equal_to_eager(kind: str) -> None:
    eager = adamw_weights(kind, replayed=False)
    deactivate(kind)
    assert torch.equal(eager, adamw_weights(kind, replayed=True))


def test_second_recompilation_of_plms_like_schedule_grows_with_steps() -> None:
    def compilations(steps: int) -> int:
        accounting = opened("hpu", lazy=True)
        schedule = torch.linspace(1, 0, steps + 1).to("hpu")
        x = torch.ones(4, device="hpu")
        for i in range(steps):
            accounting.mark_step()
            x = x * schedule[i] + schedule[i + 1]
        x.cpu()
        assert accounting.graphs is not None
        found = accounting.graphs.compilations
        deactivate("hpu")
        return found

    assert [compilations(steps) for steps in (10, 20, 50)] == [11, 21, 51]
