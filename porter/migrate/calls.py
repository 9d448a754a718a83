"""Replace "cuda" in the arguments of calls by the target, and ``torch.cuda.*`` by its own module.

A name is served by the target's function of that name (``torch.hpu.synchronize``) or by the
vendor's table, or it raises :class:`Unsupported`. Calls that PyTorch makes itself (an optimizer
calling ``torch.cuda.is_available()``) are served too but not logged: the log is about the program.
"""

from __future__ import annotations

import ast
import contextlib
import functools
import linecache
import sys
import types
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from types import FrameType, ModuleType
from typing import Any

import torch

from porter.errors import PorterError
from porter.interception.patching import Patches
from porter.migrate.log import MigrationLog
from porter.migrate.table import Kind, Rule, Table

_TORCH = str(Path(torch.__file__).parent) + "/"
_PORTER = str(Path(__file__).parents[1]) + "/"
_SUBMODULES = ("random", "memory", "streams", "graphs")
_RENAMED = {"CUDAGraph": {"hpu": "HPUGraph", "npu": "NPUGraph"}}
_WORDS = "BFloat16 Bool Byte Char Double Float Half Int Long Short"
_TENSOR_TYPES: dict[str, torch.dtype] = {
    f"{word}Tensor": getattr(torch, f"{word}Tensor").dtype for word in _WORDS.split()
}


KEYWORDS = ("device", "device_type", "map_location", "device_id", "pin_memory_device")
_LONGEST = 60


def retarget(value: Any, target: str) -> Any:
    """Replace cuda by the target in a string, a device or a mapping of them."""
    if isinstance(value, str):
        if value == "cuda" or value.startswith("cuda:"):
            return target + value[4:]
        return value
    if isinstance(value, torch.device):
        return torch.device(retarget(str(value), target)) if value.type == "cuda" else value
    if isinstance(value, dict) and any(isinstance(k, str | torch.device) for k in value):
        found = {retarget(k, target): retarget(v, target) for k, v in value.items()}
        return found if found != value else value
    return value


def retarget_call(
    args: tuple[Any, ...], kwargs: dict[str, Any], target: str, *, integers: bool = False
) -> tuple[tuple[Any, ...], dict[str, Any], bool]:
    """Return the arguments with cuda replaced, and whether any was.

    With ``integers`` a bare first number is a device index, as in ``module.to(0)``.
    """
    changed = False
    found = []
    for position, value in enumerate(args):
        new = retarget(value, target)
        if integers and position == 1 and type(value) is int:
            new = torch.device(target, value)
        changed = changed or new is not value
        found.append(new)
    for name in KEYWORDS:
        if name in kwargs:
            value = kwargs[name]
            new = retarget(value, target)
            if name == "device" and type(value) is int:
                new = torch.device(target, value)
            if new is not value:
                kwargs = {**kwargs, name: new}
                changed = True
    return (tuple(found), kwargs, True) if changed else (args, kwargs, False)


def show_value(value: Any) -> str:
    """Return a value as text for the log: short, and the same in every run."""
    if isinstance(value, torch.Tensor):
        shape = "x".join(map(str, value.shape)) or "scalar"
        return f"tensor<{shape} {str(value.dtype).removeprefix('torch.')}>"
    if isinstance(value, torch.nn.Module):
        return type(value).__name__
    if isinstance(value, str | int | float | bool | type(None) | torch.dtype | torch.Size):
        text = repr(value)
    elif isinstance(value, torch.device):
        text = repr(str(value))
    elif isinstance(value, list | tuple):
        inner = ", ".join(show_value(v) for v in value[:8]) + (", ..." if len(value) > 8 else "")
        text = f"[{inner}]" if isinstance(value, list) else f"({inner})"
    elif isinstance(value, dict):
        text = "{" + ", ".join(f"{show_value(k)}: {show_value(v)}" for k, v in value.items()) + "}"
    else:
        text = f"<{type(value).__name__}>"
    return text if len(text) <= _LONGEST else text[: _LONGEST - 3] + "..."


def show_call(name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> str:
    """Return ``name(args, key=value)`` on one line."""
    parts = [show_value(value) for value in args]
    parts += [f"{key}={show_value(value)}" for key, value in kwargs.items()]
    return f"{name}({', '.join(parts)})"


def with_target(
    function: Callable[..., Any],
    api: str,
    target: str,
    log: MigrationLog,
    *,
    method: bool = False,
    own_reading: bool = False,
) -> Callable[..., Any]:
    """Wrap ``function`` so that cuda in its arguments becomes the target and the call is logged."""
    integers = api.endswith((".to", ".to_empty"))

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        new_args, new_kwargs, changed = retarget_call(args, kwargs, target, integers=integers)
        if changed:
            skip = 1 if method else 0
            served = show_call(api, new_args[skip:], new_kwargs)
            asked = functools.partial(show_call, api, args[skip:], kwargs)
            log.record(api, "match", asked, served, own_reading=own_reading)
        return function(*new_args, **new_kwargs)

    call.__porter_original__ = function  # type: ignore[attr-defined]
    return call


class Unsupported(PorterError, NotImplementedError):
    """A CUDA call that the target has no counterpart for."""


def called_by_torch() -> bool:
    """Whether the call being served comes from PyTorch itself."""
    frame = sys._getframe(2)
    while frame is not None and frame.f_code.co_filename == __file__:
        frame = frame.f_back  # type: ignore[assignment]
    return frame is not None and frame.f_code.co_filename.startswith(_TORCH)


def says_cuda(caller: FrameType, name: str) -> bool:
    """Whether a call of a class that torch.cuda and the target share is a CUDA call of the program.

    It is not where it is spelled with npu, where a variable in it holds a module of the target's,
    or where its file imports the name from ``torch_npu``.
    """
    code = caller.f_code
    if code.co_filename.startswith((_TORCH, _PORTER)):
        return False
    call = linecache.getline(code.co_filename, caller.f_lineno)
    if hasattr(code, "co_positions"):  # Python 3.11
        where = next(islice(code.co_positions(), caller.f_lasti // 2, None))
        if where[0] == where[1] == caller.f_lineno:
            call = call.encode()[where[2] : where[3]].decode(errors="replace")
    called = " ".join((call.partition("(")[0], *_modules_of_the_call(call, caller))).lower()
    if "npu" in called or "cuda" in called:
        return "npu" not in called
    lines = linecache.getlines(code.co_filename)
    return not any(line.lstrip().startswith("from torch_npu") and name in line for line in lines)


def _modules_of_the_call(call: str, caller: FrameType) -> list[str]:
    """Return the names of the modules that variables hold in what a call calls."""
    variables = _variables_of_the_call(call)
    held = [caller.f_locals.get(name, caller.f_globals.get(name)) for name in variables]
    return [value.__name__ for value in held if isinstance(value, ModuleType)]


@functools.cache  # a training loop makes the same call in every step
def _variables_of_the_call(call: str) -> tuple[str, ...]:
    """Return the variables in what a call calls; none where the text is no call."""
    try:
        parsed = ast.parse(call.strip(), mode="eval").body
    except SyntaxError:
        return ()
    if not isinstance(parsed, ast.Call):
        return ()
    return tuple(node.id for node in ast.walk(parsed.func) if isinstance(node, ast.Name))


class ServedType(type):
    """Metaclass of ``torch.cuda`` classes whose instances are of the target's class.

    A class derived from one derives from the target's class.
    """

    porter_make: Callable[..., Any]
    porter_type: type | None = None
    porter_dtype: torch.dtype | None = None
    porter_device: str = "cuda"

    def __new__(mcs, name: str, bases: tuple[type, ...], parts: dict[str, Any], **more: Any) -> Any:
        served = tuple(getattr(base, "porter_type", None) or base for base in bases)
        if served == bases:
            return super().__new__(mcs, name, bases, parts, **more)
        return types.new_class(name, served, more, lambda space: space.update(parts))

    def __getattr__(cls, name: str) -> Any:
        if name.startswith("__") or cls.porter_type is None:
            raise AttributeError(f"type object {cls.__name__!r} has no attribute {name!r}")
        return getattr(cls.porter_type, name)

    def __call__(cls, *args: Any, **kwargs: Any) -> Any:
        return cls.porter_make(*args, **kwargs)

    def __instancecheck__(cls, instance: Any) -> bool:
        if cls.porter_dtype is not None:
            is_tensor = isinstance(instance, torch.Tensor) and instance.dtype == cls.porter_dtype
            return is_tensor and instance.device.type == cls.porter_device
        return cls.porter_type is not None and isinstance(instance, cls.porter_type)

    def __subclasscheck__(cls, subclass: type) -> bool:
        return subclass is cls or (
            cls.porter_type is not None and issubclass(subclass, cls.porter_type)
        )


def typed_tensor(args: tuple[Any, ...], dtype: torch.dtype, device: str) -> torch.Tensor:
    """Return what ``torch.cuda.FloatTensor(*args)`` makes: empty of a size, or from data."""
    if args and all(type(size) is int for size in args):
        return torch.empty(*args, dtype=dtype, device=device)
    if args and isinstance(args[0], torch.Size):
        return torch.empty(args[0], dtype=dtype, device=device)
    return torch.tensor(args[0] if args else [], dtype=dtype).to(device)


class CudaCalls:
    """The replacements of one migration."""

    def __init__(
        self, table: Table, target: ModuleType, log: MigrationLog, patches: Patches
    ) -> None:
        self.table = table
        self.device = table.target
        self.target = target
        self.log = log
        self._patches = patches
        self._noting: set[type] = set()

    def patch(self) -> None:
        """Replace the public names of ``torch.cuda`` and of its submodules."""
        patches = self._patches
        modules = [torch.cuda, *(getattr(torch.cuda, name) for name in _SUBMODULES)]
        for module in modules:
            for name in _public(module):
                replacement = self.replacement(f"torch.cuda.{name}", getattr(module, name))
                if replacement is not None:
                    patches.replace(module, name, replacement)
        for name in ("range", "range_push", "range_pop", "mark"):
            patches.replace(
                torch.cuda.nvtx, name, self.replacement(f"torch.cuda.nvtx.{name}", None)
            )

    def replacement(self, api: str, original: Any) -> Any:
        """Return what replaces ``api``, or None to leave it as it is."""
        name = api.removeprefix("torch.cuda.")
        rule = self.table.rules.get(api) or Rule("match", f"torch.{self.device}.{name}", "")
        if name in _TENSOR_TYPES:
            return self._tensor_type(api, name, rule)
        if rule.kind == "unsupported" and rule.served == "nothing":
            return self._ignoring(api)
        served = None if rule.kind == "unsupported" else self._counterpart(name)
        if served is None:
            if isinstance(original, type) and issubclass(original, BaseException):
                return None
            return self._refusing(api)
        if isinstance(served, type):
            return self.served_class(api, rule, served)
        if callable(served):
            return functools.wraps(served)(self._retargeting(api, rule, served))
        return served

    def _counterpart(self, name: str) -> Any:
        wanted = _RENAMED.get(name, {}).get(self.device, name)
        for owner in (self.target, vars(self.target).get("random")):
            if isinstance(owner, ModuleType) and wanted in vars(owner):
                return vars(owner)[wanted]
        return None

    def _note(
        self, api: str, kind: Kind, args: tuple[Any, ...], kwargs: dict[str, Any], title: str
    ) -> None:
        if not called_by_torch():
            own = self.table.is_own_reading(api)
            self.log.record(api, kind, lambda: show_call(api, args, kwargs), title, own_reading=own)

    def _retargeting(self, api: str, rule: Rule, served: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            self._note(api, rule.kind, args, kwargs, rule.served)
            new = [retarget(value, self.device) for value in args]
            return served(*new, **{k: retarget(v, self.device) for k, v in kwargs.items()})

        return call

    def served_class(self, api: str, rule: Rule, served: type) -> Any:
        """Return what stands for a class: on npu ``served`` itself, as the wheel assigns it.

        Elsewhere a stand-in, which makes and recognises instances of ``served``.
        """
        if self.device == "npu":
            self._note_calls(api, rule, served)
            return served
        make = self._retargeting(api, rule, served)
        return ServedType(
            served.__name__, (), {"porter_make": staticmethod(make), "porter_type": served}
        )

    def _note_calls(self, api: str, rule: Rule, served: type) -> None:
        if served in self._noting:
            return
        self._noting.add(served)
        made: Callable[..., None] = served.__init__  # type: ignore[misc]

        @functools.wraps(made)
        def init(it: Any, *args: Any, **kwargs: Any) -> None:
            if says_cuda(sys._getframe(1), served.__name__):
                self._note(api, rule.kind, args, kwargs, rule.served)
            new = [retarget(value, self.device) for value in args]
            made(it, *new, **{k: retarget(v, self.device) for k, v in kwargs.items()})

        self._patches.replace(served, "__init__", init)

    def _tensor_type(self, api: str, name: str, rule: Rule) -> Any:
        dtype = torch.float32 if "FloatTensor" in rule.served else _TENSOR_TYPES[name]

        def make(*args: Any, **kwargs: Any) -> torch.Tensor:
            self._note(api, rule.kind, args, kwargs, rule.served)
            return typed_tensor(args, dtype, self.device)

        parts = {
            "porter_make": staticmethod(make),
            "porter_dtype": dtype,
            "porter_device": self.device,
        }
        return ServedType(name, (), parts)

    def _ignoring(self, api: str) -> Any:
        def call(*args: Any, **kwargs: Any) -> Any:
            self._note(api, "unsupported", args, kwargs, "nothing")
            return contextlib.nullcontext() if api == "torch.cuda.nvtx.range" else None

        return call

    def _refusing(self, api: str) -> Any:
        def call(*args: Any, **kwargs: Any) -> Any:
            self._note(api, "unsupported", args, kwargs, "an error")
            raise Unsupported(
                f"{api} has no counterpart on {self.device} ({self.table.vendor}); "
                f"choose another path where the device is not cuda"
            )

        return call


def _public(module: ModuleType) -> list[str]:
    """Names of public functions and classes defined in ``torch.cuda`` (not imported by it)."""
    found = []
    for name, value in vars(module).items():
        if name.startswith("_") or isinstance(value, ModuleType):
            continue
        defined_in = getattr(value, "__module__", "") or ""
        if callable(value) and (defined_in.startswith("torch.cuda") or name == "CUDAGraph"):
            found.append(name)
    return sorted(found)
