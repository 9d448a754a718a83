"""What a run on a simulated device can count: codes PT901 and up, each with its page."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from porter.scan.reading.rule import OWN_READING, Device, Reason


@dataclass(frozen=True)
class MeasuredKind:
    """Something that is counted by line. ``explains`` are codes of rules that it confirms."""

    code: str
    name: str
    title: str
    mend: str
    reasons: Mapping[Device, Reason]
    explains: tuple[str, ...] = ()
    unit: str = ""


def _both(severity: str, text: str, source: str = OWN_READING) -> Mapping[Device, Reason]:
    reason = Reason(severity, text, source)  # type: ignore[arg-type]
    return {"hpu": reason, "npu": reason}


KINDS: dict[str, MeasuredKind] = {
    "stopped": MeasuredKind(
        "PT901",
        "stopped",
        "The command stopped on the device",
        "read the last line of its error; a rule that names the same line may say more",
        _both("error", "the line of the tree where the simulated device refused the command"),
        ("PT",),
        "stop",
    ),
    "cpu_fallback": MeasuredKind(
        "PT902",
        "cpu-fallback",
        "An operator ran on the CPU in the device's place",
        "compute the same with operators that the device has",
        _both("warning", "operands go to the CPU and results back; a lazy graph ends there"),
        ("PT204", "PT514", "PT515", "PT516", "PT60", "PT803"),
        "CPU fallback",
    ),
    "host_sync": MeasuredKind(
        "PT903",
        "host-wait",
        "The host waited for the device",
        "keep the value on the device, or read it after the loop; copy from pinned memory",
        _both("warning", "the device has nothing to do until the host goes on"),
        ("PT102", "PT401", "PT402", "PT50", "PT512", "PT514", "PT515", "PT516", "PT70"),
        "host wait",
    ),
    "compilation": MeasuredKind(
        "PT904",
        "compilation",
        "A graph differs from the ones before and is compiled anew",
        "make every step the same graph: values in tensors on the device, fixed shapes",
        {"hpu": Reason("warning", "in lazy mode each new graph is compiled; this line differed")},
        ("PT204", "PT501", "PT51", "PT701"),
        "compilation",
    ),
    "dtype": MeasuredKind(
        "PT905",
        "missing-dtype",
        "A tensor has a dtype that the device lacks",
        "convert on the CPU, before the tensor goes to the device",
        _both("warning", "the vendor documents the dtype as not supported"),
        ("PT204",),
        "tensor",
    ),
    "served": MeasuredKind(
        "PT906",
        "served-call",
        "A CUDA call was served by the vendor's migration",
        "call the device by its own name: the migration is for trying a model, not for its port",
        _both("note", "without the migration this call raises or stays on the CPU"),
        ("PT1", "PT2", "PT3", "PT4", "PT70"),
        "CUDA call",
    ),
    "dynamic_shape": MeasuredKind(
        "PT907",
        "dynamic-shape",
        "The shape of a result depended on data",
        "compute with a fixed shape: where, a mask that is multiplied, a stated output size",
        _both("warning", "the host waits for the shape, and a graph cannot hold it"),
        ("PT502", "PT514", "PT515", "PT516"),
        "dynamic shape",
    ),
}
"""By what the simulator calls it."""
MEASURED = "PT9"
"""What the codes of all kinds begin with."""
BY_CODE = {kind.code: kind for kind in KINDS.values()}


def page(kind: MeasuredKind) -> list[str]:
    """Return what ``porter explain`` prints about a kind."""
    lines = [f"{kind.code} {kind.name}: {kind.title}", ""]
    for device, reason in kind.reasons.items():
        lines += [f"{device}: {reason.severity}: {reason.text}", f"     source: {reason.source}"]
    return [
        *lines,
        "",
        f"mend: {kind.mend}",
        "",
        "Counted, not read: `porter scan DIR -- COMMAND` runs a command on the simulated devices;",
        "docs/simulator-accounting.md says what they count.",
    ]
