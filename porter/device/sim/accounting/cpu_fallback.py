"""Count the ops that a device lacks and would run on the CPU, with the user's line.

A backend without a kernel for an op runs it on the CPU: operands are copied to the host, the result
back. The sets come from what the vendors publish (:mod:`porter.device.sim.accounting.op_tables`):

* npu: the op tables of the torch-npu wheel, version in ``data/npu_ops.json``, overload by overload;
* hpu: Intel Gaudi's documented operators, version and date in ``data/hpu_ops.json``.

An op missing from a table does not fall back if PyTorch decomposes it first: dispatch prefers a
CompositeExplicitAutograd kernel (``_foreach_add_`` loops over ``add_``) to the backend's fallback,
and a structured op's functional form only needs the ``out`` form.

A listed op need not run on the device with every dtype and argument ("only selected variants and
limited optional parameters", says Gaudi's page).
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import torch

from porter.device.sim.core.dispatch import Watch
from porter.device.sim.core.machine import Counters
from porter.device.sim.core.op_schema import OpFacts
from porter.device.sim.core.tensor import tensors_in
from porter.device.sim.graphs.capture import DeviceGraph
from porter.device.sim.graphs.capture_limits import CPU_OP
from porter.interception.source_lines import ForwardMarks, site_of

DATA = Path(__file__).parent / "data"

_has_kernel = torch._C._dispatch_has_kernel_for_dispatch_key
_EXPLICIT = "CompositeExplicitAutograd"
_EXPLICIT_FUNCTIONAL = "CompositeExplicitAutogradNonFunctional"

COUNTERPARTS = {
    "aten._scaled_dot_product_flash_attention_for_cpu": "aten.bmm",
    "aten._scaled_dot_product_flash_attention_for_cpu_backward": "aten.bmm",
    "aten._fused_sdp_choice": "aten.bmm",
    "aten.mkldnn_convolution": "aten.convolution",
    "aten.mkldnn_linear": "aten.addmm",
    "aten.mkldnn_rnn_layer": "aten.addmm",
    "aten.mkldnn_rnn_layer_backward": "aten.addmm",
    "aten._slow_conv2d_forward": "aten.convolution",
    "aten._slow_conv2d_backward": "aten.convolution_backward",
    "aten._conv_depthwise2d": "aten.convolution",
    "aten.slow_conv3d_forward": "aten.convolution",
    "aten.slow_conv_dilated2d": "aten.convolution",
    "aten.slow_conv_dilated3d": "aten.convolution",
    "aten.batch_norm_backward": "aten.native_batch_norm_backward",
    "aten._batch_norm_with_update": "aten.native_batch_norm",
    "aten._batch_norm_no_update": "aten.native_batch_norm",
    "aten._nested_tensor_from_mask_left_aligned": "aten.any",
}
"""Ops that PyTorch chooses only for CPU storage, with the op that a device would get instead."""


@dataclass(frozen=True, slots=True)
class OpTable:
    """The ops a device runs itself, and the source of the list."""

    device: str
    source: str
    version: str
    ops: frozenset[str]

    @property
    def title(self) -> str:
        """For reports: "1502 ops of torch-npu 2.13.0 ..."."""
        return f"{len(self.ops)} ops, {self.source}, version {self.version}"

    def _lists(self, name: str, packet: str) -> bool:
        """Whether the table lists the op (this overload, or all of them).

        Whole-op tables (hpu) list the functional form; in-place and out forms share its kernel.
        """
        return not self.ops.isdisjoint((name, packet, packet.rstrip("_")))

    def runs(self, facts: OpFacts) -> bool:
        """Whether the device runs the op itself, or PyTorch decomposes it into others."""
        if self._lists(facts.name, facts.packet) or facts.op.namespace not in ("aten", "prims"):
            return True
        counterpart = COUNTERPARTS.get(facts.packet)
        if counterpart is not None:
            return self._lists(f"{counterpart}.default", counterpart)
        name = str(facts.op._name)
        if facts.is_view or _has_kernel(name, _EXPLICIT):
            return True
        if _has_kernel(name, _EXPLICIT_FUNCTIONAL):
            return self._runs_out_form(facts)
        return False

    def _runs_out_form(self, facts: OpFacts) -> bool:
        """Whether an op with PyTorch's own functional kernel needs nothing the device lacks.

        The kernel of a structured op only calls the ``out`` form, which the device must have; that
        of other ops (``pixel_shuffle``) decomposes them. A structured op's ``out`` form is written
        by hand, so it has no kernel of PyTorch's own.
        """
        mine = _inputs(facts.op)
        for out in _out_forms(facts.packet):
            if _inputs(out) == mine and not _has_kernel(out._name, _EXPLICIT):
                return str(out) in self.ops
        return True


def _inputs(op: Any) -> list[tuple[str, str]]:
    return [(arg.name, str(arg.type)) for arg in op._schema.arguments if not _is_out(arg)]


def _is_out(arg: Any) -> bool:
    return bool(arg.kwarg_only and arg.alias_info is not None and arg.alias_info.is_write)


def _out_forms(packet: str) -> list[Any]:
    """Return the overloads of an op that write to ``out=``; an in-place op has its base op's."""
    found = getattr(torch.ops.aten, packet.removeprefix("aten.").rstrip("_"), None)
    overloads = [getattr(found, name) for name in found.overloads()] if found is not None else []
    return [op for op in overloads if any(_is_out(arg) for arg in op._schema.arguments)]


@cache
def op_table(device: str) -> OpTable | None:
    """Return the table of a device, or None when it runs every op (cuda)."""
    path = DATA / f"{device}_ops.json"
    if not path.is_file():
        return None
    table = json.loads(path.read_text(encoding="utf-8"))
    return OpTable(device, table["source"], table["version"], frozenset(table["ops"]))


@dataclass(eq=False)
class Fallbacks:
    """Observer that counts the ops a device would run on the CPU, at no cost for the others.

    ``end_graph(why)`` ends the accumulated lazy graph: the host needs the operands' values.
    """

    table: OpTable
    counters: Counters
    forward: ForwardMarks
    end_graph: Callable[[str], object]

    def watch(self, op: OpFacts) -> Watch | None:
        """Count runs of an op that is not in the table; refuse it inside a graph capture."""
        if self.table.runs(op):
            return None

        def before(args: Any, _kwargs: Any) -> None:
            DeviceGraph.refuse(CPU_OP, op.name)
            site = site_of(self.forward.here(2))
            self.end_graph(f"CPU fallback of {op.name}")
            self.counters.event("cpu_fallback", op.name, site=site)
            operands = (tensor.numel() * tensor.dtype.itemsize for tensor in tensors_in(args))
            self.counters.add("cpu_fallback_bytes", sum(operands))  # copied to the host

        return Watch(before=before)


@dataclass(eq=False)
class ForwardLines:
    """Observer that remembers the user line of each autograd node, for events in backward."""

    forward: ForwardMarks

    def watch(self, op: OpFacts) -> Watch | None:
        if op.packet in ("aten.detach", "aten.copy_", "aten.empty_like", "aten.zero_"):
            return None
        forward, next_number = self.forward, torch._C._autograd._get_sequence_nr

        def before(_args: Any, _kwargs: Any) -> None:
            if next_number() != forward.noted_number:
                forward.note(3)

        return Watch(before=before)
