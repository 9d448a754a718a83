"""Switch a simulation on and off.

Several device types can be simulated in one process, as in tests; a run of a tree simulates one.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import sys
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from types import SimpleNamespace
from typing import Any

import torch
from torch.utils.backend_registration import rename_privateuse1_backend

from porter.device.sim.contract.releases import kind_of, release_of
from porter.device.sim.core.device_guard import install_guard
from porter.device.sim.core.forks import watch_forks
from porter.device.sim.core.machine import Machine, machines
from porter.device.sim.core.placement import make_class
from porter.device.sim.core.profiles import PROFILES, Profile, visible_devices
from porter.device.sim.core.transfer import cpu, mover, to, type_as
from porter.device.sim.rng.generator import Generator
from porter.device.sim.rng.random_ops import install_rng
from porter.device.sim.torch_patches.accelerator import install_accelerator, install_indices
from porter.device.sim.torch_patches.autocast import install_autocast
from porter.device.sim.torch_patches.comm import install_comm
from porter.device.sim.torch_patches.constructors import install_constructors, install_factories
from porter.device.sim.torch_patches.cpu_paths import install_cpu_paths
from porter.device.sim.torch_patches.device_module import install_device_module
from porter.device.sim.torch_patches.distributed import gloo, install_backends, install_nccl
from porter.device.sim.torch_patches.dynamo import install_dynamo, prepare_dynamo
from porter.device.sim.torch_patches.higher_order import (
    install_higher_order,
    install_traced_gradients,
)
from porter.device.sim.torch_patches.lazy_modules import install_lazy_modules
from porter.device.sim.torch_patches.parameters import install_parameters
from porter.device.sim.torch_patches.profiler import install_profiler
from porter.device.sim.torch_patches.serialization import install_serialization
from porter.device.sim.torch_patches.streams import install_streams
from porter.device.sim.torch_patches.torchscript import install_onnx, install_torchscript
from porter.device.sim.vendors.cuda_graphs import install_cuda_graphs
from porter.device.sim.vendors.stub_module import Package, install, uninstall
from porter.interception.patching import Patches, TensorProperty

_PACKAGES = {
    "hpu": ("porter.device.sim.habana:HABANA",),
    "npu": ("porter.device.sim.ascend:ASCEND", "porter.device.sim.ascend:TORCHAIR"),
}
_ABSENT_MODULE = {
    "is_available": lambda: False,
    "device_count": lambda: 0,
    "_is_in_bad_fork": lambda: True,  # "do not seed it"
    "manual_seed_all": lambda seed: None,  # noqa: ARG005
}
_shared = Patches()
_own: dict[str, Patches] = {}


def _install_shared() -> None:
    """Apply the patches that serve every simulated device, when the first is activated."""
    patches = _shared
    install_constructors(patches)
    install_indices(patches)
    install_streams(patches)
    install_comm(patches)
    install_backends(patches)
    install_profiler(patches)
    install_parameters(patches)
    install_lazy_modules(patches)
    install_serialization(patches)
    install_cpu_paths(patches)
    install_dynamo(patches)
    install_traced_gradients(patches)
    patches.replace(torch.Tensor, "to", to)
    patches.replace(torch.Tensor, "cpu", cpu)
    patches.replace(torch.Tensor, "type_as", type_as)
    patches.replace(torch, "Generator", Generator)
    native_manual_seed, native_seed = torch.random.manual_seed, torch.random.seed

    def seed_devices(seed: int) -> None:
        for machine in machines.values():
            for generator in machine.generators:
                generator.manual_seed(seed)

    def manual_seed(seed: Any) -> Any:
        seed_devices(int(seed))
        return native_manual_seed(seed)

    def seed() -> int:
        drawn: int = native_seed()
        seed_devices(drawn)
        return drawn

    for module in (torch, torch.random):
        patches.replace(module, "manual_seed", manual_seed)
        patches.replace(module, "seed", seed)


def activate(device: str | Profile) -> Machine:
    """Simulate a device type in this process: "sim:hpu", "sim:hpu@1.12", "hpu", or a profile.

    Returns the machine; activating twice returns the same one.
    """
    profile = _profile(device) if isinstance(device, str) else device
    if profile.name in machines:
        return machines[profile.name]
    if profile.dispatch_key == "PrivateUse1":
        rename_privateuse1_backend(profile.name)
    if not machines:
        _install_shared()
    profile = replace(profile, device_count=visible_devices(profile, os.environ))
    machine = Machine(profile)
    machine.classes = tuple(make_class(machine, index) for index in range(profile.device_count))
    install_rng(machine)
    machines[profile.name] = machine
    patches = _own[profile.name] = Patches()
    watch_forks()
    install_guard(machine, patches)
    install_factories(machine, patches)
    install_device_module(machine, patches)
    install_accelerator(machine, patches)
    install_higher_order(machine, patches)
    install_autocast(machine, patches)
    if profile.no_torchscript:
        install_torchscript(machine, patches)
    if profile.no_onnx:
        install_onnx(machine, patches)
    _install_package(profile, patches)
    if profile.name == "cuda":
        install_cuda_graphs(patches)
        install_nccl(patches)
    for name in ("torch.optim.optimizer", "torch.utils._foreach_utils"):
        lists = importlib.import_module(name)
        types = [*lists._foreach_supported_types, *machine.classes]
        patches.replace(lists, "_foreach_supported_types", types)
    patches.replace(torch.Tensor, profile.name, mover(profile.name))
    patches.replace(torch.nn.Module, profile.name, _module_mover(profile.name))
    for name in ("cuda", "hpu", "npu"):
        if not hasattr(torch.Tensor, f"is_{name}"):
            patches.replace(torch.Tensor, f"is_{name}", TensorProperty(partial(_is_on, kind=name)))
    if "torch._dynamo" in sys.modules:
        prepare_dynamo(_shared)
    return machine


def _profile(device: str) -> Profile:
    kind = kind_of(device)
    _, _, wanted = device.partition("@")
    return replace(PROFILES[kind], release=release_of(f"sim:{kind}{wanted and '@'}{wanted}"))


def _is_on(tensor: torch.Tensor, kind: str) -> bool:
    return tensor.device.type == kind


def _module_mover(kind: str) -> Any:
    def method(self: torch.nn.Module, device: Any = None) -> torch.nn.Module:
        moved: torch.nn.Module = self._apply(lambda tensor: getattr(tensor, kind)(device))
        return moved

    method.__name__ = kind
    return method


def _install_package(profile: Profile, patches: Patches) -> None:
    """Make the packages of a device importable, and import them; undone with patches.

    The device module (``torch.hpu``) is in place and gets the vendor's names too: the vendors'
    plugins are loaded by ``import torch`` itself.
    """
    kind = profile.name
    if kind not in _PACKAGES:
        return
    for path in _PACKAGES[kind]:
        module, _, name = path.partition(":")
        package: Package = getattr(importlib.import_module(module), name)
        release = profile.release or release_of(f"sim:{kind}")
        if release is not None:
            package = package.without(release.absent)
        if package.root not in package.contents:
            continue
        install(package)
        patches.later(partial(uninstall, package.root))
        importlib.import_module(package.root)
    if torch.distributed.is_available():
        _register_hccl(kind)
        patches.replace(torch.distributed, "is_hccl_available", lambda: True)


def _register_hccl(kind: str) -> None:
    """Register ``hccl``, both vendors' backend of ``torch.distributed``: here PyTorch's own gloo.

    It works on the tensors' CPU storage: ranks are processes on one machine, results are right,
    and links and times are not modelled. A process can register it only once.
    """
    backend: Any = torch.distributed.Backend
    if "HCCL" in getattr(backend, "_plugins", {}):
        backend.backend_capability["hccl"] = sorted({*backend.backend_capability["hccl"], kind})
        if hasattr(backend, "default_device_backend_map"):
            backend.default_device_backend_map[kind] = "hccl"
        return
    backend.register_backend("hccl", gloo, devices=["cpu", kind])


def deactivate(kind: str) -> None:
    """Stop simulating a device type. Tensors left on it must no longer be used."""
    machine = machines[kind]
    machine.forget_compiled()
    _own.pop(kind).undo()
    del machines[kind]
    if machine.profile.dispatch_key == "PrivateUse1" and not hasattr(torch, kind):
        # A backend's name is permanent, and PyTorch asks its module whether it is available.
        setattr(torch, kind, SimpleNamespace(**_ABSENT_MODULE))
    if not machines:
        _shared.undo()


@contextlib.contextmanager
def simulated(device: str | Profile) -> Iterator[Machine]:
    """Simulate a device inside a ``with`` block, for tests."""
    machine = activate(device)
    try:
        yield machine
    finally:
        deactivate(machine.profile.name)
