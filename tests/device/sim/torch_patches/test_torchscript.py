"""TorchScript: the vendor of Gaudi does not support it, so its calls there are counted."""

from __future__ import annotations

import warnings

import torch

from porter.device.sim.activate import simulated


@torch.jit.script
def doubled(x: torch.Tensor) -> torch.Tensor:
    return x * 2


def test_gaudi_counts_calls_of_scripted_functions_with_one_warning_per_line() -> None:
    with simulated("hpu") as machine, warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        for _ in range(2):
            assert doubled(torch.ones(1, device="hpu")).tolist() == [2]
        assert doubled(torch.ones(1)).tolist() == [2]
        assert machine.counters.totals["torchscript"] == 2
        assert {event.site.file for event in machine.counters.events} == {__file__}
    assert len([each for each in seen if "TorchScript is not supp" in str(each.message)]) == 1


def test_gaudi_counts_calls_of_traced_modules() -> None:
    with simulated("hpu") as machine, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        module, x = torch.nn.Linear(2, 2).to("hpu"), torch.ones(1, 2, device="hpu")
        traced = torch.jit.trace(module, x)
        before = machine.counters.totals["torchscript"]
        assert torch.equal(traced(x).cpu(), module(x).cpu())
        assert machine.counters.totals["torchscript"] == before + 1


def test_other_devices_count_nothing() -> None:
    with simulated("npu") as machine:
        doubled(torch.ones(1, device="npu"))
        assert machine.counters.totals["torchscript"] == 0
