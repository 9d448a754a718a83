"""Observers and counters: which ops observers see, and how events are counted."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from porter.device.sim.activate import simulated
from porter.device.sim.core.dispatch import Watch, unseen
from porter.device.sim.core.machine import Counters, Machine
from porter.device.sim.core.op_schema import OpFacts, facts_of
from porter.device.sim.core.profiles import AutocastLists, Profile
from porter.interception.source_lines import user_site


class RecordingObserver:
    """Records the ops that run; refuses those named in ``refused``."""

    def __init__(self, *refused: str) -> None:
        self.seen: list[str] = []
        self.watched: list[str] = []
        self.refused = refused

    def watch(self, op: OpFacts) -> Watch | None:
        self.watched.append(op.name)
        if op.packet == "aten.neg":
            return None

        def before(args: Any, kwargs: Any) -> None:
            if op.packet in self.refused:
                raise RuntimeError(f"{op.packet} refused")

        return Watch(before, lambda args, kwargs, out: self.seen.append(op.name))


def test_observers_see_every_op_that_they_watch(machine: Machine, kind: str) -> None:
    observer = RecordingObserver()
    machine.observe(observer)
    x = torch.zeros(2, 2, device=kind)
    for _ in range(2):
        (x.neg() + x).sum()
    assert observer.seen.count("aten.add.Tensor") == 2
    assert observer.watched.count("aten.add.Tensor") == 1
    assert "aten.neg.default" not in observer.seen
    assert observer.seen[0] == "aten.empty.memory_format"


def test_an_observer_can_refuse_an_op_before_it_runs(machine: Machine, kind: str) -> None:
    machine.observe(RecordingObserver("aten.add_"))
    x = torch.zeros(1, device=kind)
    with pytest.raises(RuntimeError, match=r"aten.add_ refused"):
        x.add_(1)
    assert x.item() == 0


def test_an_observer_that_left_sees_nothing_more(machine: Machine, kind: str) -> None:
    observer = RecordingObserver()
    machine.observe(observer)
    machine.unobserve(observer)
    torch.zeros(1, device=kind).add(1)
    assert observer.seen == []


def test_inference_mode_shows_the_same_ops_as_eager(machine: Machine, kind: str) -> None:
    observer = RecordingObserver()
    model = torch.nn.Linear(2, 2).to(kind)
    x = torch.zeros(1, 2, device=kind)
    machine.observe(observer)
    with torch.no_grad():
        model(x)
    eager, observer.seen = observer.seen, []
    with torch.inference_mode():
        model(x)
    assert [name for name in observer.seen if "addmm" in name] == ["aten.addmm.default"]
    assert [name for name in eager if "addmm" in name] == ["aten.addmm.default"]


def test_backward_ops_are_seen_too(machine: Machine, kind: str) -> None:
    x = torch.ones(2, device=kind, requires_grad=True)
    y = torch.nn.functional.silu(x).sum()
    observer = RecordingObserver()
    machine.observe(observer)
    y.backward()
    assert "aten.silu_backward.default" in observer.seen


def test_unseen_work_is_not_seen_and_stays_on_the_host(machine: Machine, kind: str) -> None:
    observer = RecordingObserver()
    x = torch.ones(2, device=kind)
    machine.observe(observer)
    with unseen():
        plain = x + torch.ones(2)
    assert type(plain) is torch.Tensor
    assert observer.seen == []


def test_overrides_run_instead_of_the_kernel(machine: Machine, kind: str) -> None:
    machine.overrides["aten.cos.default"] = lambda op, machine, cls: (
        lambda args, kwargs: args[0] * 3
    )
    assert torch.ones(1, device=kind).cos().item() == 3


def test_facts_follow_from_the_schema() -> None:
    add = facts_of(torch.ops.aten.add_.Tensor)
    assert [arg.is_written for arg in add.tensor_args] == [True, False]
    assert (add.mutates, add.returns_tensors) == (True, ("written",))
    assert facts_of(torch.ops.aten.max.dim).returns_tensors == ("fresh", "fresh")
    assert facts_of(torch.ops.aten.view.default).is_view
    assert facts_of(torch.ops.aten.nonzero.default).is_dynamic_shape
    assert facts_of(torch.ops.aten._local_scalar_dense.default).reads_host
    assert facts_of(torch.ops.aten.linear.default).is_composite
    assert not facts_of(torch.ops.aten.silu_backward.default).is_composite


def test_events_carry_the_users_line_and_are_counted_by_line(tmp_path: Path) -> None:
    counters = Counters()
    for _ in range(3):
        counters.event("host_sync", "aten.item")
    counters.add("h2d_bytes", 12)
    (event,) = counters.of_kind("host_sync")
    assert counters.events[event] == 3
    assert event.site.source.startswith('counters.event("host_sync"')
    found = counters.as_json(Path(__file__).parent)
    assert found["simulated"] is True
    assert found["totals"] == {"h2d_bytes": 12, "host_sync": 3}
    assert found["events"][0]["site"].startswith("test_dispatch.py:")
    json.dumps(found)


def test_a_library_is_not_the_users_code() -> None:
    sites = sorted([2, 1], key=lambda _: user_site().line)  # called back from C
    assert sites == [2, 1]
    assert Path(user_site().file).name == "test_dispatch.py"


def test_a_custom_device_is_a_profile() -> None:
    profile = Profile(
        name="hpu",
        title="Gaudi without float64",
        dispatch_key="HPU",
        autocast_key="AutocastHPU",
        autocast_dtypes=("bfloat16",),
        autocast=AutocastLists(source="test"),
        device_count=3,
        unsupported_dtypes={"float64": "cast:float32", "complex64": "refused"},
    )
    with simulated(profile):
        assert torch.ones(1, device="hpu:2").get_device() == 2
        assert torch.ones(1, dtype=torch.float64).to("hpu").dtype == torch.float32
        with pytest.raises(TypeError, match="complex64 is not supported"):
            torch.zeros(1, dtype=torch.complex64, device="hpu")


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_what_the_cpu_computes_in_float32_only_is_rounded_from_that(
    machine: Machine, kind: str, dtype: torch.dtype
) -> None:
    x = torch.randn(4, 3, generator=torch.Generator().manual_seed(1)).to(dtype)
    with pytest.raises(NotImplementedError):
        torch.pdist(x)
    y = x.to(kind).requires_grad_()

    made = torch.pdist(y)
    made.sum().backward()

    wide = x.float().requires_grad_()
    expected = torch.pdist(wide)
    expected.sum().backward()
    assert torch.equal(made.cpu(), expected.to(dtype))
    assert y.grad is not None
    assert wide.grad is not None
    assert torch.allclose(y.grad.cpu().float(), wide.grad, rtol=0.02, atol=0.02)


def test_products_of_8_bit_floats_are_rounded_once(machine: Machine, kind: str) -> None:
    x = torch.tensor([1.0, 3.5, -0.25]).to(torch.float8_e5m2)
    made = x.to(kind) * 0.3
    assert torch.equal(made.cpu().float(), (x.float() * 0.3).to(torch.float8_e5m2).float())


def test_other_errors_of_an_op_are_its_own(machine: Machine, kind: str) -> None:
    x = torch.zeros(2, 3, dtype=torch.float16, device=kind)
    with pytest.raises(RuntimeError, match="cannot be multiplied"):
        x @ x
