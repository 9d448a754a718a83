"""Switch a process from CUDA to another accelerator, and log every call that was mapped.

Importing ``habana_frameworks.torch.gpu_migration`` or ``torch_npu.contrib.transfer_to_npu`` calls
:func:`activate`. :func:`logging_to` is for the run command.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import torch

from porter.interception.patching import Patches, TensorProperty
from porter.migrate.calls import (
    CudaCalls,
    ServedType,
    retarget,
    retarget_call,
    show_call,
    with_target,
)
from porter.migrate.log import MigrationLog
from porter.migrate.table import OWN_READING, Kind, Table, table_of
from porter.migrate.torch_names import install_torch_names, serve_fsdp

_active: Migration | None = None
_log: MigrationLog | None = None


class Migration:
    """The replacements that make ``table.target`` serve CUDA calls."""

    def __init__(self, table: Table, target: ModuleType, log: MigrationLog) -> None:
        self.table = table
        self.device = table.target
        self.log = log
        self.patches = Patches()
        self._calls = CudaCalls(table, target, log, self.patches)

    def activate(self) -> None:
        """Make the replacements; :meth:`deactivate` undoes them."""
        from torch.utils._device import _device_constructors

        _device_constructors()  # remembers the real factories before any is replaced
        self._devices()
        self._cuda_methods()
        self._autocast()
        self._grad_scaler()
        self._distributed()
        self._calls.patch()
        self._default_tensor_type()
        install_torch_names(self.device, self._calls.target, self.log, self.patches)
        if self.device == "npu":
            self._jit()

    def deactivate(self) -> None:
        """Put everything back."""
        self.patches.undo()

    def _devices(self) -> None:
        owners: tuple[Any, ...] = (torch, torch.Tensor, torch.nn.Module)
        for (title, names), owner in zip(self.table.device_functions.items(), owners, strict=True):
            for name in names:
                self._wrap(owner, name, f"{title}.{name}", method=owner is not torch)
        self._wrap(torch.Tensor, "type", "torch.Tensor.type", method=True)
        self._wrap(torch.utils.data.DataLoader, "__init__", "torch.utils.data.DataLoader")
        self._data_parallel()
        self._wrap(torch.utils._device.DeviceContext, "__init__", "torch.device")

    def _data_parallel(self) -> None:
        parallel = torch.nn.parallel.DistributedDataParallel
        api = "torch.nn.parallel.DistributedDataParallel"
        if self.device == "npu":
            self._wrap(parallel, "__init__", api)
            return
        original = parallel.__init__

        @functools.wraps(original)
        def init(it: Any, module: Any, device_ids: Any = None, *args: Any, **kwargs: Any) -> None:
            if device_ids is not None:
                served = f"{api} with the device ids left out"
                self._record(api, (module,), {"device_ids": device_ids}, served)
            if args:
                args = (None, *args[1:])  # output_device
            kwargs.pop("output_device", None)
            original(it, module, None, *args, **kwargs)

        self.patches.replace(parallel, "__init__", init)

    def _wrap(self, owner: Any, name: str, api: str, *, method: bool = True) -> None:
        function = getattr(owner, name, None)
        if not callable(function) or isinstance(function, type):
            return  # a class: CudaCalls or its own __init__ retargets devices
        wrapped = with_target(function, api, self.device, self.log, method=method)
        self.patches.replace(owner, name, wrapped)

    def _record(
        self,
        api: str,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        served: str,
        kind: Kind = "match",
    ) -> None:
        own = self.table.is_own_reading(api)
        self.log.record(api, kind, lambda: show_call(api, args, kwargs), served, own_reading=own)

    def _cuda_methods(self) -> None:
        def tensor_cuda(tensor: Any, device: Any = None, *args: Any, **kwargs: Any) -> Any:
            return self._moved("torch.Tensor.cuda", tensor, device, args, kwargs)

        def module_cuda(module: Any, device: Any = None) -> Any:
            return self._moved("torch.nn.Module.cuda", module, device, (), {})

        self.patches.replace(torch.Tensor, "cuda", tensor_cuda)
        self.patches.replace(torch.nn.Module, "cuda", module_cuda)
        if self.device == "npu":
            is_npu = TensorProperty(lambda tensor: tensor.device.type == "npu")
            self.patches.replace(torch.Tensor, "is_cuda", is_npu)

    def _moved(
        self, api: str, what: Any, where: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        given = () if where is None else (where,)
        device = retarget(where, self.device)
        if device is None:
            device = self.device
        elif isinstance(device, int):
            device = torch.device(self.device, device)
        self._record(api, given, kwargs, f"{api.rpartition('.')[0]}.to({str(device)!r})")
        if args:
            kwargs["non_blocking"] = args[0]
        return what.to(device, **kwargs)

    def _autocast(self) -> None:
        mode = torch.amp.autocast_mode.autocast
        original = mode.__init__
        device = self.device

        @functools.wraps(original)
        def init(
            autocast: Any, device_type: str, dtype: torch.dtype | None = None, *args: Any, **kw: Any
        ) -> None:
            if device_type != "cuda":
                return original(autocast, device_type, dtype, *args, **kw)
            served = None if device == "hpu" and dtype is torch.float16 else dtype
            title = show_call("torch.autocast", (device, served), kw)
            self._record("torch.autocast", (device_type, dtype), kw, title)
            return original(autocast, device, served, *args, **kw)

        self.patches.replace(mode, "__init__", init)
        enabled = torch.is_autocast_enabled
        self.patches.replace(
            torch,
            "is_autocast_enabled",
            lambda kind=None: enabled(device if kind in (None, "cuda") else kind),
        )
        self.patches.replace(
            torch, "get_autocast_gpu_dtype", lambda: torch.get_autocast_dtype(device)
        )
        for name in ("custom_fwd", "custom_bwd"):
            self._wrap(torch.amp, name, f"torch.amp.{name}", method=False)

    def _grad_scaler(self) -> None:
        scaler = torch.amp.GradScaler
        original = scaler.__init__
        device = self.device
        if device == "npu":
            amp = importlib.import_module("torch_npu.npu.amp")
            for part, home in (("GradScaler", "grad_scaler"), ("autocast", "autocast_mode")):
                name = f"torch.cuda.amp.{part}"
                served = self._calls.served_class(name, self.table.rules[name], getattr(amp, part))
                for owner in (torch.cuda.amp, getattr(torch.cuda.amp, home)):
                    self.patches.replace(owner, part, served)
                self.patches.replace(torch.cuda.amp, home, getattr(amp, home))

        @functools.wraps(original)
        def init(it: Any, device_type: str = "cuda", *args: Any, **kwargs: Any) -> None:
            if device_type != "cuda":
                return original(it, device_type, *args, **kwargs)
            api = f"torch.{'cuda.' if type(it) is not scaler else ''}amp.GradScaler"
            options = {**dict(zip(_SCALER, args, strict=False)), **kwargs}
            if device == "hpu":
                self._record(api, (), options, f"{api}(enabled=False)")
                options["enabled"] = False
            else:
                self._record(api, (), options, "torch.amp.GradScaler on npu", "modified")
            return original(it, device, **options)

        self.patches.replace(scaler, "__init__", init)

    def _distributed(self) -> None:
        if not torch.distributed.is_available():
            return
        distributed = torch.distributed
        start, backend_of = distributed.init_process_group, distributed.get_backend

        @functools.wraps(start)
        def init(backend: str | None = None, *args: Any, **kwargs: Any) -> Any:
            serve_fsdp(self.device, self.log, self.patches)
            served = backend
            if isinstance(backend, str):
                served = backend.replace("nccl", "hccl").replace("cuda", self.device)
            args, kwargs, _ = retarget_call(args, kwargs, self.device)
            if served != backend:
                api = "torch.distributed.init_process_group"
                self._record(api, (backend,), {}, f"{api}({served!r})")
            return start(served, *args, **kwargs)

        @functools.wraps(backend_of)
        def get_backend(*args: Any, **kwargs: Any) -> Any:
            found = backend_of(*args, **kwargs)
            return found.replace("hccl", "nccl") if self.device == "hpu" else found

        for owner in (distributed, distributed.distributed_c10d):
            self.patches.replace(owner, "init_process_group", init)
            self.patches.replace(owner, "get_backend", get_backend)
        self.patches.replace(distributed, "is_nccl_available", lambda: True)

    def _default_tensor_type(self) -> None:
        original, device, log = torch.set_default_tensor_type, self.device, self.log
        rule = self.table.rules["torch.set_default_tensor_type"]

        @functools.wraps(original)
        def choose(kind: Any) -> None:
            name = kind.removeprefix("torch.cuda.") if isinstance(kind, str) else ""
            if isinstance(kind, str) and name != kind:
                kind = getattr(torch.cuda, name)
            if not isinstance(kind, ServedType):
                return original(kind)
            asked = f"torch.set_default_tensor_type(torch.cuda.{kind.__name__})"
            api = "torch.set_default_tensor_type"
            own = rule.source == OWN_READING
            log.record(api, rule.kind, lambda: asked, rule.served, own_reading=own)
            torch.set_default_dtype(kind.porter_dtype or torch.float32)
            torch.set_default_device(device)
            return None

        self.patches.replace(torch, "set_default_tensor_type", choose)

    def _jit(self) -> None:
        rule = self.table.rules["torch.jit.script"]

        def script(thing: Any, *args: Any, **kwargs: Any) -> Any:
            self._record("torch.jit.script", (thing,), {}, rule.served, rule.kind)
            del args, kwargs
            return thing

        self.patches.replace(torch.jit, "script", script)
        self.patches.replace(torch.jit, "script_method", lambda method: method)


_SCALER = ("init_scale", "growth_factor", "backoff_factor", "growth_interval", "enabled")


class _CurrentLog(MigrationLog):
    """Passes every call to the present log, because migrations and logs outlive each other."""

    def record(
        self,
        api: str,
        kind: Kind,
        asked: Callable[[], str],
        served: str,
        *,
        own_reading: bool = False,
    ) -> None:
        if _log is not None:
            _log.record(api, kind, asked, served, own_reading=own_reading)


def activate(target: str) -> Migration:
    """Serve CUDA calls by ``target`` from now on; a second call changes nothing."""
    global _active, _log
    if _active is None:
        if _log is None:
            _log = MigrationLog(target, Path.cwd())
        served_by = {"hpu": "habana_frameworks.torch.hpu", "npu": "torch_npu.npu"}[target]
        module = importlib.import_module(served_by)
        _active = Migration(table_of(target), module, _CurrentLog(target))
        _active.activate()
    return _active


def deactivate() -> None:
    """Undo :func:`activate`."""
    global _active
    if _active is not None:
        _active.deactivate()
        _active = None


def activate_from_environment(target: str) -> bool:
    """Activate if the vendor's variable is set (``PT_HPU_GPU_MIGRATION=1``)."""
    wanted = target == "hpu" and os.environ.get("PT_HPU_GPU_MIGRATION") == "1"
    if wanted:
        activate(target)
    return wanted


def current_log() -> MigrationLog | None:
    """Return the log of this process's migration, if there is one."""
    return _log


@contextlib.contextmanager
def logging_to(path: Path | None, *, target: str, root: Path) -> Iterator[MigrationLog]:
    """Log the CUDA calls of the block, and write the log to ``path`` at the end, failed or not.

    A migration activated inside the block writes to this log, and ends with it.
    """
    global _log
    was_active = _active is not None
    before, _log = _log, MigrationLog(target, root)
    log = _log
    try:
        yield log
    finally:
        if path is not None:
            log.write(path)
        if not was_active:
            deactivate()
        _log = before
