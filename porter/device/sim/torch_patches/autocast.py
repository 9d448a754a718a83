"""Make autocast follow each device's own op lists.

Tensors here carry CPU dispatch keys, so the device's autocast key is added to the thread's included
keys when autocast is switched on for the device; PyTorch's own switch excludes it again. The
kernels are Python functions at that key, registered the first time autocast is used.
"""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch._ops import OpOverload

from porter.device.sim.core.machine import Machine, machines
from porter.device.sim.core.tensor import DeviceTensor, tensors_in
from porter.device.sim.core.transfer import is_traced
from porter.interception.patching import Patches


def _overloads(name: str) -> Iterator[OpOverload]:
    """Yield the out-of-place overloads that a name of an autocast list means."""
    packet_name, _, overload = name.partition(".")
    packet = getattr(torch.ops.aten, packet_name, None)
    if packet is None:
        return
    for each in packet.overloads():
        op: OpOverload = getattr(packet, each)
        if overload and each != overload:
            continue
        if not op._schema.is_mutable and "Dimname" not in str(op._schema):
            yield op


class _Caster:
    """The autocast kernels of one device type."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self.kind = machine.profile.name
        key = getattr(torch._C.DispatchKey, machine.profile.autocast_key)
        self.keys = torch._C.DispatchKeySet(key)
        self.cache: dict[int, tuple[torch.Tensor, torch.Tensor]] = {}

    def eligible(self, value: Any) -> bool:
        return (
            (isinstance(value, DeviceTensor) or is_traced(value))
            and value.device.type == self.kind
            and value.is_floating_point()
            and value.dtype != torch.float64
        )

    def cast(self, value: Any, dtype: torch.dtype) -> Any:
        if isinstance(value, (list, tuple)):
            return type(value)(self.cast(each, dtype) for each in value)
        if not self.eligible(value) or value.dtype == dtype:
            return value
        is_cached = (
            self.machine.profile.autocast.caches_weights
            and torch.is_autocast_cache_enabled()
            and value.is_leaf
            and value.requires_grad
            and value.dtype == torch.float32
            and not torch.is_inference_mode_enabled()
            and not is_traced(value)
        )
        if not is_cached:
            return value.to(dtype)
        cached = self.cache.get(id(value))
        if cached is None or cached[1].dtype != dtype:
            cached = self.cache[id(value)] = (value, value.to(dtype))
        return cached[1]

    def kernel(self, op: OpOverload, policy: str) -> Callable[..., Any]:
        """Return the autocast kernel of one op."""
        order = [a.name for a in op._schema.arguments]

        def run(*args: Any, **kwargs: Any) -> Any:
            if policy == "refused":
                raise RuntimeError(
                    f"aten::{op._opname} is unsafe to autocast: combine it with the sigmoid before "
                    "it, as binary_cross_entropy_with_logits does"
                )
            with torch._C._ExcludeDispatchKeyGuard(self.keys):
                low = torch.get_autocast_dtype(self.kind)
                if policy == "low_first":
                    return op(self.cast(args[0], low), *args[1:], **kwargs)
                given = kwargs.get("dtype")
                if given is None and "dtype" in order[: len(args)]:
                    given = args[order.index("dtype")]
                if given is not None:
                    return op(*args, **kwargs)
                target = low if policy == "low" else torch.float32
                if policy == "widest":
                    found = filter(self.eligible, tensors_in([*args, *kwargs.values()]))
                    if not any(tensor.dtype == torch.float32 for tensor in found):
                        target = low
                cast = [self.cast(arg, target) for arg in args]
                return op(*cast, **{key: self.cast(arg, target) for key, arg in kwargs.items()})

        return run

    def register(self) -> torch.library.Library:
        """Register all kernels; ops without one fall through."""
        lists, key = self.machine.profile.autocast, self.machine.profile.autocast_key
        fallback = torch.library.Library("_", "IMPL", key)
        if key != "AutocastCUDA":  # PyTorch registers that one itself
            fallback.fallback(torch.library.fallthrough_kernel)
        lib = torch.library.Library("aten", "IMPL")
        done: set[OpOverload] = set()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # PyTorch's own CUDA kernels are replaced on purpose
            for policy in ("refused", "low_first", "low", "float32", "widest"):
                for name in sorted(getattr(lists, policy)):
                    for op in _overloads(name):
                        if op not in done:
                            done.add(op)
                            full = op._name.removeprefix("aten::")
                            _override(lib, full, self.kernel(op, policy), key)
        lib._fallback = fallback  # type: ignore[attr-defined]
        return lib


def _override(
    library: torch.library.Library, name: str, kernel: Callable[..., Any], key: str
) -> None:
    """Register a kernel in place of any other that Python registered."""
    if "allow_override" in inspect.signature(library.impl).parameters:
        library.impl(name, kernel, key, allow_override=True)
    else:  # PyTorch 2.5 has no such argument
        torch.library._impls.discard(f"{library.ns}/{name}/{key}")
        library.impl(name, kernel, key)


def install_autocast(machine: Machine, patches: Patches) -> None:
    """Make ``torch.autocast`` of a device type follow its profile's lists."""
    caster = _Caster(machine)
    registered: list[torch.library.Library] = []
    native_set = torch.set_autocast_enabled
    native_clear = torch.clear_autocast_cache
    key = getattr(torch._C.DispatchKey, machine.profile.autocast_key)
    default = getattr(torch, machine.profile.autocast_dtypes[0])

    def set_enabled(*args: Any) -> None:
        native_set(*args)
        kind, enabled = args if len(args) == 2 else ("cuda", *args)
        if kind != machine.profile.name or machine.profile.name not in machines:
            return
        if enabled and not registered:
            registered.append(caster.register())
        torch._C._dispatch_tls_set_dispatch_key_included(key, bool(enabled))

    def clear() -> None:
        native_clear()
        caster.cache.clear()

    def forget() -> None:
        caster.cache.clear()
        torch._C._dispatch_tls_set_dispatch_key_included(key, False)
        for lib in registered:
            lib._fallback._destroy()  # type: ignore[attr-defined]
            lib._destroy()

    patches.replace(torch, "set_autocast_enabled", set_enabled)
    patches.replace(torch, "clear_autocast_cache", clear)
    patches.later(forget)
    was = torch.get_autocast_dtype(machine.profile.name)
    torch.set_autocast_dtype(machine.profile.name, default)
    patches.later(lambda: torch.set_autocast_dtype(machine.profile.name, was))
