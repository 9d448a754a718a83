"""Capture ops into a graph, and replay them on the captured buffers.

``HPUGraph``, ``NPUGraph`` and ``CUDAGraph`` wrap :class:`DeviceGraph`. During a capture an observer
records every op with its operands and results. A replay runs them again in order with dispatch off
and writes each result into the tensor that the capture made: a Python value of the capture (a
scalar, a branch, a shape) stays as it was, and a program that does not copy its new inputs into the
captured ones gets the old answer, as on the card.

On devices where capturing does not run the ops (CUDA, NPU), the end of a capture restores the older
tensors that it wrote and fills everything it made with NaN (the largest number for integers), so
that reading a result before the first replay shows. What vendors document as not capturable is
refused with the user's line (:mod:`porter.device.sim.graphs.capture_limits`).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import torch

from porter.device.sim.core.dispatch import Run, Watch, unseen
from porter.device.sim.core.machine import Machine
from porter.device.sim.core.op_schema import INDEXED, OpFacts, TensorArg, direct_binding
from porter.device.sim.core.tensor import tensors_in
from porter.device.sim.graphs import capture_limits as limit
from porter.device.sim.graphs.capture_limits import LIMITS, CaptureLimits
from porter.device.sim.graphs.records import (
    UNFILLED,
    CaptureRefused,
    Record,
    TaskGroup,
    replay_operands,
    step_of,
)
from porter.interception.source_lines import ForwardMarks, Site, site_of, warn_once

_SAME_TENSOR = ("aten.detach", "aten.alias", "aten.lift_fresh", "aten.view_as", "aten.detach_")
_SILENT_WRITES = {"aten.native_batch_norm": (3, 4), "aten._thnn_fused_lstm_cell": ()}
"""By op, the positions of arguments that it writes although its schema does not say so."""


STRICT = "PORTER_STRICT_CAPTURE"
"""Set to 1, an environment variable that refuses what is otherwise counted with a warning."""


def _operands(facts: OpFacts, args: Any, kwargs: Any) -> Iterator[tuple[TensorArg, torch.Tensor]]:
    for arg in facts.tensor_args:
        if arg.position is not None and arg.position < len(args):
            value = args[arg.position]
        else:
            value = kwargs.get(arg.name)
        for tensor in tensors_in(value):
            yield arg, tensor


def _address(tensor: torch.Tensor) -> int:
    return tensor.untyped_storage().data_ptr()


@dataclass(eq=False)
class _Capture:
    """The observer that records one capture; ``runs``: the ops run while they are captured."""

    machine: Machine
    limits: CaptureLimits
    forward: ForwardMarks
    runs: bool
    records: list[Record] = field(default_factory=list)
    inputs: dict[int, torch.Tensor] = field(default_factory=dict)
    """Tensors from before the capture, by the address of their storage."""
    made: dict[int, torch.Tensor] = field(default_factory=dict)
    """One tensor per storage that the capture allocated."""
    group: TaskGroup | None = None
    """The group that takes the ops recorded now."""
    groups: list[TaskGroup] = field(default_factory=list)
    refusal: str | None = None
    unwarmed: list[str] = field(default_factory=list)
    """The ops that run for the first time, where the vendor wants a run before."""
    strict: bool = field(default_factory=lambda: os.environ.get(STRICT) == "1")
    _warned: set[Site] = field(default_factory=set)
    _views: set[int] = field(default_factory=set)
    _saved: dict[int, tuple[torch.Tensor, torch.Tensor]] = field(default_factory=dict)

    def refuse(self, kind: str, what: str) -> None:
        """Raise :class:`CaptureRefused` if the vendor does not let ``kind`` be captured."""
        why = self.limits.refused.get(kind)
        if why is None:
            return
        site = site_of(self.forward.here(2))
        text = f"{self.limits.title} capture: {what} at {site}: {why}"
        if kind in self.limits.counted and not self.strict:
            self.machine.counters.event("captured_constant", what, site=site)
            warn_once(self._warned, site, text)
            return
        self.refusal = text
        raise CaptureRefused(self.refusal)

    def watch(self, op: OpFacts) -> Watch:
        """Record every op, after checking that it may be captured."""
        kind = self._kind_refused(op)
        writes = op.mutates or op.packet in _SILENT_WRITES
        checks_views = op.mutates and limit.VIEW_UPDATE in self.limits.refused
        self._check_warm(op)

        def before(args: Any, kwargs: Any) -> None:
            if kind is not None:
                self.refuse(kind, op.name)
            if op.packet == "aten.copy_":
                self._check_copy(args, kwargs)
            for arg, tensor in _operands(op, args, kwargs):
                address = _address(tensor)
                if address and address not in self.made:
                    self.inputs.setdefault(address, tensor)
                if checks_views and arg.is_written and id(tensor) in self._views:
                    self.refuse(limit.VIEW_UPDATE, op.name)
            if writes and not self.runs:
                self._save(op, args, kwargs)

        def after(args: Any, kwargs: Any, out: Any) -> None:
            self._made(op, out)
            if op.packet == "aten.copy_" and not self._is_replayed(args):
                return
            call = self._call(op, args, kwargs)
            if self.group is not None:
                self.group.places.append(len(self.records))
            self.records.append(Record(op, call, replay_operands(args), dict(kwargs or {}), out))

        return Watch(before, after)

    def _check_warm(self, op: OpFacts) -> None:
        """Count an op that has not run before; a view and an empty tensor launch no kernel."""
        has_kernel = not op.is_view and op.packet not in (*_SAME_TENSOR, *UNFILLED)
        if self.limits.warms_up and has_kernel and op.packet not in self.machine.ran:
            self.unwarmed.append(op.packet)
            site = site_of(self.forward.here(2))
            self.machine.counters.event("unwarmed_capture", op.packet, site=site)

    def _call(self, op: OpFacts, args: Any, kwargs: Any) -> Run:
        """Return what a replay calls: the device's own kernel, as for random ops, or the CPU's."""
        classes = self.machine.classes
        if op.is_random or self.machine.overrides:
            operands = [tensor for _, tensor in _operands(op, args, kwargs)]
            on = next(each for each in classes if any(type(one) is each for one in operands))
            override = self.machine.override(op.op, on)
            if override is not None:
                return override
        native = direct_binding(op) or op.op._op
        return lambda args, kwargs: native(*args, **kwargs)

    def _is_replayed(self, args: Any) -> bool:
        """Whether a replay repeats a copy: not one that the capture took from the host."""
        from_host = not self.machine.holds(args[1])
        return not (from_host and limit.HOST_TO_DEVICE in self.limits.counted)

    def _kind_refused(self, op: OpFacts) -> str | None:
        if op.reads_host:
            return limit.HOST_READ
        if op.is_dynamic_shape and op.packet not in INDEXED:  # HostSyncs refuses masks
            return limit.DYNAMIC_SHAPE
        return None

    def _check_copy(self, args: Any, kwargs: Any) -> None:
        to_device, from_device = map(self.machine.holds, args[:2])
        if to_device == from_device:
            return
        if not to_device:
            self.refuse(limit.DEVICE_TO_HOST, "a copy to the host")
            return
        later = bool(args[2]) if len(args) > 2 else bool((kwargs or {}).get("non_blocking"))
        if limit.HOST_TO_DEVICE in self.limits.counted:
            return  # the transfer, which is reported first, has been counted or refused
        if not (self.limits.pinned_copies and later and args[1].is_pinned()):
            self.refuse(limit.HOST_TO_DEVICE, "a copy from the host")

    def _save(self, op: OpFacts, args: Any, kwargs: Any) -> None:
        """Save the older tensors that an op is about to write."""
        silent = _SILENT_WRITES.get(op.packet, ())
        for arg, tensor in _operands(op, args, kwargs):
            if not (arg.is_written or arg.position in silent):
                continue
            address = _address(tensor)
            if address in self.made or address in self._saved or not address:
                continue
            with unseen():
                whole = torch.empty(0, dtype=torch.uint8).set_(tensor.untyped_storage())
                self._saved[address] = (whole, whole.clone())

    def _made(self, op: OpFacts, out: Any) -> None:
        if op.is_view:
            if op.packet not in _SAME_TENSOR:
                self._views.update(id(tensor) for tensor in tensors_in(out))
            return
        for tensor in tensors_in(out):
            address = _address(tensor)
            if address and address not in self.inputs:
                self.made.setdefault(address, tensor)

    def undo(self) -> None:
        """Restore what was written and poison what was made, as if nothing had run.

        Version counters do not move: a backward that is captured next reads these tensors.
        """
        with unseen(), torch.no_grad(), torch._C._AutoDispatchBelowADInplaceOrView():
            for whole, saved in self._saved.values():
                whole.copy_(saved)
            for record in self.records:
                if not record.facts.is_view:
                    for tensor in tensors_in(record.out):
                        if _address(tensor) in self.made:
                            _poison(tensor)


def _poison(tensor: torch.Tensor) -> None:
    if tensor.is_floating_point() or tensor.is_complex():
        tensor.detach().fill_(float("nan"))
    elif tensor.dtype is not torch.bool:
        tensor.fill_(torch.iinfo(tensor.dtype).max)


class DeviceGraph:
    """A captured graph of a simulated device; the vendors' graph classes wrap it.

    ``on_boundary(why)`` is called where the vendor ends the accumulated lazy graph: at the begin
    and end of a capture, and at a replay.
    """

    current: DeviceGraph | None = None
    """The graph being captured in this process: one at a time, as with the vendors."""

    def __init__(
        self, machine: Machine, forward: ForwardMarks, on_boundary: Callable[[str], None]
    ) -> None:
        self.machine = machine
        self.limits = LIMITS[machine.profile.name]
        self._forward = forward
        self._on_boundary = on_boundary
        self._random: list[tuple[torch.Generator, torch.Tensor]] = []
        self._registered: list[torch.Generator] = []
        self._capture: _Capture | None = None
        self._steps: list[Callable[[], None]] | None = None
        self._ops = 0
        self._inputs: list[tuple[torch.Tensor, int]] = []
        self._captured_at = Site("<unknown>", 0)

    def register_generator(self, generator: torch.Generator) -> None:
        """Treat a generator as a default one: its state is restored after a capture."""
        self._registered.append(generator)

    @staticmethod
    def refuse(kind: str, what: str) -> None:
        """Refuse what a capture's observer cannot see (``synchronize()``, a CPU fallback)."""
        graph = DeviceGraph.current
        if graph is not None and graph._capture is not None:
            graph._capture.refuse(kind, what)

    def capture_begin(self, *, dry_run: bool = False) -> None:
        """Start recording. ``dry_run`` (HPU) does not run the ops, as CUDA and NPU never do."""
        if DeviceGraph.current is not None:
            raise CaptureRefused(f"{self.limits.title}: another capture is in progress")
        self._on_boundary(f"{self.limits.title} capture_begin")
        self.reset()
        runs = self.limits.runs_while_capturing and not dry_run
        if not runs:  # nothing is drawn until a replay
            drawn_from = (*self.machine.generators, *self._registered)
            self._random = [(each, each.get_state()) for each in drawn_from]
        self._capture = _Capture(self.machine, self.limits, self._forward, runs)
        self._captured_at = site_of(self._forward.here(2))
        self.machine.observe(self._capture)
        self.machine.is_capturing = True
        DeviceGraph.current = self
        self.machine.counters.add("captures")

    def capture_end(self) -> None:
        """Stop recording. Raises CaptureRefused again if something was refused meanwhile."""
        capture = self._capture
        if capture is None:
            raise CaptureRefused(f"{self.limits.title}: capture_end without capture_begin")
        self.machine.unobserve(capture)
        self.machine.is_capturing = False
        self._capture = None
        DeviceGraph.current = None
        self._on_boundary(f"{self.limits.title} capture_end")
        if not capture.runs or capture.refusal is not None:
            capture.undo()
        for generator, state in self._random:
            generator.set_state(state)
        self._random = []
        if capture.refusal is not None:
            raise CaptureRefused(f"{capture.refusal} (the capture is invalid)")
        if capture.unwarmed:
            ops = list(dict.fromkeys(capture.unwarmed))
            more = f" and {len(ops) - 1} more" if len(ops) > 1 else ""
            warn_once(
                self.machine.warned_captures,
                self._captured_at,
                f"{self.limits.title} capture at {self._captured_at}: {ops[0]}{more} ran for the "
                "first time inside it; call the function once before, since a first call may set "
                "up what a capture does not allow",
            )
        self._ops = len(capture.records)
        with unseen():  # preparing the steps is not the program's work
            updated: dict[int, Callable[[], None]] = {}
            for group in capture.groups:
                updated |= group.steps(capture.records)
            self._steps = [
                step
                for place, record in enumerate(capture.records)
                if (step := updated.get(place) or step_of(record)) is not None
            ]
        self._inputs = [(tensor, address) for address, tensor in capture.inputs.items()]
        self.machine.counters.add("captured_ops", self._ops)

    @staticmethod
    def begin_group() -> None:
        """Put the ops that are captured from now on into a group. Raises without a capture."""
        capture = DeviceGraph.current._capture if DeviceGraph.current is not None else None
        if capture is None or capture.group is not None:
            why = "no capture is in progress" if capture is None else "a group is open already"
            raise CaptureRefused(f"graph task group: {why}")
        capture.group = TaskGroup()

    @staticmethod
    def end_group() -> TaskGroup:
        """Close the group and return it. Raises CaptureRefused if none is open."""
        capture = DeviceGraph.current._capture if DeviceGraph.current is not None else None
        if capture is None or capture.group is None:
            raise CaptureRefused("graph task group: none is open")
        group, capture.group = capture.group, None
        capture.groups.append(group)
        return group

    def replay(self) -> None:
        """Run the recorded ops again on the captured buffers."""
        if self._capture is not None:
            raise CaptureRefused(f"{self.limits.title}: replay while its capture is in progress")
        if self._steps is None:
            raise CaptureRefused(f"{self.limits.title}: replay before capture_end")
        self._on_boundary(f"{self.limits.title} replay")
        for tensor, address in self._inputs:
            if _address(tensor) != address:
                raise CaptureRefused(
                    f"{self.limits.title} replay at {site_of(self._forward.here(1))}: a tensor of "
                    f"shape {tuple(tensor.shape)} that the capture at {self._captured_at} reads or "
                    "writes has other memory now; addresses must stay: copy into it instead"
                )
        with unseen(), torch._C._AutoDispatchBelowADInplaceOrView():
            for step in self._steps:
                step()
        self.machine.counters.add("replays")
        self.machine.counters.add("host_ops_saved", self._ops)

    def reset(self) -> None:
        """Free the captured buffers."""
        self._steps = None
        self._inputs = []
        self._ops = 0
