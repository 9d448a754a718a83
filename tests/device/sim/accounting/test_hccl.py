"""Dtypes that the vendors' process groups refuse, in one process (a group of one rank)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
import torch.distributed as dist

from porter.device.sim.accounting.ledger import open_accounting
from porter.device.sim.activate import simulated
from porter.device.sim.core.machine import Machine


@pytest.fixture(params=["hpu", "npu"])
def machine(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Machine]:
    with simulated(request.param) as machine:
        open_accounting(machine, lazy=False)
        store = f"file://{tmp_path}/store"
        dist.init_process_group("hccl", init_method=store, rank=0, world_size=1)
        yield machine
        dist.destroy_process_group()


def _of(machine: Machine, dtype: torch.dtype) -> torch.Tensor:
    return torch.ones(2, dtype=dtype, device=machine.profile.name)


def test_a_dtype_without_a_name_in_hccl_is_refused(machine: Machine) -> None:
    x = _of(machine, torch.float8_e4m3fnuz)
    with pytest.raises(RuntimeError, match="HCCL process group: float8_e4m3fnuz"):
        dist.all_gather([torch.zeros_like(x)], x)


def test_reductions_in_float64_are_refused_on_npu_and_counted_on_hpu(machine: Machine) -> None:
    x = _of(machine, torch.float64)
    dist.broadcast(x, 0)
    if machine.profile.name == "npu":
        with pytest.raises(RuntimeError, match="HCCL allreduce: Unsupported data type float64"):
            dist.all_reduce(x)
        return
    dist.all_reduce(x)
    dist.all_reduce(_of(machine, torch.bfloat16))
    assert machine.counters.totals["reduced_as_float32"] == 1


def test_uint8_is_reduced_but_not_scattered_on_npu(machine: Machine) -> None:
    x = _of(machine, torch.uint8)
    dist.all_reduce(x)
    dist.reduce(x, 0)
    if machine.profile.name == "npu":
        with pytest.raises(RuntimeError, match="HCCL reduce_scatter: Unsupported data type uint8"):
            dist.reduce_scatter(torch.zeros_like(x), [x])


def test_int16_has_no_name_in_gaudis_hccl(machine: Machine) -> None:
    text = "HCCL process group: int16" if machine.profile.name == "hpu" else "Invalid scalar type"
    with pytest.raises(RuntimeError, match=text):
        dist.all_reduce(_of(machine, torch.int16))


def test_reductions_of_what_float32_rounds_are_counted_on_hpu(machine: Machine) -> None:
    name = machine.profile.name
    for values in ([2**24], [2**24 + 1], [-(2**40) - 1]):
        dist.all_reduce(torch.tensor(values, device=name))
    dist.all_reduce(torch.tensor([0.1], dtype=torch.float16, device=name))
    counted = machine.counters.totals
    assert counted["reduced_as_float32"] == (4 if name == "hpu" else 0)
    assert counted["reduced_inexactly"] == (2 if name == "hpu" else 0)
