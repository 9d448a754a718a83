"""Modes, environment flags and debug switches of ``habana_frameworks.torch``."""

from __future__ import annotations

import importlib

import pytest
import torch

from porter.device.sim.accounting.ledger import open_accounting
from porter.device.sim.activate import simulated

_TORCH = "habana_frameworks.torch"


@pytest.mark.parametrize(("value", "lazy"), [("1", True), ("0", False), (None, False)])
def test_the_mode_is_that_of_the_environment(
    value: str | None, lazy: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PT_HPU_LAZY_MODE", raising=False)
    if value is not None:
        monkeypatch.setenv("PT_HPU_LAZY_MODE", value)
    called: list[int] = []
    with simulated("hpu"):
        internal = importlib.import_module(f"{_TORCH}.utils.internal")
        internal.lazy_only(called.append)(1)
        assert internal.is_lazy() is lazy
    assert called == [1] * lazy


def test_flags_are_read_from_the_environment_with_the_vendors_defaults(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PT_HPU_ENABLE_COMPILE_THREAD", "0")
    monkeypatch.delenv("PT_HPU_GPU_MIGRATION", raising=False)
    with simulated("hpu"):
        config = importlib.import_module(f"{_TORCH}.internal.bridge_config")
        assert config.get_pt_hpu_enable_compile_thread() is False
        assert config.get_pt_hpu_gpu_migration() is False


def test_debug_switches_do_nothing_and_fallbacks_are_counted() -> None:
    with simulated("hpu") as machine:
        open_accounting(machine, lazy=False)
        debug = importlib.import_module(f"{_TORCH}.utils.debug")
        debug._enable_permute_pass(flag=True)
        torch.linalg.qr(torch.ones(2, 2, device="hpu"))
        assert debug._get_fallback_op_count() == {"aten.linalg_qr.default": 1}


def test_memory_figures_stand_in_their_own_module() -> None:
    with simulated("hpu"):
        memory = importlib.import_module(f"{_TORCH}.hpu.memory")
        assert memory.max_memory_allocated() == torch.hpu.max_memory_allocated() == 0  # type: ignore[attr-defined]
        assert importlib.import_module(_TORCH).torch is torch


def test_marks_of_constants_are_counted_and_change_nothing(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with simulated("hpu"):
        quantization = importlib.import_module(f"{_TORCH}.core.quantization")
        random = importlib.import_module(f"{_TORCH}.hpu.random")
        model = torch.nn.Linear(2, 2).to("hpu")
        before = quantization._get_marked_const_count()
        quantization._mark_params_as_const(model, only_scales=True)
        quantization._mark_params_as_const(model, console_prints=True)
        quantization._mark_params_as_const(model)
        quantization._check_params_as_const(model)
        assert quantization._get_marked_const_count() == before + 2
        assert "Tensor 'weight' is_const 'True'" in capsys.readouterr().out
        assert random.default_generators == [torch.hpu.default_generators[0]]
        torch.hpu.enable_quantization()


def test_flags_of_the_compile_backend_are_read_and_written_by_both_names(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with simulated("hpu"):
        config = importlib.import_module(f"{_TORCH}.dynamo.compile_backend.config")
        flags = config.configuration_flags
        assert (flags["use_eager_fallback"], config.decomposition_mode) == (True, "habana")
        flags["use_eager_fallback"] = False
        assert config.use_eager_fallback is False
