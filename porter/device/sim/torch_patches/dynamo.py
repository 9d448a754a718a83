"""``torch.compile`` on simulated tensors: PyTorch's own Dynamo, with the vendors' backends.

Dynamo reads a simulated tensor as the plain tensor on its device that it stands for; graphs,
guards, breaks and recompilations are Dynamo's own. What is made here is the last step: a vendor's
compiler cannot be simulated, so ``hpu_backend`` (Gaudi), ``npu`` (Ascend), ``torchair`` and
``inductor`` run the graph that they are given op by op; where they would cut it is counted.

The patches of Dynamo are made when a program first asks for it: importing it takes seconds.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any
from weakref import WeakSet

import torch

from porter.device.sim.core.machine import Machine, machines
from porter.device.sim.core.tensor import DeviceTensor
from porter.device.sim.torch_patches.compile_counts import count_partitions, install_compile_counts
from porter.interception.patching import Patches

BACKENDS: dict[str, tuple[str, ...]] = {"hpu": ("hpu_backend",), "npu": ("npu", "npugraph_ex")}
"""The names of the vendors' backends, as ``torch.compile(backend=...)`` spells them.

Gaudi: docs.habana.ai, "PyTorch Compile Mode". Ascend: the torch-npu 2.13.0 wheel registers "npu"
and "npugraph_ex" (``torch_npu/dynamo/__init__.py``).
"""

_ready = False
_prepared: WeakSet[Machine] = WeakSet()


def run_by_op(graph: Any, inputs: Any, **_: Any) -> Callable[..., Any]:
    """Compile a graph for a simulated device: its ops run one by one, as without a compiler."""
    del inputs
    forward: Callable[..., Any] = graph.forward
    return forward


def cut_and_run_by_op(
    graph: Any, inputs: Any, *, decompositions: Any = None, **_: Any
) -> Callable[..., Any]:
    """Compile as a vendor's backend: count into how many pieces it cuts the graph, and run it."""
    if _on_simulated(graph, inputs):
        count_partitions(graph, decompositions)
    return run_by_op(graph, inputs)


def _to_host(tensor: torch.Tensor, **options: Any) -> torch.Tensor:
    dtype = options.get("dtype") or tensor.dtype
    return tensor.to("cpu", dtype, bool(options.get("non_blocking")), copy=True)


def _with_moves_to_the_host(graph: Any, inputs: Any) -> Any:
    """Run a traced graph by op; its copies to "cpu" are moves, unlike those that C++ asks for."""
    from torch._dynamo.backends.debugging import boxed_nop

    for node in graph.graph.nodes:
        to_host = node.kwargs.get("device") == torch.device("cpu")
        if node.target is torch.ops.aten._to_copy.default and to_host:
            node.target = _to_host
    return boxed_nop(graph, inputs)


def _aot_eager(graph: Any, inputs: Any, **options: Any) -> Callable[..., Any]:
    """``aot_eager``: AOTAutograd traces graphs without gradients; the others run by op.

    To trace a backward on a device, C++'s autograd engine wants a PyTorch that is built for it.
    """
    from torch._dynamo.backends.debugging import aot_eager

    has_gradients = torch.is_grad_enabled() and any(
        isinstance(each, torch.Tensor) and each.requires_grad for each in inputs
    )
    if has_gradients and _on_simulated(graph, inputs):
        return run_by_op(graph, inputs)
    options.setdefault("fw_compiler", _with_moves_to_the_host)
    compiled: Callable[..., Any] = aot_eager(graph, inputs, **options)
    return compiled


def _inductor(native: Callable[..., Any]) -> Callable[..., Any]:
    """Run graphs on simulated devices by op, and leave those of the CPU to Inductor."""

    @functools.wraps(native)
    def compile_graph(self: Any, graph: Any, inputs: Any, **options: Any) -> Any:
        if _on_simulated(graph, inputs):
            return run_by_op(graph, inputs)
        return native(self, graph, inputs, **options)

    return compile_graph


def _on_simulated(graph: Any, inputs: Any) -> bool:
    values = [*inputs, *(node.meta.get("example_value") for node in graph.graph.nodes)]
    return any(isinstance(v, torch.Tensor) and v.device.type in machines for v in values)


def _wrapping(native: Callable[..., Any]) -> Callable[..., Any]:
    """Make Dynamo take a simulated tensor as a tensor: it leaves subclasses that dispatch alone."""

    @functools.wraps(native)
    def wrap(self: Any, value: Any) -> Any:
        if isinstance(value, DeviceTensor):
            return self.wrap_tensor(value)
        return native(self, value)

    return wrap


_OWN = ("core", "rng", "graphs", "accounting", "torch_patches")


def _skip_own_frames(patches: Patches) -> None:
    """Keep Dynamo out of what stands for the device's C++: it would compile the simulator.

    A dispatch and all that it calls is skipped, whatever the file; functions that a program calls
    itself, such as ``torch.hpu.is_available``, are left to it.
    """
    from torch._dynamo import trace_rules

    own = {*(f"porter.device.sim.{name}" for name in _OWN), "porter.interception", "porter.migrate"}
    skipped = set(trace_rules.SKIP_DIRS)
    for name in sorted(own):
        trace_rules.add(name)

    def forget() -> None:
        trace_rules.SKIP_DIRS[:] = [each for each in trace_rules.SKIP_DIRS if each in skipped]
        trace_rules._recompile_re()

    patches.later(forget)


def _forget_backend(name: str) -> None:
    import torch._dynamo.backends.registry as registry

    registry._BACKENDS.pop(name, None)
    registry._COMPILER_FNS.pop(name, None)


def _skip_code(code: Any) -> None:
    """Keep Dynamo out of a function and what it calls; before PyTorch 2.7 out of itself alone."""
    from torch._C._dynamo import eval_frame

    if not hasattr(eval_frame, "set_code_exec_strategy"):
        vars(eval_frame)["skip_code"](code)
        return
    action = eval_frame._FrameAction.SKIP
    eval_frame.set_code_exec_strategy(code, eval_frame._FrameExecStrategy(action, action))


def _prepare_machine(machine: Machine, patches: Patches) -> None:
    """Skip what a machine's dispatch does, and register its vendor's backends."""
    import torch._dynamo.backends.registry as registry

    _prepared.add(machine)
    for cls in machine.classes:
        _skip_code(cls.__torch_dispatch__.__code__)
    for name in BACKENDS.get(machine.profile.name, ()):
        if name not in registry._BACKENDS:
            registry.register_backend(cut_and_run_by_op, name=name)
            patches.later(functools.partial(_forget_backend, name))


def prepare_dynamo(patches: Patches) -> None:
    """Import Dynamo and patch it, once while a simulation runs."""
    _prepare_shared(patches)
    for machine in machines.values():
        if machine not in _prepared:
            _prepare_machine(machine, patches)


def _prepare_shared(patches: Patches) -> None:
    global _ready
    if _ready:
        return
    import torch._dynamo.backends.debugging  # registers aot_eager
    import torch._dynamo.backends.registry as registry
    from torch._dynamo import trace_rules
    from torch._dynamo.variables.builder import VariableBuilder

    _ready = True

    def forget() -> None:
        global _ready
        _ready = False
        _prepared.clear()
        trace_rules.get_torch_obj_rule_map.cache_clear()
        torch._dynamo.reset()

    patches.later(forget)
    install_compile_counts(patches)
    _skip_own_frames(patches)
    trace_rules.get_torch_obj_rule_map.cache_clear()  # torch's functions are patched by now
    patches.replace(VariableBuilder, "_wrap", _wrapping(VariableBuilder._wrap))
    torch._dynamo.allow_in_graph(torch.Tensor.new_tensor)
    before = registry._COMPILER_FNS.get("aot_eager")
    registry._COMPILER_FNS["aot_eager"] = _aot_eager
    patches.later(functools.partial(registry._COMPILER_FNS.update, {"aot_eager": before}))


def install_dynamo(patches: Patches) -> None:
    """Patch Dynamo's entry points, so that it is ready for simulated tensors when it is used."""

    def preparing(native: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(native)
        def start(*args: Any, **kwargs: Any) -> Any:
            prepare_dynamo(patches)
            return native(*args, **kwargs)

        return start

    patches.replace(torch, "compile", preparing(torch.compile))
    patches.replace(torch.export, "export", preparing(torch.export.export))
    wrapper = torch._TorchCompileInductorWrapper
    patches.replace(wrapper, "__call__", _inductor(wrapper.__call__))
