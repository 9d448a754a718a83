"""Lazy modules are made on the device to which they were moved before they had a shape."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
from torch import nn


def _moved(kind: str) -> nn.Module:
    return nn.Sequential(nn.LazyLinear(3), nn.LazyBatchNorm1d()).to(kind)


def _copied(kind: str) -> nn.Module:
    return copy.deepcopy(nn.LazyLinear(3).to(kind))


def _made_there(kind: str) -> nn.Module:
    return nn.LazyLinear(3, device=kind)


def _made_in_a_context(kind: str) -> nn.Module:
    with torch.device(kind):
        return nn.LazyLinear(3)


@pytest.mark.parametrize("make", [_moved, _copied, _made_there, _made_in_a_context])
def test_a_lazy_module_is_made_on_its_device(kind: str, make: Callable[[str], nn.Module]) -> None:
    module = make(kind)
    tensors = [*module.parameters(), *module.buffers()]
    assert {tensor.device.type for tensor in tensors} == {kind}
    module(torch.ones(2, 4, device=kind)).sum().backward()
    assert all(isinstance(each, nn.Parameter) for each in module.parameters())
    assert {each.grad.device for each in module.parameters()} == {torch.device(kind, 0)}
    assert {each.device for each in module.buffers()} <= {torch.device(kind, 0)}


def test_a_lazy_module_takes_a_dtype_and_goes_back_to_the_host(kind: str) -> None:
    half = nn.LazyLinear(3).to(kind).half()
    assert half(torch.ones(1, 2, dtype=torch.half, device=kind)).dtype == torch.half
    assert nn.LazyLinear(3).to(kind).cpu()(torch.ones(1, 2)).device.type == "cpu"
    assert nn.LazyLinear(3)(torch.ones(1, 2)).device.type == "cpu"


def test_a_lazy_module_loads_a_state_onto_its_device(kind: str) -> None:
    state = nn.Linear(4, 3).state_dict()
    module = nn.LazyLinear(3).to(kind)
    module.load_state_dict(state)
    assert module.weight.device.type == kind
    assert torch.equal(module.weight.cpu(), state["weight"])
