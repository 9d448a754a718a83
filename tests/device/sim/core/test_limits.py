"""What real devices do not take: dtypes, memory formats, devices that are not visible."""

from __future__ import annotations

import warnings
from typing import Any

import pytest
import torch

from porter.device.sim.accounting.dtype_tables import npu_dtypes
from porter.device.sim.accounting.ledger import open_accounting
from porter.device.sim.activate import simulated
from porter.device.sim.core.machine import machines
from porter.device.sim.core.profiles import CUDA, visible_devices


def _events(kind: str, what: str) -> dict[str, int]:
    return {e.what: count for e, count in machines[kind].counters.of_kind(what).items()}


def test_npu_converts_to_float32_where_a_program_asks_for_float64() -> None:
    with simulated("npu"):
        x = torch.ones(2, device="npu")
        with pytest.warns(UserWarning, match="cast replace with float"):
            converted = (x.double(), x.to(torch.float64))
        assert {each.dtype for each in converted} == {torch.float32}


def test_npu_keeps_a_float64_that_it_was_given() -> None:
    with simulated("npu"), warnings.catch_warnings():
        warnings.simplefilter("error")
        x = torch.ones(2, dtype=torch.float64).to("npu")
        assert x.dtype is torch.ones(2, dtype=torch.float64, device="npu").dtype is torch.float64
        assert x.to(torch.float64).dtype is torch.float64


@pytest.mark.parametrize("name", ["cuda", "hpu"])
def test_other_devices_convert_to_float64(name: str) -> None:
    with simulated(name):
        assert torch.ones(2, device=name).double().dtype is torch.float64


def test_float64_in_an_op_that_the_vendor_does_not_list_is_counted() -> None:
    with simulated("npu") as machine:
        open_accounting(machine)
        x = torch.ones(2, dtype=torch.float64, device="npu")
        x.cos() + x.add(1)
        x.float().cos()
        assert _events("npu", "unlisted_dtype") == {"aten.cos.default": 1}


def test_dtypes_are_read_from_the_vendors_page() -> None:
    page = (
        "### torch.cos\n\n**x**: `input`仅支持bf16, fp32, complex64\n\n"
        "### torch.sin\n\n没有\n\n### torch.no_such\n\n`input`仅支持fp16\n"
    )
    assert npu_dtypes(page) == {"aten.cos": ["bfloat16", "complex64", "float32"]}


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda x: x.contiguous(memory_format=torch.channels_last), "only supported contiguous"),
        (lambda x: x.to(memory_format=torch.channels_last), "Only contiguous_format or preserve"),
        (lambda x: x.cpu().to("npu", memory_format=torch.channels_last), "Only contiguous_format"),
        (
            lambda x: torch.empty(x.shape, device="npu", memory_format=torch.channels_last),
            "supported for creating a npu tensor",
        ),
        (
            lambda x: torch.nn.Conv2d(2, 2, 2).to("npu").to(memory_format=torch.channels_last),
            "Only contiguous_format or preserve",
        ),
    ],
)
def test_npu_refuses_channels_last(call: Any, message: str) -> None:
    with simulated("npu"), pytest.raises(RuntimeError, match=message):
        call(torch.ones(1, 2, 3, 3, device="npu"))


def test_contiguous_formats_are_taken_and_others_on_other_devices(kind: str) -> None:
    x = torch.ones(1, 2, 3, 3, device=kind).transpose(2, 3)
    assert x.contiguous().to(memory_format=torch.preserve_format).is_contiguous()
    if kind != "npu":
        found = x.to(memory_format=torch.channels_last)
        assert found.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize(
    ("listed", "count"), [(None, 2), ("0", 1), ("1,0", 2), ("0,0", 1), ("0,5", 1), ("", 0)]
)
def test_a_process_sees_the_devices_that_its_environment_lists(
    listed: str | None, count: int
) -> None:
    environ = {} if listed is None else {"CUDA_VISIBLE_DEVICES": listed}
    assert visible_devices(CUDA, environ) == count


@pytest.mark.parametrize(
    ("name", "variable"),
    [
        ("cuda", "CUDA_VISIBLE_DEVICES"),
        ("hpu", "HABANA_VISIBLE_MODULES"),
        ("npu", "ASCEND_RT_VISIBLE_DEVICES"),
    ],
)
def test_a_device_that_is_not_visible_does_not_exist(
    name: str, variable: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, "1")
    with simulated(name):
        assert getattr(torch, name).device_count() == 1
        with pytest.raises(RuntimeError, match="invalid device ordinal 1"):
            torch.ones(1, device=f"{name}:1")
    monkeypatch.setenv(variable, "")
    with simulated(name):
        assert not getattr(torch, name).is_available()


def test_an_asynchronous_copy_that_nothing_waited_for_is_counted(kind: str) -> None:
    machine = machines[kind]
    accounting = open_accounting(machine, lazy=False)
    x = torch.ones(3, device=kind)
    dropped = x.to("cpu", non_blocking=True)
    assert dropped.sum() == 3
    del dropped
    waited = x.to("cpu", non_blocking=True)
    getattr(torch, kind).synchronize()
    by_a_read = x.to("cpu", non_blocking=True)
    x.sum().item()
    del waited, by_a_read
    assert machine.counters.totals["unwaited_copy"] == 1
    alive = x.to("cpu", non_blocking=True)
    assert accounting.as_json()["totals"]["unwaited_copy"] == 2
    assert accounting.as_json()["totals"]["unwaited_copy"] == 2
    del alive


_LARGE = 2**40 + 7


def test_gaudi_counts_int64_copies_in_lazy_mode_and_refuses_values_outside_int32() -> None:
    with simulated("hpu") as machine:
        open_accounting(machine, lazy=True)
        assert torch.tensor([3, -4]).to("hpu").tolist() == [3, -4]
        assert machine.counters.totals["int64_as_int32"] == 1
        refused = r"cast Long to Int, Input values range \[1099511627783, 1099511627783\] exceeds"
        with pytest.raises(RuntimeError, match=refused):
            torch.tensor([_LARGE], device="hpu")
        with pytest.raises(RuntimeError, match=refused):
            torch.zeros(1, dtype=torch.int64, device="hpu").copy_(torch.tensor([_LARGE]))


@pytest.mark.parametrize(
    ("lazy", "variable"),
    [(True, "PT_HPU_ENABLE_VALID_DATA_RANGE_CHECK"), (False, "PT_ENABLE_INT64_SUPPORT")],
)
def test_gaudi_loses_bits_of_int64_with_one_warning_per_line(
    lazy: bool, variable: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, "0")
    with simulated("hpu") as machine, warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        open_accounting(machine, lazy=lazy)
        for _ in range(2):
            assert torch.tensor([_LARGE], device="hpu").tolist() == [7]
        there = torch.zeros(1, dtype=torch.int64, device="hpu").copy_(torch.tensor([_LARGE]))
        assert there.tolist() == [7]
    assert len([each for each in seen if "bits are lost" in str(each.message)]) == 2


@pytest.mark.parametrize(("lazy", "value"), [(False, None), (False, "true"), (True, "1")])
def test_gaudi_keeps_int64_in_eager_mode_or_where_it_is_switched_on(
    lazy: bool, value: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PT_ENABLE_INT64_SUPPORT", raising=False)
    if value is not None:
        monkeypatch.setenv("PT_ENABLE_INT64_SUPPORT", value)
    with simulated("hpu") as machine:
        open_accounting(machine, lazy=lazy)
        assert torch.tensor([_LARGE], device="hpu").tolist() == [_LARGE]
        assert machine.counters.totals["int64_as_int32"] == 0


def test_float8_beyond_the_range_of_a_gaudi2_is_counted_with_one_warning_per_line() -> None:
    with simulated("hpu") as machine:
        open_accounting(machine, lazy=False)
        x = torch.tensor([240.0, 300.0, float("nan")], device="hpu")
        with warnings.catch_warnings(record=True) as seen:
            warnings.simplefilter("always")
            for _ in range(2):
                converted = x.to(torch.float8_e4m3fn)
            torch.tensor([448.0]).to(torch.float8_e4m3fn).to("hpu")
        assert converted.float().tolist()[:2] == [240.0, 288.0]
        x.clamp(-240, 240).to(torch.float8_e4m3fn)
        x.to(torch.float8_e5m2)
        assert _events("hpu", "fp8_overflow") == {"aten._to_copy.default": 2, "to": 1}
    assert len([each for each in seen if "above 240" in str(each.message)]) == 2


def test_npu_makes_no_complex_tensors_while_operators_are_compiled() -> None:
    with simulated("npu"):
        x = torch.ones(1, device="npu")
        torch.npu.set_compile_mode(jit_compile=True)
        for call in (
            lambda: torch.zeros(1, dtype=torch.complex64, device="npu"),
            lambda: x.to(torch.complex64),
            lambda: torch.ones(1, dtype=torch.complex64).to("npu"),
        ):
            with pytest.raises(RuntimeError, match="try again with jit_compile=False"):
                call()
        torch.npu.set_compile_mode(jit_compile=False)
        assert x.to(torch.complex64).dtype is torch.complex64


def _warned(seen: list[warnings.WarningMessage], text: str) -> int:
    return len([each for each in seen if text in str(each.message)])


def test_gaudi_counts_int64_results_outside_int32_with_one_warning_per_line() -> None:
    with simulated("hpu") as machine, warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        open_accounting(machine, lazy=True)
        x = torch.tensor([2**20, 3], device="hpu")
        for _ in range(2):
            large = x * x
        x.mul_(2**15)
        assert large.tolist() == [2**40, 9]
        x.add(1), x[:1], (x * 1.5).sum(), torch.tensor([1], device="hpu").mul_(7)
        assert _events("hpu", "int64_overflow") == {"aten.mul.Tensor": 2, "aten.mul_.Tensor": 1,
                                                    "aten.add.Tensor": 1}  # fmt: skip
        torch.empty(100, dtype=torch.int64, device="hpu").resize_(3)
        assert machine.counters.totals["int64_overflow"] == 4
    assert _warned(seen, "computes them in int32") == 3


def test_gaudis_eager_mode_computes_in_int64() -> None:
    with simulated("hpu") as machine:
        open_accounting(machine, lazy=False)
        assert (torch.tensor([2**20], device="hpu") ** 3).tolist() == [2**60]
        assert machine.counters.totals["int64_overflow"] == 0


def test_gaudis_lazy_mode_refuses_float64_outside_float32_but_not_infinities() -> None:
    with simulated("hpu") as machine:
        open_accounting(machine, lazy=True)
        refused = (
            r"cast Double to Float, Input values range \[-1e\+39, 2\] exceeds Float range "
            r"\[-3\.40282e\+38, 3\.40282e\+38\]"
        )
        with pytest.raises(RuntimeError, match=refused):
            torch.tensor([2.0, -1e39], dtype=torch.float64).to("hpu")
        passing = [float("inf"), float("-inf"), float("nan"), 3.4e38]
        there = torch.tensor(passing, dtype=torch.float64, device="hpu")
        assert there.cpu().nan_to_num(0.0).tolist()[3] == 3.4e38


@pytest.mark.parametrize("lazy", [False, True])
def test_where_gaudi_does_not_check_float64_it_is_counted_with_one_warning_per_line(
    lazy: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PT_HPU_ENABLE_VALID_DATA_RANGE_CHECK", "0")
    with simulated("hpu") as machine, warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        open_accounting(machine, lazy=lazy)
        for _ in range(2):
            assert torch.tensor([1e300], dtype=torch.float64).to("hpu").tolist() == [1e300]
        assert machine.counters.totals["float64_overflow"] == 2
    assert _warned(seen, "infinite there") == 1
