"""``torch.accelerator``, bare indices, streams and what else asks C++ for a device guard."""

from __future__ import annotations

import pickle
import threading

import pytest
import torch
from torch import nn
from torch.fx.experimental.proxy_tensor import make_fx

from porter.device.sim.activate import activate, simulated


def test_a_bare_index_is_the_accelerators(kind: str) -> None:
    second = torch.device(kind, 1)
    tensor = torch.ones(2)
    made = [
        tensor.to(1), torch.ones(2, device=1), torch.zeros_like(tensor, device=1),
        torch.arange(2, device=1), torch.tensor([1], device=1), tensor.new_zeros(2, device=1),
        torch.randperm(2, device=1), nn.Linear(2, 2).to(1).weight, nn.Linear(2, 2, device=1).weight,
        nn.Linear(2, 2).to(device=1).bias,
    ]  # fmt: skip
    assert torch.device(1) == second
    assert {each.device for each in made} == {second}
    with torch.device(1):
        assert torch.zeros(1).device == second
    with pytest.raises(RuntimeError, match="invalid device ordinal 7"):
        tensor.to(7)


def test_torch_device_stays_the_class_it_is() -> None:
    native = torch.device
    with simulated("hpu"):
        assert torch.device is native
        assert (native.__module__, native.__name__) == ("torch", "device")
        assert pickle.loads(pickle.dumps(torch.device("hpu", 1))) == torch.device("hpu:1")
        with pytest.raises(TypeError):
            torch.device(True)
    assert type(torch.device) is type


def test_torch_accelerator_is_the_device(kind: str) -> None:
    accelerator = torch.accelerator
    assert accelerator.current_accelerator() == torch.device(kind)
    assert accelerator.device_count() == 2
    with accelerator.device_index(1):
        assert accelerator.current_device_index() == getattr(torch, kind).current_device() == 1
    assert accelerator.current_device_index() == 0
    assert accelerator.current_stream() is getattr(torch, kind).current_stream()
    assert torch.float16 in accelerator.get_device_capability()["supported_dtypes"]
    accelerator.synchronize()
    assert accelerator.memory_allocated() == 0
    with pytest.raises(RuntimeError, match="invalid device ordinal 9"):
        accelerator.set_device_index(9)


def test_each_thread_has_its_own_current_device(kind: str) -> None:
    getattr(torch, kind).set_device(1)
    seen: list[int] = []
    thread = threading.Thread(target=lambda: seen.append(getattr(torch, kind).current_device()))
    thread.start()
    thread.join()
    assert seen == [0]


def test_streams_and_events_of_any_spelling(kind: str) -> None:
    streams = [torch.Stream(kind), torch.Stream(device=kind), torch.Stream(0), torch.Stream()]
    assert {stream.device for stream in streams} == {torch.device(kind, 0)}
    assert isinstance(streams[0], torch.Stream)
    assert isinstance(torch.Event(kind), torch.Event)
    tensor = torch.ones(1, device=kind)
    tensor.record_stream(streams[0])
    with pytest.raises(TypeError, match=r"record_stream.*found int"):
        tensor.record_stream(3)  # type: ignore[arg-type]
    with pytest.raises(RuntimeError, match="the tensor is on cpu"):
        torch.ones(1).record_stream(streams[0])


def test_the_side_stream_of_a_prefetcher(kind: str) -> None:
    module = getattr(torch, kind)
    side = module.Stream()
    with module.stream(side):
        batch = torch.ones(2).pin_memory().to(kind, non_blocking=True)
    module.current_stream().wait_stream(side)
    batch.record_stream(module.current_stream())
    assert batch.tolist() == [1, 1]


def test_data_parallel_scatters_and_gathers() -> None:
    with simulated("cuda"):
        torch.manual_seed(0)
        model, batch = nn.Linear(2, 2).cuda(), torch.randn(5, 2, device="cuda")
        spread = nn.DataParallel(model, device_ids=[0, 1])(batch)
        assert torch.equal(spread, model(batch))
        parts = nn.parallel.scatter(batch, [0, 1])
        assert [(part.device.index, len(part)) for part in parts] == [(0, 3), (1, 2)]
        assert nn.parallel.comm.gather(parts, destination="cpu").is_cpu


def test_storages_are_made_on_the_device_by_name(kind: str) -> None:
    assert torch.UntypedStorage(8, device=kind).device == torch.device(kind, 0)


def test_fx_and_export_take_simulated_tensors(kind: str) -> None:
    model, batch = nn.Linear(3, 3).to(kind), torch.randn(2, 3, device=kind)
    exported = torch.export.export(model, (batch,))
    assert torch.equal(exported.module()(batch), model(batch))
    traced = torch.fx.symbolic_trace(nn.Sequential(model, nn.ReLU()))
    assert torch.equal(traced(batch), model(batch).relu())
    assert torch.equal(make_fx(lambda t: t.relu() + 1)(batch)(batch), batch.relu() + 1)


def test_cpp_finds_the_device_of_a_name_without_an_index(kind: str) -> None:
    moved = torch.ops.aten._to_copy(torch.ones(2), device=torch.device(kind))
    assert moved.device == torch.device(kind, 0)


def test_every_testing_override_is_found_beside_a_simulation() -> None:
    activate("npu")
    assert len(torch.overrides.get_testing_overrides()) > 1000


def test_the_device_module_is_that_of_the_present_simulation() -> None:
    for _ in range(2):
        with simulated("npu"):
            assert torch.get_device_module("npu") is torch.npu
