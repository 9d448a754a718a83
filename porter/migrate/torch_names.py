"""Names outside ``torch.cuda`` that a migration replaces, so that "cuda" in them is the target.

The list is that of ``torch_npu.contrib.transfer_to_npu`` (torch-npu 2.13.0, ``_init``). It serves
both vendors: which functions of PyTorch take a device is up to PyTorch. That Gaudi's package
replaces the same names is porter's own reading, and its log says so. Not replaced here: names of
Inductor and of C++ extensions.
"""

from __future__ import annotations

import functools
import importlib
import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any

import torch

from porter.interception.patching import Patches
from porter.migrate.calls import ServedType, retarget, with_target
from porter.migrate.log import MigrationLog

_MEMORY = ("_record_memory_history", "_snapshot", "_dump_snapshot")
_FACTORIES = (
    "asarray", "empty_permuted", "sparse_bsc_tensor", "sparse_bsr_tensor", "sparse_csc_tensor",
)  # fmt: skip
"""Functions with a device argument that ``transfer_to_npu`` leaves as they are: with cuda they
raise on npu. Gaudi's page says that its package serves PyTorch's functions with such arguments."""
_AUTOCAST = ("set_autocast_enabled", "get_autocast_dtype", "set_autocast_dtype")


def install_torch_names(
    target: str, module: ModuleType, log: MigrationLog, patches: Patches
) -> None:
    """Replace the names of torch, ``torch.fft`` and ``torch.distributed``."""
    own = target == "hpu"
    for name in ("Generator", "Event", "Stream"):
        original = getattr(torch, name)
        made = with_target(original, f"torch.{name}", target, log, own_reading=own)
        parts = {"porter_make": staticmethod(made), "porter_type": original}
        patches.replace(torch, name, ServedType(name, (), parts))
    for name in ("fftfreq", "rfftfreq"):
        api = f"torch.fft.{name}"
        wrapped = with_target(getattr(torch.fft, name), api, target, log, own_reading=own)
        patches.replace(torch.fft, name, wrapped)
    if own:
        for name in _FACTORIES:
            function = getattr(torch, name, None)  # PyTorch 2.5 has no empty_permuted
            if function is not None:
                api = f"torch.{name}"
                wrapped = with_target(function, api, target, log, own_reading=True)
                patches.replace(torch, name, wrapped)
    for name in _AUTOCAST:
        patches.replace(torch, name, _retargeted(getattr(torch, name), target))
    set_dtype = torch.set_autocast_dtype
    patches.replace(torch, "set_autocast_gpu_dtype", lambda dtype: set_dtype(target, dtype))
    api = "torch.UntypedStorage"
    new = with_target(torch.UntypedStorage.__new__, api, target, log, own_reading=own)
    patches.replace(torch.UntypedStorage, "__new__", staticmethod(new))
    typed: Any = torch.storage.TypedStorage
    if target == "npu":
        patches.replace(typed, "is_cuda", typed.is_npu)
    if "default_generators" in vars(module):
        patches.replace(torch.cuda, "default_generators", vars(module)["default_generators"])
    for name in _MEMORY:
        if name in vars(module):
            patches.replace(torch.cuda.memory, name, vars(module)[name])
    kernel: Any = importlib.import_module("torch.autograd.profiler_util").Kernel
    patches.replace(kernel, "__new__", staticmethod(_retargeted(kernel.__new__, target)))
    patches.replace(torch._utils, "_get_available_device_type", lambda: target)
    triton = importlib.import_module("torch.utils._triton")
    patches.replace(triton, "has_triton", lambda: False)
    if torch.distributed.is_available():
        _distributed(target, log, patches)


def _retargeted(native: Callable[..., Any], target: str) -> Callable[..., Any]:
    """Replace cuda in a setting's arguments; as a getter, it is not logged."""

    @functools.wraps(native)
    def setting(*args: Any, **kwargs: Any) -> Any:
        if native is not torch.get_autocast_dtype and len(args) == 1 and isinstance(args[0], bool):
            args = ("cuda", *args)  # set_autocast_enabled(True) means CUDA's
        named = {name: retarget(value, target) for name, value in kwargs.items()}
        return native(*(retarget(value, target) for value in args), **named)

    return setting


_FSDP = "torch.distributed.fsdp.fully_sharded_data_parallel"


def serve_fsdp(target: str, log: MigrationLog, patches: Patches) -> None:
    """Replace FSDP's constructor if the program has imported FSDP, which takes seconds.

    Called when the migration starts, and again with the first process group.
    """
    module = sys.modules.get(_FSDP)
    if module is None:
        return
    cls = module.FullyShardedDataParallel
    if not hasattr(cls.__init__, "__porter_original__"):
        api = "torch.distributed.fsdp.FullyShardedDataParallel"
        patches.replace(cls, "__init__", with_target(cls.__init__, api, target, log, method=True))


def _without_cuda(backend: Any, patches: Patches) -> None:
    """Forget nccl as the default backend of cuda, so that a default group asks for none."""
    defaults: dict[str, str] = getattr(backend, "default_device_backend_map", {})
    name = defaults.pop("cuda", None)
    if name is not None:
        patches.later(lambda: defaults.update(cuda=name))


def _distributed(target: str, log: MigrationLog, patches: Patches) -> None:
    c10d: Any = torch.distributed.distributed_c10d
    start_group = c10d._new_group_with_tag

    @functools.wraps(start_group)
    def new_group(*args: Any, **kwargs: Any) -> Any:
        def served(value: Any) -> Any:
            if not isinstance(value, str):
                return value
            return value.replace("nccl", "hccl").replace("cuda", target)

        named = {name: served(value) for name, value in kwargs.items()}
        return start_group(*(served(value) for value in args), **named)

    patches.replace(c10d, "_new_group_with_tag", new_group)
    meshes: Any = importlib.import_module("torch.distributed.device_mesh")
    replaced = [
        (meshes, "init_device_mesh", "torch.distributed.init_device_mesh"),
        (torch.distributed, "init_device_mesh", "torch.distributed.init_device_mesh"),
        (meshes.DeviceMesh, "__init__", "torch.distributed.DeviceMesh"),
    ]
    stages: Any = sys.modules.get("torch.distributed.pipelining.stage")
    if stages is not None:  # as in the wheel, where the program has imported it
        api = "torch.distributed.pipelining.PipelineStage"
        replaced.append((stages.PipelineStage, "__init__", api))
        replaced.append((stages, "build_stage", "torch.distributed.pipelining.build_stage"))
    for owner, name, api in replaced:
        is_method = name == "__init__"
        own = target == "hpu"
        function = getattr(owner, name)
        wrapped = with_target(function, api, target, log, method=is_method, own_reading=own)
        patches.replace(owner, name, wrapped)
    _without_cuda(torch.distributed.Backend, patches)
    if target == "npu":
        hccl: Any = importlib.import_module("torch_npu._C._distributed_c10d")
        for owner in (torch.distributed, c10d):
            patches.replace(owner, "ProcessGroupNCCL", hccl.ProcessGroupHCCL)
    serve_fsdp(target, log, patches)
    group: Any = torch.distributed.ProcessGroup
    patches.replace(group, "_get_backend", _retargeted(group._get_backend, target))
