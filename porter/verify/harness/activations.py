"""Record activations: the inputs and outputs of every module call of a run, in order.

On demand (a job's ``activations``), as ``activations.jsonl`` beside the trace, one activation per
line::

    {"number": 17, "kind": "in" | "out" | "record", "path": "Model.net.3",
     "class_name": "GroupNorm", "call": 0, "depth": 2, "site": "model.py:46",
     "source": "x = self.norm(x)", "tensors": [...]}

A call has two activations, its inputs when it begins and its outputs when it ends; a recorded
output has one; ``call`` counts the calls of one path. What a module
computes between two activations of its parts is its own code, so the first one that diverges says
whose code to look at. ``tensors`` is described by :func:`sample_tensor`: small tensors are kept
whole; of large ones every n-th element is, n being odd, so that no channel is always missed in a
tensor whose sizes are powers of two, and a hash shows whether *anything* differs. The elements are
in ``activations.bin``, as float64, which holds every element of every dtype here but large 64-bit
integers.

With ``{"kind": "ops", "after": I, "until": J}`` also every ATen op that ran between activations I
and J, as ``ops.jsonl``::

    {"number": 5, "activation": 17, "name": "aten.mul.Tensor", "path": "Model.net.3",
     "site": "model.py:48", "source": "...", "arguments": "(%0, 0.5)", "inputs": [...],
     "outputs": [...]}

``activation`` is the last one before the op, "%n" in ``arguments`` is ``inputs[n]``. The run
ends at activation J. This holds for class probes and script probes, for calls of the main thread
only, and not for launched processes.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import weakref
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from torch.nn.modules.module import register_module_module_registration_hook
from torch.utils._python_dispatch import TorchDispatchMode

from porter.interception.source_lines import Site, user_site
from porter.verify.harness.events import PROBE, shown_site, write_lines
from porter.verify.harness.recording import Enough, host_view
from porter.verify.harness.trace import raw

MOMENTS = "activations.jsonl"
OPS = "ops.jsonl"
MOST_BYTES = 256 * 2**20
MOST_OPS = 20_000
_TEXT = 120

SAMPLE = 1024
"""About how many elements are kept of a tensor."""

THINNER = ((0.8, 81), (0.4, 9))
"""Above this share of the space, only every n-th of those is kept: a long run is not cut off."""

VALUES = "activations.bin"

Module = torch.nn.Module


class Recorder:
    """Records from :meth:`start` to :meth:`stop`; ``request`` is the job's ``activations``."""

    def __init__(self, request: str, roots: Mapping[Path, str]) -> None:
        self._request: dict[str, Any] = json.loads(request) if request.startswith("{") else {}
        self._sample_size = int(self._request.get("sample", SAMPLE))
        self._roots = roots
        self._trees = tuple(
            f"{root.as_posix().rstrip('/')}/" for root, shown in roots.items() if shown != PROBE
        )
        self._values = Values(MOST_BYTES)
        self._activations: list[dict[str, Any]] = []
        self._ops: list[dict[str, Any]] = []
        self._stack: list[str] = []
        self._calls: Counter[str] = Counter()
        self._paths = ModulePaths()
        self._owner = os.getpid(), threading.get_ident()
        self._native: Callable[..., Any] = Module.__call__
        self._mode = _OpMode(self) if self._request.get("kind") == "ops" else None

    def start(self) -> None:
        """Start to record. Call this before the probe builds anything."""
        native, recorder = self._native, self

        def call(module: Module, *args: Any, **kwargs: Any) -> Any:
            if recorder._owner != (os.getpid(), threading.get_ident()):
                return native(module, *args, **kwargs)
            return recorder.call(module, args, kwargs)

        Module.__call__ = call  # type: ignore[method-assign]
        if self._mode is not None:
            self._mode.__enter__()  # type: ignore[no-untyped-call]

    def stop(self) -> None:
        """Stop recording."""
        if self._mode is not None:
            self._mode.__exit__(None, None, None)  # type: ignore[no-untyped-call]
        Module.__call__ = self._native  # type: ignore[method-assign]
        self._paths.close()

    def call(self, module: Module, args: Any, kwargs: Any) -> Any:
        """Call a module and record its inputs and outputs."""
        path = self._paths.name(module, self._stack[-1] if self._stack else "")
        number = self._calls[path]
        self._calls[path] += 1
        call = {"path": path, "class_name": type(module).__name__, "call": number, **self._site()}
        named = {**{str(index): value for index, value in enumerate(args)}, **kwargs}
        self._record("in", call, named)
        self._stack.append(path)
        try:
            output = self._native(module, *args, **kwargs)
        finally:
            self._stack.pop()
        self._record("out", call, output)
        return output

    def recorded(self, name: str, value: torch.Tensor) -> None:
        """Record an output of the probe as an activation."""
        self._record("record", {"path": name, "class_name": "", "call": 0, **self._site()}, value)

    def _site(self) -> dict[str, str]:
        """Return the running line of the level's code, or else of the probe's."""
        site = _innermost_below(self._trees) or user_site(2)
        return {"site": shown_site(str(site), self._roots), "source": site.source}

    def _record(self, kind: str, call: dict[str, Any], value: Any) -> None:
        number = len(self._activations)
        row = {"number": number, "kind": kind, "depth": len(self._stack), **call}
        row["tensors"] = [] if self._skips(number) else self._sample(value)
        self._activations.append(row)
        if self._mode is not None and number == int(self._request["until"]):
            raise Enough

    def _skips(self, number: int) -> bool:
        """Whether this activation's values are not needed: it comes before the requested ops."""
        return self._mode is not None and number < int(self._request["after"])

    def _sample(self, value: Any) -> list[dict[str, Any]]:
        with torch._C._DisableTorchDispatch():  # sampling is not an op of the program
            found = [
                sample_tensor(name, tensor, self._values, self._sample_size)
                for name, tensor in tensors_in(value)
            ]
        return [each for each in found if each is not None]

    def is_wanted(self) -> bool:
        """Whether ops are recorded now."""
        last = len(self._activations) - 1
        inside = int(self._request["after"]) <= last < int(self._request["until"])
        return inside and len(self._ops) < MOST_OPS

    def op(self, run: Callable[[], Any], name: str, args: Any, kwargs: Any) -> Any:
        """Run an op and record it."""
        inputs: list[dict[str, Any]] = []

        def shown(value: Any) -> str:
            if isinstance(value, torch.Tensor):
                found = self._sample(value)
                inputs.extend(found)
                return f"%{len(inputs) - 1}" if found else "tensor"
            if isinstance(value, list | tuple):
                return f"[{', '.join(map(shown, value))}]"
            return str(value).removeprefix("torch.")

        words = [shown(value) for value in args]
        words += [f"{key}={shown(value)}" for key, value in kwargs.items() if value is not None]
        row = {
            "number": len(self._ops),
            "activation": len(self._activations) - 1,
            "name": name,
            "path": self._stack[-1] if self._stack else "",
            **self._site(),
            "arguments": f"({', '.join(words)})"[:_TEXT],
            "inputs": inputs,
        }
        output = run()
        row["outputs"] = self._sample(output)
        self._ops.append(row)
        return output

    def write(self, folder: Path) -> list[str]:
        """Write the files; return warnings."""
        self._values.write(folder / VALUES)
        write_lines(folder / MOMENTS, map(json.dumps, self._activations))
        write_lines(folder / OPS, map(json.dumps, self._ops))
        warnings = []
        if self._values.thinning != 1:
            size = f"{self._values.size * 8 >> 20} MiB"
            warnings.append(f"activations fill {size}: later tensors keep fewer elements, or none")
        if len(self._ops) >= MOST_OPS:
            warnings.append(f"activations: {MOST_OPS} ops recorded; later ones left out")
        return warnings


class ModulePaths:
    """Names modules from the outermost owner inwards: ``CC12M1Model.net.3.main.0``.

    Different modules have different names. Owners are learnt when modules are registered in each
    other, so a part is named after its model even if only the part is called (an autoencoder's
    decoder, without the pipeline around it). Models built earlier, and copies, are learnt when they
    are called.
    """

    def __init__(self) -> None:
        self._owners: weakref.WeakKeyDictionary[Module, tuple[weakref.ref[Module], str]] = (
            weakref.WeakKeyDictionary()
        )
        self._roots: weakref.WeakKeyDictionary[Module, str] = weakref.WeakKeyDictionary()
        self._taken: Counter[str] = Counter()
        self._hook = register_module_module_registration_hook(self._registered)

    def close(self) -> None:
        """Stop learning."""
        self._hook.remove()

    def _registered(self, owner: Module, name: str, part: Module | None) -> None:
        if isinstance(part, Module):
            self._owners[part] = weakref.ref(owner), name

    def learn(self, module: Module) -> None:
        """Learn the parts of a module that was built before this object."""
        for part in module.modules():
            for name, inner in part.named_children():
                if inner not in self._owners:
                    self._owners[inner] = weakref.ref(part), name

    def name(self, module: Module, inside: str) -> str:
        """Return a module's path; ``inside`` is the path of the call around it, "" if none.

        A module without owner that is made and called within another's call is named after that.
        """
        names: list[str] = []
        outermost, visited = module, {id(module)}
        while (owned := self._owners.get(outermost)) is not None:
            owner = owned[0]()
            if owner is None or id(owner) in visited:
                break
            names.append(owned[1])
            visited.add(id(owner))
            outermost = owner
        if outermost is module and module not in self._roots:
            self.learn(module)
            if inside:
                return f"{inside}/{type(module).__name__}"
        return ".".join([self._root(outermost), *reversed(names)])

    def _root(self, module: Module) -> str:
        if module not in self._roots:
            kind = type(module).__name__
            self._taken[kind] += 1
            number = self._taken[kind]
            self._roots[module] = kind if number == 1 else f"{kind}#{number}"
        return self._roots[module]


def _innermost_below(folders: tuple[str, ...]) -> Site | None:
    """Return the innermost running line in a file below one of the folders."""
    frame: FrameType | None = sys._getframe(2)
    while frame is not None:
        if frame.f_code.co_filename.startswith(folders):
            return Site(frame.f_code.co_filename, frame.f_lineno)
        frame = frame.f_back
    return None


class _OpMode(TorchDispatchMode):
    """Passes every op to the recorder, below the modes that the program itself uses."""

    def __init__(self, recorder: Recorder) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._recorder = recorder

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if not self._recorder.is_wanted():
            return func(*args, **kwargs)
        return self._recorder.op(lambda: func(*args, **kwargs), str(func), args, kwargs)


@dataclass
class Values:
    """The kept elements of many tensors, written to one file as float64."""

    most_bytes: int
    parts: list[bytes] = field(default_factory=list)
    size: int = 0

    @property
    def thinning(self) -> int:
        """One of this many elements is kept now; 0 if there is no space left."""
        share = self.size * 8 / self.most_bytes
        if share >= 1:
            return 0
        return next((every for above, every in THINNER if share >= above), 1)

    def add(self, elements: torch.Tensor) -> list[int]:
        """Keep elements; return [offset, number]."""
        offset = self.size
        self.parts.append(raw(elements.double().contiguous()))
        self.size += elements.numel()
        return [offset, elements.numel()]

    def write(self, path: Path) -> None:
        """Write the file."""
        path.write_bytes(b"".join(self.parts))


def sample_tensor(
    name: str, tensor: torch.Tensor, values: Values, sample: int
) -> dict[str, Any] | None:
    """Return a tensor's digest and sample; None for a layout that is not dense, or quantized."""
    if tensor.layout != torch.strided or tensor.is_quantized or tensor.is_meta:
        return None
    shape, dtype = list(tensor.shape), str(tensor.dtype).removeprefix("torch.")
    host = host_view(tensor)
    if host.is_complex():
        host = torch.view_as_real(host.resolve_conj())
    flat = host.resolve_neg().contiguous().reshape(-1)
    step = 1 if flat.numel() <= sample else (flat.numel() // sample) | 1
    step *= values.thinning
    return {
        "name": name,
        "shape": shape,
        "dtype": dtype,
        "digest": f"{dtype}{shape}:{fingerprint(flat):016x}",
        "step": step,
        "at": values.add(flat[::step]) if step else None,
    }


_CHUNK = 1 << 16
_MIX = 0x9E3779B97F4A7C15
_weights: list[torch.Tensor] = []


def fingerprint(flat: torch.Tensor) -> int:
    """Return a hash of the bits of a contiguous one-dimensional tensor on the host.

    A sum with random weights modulo 2**64, chunk by chunk: ten times as fast as a cryptographic
    hash, and as good for telling runs of the same program apart.
    """
    if not _weights:
        drawn = torch.Generator().manual_seed(20)
        _weights.append(
            torch.randint(-(2**63), 2**63 - 1, (_CHUNK,), generator=drawn, device="cpu") | 1
        )
    whole = flat.nbytes // 8 * 8
    octets = flat.view(torch.uint8)
    digest = flat.nbytes
    for chunk in octets[:whole].view(torch.int64).split(_CHUNK) if whole else ():
        digest = (digest * _MIX + int((chunk * _weights[0][: len(chunk)]).sum())) % 2**64
    rest = int.from_bytes(bytes(octets[whole:].tolist()), "little")
    return (digest * _MIX + rest) % 2**64


def tensors_in(value: Any, name: str = "") -> Iterator[tuple[str, torch.Tensor]]:
    """Yield (path, tensor) for every tensor in nested tuples, lists, mappings and dataclasses."""
    if isinstance(value, torch.Tensor):
        yield name or "0", value
        return
    items: Any = ()
    if isinstance(value, dict):
        items = value.items()
    elif isinstance(value, list | tuple):
        items = enumerate(value)
    elif hasattr(value, "__dataclass_fields__") and not isinstance(value, type):
        items = vars(value).items()
    for key, part in items:
        yield from tensors_in(part, f"{name}.{key}" if name else str(key))


def read_values(path: Path) -> torch.Tensor:
    """Return the elements in a file of :class:`Values`, as float64."""
    content = bytearray(path.read_bytes())
    if not content:
        return torch.zeros(0, dtype=torch.float64)
    return torch.frombuffer(content, dtype=torch.float64)
