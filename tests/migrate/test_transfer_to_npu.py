"""Each name of torch that ``torch_npu.contrib.transfer_to_npu`` assigns is served, or says why not.

The list is read from the wheel (``porter/migrate/data/ascend-transfer.json``).
"""

from __future__ import annotations

import importlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

import porter.migrate
from porter.device.sim.activate import simulated
from porter.migrate.migration import activate, deactivate, logging_to

DATA = Path(porter.migrate.__file__).parent / "data" / "ascend-transfer.json"
ASSIGNED = json.loads(DATA.read_text())["assigned"]

LEFT = {
    "torch._C._host_emptyCache": "a cache of pinned memory, which is not modelled",
    "torch._dynamo.trace_rules._disallowed_callable_ids.function_ids": "Dynamo's own rules hold",
    "torch._dynamo.utils.has_triton": "graphs run op by op; Inductor compiles nothing",
    "torch._inductor.autotune_process.get_gpu_type": "Inductor compiles nothing",
    "torch._inductor.compile_fx.has_triton": "Inductor compiles nothing",
    "torch._inductor.fx_passes.joint_graph.get_gpu_type": "Inductor compiles nothing",
    "torch._inductor.fx_passes.post_grad.get_gpu_type": "Inductor compiles nothing",
    "torch._inductor.runtime.autotune_cache.has_triton": "Inductor compiles nothing",
    "torch._inductor.utils.get_gpu_type": "Inductor compiles nothing",
    "torch.jit.script_method": "called for methods of ScriptModules, which script does not make",
    "torch.profiler.profile": "every profiler on a simulated device traces the host alone",
    "torch.utils.cpp_extension": "nothing is compiled for a card",
}
"""Names that are not replaced here, each with the reason."""


def _value(dotted: str) -> Any:
    thing: Any = torch
    for part in dotted.split(".")[1:]:
        if isinstance(thing, type) and part in vars(thing):
            thing = vars(thing)[part]
        else:
            thing = getattr(thing, part)
    return thing


@pytest.fixture(scope="module")
def before_and_after() -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    names = [name for name in ASSIGNED if name not in LEFT]
    for name in names:
        module = name.rpartition(".")[0]
        for imported in ("torch.distributed.fsdp", "torch.distributed.pipelining"):
            if module.startswith(imported):
                importlib.import_module(imported)
    with simulated("npu"):
        importlib.import_module("torch.distributed.device_mesh")
        before = {name: _value(name) for name in names if _has(name)}
        activate("npu")
        try:
            yield before, {name: _value(name) for name in names if _has(name)}
        finally:
            deactivate()


def _has(dotted: str) -> bool:
    try:
        _value(dotted)
    except AttributeError:
        return False
    return True


@pytest.mark.parametrize("name", [name for name in ASSIGNED if name not in LEFT])
def test_what_the_wheel_assigns_is_replaced(
    name: str, before_and_after: tuple[dict[str, Any], dict[str, Any]]
) -> None:
    before, after = before_and_after
    assert name in after
    assert after[name] is not before.get(name)


def test_what_is_left_is_what_the_wheel_assigns() -> None:
    assert sorted(set(LEFT) - set(ASSIGNED)) == []


@pytest.mark.usefixtures("before_and_after")
def test_a_storage_on_npu_is_on_cuda_as_the_wheel_says() -> None:
    assert torch.ones(2, device="cuda")._typed_storage().is_cuda is True
    assert torch.ones(2)._typed_storage().is_cuda is False


def test_each_class_of_cuda_is_the_wheels_class(
    before_and_after: tuple[dict[str, Any], dict[str, Any]],
) -> None:
    assert before_and_after[1]["torch.cuda.CUDAGraph"] is torch.npu.NPUGraph
    for name in ("Stream", "Event", "StreamContext", "device", "device_of", "graph"):
        assert getattr(torch.cuda, name) is getattr(torch.npu, name)
    amp = importlib.import_module("torch_npu.npu.amp")
    assert torch.cuda.amp.autocast is amp.autocast
    assert torch.cuda.amp.GradScaler is amp.GradScaler
    assert torch.cuda.amp.autocast_mode is amp.autocast_mode


@pytest.mark.usefixtures("before_and_after")
def test_a_class_derived_from_one_of_cuda_makes_its_own_instances() -> None:
    class Named(torch.cuda.Stream):
        name = "copies"

    made = Named("cuda:1")
    assert type(made) is Named
    assert made.device == torch.device("npu:1")


@pytest.mark.usefixtures("before_and_after")
def test_a_default_group_is_the_npus_alone() -> None:
    assert "cuda" not in torch.distributed.Backend.default_device_backend_map
    assert torch.distributed.ProcessGroupNCCL.Options()._timeout


@pytest.mark.usefixtures("before_and_after")
def test_events_and_profiled_kernels_name_the_npu() -> None:
    assert str(torch.Event(device="cuda:0", enable_timing=True).device) == "npu"
    assert torch.autograd.profiler_util.Kernel("made", "cuda", 11).device == "npu"


@pytest.mark.usefixtures("before_and_after")
def test_only_calls_that_say_cuda_are_logged(tmp_path: Path) -> None:
    own, theirs, name = torch.npu, torch.cuda, "Event"
    with logging_to(None, target="npu", root=tmp_path) as log:
        torch.npu.Stream(), torch.cuda.Stream()
        torch.npu.Event()
        getattr(own, name)()
        own.Stream()
        getattr(theirs, name)()
    assert [entry.asked for entry in log] == ["torch.cuda.Stream()", "torch.cuda.Event()"]
