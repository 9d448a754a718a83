"""Host reads and data-dependent shapes, with the user's line, and what ends a lazy graph."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from porter.device.sim.accounting.ledger import DeviceAccounting, lazy_by_environment
from porter.device.sim.activate import activate
from porter.device.sim.contract.releases import release_of
from tests.device.sim.op_recorder import on_device

DYNAMIC = [
    (lambda x: x.nonzero(), "aten.nonzero.default"),
    (lambda x: x[x > 0], "aten.index.Tensor"),
    (lambda x: x.masked_select(x > 0), "aten.masked_select.default"),
    (lambda x: torch.unique(x), "aten._unique2.default"),
    (lambda x: torch.repeat_interleave(x.long()), "aten.repeat_interleave.Tensor"),
]


@pytest.mark.parametrize(("act", "op"), DYNAMIC)
def test_shape_from_data_is_counted_with_its_line(
    act: Callable[[torch.Tensor], object], op: str
) -> None:
    accounting = DeviceAccounting(activate("cuda"))
    act(on_device(accounting.machine, torch.ones(3)))
    (event,) = accounting.counters.of_kind("dynamic_shape")
    assert (event.what, event.site.file) == (op, __file__)


STATIC = [
    lambda x: torch.repeat_interleave(x.long(), output_size=3),
    lambda x: x[torch.tensor([0, 1])],
    lambda x: x[1:],
]


@pytest.mark.parametrize("act", STATIC)
def test_known_shape_is_not_counted(act: Callable[[torch.Tensor], object]) -> None:
    accounting = DeviceAccounting(activate("cuda"))
    x = on_device(accounting.machine, torch.ones(3))
    if act is STATIC[1]:
        index = on_device(accounting.machine, torch.tensor([0, 1]))
        x[index]
    else:
        act(x)
    assert not accounting.counters.of_kind("dynamic_shape")


def test_item_is_a_host_sync_at_the_users_line() -> None:
    accounting = DeviceAccounting(activate("cuda"))
    x = on_device(accounting.machine, torch.ones(3))
    x.sum().item()
    (event,) = accounting.counters.of_kind("host_sync")
    assert (event.what, event.site.file) == ("aten._local_scalar_dense.default", __file__)


def test_item_ends_the_lazy_graph() -> None:
    accounting = DeviceAccounting(activate("hpu"), lazy=True)
    x = on_device(accounting.machine, torch.ones(3))
    x.sum().item()
    assert accounting.graphs is not None
    assert accounting.graphs.log[0].why == "host read by aten._local_scalar_dense.default"


def test_nonzero_is_the_last_op_of_its_graph() -> None:
    accounting = DeviceAccounting(activate("hpu"), lazy=True)
    x = on_device(accounting.machine, torch.ones(3))
    x.exp().nonzero()
    assert accounting.graphs is not None
    assert (accounting.graphs.graphs, accounting.graphs.ops, accounting.graphs.pending) == (1, 2, 0)


def test_data_dependent_shape_compiles_again_for_another_size() -> None:
    accounting = DeviceAccounting(activate("hpu"), lazy=True)
    for values in ([1.0, 0.0], [1.0, 1.0]):
        on_device(accounting.machine, torch.tensor(values)).nonzero()
    assert accounting.graphs is not None
    assert accounting.graphs.compilations == 2
    assert "shape (2, 1) was (1, 1)" in accounting.graphs.log[1].differs[0]


def test_synchronize_waits_and_ends_the_graph() -> None:
    accounting = DeviceAccounting(activate("hpu"), lazy=True)
    on_device(accounting.machine, torch.ones(3)).exp()
    accounting.synchronize("torch.hpu.synchronize")
    assert accounting.graphs is not None
    assert accounting.graphs.log[0].why == "torch.hpu.synchronize"
    assert accounting.counters.totals["host_sync"] == 1


def test_mark_step_does_nothing_in_eager_mode() -> None:
    accounting = DeviceAccounting(activate("hpu"), lazy=False)
    on_device(accounting.machine, torch.ones(3)).exp()
    accounting.mark_step()
    assert accounting.graphs is None


@pytest.mark.parametrize(
    ("device", "by_default"),
    [
        ("sim:hpu", False),
        ("sim:hpu@1.22", False),
        ("sim:hpu@1.19", True),
        ("sim:hpu@1.12", True),
        ("sim:hpu@1.7.1", True),
    ],
)
def test_the_release_says_which_mode_is_the_default(device: str, by_default: bool) -> None:
    release = release_of(device)
    assert lazy_by_environment({}, release) == by_default
    assert not lazy_by_environment({"PT_HPU_LAZY_MODE": "0"}, release)
    assert lazy_by_environment({"PT_HPU_LAZY_MODE": "1"}, release)
