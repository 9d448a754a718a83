"""Random generators of simulated devices.

A device generator has the state of CUDA's: a seed and a Philox offset (16 bytes). ``rand`` and
``randn`` draw from Philox directly (:mod:`porter.device.sim.rng.philox`); every other random op
draws from a CPU generator seeded from (seed, offset), and advances the offset.
"""

from __future__ import annotations

import struct
from typing import Any
from weakref import WeakValueDictionary

import torch

from porter.device.sim.core.machine import Machine, machines
from porter.device.sim.core.transfer import as_device
from porter.device.sim.rng.philox import salted_seed

DEFAULT_SEED = 67280421310721
"""The initial seed of PyTorch's generators (c10::detail::default_rng_seed_val)."""

NativeGenerator = torch._C.Generator
_by_cdata: WeakValueDictionary[int, DeviceGenerator] = WeakValueDictionary()


class DeviceGenerator(NativeGenerator):
    """A generator on a simulated device."""

    machine: Machine
    index: int
    _seed: int
    _offset: int
    _cdata: int

    @property
    def device(self) -> torch.device:  # type: ignore[override]
        """The device whose numbers it draws."""
        return torch.device(self.machine.profile.name, self.index)

    @property
    def key(self) -> int:
        """The Philox key: the seed, salted with the device type."""
        return salted_seed(self._seed, self.machine.profile.seed_salt)

    def take(self, step: int) -> int:
        """Return the offset and advance it by ``step``."""
        offset = self._offset
        self._offset += step
        return offset

    def spawn(self) -> NativeGenerator:
        """Return a CPU generator for one op's draws, and advance the offset."""
        child = NativeGenerator()
        offset = self.take(4)
        child.manual_seed(salted_seed(self.key ^ (offset * 0x9E3779B97F4A7C15), 1))
        return child

    def manual_seed(self, seed: int) -> DeviceGenerator:
        """Set the seed and restart the stream."""
        self._seed, self._offset = int(seed) & 0xFFFFFFFFFFFFFFFF, 0
        return self

    def seed(self) -> int:
        """Seed with a non-deterministic number and return it."""
        value = NativeGenerator().seed()
        self.manual_seed(value)
        return value

    def initial_seed(self) -> int:
        """The seed last set."""
        return self._seed

    def get_state(self) -> torch.Tensor:
        """Return seed and offset as 16 bytes on the CPU, in CUDA's format."""
        return torch.tensor(
            list(struct.pack("<QQ", self._seed, self._offset)), dtype=torch.uint8, device="cpu"
        )

    def set_state(self, state: torch.Tensor) -> DeviceGenerator:
        """Continue from a state that :meth:`get_state` returned."""
        if state.device.type != "cpu" or state.dtype != torch.uint8:
            raise TypeError("expected a torch.ByteTensor, but got " + str(state.type()))
        raw = bytes(state.tolist())
        if len(raw) != 16:
            raise RuntimeError("RNG state is wrong size")
        self._seed, self._offset = struct.unpack("<QQ", raw)
        return self

    def get_offset(self) -> int:
        """The Philox offset: how many numbers a thread has drawn, always a multiple of four."""
        return self._offset

    def set_offset(self, offset: int) -> DeviceGenerator:
        """Continue from this Philox offset."""
        if offset % 4:
            raise RuntimeError("offset must be a multiple of 4")
        self._offset = offset
        return self

    def clone_state(self) -> DeviceGenerator:
        """Return a new generator in the same state."""
        twin = make_generator(self.machine, self.index)
        twin._seed, twin._offset = self._seed, self._offset
        return twin

    graphsafe_get_state = clone_state

    def graphsafe_set_state(self, other: Any) -> DeviceGenerator:
        """Copy another generator's state."""
        self._seed, self._offset = other._seed, other._offset
        return self

    def __reduce__(self) -> Any:
        return _restore, (str(self.device), self.get_state())

    def __deepcopy__(self, memo: Any) -> DeviceGenerator:
        return self.clone_state()


def _restore(device: str, state: torch.Tensor) -> Any:
    generator = torch.Generator(device=device)
    generator.set_state(state)
    return generator


def make_generator(machine: Machine, index: int) -> DeviceGenerator:
    """Return a new generator on a simulated device, in its default state."""
    generator = NativeGenerator.__new__(DeviceGenerator)
    generator.machine, generator.index = machine, index
    generator.manual_seed(DEFAULT_SEED)
    _by_cdata[generator._cdata] = generator
    return generator


def device_generator(given: Any) -> DeviceGenerator | None:
    """Return the device generator that C++ passed back, or None for a CPU generator."""
    if isinstance(given, DeviceGenerator):
        return given
    return _by_cdata.get(given._cdata)


class _GeneratorType(type):
    """Makes ``isinstance(g, torch.Generator)`` hold for native generators too."""

    def __instancecheck__(cls, instance: Any) -> bool:
        return isinstance(instance, NativeGenerator)

    def __subclasscheck__(cls, sub: type) -> bool:
        return issubclass(sub, NativeGenerator)


class Generator(metaclass=_GeneratorType):
    """Replaces ``torch.Generator``: makes generators for simulated devices too."""

    def __new__(cls, device: Any = "cpu") -> Any:
        target = as_device(device)
        machine = machines.get(target.type)
        if machine is None:
            return NativeGenerator(device)
        machine.class_of(target)  # an index out of range raises here
        return make_generator(
            machine, machine.current_index if target.index is None else target.index
        )
