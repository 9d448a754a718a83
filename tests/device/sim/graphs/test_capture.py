"""Capture and replay: results as in eager mode, fixed Python values, refusals with reasons."""

from __future__ import annotations

import warnings
from collections.abc import Callable

import pytest
import torch

from porter.device.sim.accounting.ledger import DeviceAccounting
from porter.device.sim.activate import activate
from porter.device.sim.core.dispatch import unseen
from porter.device.sim.graphs.capture import CaptureRefused, DeviceGraph
from tests.device.sim.op_recorder import on_device


def host(tensor: torch.Tensor) -> torch.Tensor:
    """The values of a device tensor."""
    with unseen():
        return tensor.detach().as_subclass(torch.Tensor).clone()


def set_values(tensor: torch.Tensor, values: torch.Tensor) -> None:
    with unseen(), torch.no_grad():
        tensor.copy_(values)


def accounting_for(name: str = "cuda") -> DeviceAccounting:
    return DeviceAccounting(activate(name), lazy=name == "hpu")


def captured(
    accounting: DeviceAccounting, program: Callable[[], torch.Tensor]
) -> tuple[DeviceGraph, torch.Tensor]:
    graph = accounting.new_graph()
    graph.capture_begin()
    out = program()
    graph.capture_end()
    return graph, out


def test_replay_computes_on_what_the_inputs_hold_now() -> None:
    accounting = accounting_for()
    x = on_device(accounting.machine, torch.ones(3))
    graph, out = captured(accounting, lambda: (x * 2).exp().sum())
    set_values(x, torch.tensor([1.0, 2.0, 3.0]))
    graph.replay()
    assert torch.equal(host(out), (torch.tensor([1.0, 2.0, 3.0]) * 2).exp().sum())


def test_python_scalar_stays_as_it_was_at_capture() -> None:
    accounting = accounting_for()
    x = on_device(accounting.machine, torch.ones(3))
    scale = 2.0
    graph, out = captured(accounting, lambda: x * scale)
    scale = 3.0
    graph.replay()
    assert host(out).tolist() == [2.0, 2.0, 2.0]


@pytest.mark.parametrize("name", ["cuda", "npu"])
def test_result_is_nan_before_the_first_replay_where_capture_runs_nothing(name: str) -> None:
    accounting = accounting_for(name)
    x = on_device(accounting.machine, torch.ones(3))
    graph, out = captured(accounting, lambda: x + 1)
    assert host(out).isnan().all()
    graph.replay()
    assert host(out).tolist() == [2.0, 2.0, 2.0]


def test_hpu_runs_the_ops_while_it_captures() -> None:
    accounting = accounting_for("hpu")
    x = on_device(accounting.machine, torch.ones(3))
    _, out = captured(accounting, lambda: x + 1)
    assert host(out).tolist() == [2.0, 2.0, 2.0]


def test_capture_leaves_older_tensors_as_they_were() -> None:
    accounting = accounting_for()
    counter = on_device(accounting.machine, torch.zeros(3))
    graph, _ = captured(accounting, lambda: counter[1:].add_(1))
    assert host(counter).tolist() == [0.0, 0.0, 0.0]
    graph.replay()
    graph.replay()
    assert host(counter).tolist() == [0.0, 2.0, 2.0]


def training_step(
    weights: list[torch.Tensor], optimizer: torch.optim.Optimizer, x: torch.Tensor
) -> None:
    optimizer.zero_grad(set_to_none=True)
    ((x @ weights[0]).relu() @ weights[1]).square().mean().backward()
    optimizer.step()


def trained_weights(replayed: bool) -> list[torch.Tensor]:
    accounting = accounting_for()
    machine = accounting.machine
    draw = torch.Generator().manual_seed(0)
    shapes = [(4, 8), (8, 2)]
    weights = [on_device(machine, torch.randn(s, generator=draw)).requires_grad_() for s in shapes]
    optimizer = torch.optim.SGD(weights, lr=0.01, momentum=0.9)
    x = on_device(machine, torch.zeros(5, 4))
    data = torch.randn(7, 5, 4, generator=torch.Generator().manual_seed(1))
    set_values(x, data[0])
    training_step(weights, optimizer, x)
    graph = accounting.new_graph()
    if replayed:
        graph.capture_begin()
        training_step(weights, optimizer, x)
        graph.capture_end()
    for batch in data[1:]:
        set_values(x, batch)
        graph.replay() if replayed else training_step(weights, optimizer, x)
    return [host(w) for w in weights]


def test_replayed_training_step_is_bit_equal_to_eager() -> None:
    for eager, replayed in zip(trained_weights(False), trained_weights(True), strict=True):
        assert torch.equal(eager, replayed)


def test_random_ops_draw_anew_at_each_replay() -> None:
    accounting = accounting_for()
    x = on_device(accounting.machine, torch.zeros(100))
    graph, _ = captured(accounting, lambda: x.normal_())
    graph.replay()
    first = host(x)
    graph.replay()
    assert not torch.equal(first, host(x))


REFUSED_BY_ALL = [
    (lambda x: x.sum().item(), "_local_scalar_dense"),
    (lambda x: x.nonzero(), "nonzero"),
    (lambda x: x[x > 0], "boolean mask"),
    (lambda x: torch.repeat_interleave(x, (x > -1).long()), "repeat_interleave"),
]


@pytest.mark.parametrize("name", ["cuda", "npu", "hpu"])
@pytest.mark.parametrize(("act", "named"), REFUSED_BY_ALL)
def test_host_reads_and_dynamic_shapes_are_refused_with_the_line(
    name: str, act: Callable[[torch.Tensor], object], named: str
) -> None:
    accounting = accounting_for(name)
    x = on_device(accounting.machine, torch.ones(3))
    graph = accounting.new_graph()
    graph.capture_begin()
    with pytest.raises(CaptureRefused, match=rf"{named}.* at {__file__}:\d+"):
        act(x)
    with pytest.raises(CaptureRefused, match="the capture is invalid"):
        graph.capture_end()


@pytest.mark.parametrize("name", ["cuda", "npu", "hpu"])
def test_indices_that_are_not_masks_are_captured(name: str) -> None:
    accounting = accounting_for(name)
    x = on_device(accounting.machine, torch.tensor([1.0, 2.0, 3.0]))
    index = on_device(accounting.machine, torch.tensor([0]))
    graph, taken = captured(accounting, lambda: x[index])
    index.add_(2)
    graph.replay()
    assert host(taken).tolist() == [3.0]


@pytest.mark.parametrize(("name", "refused"), [("hpu", True), ("cuda", False)])
def test_inplace_update_of_a_view_is_refused_on_hpu_only(name: str, refused: bool) -> None:
    accounting = accounting_for(name)
    x = on_device(accounting.machine, torch.ones(3))
    accounting.new_graph().capture_begin()
    if refused:
        with pytest.raises(CaptureRefused, match="in-place updates of views"):
            x[0].add_(1)
    else:
        x[0].add_(1)


def test_cpu_fallback_is_refused() -> None:
    accounting = accounting_for("npu")
    x = on_device(accounting.machine, torch.ones(3))
    accounting.new_graph().capture_begin()
    with pytest.raises(CaptureRefused, match=r"aten\.lgamma\.default .*runs on the CPU"):
        x.lgamma()


def test_moved_input_is_refused_at_replay() -> None:
    accounting = accounting_for()
    x = on_device(accounting.machine, torch.ones(3))
    graph, _ = captured(accounting, lambda: x + 1)
    with unseen():
        x.set_(torch.zeros(3))
    with pytest.raises(CaptureRefused, match="addresses must stay"):
        graph.replay()


def test_hpu_graphs_need_lazy_mode() -> None:
    accounting = DeviceAccounting(activate("hpu"), lazy=False)
    with pytest.raises(CaptureRefused, match="PT_HPU_LAZY_MODE=1"):
        accounting.new_graph().capture_begin()


def test_second_capture_at_once_is_refused() -> None:
    accounting = accounting_for()
    accounting.new_graph().capture_begin()
    with pytest.raises(CaptureRefused, match="another capture"):
        accounting.new_graph().capture_begin()


def test_replay_without_capture_is_refused() -> None:
    with pytest.raises(CaptureRefused, match="before capture_end"):
        accounting_for().new_graph().replay()


def test_replays_and_the_ops_they_saved_are_counted() -> None:
    accounting = accounting_for()
    x = on_device(accounting.machine, torch.ones(3))
    graph, _ = captured(accounting, lambda: x.exp().sin().cos())
    graph.replay()
    graph.replay()
    totals = accounting.counters.totals
    assert (totals["captures"], totals["replays"], totals["host_ops_saved"]) == (1, 2, 6)


def test_the_end_of_a_capture_dispatches_nothing() -> None:
    accounting = accounting_for("hpu")
    x = on_device(accounting.machine, torch.ones(3))
    captured(accounting, lambda: x * 2 + 1)
    assert accounting.op_counts.ops == 2


@pytest.mark.parametrize("name", ["cuda", "npu"])
@pytest.mark.parametrize("shape", [(), (3,)])
def test_a_copy_that_no_accounting_sees_is_refused(name: str, shape: tuple[int, ...]) -> None:
    accounting = accounting_for(name)
    into = on_device(accounting.machine, torch.ones(shape))
    accounting.machine.on_transfer = None
    graph = accounting.new_graph()
    graph.capture_begin()
    with pytest.raises(CaptureRefused, match="a copy from the host"):
        into.copy_(torch.zeros(shape))
    with pytest.raises(CaptureRefused, match="the capture is invalid"):
        graph.capture_end()


@pytest.mark.parametrize(("kind", "counted"), [("cuda", 1), ("npu", 1), ("hpu", 0)])
def test_an_op_that_runs_for_the_first_time_in_a_capture_is_counted(
    kind: str, counted: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    accounting = accounting_for(kind)
    x = on_device(accounting.machine, torch.ones(3))
    monkeypatch.setattr(accounting.machine, "ran", {"aten.mul"})
    monkeypatch.setattr(accounting.machine, "warned_captures", set())
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        for _ in range(2):  # one warning for a line, however often it captures
            captured(accounting, lambda: (x * 2).view(3, 1).erf())
    assert accounting.counters.totals.get("unwarmed_capture", 0) == 2 * counted
    assert [str(one.message).split(": ")[1] for one in told] == [
        "aten.erf ran for the first time inside it; call the function once before, since a first "
        "call may set up what a capture does not allow"
    ] * counted


@pytest.mark.parametrize("kind", ["cuda", "npu"])
def test_a_call_before_the_capture_warms_it_up(kind: str) -> None:
    accounting = accounting_for(kind)
    x = on_device(accounting.machine, torch.ones(3))

    def program() -> torch.Tensor:
        return (x * 2).erfc() + torch.zeros(3, device=x.device)

    accounting.machine.ran.clear()
    program()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        captured(accounting, program)
    assert "unwarmed_capture" not in accounting.counters.totals
