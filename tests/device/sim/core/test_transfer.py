"""Moves of tensors and modules between the host and the device."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from porter.device.sim.core.machine import Machine
from porter.device.sim.core.transfer import Transfer


@pytest.fixture
def transfers(machine: Machine) -> list[Transfer]:
    """The transfers of the test, as they happen."""
    seen: list[Transfer] = []
    machine.on_transfer = seen.append
    return seen


def test_every_spelling_of_a_move_is_one_counted_transfer(
    kind: str, transfers: list[Transfer]
) -> None:
    host = torch.ones(4)
    moves = [
        host.to(kind),
        host.to(device=kind),
        host.to(torch.device(kind)),
        host.to(kind, non_blocking=True),
    ]
    moves += [
        getattr(host, kind)(),
        host.to(torch.empty(0, device=kind)),
        torch.tensor(host, device=kind),
    ]
    assert {moved.device.type for moved in moves} == {kind}
    assert [(each.direction, each.nbytes) for each in transfers] == [("h2d", 16)] * 7
    assert transfers[3].non_blocking


def test_reads_on_the_host_are_transfers_back(kind: str, transfers: list[Transfer]) -> None:
    here = torch.ones(4, device=kind)
    assert here.cpu().is_cpu
    assert here.to("cpu", torch.float16).dtype == torch.float16
    assert here.tolist() == [1, 1, 1, 1]
    assert [each.direction for each in transfers] == ["d2h"] * 3
    assert transfers[1].nbytes == 8


def test_staying_is_no_transfer(kind: str, transfers: list[Transfer]) -> None:
    here = torch.ones(4, device=kind)
    assert here.to(kind) is here
    assert getattr(here, kind)() is here
    assert here.to(torch.float16).device.type == kind
    assert here.to(kind, copy=True) is not here
    assert transfers == []


def test_copy_moves_values_between_devices(kind: str, transfers: list[Transfer]) -> None:
    here, host = torch.zeros(2, device=kind), torch.tensor([1.0, 2.0])
    here.copy_(host)
    host.copy_(here * 2)
    assert (here.tolist(), host.tolist()) == ([1, 2], [2, 4])
    assert [each.what for each in transfers if each.what == "copy_"] == ["copy_", "copy_"]


def test_gradients_come_home_through_a_move(kind: str) -> None:
    host = torch.ones(3, requires_grad=True)
    (host.to(kind, torch.float64) * 2).cpu().sum().backward()
    assert host.grad is not None
    assert host.grad.is_cpu
    assert host.grad.dtype == torch.float32
    assert host.grad.tolist() == [2, 2, 2]


def test_modules_move_and_parameters_keep_their_identity(kind: str) -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
    model[0].extra = model[0].weight  # tied
    before = list(model.parameters())
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    assert model.to(kind) is model
    assert all(a is b for a, b in zip(before, model.parameters(), strict=True))
    assert {p.device.type for p in [*model.parameters(), *model.buffers()]} == {kind}
    assert model[0].extra is model[0].weight
    model(torch.randn(4, 2, device=kind)).sum().backward()
    optimizer.step()
    assert isinstance(model[0].weight, nn.Parameter)
    getattr(model.cpu(), kind)()
    assert model[0].weight.device.type == kind


def test_moving_a_module_is_one_transfer_for_each_tensor(
    kind: str, transfers: list[Transfer]
) -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.Sequential(nn.BatchNorm1d(2)))
    model.to(kind)
    assert len(transfers) == len(list(model.parameters())) + len(list(model.buffers()))
    model.to(kind).half()
    assert len(transfers) == 7


def test_modules_move_with_their_gradients_and_dtypes(kind: str) -> None:
    model = nn.Linear(2, 2)
    model(torch.ones(1, 2)).sum().backward()
    model.to(kind, torch.bfloat16)
    assert model.weight.grad is not None
    assert (model.weight.grad.device.type, model.weight.dtype) == (kind, torch.bfloat16)
    assert model.half().weight.dtype == torch.float16


@pytest.mark.filterwarnings("ignore:.*weight_norm.*")
def test_a_module_that_cannot_be_swapped_moves_all_the_same(kind: str) -> None:
    model = nn.utils.weight_norm(nn.Linear(2, 2))
    model(torch.ones(1, 2))  # a graph now holds its parameters
    model.to(kind)
    assert {p.device.type for p in model.parameters()} == {kind}
    assert model(torch.ones(1, 2, device=kind)).device.type == kind


def test_setting_data_across_devices_moves_the_parameter(kind: str) -> None:
    parameter = nn.Parameter(torch.ones(2))
    parameter.data = parameter.data.to(kind)
    assert parameter.device.type == kind
    assert isinstance(parameter, nn.Parameter)
    assert parameter.requires_grad


def test_a_gradient_from_elsewhere_is_refused(kind: str) -> None:
    parameter = nn.Parameter(torch.ones(2, device=kind))
    with pytest.raises(
        RuntimeError, match="attempting to assign a gradient with device type 'cpu'"
    ):
        parameter.grad = torch.ones(2)
    parameter.grad = torch.ones(2, device=kind)
    assert parameter.grad.device.type == kind


def test_deepcopy_keeps_device_and_ties(kind: str) -> None:
    model = nn.Linear(2, 2).to(kind)
    twin = copy.deepcopy({"model": model, "weight": model.weight})
    assert twin["weight"] is twin["model"].weight
    assert twin["weight"].device.type == kind
    assert twin["weight"].data_ptr() != model.weight.data_ptr()


def test_data_loaders_pin_their_batches(kind: str) -> None:
    data = TensorDataset(torch.arange(8.0))
    for (batch,) in DataLoader(data, batch_size=4, pin_memory=True):
        assert batch.is_pinned()
        assert batch.to(kind, non_blocking=True).device.type == kind
    with pytest.raises(RuntimeError, match="only dense CPU tensors can be pinned"):
        torch.ones(1, device=kind).pin_memory()


def test_an_unknown_destination_is_left_to_pytorch(kind: str) -> None:
    assert torch.ones(2, device=kind).to("meta").is_meta
    unknown: Any = "mps"
    with pytest.raises((RuntimeError, AssertionError)):
        torch.ones(2, device=kind).to(unknown)


@pytest.mark.filterwarnings("ignore:Device do not support double")
@pytest.mark.parametrize("type_", [float, int, bool, complex])
def test_pythons_types_are_dtypes(kind: str, type_: type) -> None:
    x = torch.ones(2)
    there = x.to(kind).to(type_)
    assert there.device.type == kind
    dtype = x.to(type_).dtype
    assert there.dtype == x.to(kind).to(dtype).dtype
    assert x.to(device=kind, dtype=type_).dtype == x.to(device=kind, dtype=dtype).dtype == dtype
