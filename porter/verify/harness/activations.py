"""Record activations: the inputs and outputs of every module call of a run, in order.

On demand (a job's ``activations``), as ``activations.jsonl`` beside the trace, one activation per
line::

    {"moment": 17, "kind": "in" | "out" | "record", "path": "Model.net.3", "class": "GroupNorm",
     "call": 0, "depth": 2, "site": "model.py:46", "source": "x = self.norm(x)", "tensors": [...]}

``moment`` is the activation's number. A call has two, its inputs when it begins and its outputs
when it ends; a recorded output has one; ``call`` counts the calls of one path. What a module
computes between two activations of its parts is its own code, so the first one that diverges says
whose code to look at. ``tensors`` is described by
:func:`porter.verify.harness.tensor_digest.sample_tensor`; the elements are in ``activations.bin``.

With ``{"kind": "ops", "after": I, "until": J}`` also every ATen op that ran between activations I
and J, as ``ops.jsonl``::

    {"op": 5, "moment": 17, "name": "aten.mul.Tensor", "path": "Model.net.3", "site": "model.py:48",
     "source": "...", "arguments": "(%0, 0.5)", "inputs": [...], "outputs": [...]}

``moment`` is the last activation before the op, "%n" in ``arguments`` is ``inputs[n]``. The run
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
from collections.abc import Callable, Mapping
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from torch.nn.modules.module import register_module_module_registration_hook
from torch.utils._python_dispatch import TorchDispatchMode

from porter.interception.source_lines import Site, user_site
from porter.verify.harness.events import PROBE, shown_site, write_lines
from porter.verify.harness.recording import Enough as Enough
from porter.verify.harness.tensor_digest import SAMPLE, VALUES, Values, sample_tensor, tensors_in

MOMENTS = "activations.jsonl"
OPS = "ops.jsonl"
MOST_BYTES = 256 * 2**20
MOST_OPS = 20_000
_TEXT = 120

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
        call = {"path": path, "class": type(module).__name__, "call": number, **self._site()}
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
        self._record("record", {"path": name, "class": "", "call": 0, **self._site()}, value)

    def _site(self) -> dict[str, str]:
        """Return the running line of the level's code, or else of the probe's."""
        site = _innermost_below(self._trees) or user_site(2)
        return {"site": shown_site(str(site), self._roots), "source": site.source}

    def _record(self, kind: str, call: dict[str, Any], value: Any) -> None:
        number = len(self._activations)
        row = {"moment": number, "kind": kind, "depth": len(self._stack), **call}
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
            "op": len(self._ops),
            "moment": len(self._activations) - 1,
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
