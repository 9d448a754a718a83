"""TorchScript and ONNX: Gaudi's vendor does not support them, so they are counted there."""

from __future__ import annotations

import contextlib
import io
import warnings

import pytest
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


def _export(device: str) -> None:
    module, x = torch.nn.Linear(2, 2).to(device), torch.ones(1, 2, device=device)
    with contextlib.suppress(torch.onnx.errors.OnnxExporterError):  # at its end, without onnx
        torch.onnx.export(module, (x,), io.BytesIO(), dynamo=False)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_gaudi_counts_exports_to_onnx() -> None:
    with simulated("hpu") as machine:
        with pytest.warns(UserWarning, match="ONNX is not supported, says Intel Gaudi"):
            _export("hpu")
        _export("cpu")
        assert machine.counters.totals["onnx"] == 1
    with simulated("npu") as machine:
        _export("npu")
        assert machine.counters.totals["onnx"] == 0
