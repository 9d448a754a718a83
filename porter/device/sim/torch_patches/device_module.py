"""The functions that ``torch.cuda``, ``torch.hpu`` and ``torch.npu`` have in common.

:func:`device_functions` returns them by name; for CUDA they replace those of the real module, for
the others they make a new module. The vendors' own additions are in their packages.
"""

from __future__ import annotations

import pickle
import sys
from types import ModuleType, SimpleNamespace
from typing import Any

import torch

from porter.device.sim.core.machine import Machine
from porter.device.sim.core.transfer import device_class_of
from porter.device.sim.rng.philox import ASSUMED_GPU
from porter.device.sim.torch_patches.streams import Event, Stream, StreamContext, StreamState
from porter.interception.patching import Patches

TOTAL_MEMORY = 80 * 2**30
"""The memory a simulated device reports. Nothing is limited by it."""


def _index(machine: Machine, device: Any) -> int:
    if device is None:
        return machine.current_index
    if isinstance(device, int):
        index = device
    else:
        found = torch.device(device).index
        index = machine.current_index if found is None else found
    machine.class_of(torch.device(machine.profile.name, index))
    return index


class _DeviceContext:
    """``with torch.cuda.device(1):``; a negative index or None changes nothing."""

    machine: Machine

    def __init__(self, device: Any) -> None:
        negative = isinstance(device, int) and device < 0
        self.idx = -1 if device is None or negative else _index(self.machine, device)
        self.prev_idx = -1

    def __enter__(self) -> None:
        self.prev_idx = self.machine.current_index
        if self.idx >= 0:
            self.machine.current_index = self.idx

    def __exit__(self, *error: Any) -> None:
        self.machine.current_index = self.prev_idx


class _DeviceOf(_DeviceContext):
    """``with torch.cuda.device_of(tensor):``"""

    def __init__(self, obj: Any) -> None:
        cls = device_class_of(obj) if isinstance(obj, torch.Tensor) else None
        super().__init__(None if cls is None else cls.device)


def _bind(machine: Machine, base: type, **attributes: Any) -> Any:
    return type(base.__name__.lstrip("_"), (base,), {"machine": machine, **attributes})


def _random(machine: Machine) -> dict[str, Any]:
    """Return the functions for seeds and generator states."""

    def generator(device: Any) -> Any:
        return machine.generators[_index(machine, device)]

    def manual_seed_all(seed: int) -> None:
        for each in machine.generators:
            each.manual_seed(seed)

    def seed_all() -> None:
        manual_seed_all(machine.generators[0].seed())

    def set_rng_state(new_state: torch.Tensor, device: Any = None) -> None:
        generator(device).set_state(new_state)

    def set_rng_state_all(new_states: Any) -> None:
        for each, state in zip(machine.generators, new_states, strict=True):
            each.set_state(state)

    return {
        "default_generators": machine.generators,
        "manual_seed": lambda seed: generator(None).manual_seed(seed) and None,
        "manual_seed_all": manual_seed_all,
        "seed": lambda: generator(None).seed() and None,
        "seed_all": seed_all,
        "initial_seed": lambda: generator(None).initial_seed(),
        "get_rng_state": lambda device=None: generator(device).get_state(),
        "get_rng_state_all": lambda: [each.get_state() for each in machine.generators],
        "set_rng_state": set_rng_state,
        "set_rng_state_all": set_rng_state_all,
    }


def _memory() -> dict[str, Any]:
    """Return the functions for memory figures, which are all zero or empty."""
    kinds = ("allocated", "reserved", "cached")
    zero = [f"{most}memory_{kind}" for kind in kinds for most in ("", "max_")]
    nothing = (
        "empty_cache",
        "reset_peak_memory_stats",
        "reset_max_memory_allocated",
        "reset_max_memory_cached",
        "reset_accumulated_memory_stats",
        "ipc_collect",
        "set_per_process_memory_fraction",
    )
    found: dict[str, Any] = {name: lambda *_, **__: 0 for name in zero}
    found.update({name: lambda *_, **__: None for name in nothing})
    found["_record_memory_history"] = lambda *_, **__: None
    found["_snapshot"] = lambda *_, **__: {"segments": [], "device_traces": []}
    found["_dump_snapshot"] = _dump_snapshot
    found["memory_stats"] = lambda *_, **__: {}
    found["memory_summary"] = lambda *_, **__: "simulated device: memory is not modelled"
    found["mem_get_info"] = lambda *_, **__: (TOTAL_MEMORY, TOTAL_MEMORY)
    return found


def _dump_snapshot(filename: str = "dump_snapshot.pickle", *_: Any, **__: Any) -> None:
    """Write an empty snapshot: memory is not modelled."""
    with open(filename, "wb") as file:
        pickle.dump({"segments": [], "device_traces": []}, file)


def _properties(machine: Machine) -> SimpleNamespace:
    return SimpleNamespace(
        name=f"simulated {machine.profile.title}",
        major=8,
        minor=0,
        total_memory=TOTAL_MEMORY,
        multi_processor_count=ASSUMED_GPU.processors,
        max_threads_per_multi_processor=ASSUMED_GPU.threads_per_processor,
        warp_size=32,
        is_integrated=False,
        is_multi_gpu_board=False,
    )


def device_functions(machine: Machine) -> dict[str, Any]:
    """Return what every device module has, by name."""
    dtypes = [getattr(torch, name) for name in machine.profile.autocast_dtypes]
    event = _bind(machine, Event)
    stream = _bind(machine, Stream, state=StreamState(), event_type=event)

    def set_device(device: Any) -> None:
        machine.current_index = _index(machine, device)

    def synchronize(device: Any = None) -> None:
        _index(machine, device)
        machine.synchronized(f"torch.{machine.profile.name}.synchronize")

    def name(device: Any = None) -> str:
        _index(machine, device)
        return str(_properties(machine).name)

    return {
        "is_available": lambda: len(machine.classes) > 0,
        "is_initialized": lambda: True,
        "_initialized": True,
        "init": lambda: None,
        "_lazy_init": lambda: None,
        "_is_in_bad_fork": lambda: machine.on_use_after_fork is not None,
        "device_count": lambda: len(machine.classes),
        "current_device": lambda: machine.current_index,
        "set_device": set_device,
        "synchronize": synchronize,
        "get_device_name": name,
        "get_device_properties": lambda device=None: _properties(machine),  # noqa: ARG005
        "get_device_capability": lambda device=None: (8, 0),  # noqa: ARG005
        "can_device_access_peer": lambda device, peer_device: True,  # noqa: ARG005
        "is_bf16_supported": lambda including_emulation=True: True,  # noqa: ARG005
        "get_amp_supported_dtype": lambda: dtypes,
        "get_arch_list": lambda: ["sm_80"],
        "device": _bind(machine, _DeviceContext),
        "device_of": _bind(machine, _DeviceOf),
        "Stream": stream,
        "Event": event,
        "stream": StreamContext,
        "StreamContext": StreamContext,
        "current_stream": stream.current_stream,
        "default_stream": stream.default_stream,
        "set_stream": stream.set_stream,
        "is_current_stream_capturing": lambda: machine.is_capturing,
        **_random(machine),
        **_memory(),
    }


def _forget_modules() -> None:
    """Clear the cache of ``torch.get_device_module``: a device's module is made anew."""
    clear = getattr(torch.get_device_module, "cache_clear", None)
    if clear is not None:
        clear()


def install_device_module(machine: Machine, patches: Patches) -> ModuleType:
    """Install the device module in torch and return it."""
    kind = machine.profile.name
    functions = device_functions(machine)
    if kind == "cuda":
        module: ModuleType = torch.cuda
        for name, value in functions.items():
            patches.replace(module, name, value)
        for name in ("_record_memory_history", "_snapshot", "_dump_snapshot"):
            patches.replace(torch.cuda.memory, name, functions[name])
        for name in ("manual_seed", "manual_seed_all", "initial_seed", "get_rng_state"):
            patches.replace(torch.cuda.random, name, functions[name])
        return module
    module = ModuleType(f"torch.{kind}", f"The simulated {machine.profile.title} device.")
    for name, value in functions.items():
        setattr(module, name, value)
    patches.replace(torch, kind, module)
    _forget_modules()
    patches.later(_forget_modules)
    before = sys.modules.get(module.__name__)
    sys.modules[module.__name__] = module

    def restore() -> None:
        if before is None:
            sys.modules.pop(module.__name__, None)
        else:
            sys.modules[module.__name__] = before

    patches.later(restore)
    return module
