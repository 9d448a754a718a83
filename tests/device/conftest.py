"""Fixtures that run a test once per simulated device, and end all simulations after it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from porter.device.sim.activate import deactivate, simulated
from porter.device.sim.core.machine import Machine, machines
from porter.device.sim.graphs.capture import DeviceGraph

torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _nothing_simulated_after_the_test() -> Iterator[None]:
    yield
    for kind in list(machines):
        deactivate(kind)
    DeviceGraph.current = None


@pytest.fixture(params=["cuda", "hpu", "npu"])
def machine(request: pytest.FixtureRequest) -> Iterator[Machine]:
    """A simulated machine, gone after the test."""
    with simulated(request.param) as machine:
        yield machine


@pytest.fixture
def kind(machine: Machine) -> str:
    """The device type of the simulated machine."""
    return machine.profile.name
