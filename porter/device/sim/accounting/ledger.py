"""The accounting of one simulated machine: everything that ``porter run`` reports.

What ends a lazy graph besides ``mark_step`` (Gaudi documents reads on the host; the published
bridge 1.19.0 names the rest in its own debug messages): a copy to the host, ``.item()``,
``nonzero``, ``unique``, ``nms`` and boolean masks, a CPU fallback, ``synchronize``, stream and
event waits, the begin, end and replay of a graph capture, and a copy from the host into a tensor
that accumulated ops produce. An optimizer step ends it only in the vendor's own fused optimizers,
which call ``mark_step`` themselves.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from porter.device.sim.accounting.cpu_fallback import Fallbacks, ForwardLines, op_table
from porter.device.sim.accounting.dtype_tables import UnlistedDtypes, listed_dtypes
from porter.device.sim.accounting.fp8 import Fp8Range
from porter.device.sim.accounting.hccl import DTYPES, HcclDtypes
from porter.device.sim.accounting.int64 import (
    Float64AsFloat32,
    Int64AsInt32,
    Int64Results,
    keeps_int64,
)
from porter.device.sim.accounting.unwaited import UnwaitedCopies
from porter.device.sim.contract.releases import HPU_RELEASES, Release
from porter.device.sim.core.dispatch import Watch
from porter.device.sim.core.machine import Counters, Machine, machines
from porter.device.sim.core.op_schema import INDEXED, OpFacts
from porter.device.sim.graphs.capture import DeviceGraph
from porter.device.sim.graphs.capture_limits import (
    DEVICE_TO_HOST,
    DYNAMIC_SHAPE,
    HOST_READ,
    HOST_TO_DEVICE,
    LIMITS,
    SYNCHRONIZE,
)
from porter.device.sim.graphs.lazy import LazyGraphs, folder_from_environment
from porter.device.sim.graphs.records import CaptureRefused
from porter.interception.source_lines import ForwardMarks, site_of

_NO_KERNEL = ("aten.detach", "aten.alias", "aten.lift_fresh", "aten.empty", "aten.empty_like",
              "aten.empty_strided", "aten.new_empty", "aten.new_empty_strided")  # fmt: skip


class OpCounts:
    """Observer that counts runs by op. Replays of captured graphs dispatch nothing."""

    def __init__(self) -> None:
        self._counts: dict[str, list[int]] = {}
        self._without_kernel: set[str] = set()

    def watch(self, op: OpFacts) -> Watch:
        count = self._counts.setdefault(op.name, [0])
        if op.is_view or op.packet in _NO_KERNEL:
            self._without_kernel.add(op.name)
        return Watch(count=count)

    def by_name(self) -> dict[str, int]:
        """Return the runs by op overload, most frequent first."""
        found = {name: count for name, (count,) in self._counts.items() if count}
        return dict(sorted(found.items(), key=lambda item: (-item[1], item[0])))

    @property
    def ops(self) -> int:
        """The number of runs."""
        return sum(count for (count,) in self._counts.values())

    @property
    def kernels(self) -> int:
        """The number of runs that launch a kernel: views and bare allocations do not."""
        return sum(
            count for name, (count,) in self._counts.items() if name not in self._without_kernel
        )

    def reset(self) -> None:
        """Restart all counts at zero."""
        for count in self._counts.values():
            count[0] = 0

    def as_json(self) -> dict[str, Any]:
        """Return totals and runs by op."""
        return {"ops": self.ops, "kernels": self.kernels, "by_op": self.by_name()}


@dataclass(eq=False)
class HostSyncs:
    """Observer that counts reads of values on the host, and results whose shape depends on data.

    Both stall a pipeline, and on a lazy device both end the graph that was accumulating. The host
    needs the size of a result with a data-dependent shape before it can launch the next op:
    ``nonzero``, ``masked_select``, ``unique``, ``repeat_interleave`` without ``output_size``, and
    indexing by a boolean mask, which is a ``nonzero`` inside.

    ``end_graph(why)`` ends the accumulated lazy graph: before a host read, which is not part of any
    graph, and after an op with a data-dependent shape, which is the last of its own.
    """

    counters: Counters
    forward: ForwardMarks
    end_graph: Callable[[str], object]
    _must_end: bool = False

    def watch(self, op: OpFacts) -> Watch | None:
        if op.reads_host:
            return Watch(before=self._host_read(op))
        if op.packet in INDEXED:
            return self._mask_index(op)
        if op.is_dynamic_shape:
            return self._dynamic(op)
        return None

    def _host_read(self, op: OpFacts) -> Callable[[Any, Any], None]:
        is_scalar = op.packet == "aten._local_scalar_dense"

        def before(args: Any, _kwargs: Any) -> None:
            DeviceGraph.refuse(HOST_READ, op.name)
            site = site_of(self.forward.here(2))
            self.end_graph(f"host read by {op.name}")
            self.counters.event("host_sync", op.name, site=site)
            if is_scalar:  # .item(), bool(), float() copy the value
                self.counters.event("d2h", op.name, site=site)
                self.counters.add("d2h_bytes", args[0].dtype.itemsize)

        return before

    def _end_graph_after(self, op: OpFacts) -> Callable[[Any, Any, Any], None]:
        def after(_args: Any, _kwargs: Any, _out: Any) -> None:
            if self._must_end:
                self._must_end = False
                self.end_graph(f"shape from data in {op.name}")

        return after

    def _count_dynamic(self, op: OpFacts, detail: str = "") -> None:
        DeviceGraph.refuse(DYNAMIC_SHAPE, op.name + (f" with {detail}" if detail else ""))
        self._must_end = True
        site = site_of(self.forward.here(3))
        self.counters.event("dynamic_shape", op.name, detail, site=site)
        self.counters.event("host_sync", op.name, "shape from data", site=site)

    def _dynamic(self, op: OpFacts) -> Watch:
        has_size = any(arg.name == "output_size" for arg in op.op._schema.arguments)

        def before(_args: Any, kwargs: Any) -> None:
            if not (has_size and kwargs and kwargs.get("output_size") is not None):
                self._count_dynamic(op)

        return Watch(before, self._end_graph_after(op))

    def _mask_index(self, op: OpFacts) -> Watch:
        def before(args: Any, _kwargs: Any) -> None:
            for index in args[1]:
                if index is not None and index.dtype in (torch.bool, torch.uint8):
                    self._count_dynamic(op, "boolean mask")
                    return

        return Watch(before, self._end_graph_after(op))


def lazy_by_environment(environ: Mapping[str, str], release: Release | None = None) -> bool:
    """Whether ops accumulate in lazy graphs, by ``PT_HPU_LAZY_MODE``.

    Unset, it means what the release's default is (None: the newest's, eager). All but 0 is lazy, as
    for ``is_lazy`` of HabanaAI/gaudi-pytorch-bridge 1.19.0.
    """
    by_default = (release or HPU_RELEASES[-1]).lazy_by_default
    return environ.get("PT_HPU_LAZY_MODE", "1" if by_default else "0") != "0"


class DeviceAccounting:
    """The observers of one machine, and their counts."""

    def __init__(self, machine: Machine, *, lazy: bool = False) -> None:
        self.machine = machine
        self.counters: Counters = machine.counters
        self.forward = ForwardMarks()
        self.graphs: LazyGraphs | None = None
        table = op_table(machine.profile.name)
        self.fallbacks: Fallbacks | None = None
        self.op_counts = OpCounts()
        self.unwaited = UnwaitedCopies(self.counters)
        machine.on_arrival = self._arrival
        machine.observe(self.op_counts)
        if table is not None:  # only fallbacks and graphs are charged to forward lines
            machine.observe(ForwardLines(self.forward))
        if lazy:
            folder = folder_from_environment(os.environ)
            runs = table.runs if table is not None else lambda _op: True
            self.graphs = LazyGraphs(folder, forward=self.forward, holds=runs)
            machine.observe(self.graphs)
        machine.observe(HostSyncs(self.counters, self.forward, self._host_reads))
        if table is not None:
            self.fallbacks = Fallbacks(table, self.counters, self.forward, self.end_graph)
            machine.observe(self.fallbacks)
        if listed := listed_dtypes(machine.profile.name):
            machine.observe(UnlistedDtypes(listed, self.counters, self.forward))
        if dtypes := DTYPES.get(machine.profile.name):
            machine.observe(HcclDtypes(dtypes, self.counters, self.forward))
        machine.check_fp8 = None
        if limit := machine.profile.e4m3_limit:
            fp8 = Fp8Range(limit, self.counters, self.forward)
            machine.observe(fp8)
            machine.check_fp8 = fp8.check
        machine.on_transfer = self._transfer
        machine.on_dtype = self._dtype
        machine.on_synchronize = self.synchronize
        machine.narrow = {}
        if machine.profile.int64_as_int32:
            counted = (self.counters, self.forward)
            machine.narrow[torch.float64] = Float64AsFloat32(*counted, os.environ, lazy)
            if not keeps_int64(os.environ, lazy):
                machine.narrow[torch.int64] = Int64AsInt32(*counted, os.environ, lazy)
                machine.observe(Int64Results(*counted))

    def as_json(self, root: Path | None = None) -> dict[str, Any]:
        """Return everything counted, with sites relative to ``root``."""
        self.unwaited.settle()
        found: dict[str, Any] = {
            "device": f"sim:{self.machine.profile.name}",
            **self.counters.as_json(root),
            "dispatched": self.op_counts.as_json(),
            "op_support": self.fallbacks.table.title if self.fallbacks else "all ops",
        }
        if self.machine.profile.name == "hpu":
            found["mode"] = "lazy" if self.graphs is not None else "eager"
        if self.graphs is not None:
            found["graphs"] = self.graphs.as_json(root)
        return found

    def reset(self) -> None:
        """Restart all counts at zero. Graphs stay compiled, as on the device."""
        self.counters.reset()
        self.op_counts.reset()
        if self.graphs is not None:
            self.graphs.reset_counts()

    def _arrival(self, host: torch.Tensor) -> None:
        """Follow what a copy to the host with ``non_blocking=True`` gave."""
        self.unwaited.follow(host, site_of(self.forward.here(2)))

    def end_graph(self, why: str) -> None:
        """End the accumulated graph, if ops accumulate at all."""
        if self.graphs is not None:
            self.graphs.step(why)

    def _host_reads(self, why: str) -> None:
        """End the accumulated graph, because the host waits for the device."""
        self.unwaited.waited()
        self.end_graph(why)

    def mark_step(self) -> None:
        """Gaudi's ``mark_step``: end the graph. Does nothing in eager mode."""
        self.end_graph("mark_step")

    def synchronize(self, what: str = "synchronize") -> None:
        """Count a host sync at the user's line; it ends the accumulated graph."""
        DeviceGraph.refuse(SYNCHRONIZE, what)
        site = site_of(self.forward.here(2))
        self.end_graph(what)
        self.unwaited.waited()
        self.counters.event("host_sync", what, site=site)

    def new_graph(self) -> DeviceGraph:
        """Return a new graph to capture into."""
        return DeviceGraph(self.machine, self.forward, self._boundary)

    def _boundary(self, why: str) -> None:
        if LIMITS[self.machine.profile.name].lazy_mode_only and self.graphs is None:
            raise CaptureRefused(
                f"{why} at {site_of(self.forward.here(2))}: HPU Graphs are supported in "
                "lazy mode only: set PT_HPU_LAZY_MODE=1"
            )
        self.end_graph(why)

    def _transfer(self, move: Any) -> None:
        """Count a copy between devices (:class:`~porter.device.sim.core.transfer.Transfer`)."""
        what = move.what
        if move.direction == "d2h":
            DeviceGraph.refuse(DEVICE_TO_HOST, what)
        elif move.direction == "h2d" and not self._pinned(move):
            DeviceGraph.refuse(HOST_TO_DEVICE, what)
        site = site_of(self.forward.here(2))
        self.counters.event(move.direction, what, site=site)
        self.counters.add(f"{move.direction}_bytes", move.nbytes)
        if move.direction == "d2h":
            self.end_graph(f"copy to the host by {what}")
        if move.direction != "d2d" and not move.non_blocking:
            self.unwaited.waited()
            self.counters.event("host_sync", what, site=site)  # it blocks, in either direction

    def _pinned(self, move: Any) -> bool:
        graph = DeviceGraph.current
        allowed = graph is not None and graph.limits.pinned_copies
        return bool(allowed and move.non_blocking and move.source.is_pinned())

    def _dtype(self, dtype: torch.dtype, what: str) -> None:
        site = site_of(self.forward.here(2))
        self.counters.event("dtype", what, str(dtype).removeprefix("torch."), site=site)


_open: dict[str, DeviceAccounting] = {}


def open_accounting(machine: Machine, *, lazy: bool | None = None) -> DeviceAccounting:
    """Start accounting for a machine.

    ``lazy`` None means lazy graphs on hpu if :func:`lazy_by_environment` says so, and never
    elsewhere.
    """
    if lazy is None:
        profile = machine.profile
        lazy = profile.name == "hpu" and lazy_by_environment(os.environ, profile.release)
    accounting = DeviceAccounting(machine, lazy=lazy)
    _open[machine.profile.name] = accounting
    return accounting


def accounting_of(device_type: str) -> DeviceAccounting | None:
    """Return the accounting of a simulated device type, or None when it is not simulated."""
    accounting = _open.get(device_type)
    if accounting is None or machines.get(device_type) is not accounting.machine:
        return None  # that simulation is over
    return accounting
