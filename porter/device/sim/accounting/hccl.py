"""The dtypes of ``hccl``: what each vendor's process group refuses, and what Gaudi's converts.

hpu: HabanaAI/gaudi-pytorch-bridge 1.19.0, ``getHCCLDataType`` (collective_utils.cpp), which all
collectives of process_group_hccl_base.cpp call but broadcast and alltoall. Its allreduce and reduce
compute in float32 all that is neither float32 nor bfloat16. A rank's operand that float32 does not
hold exactly is counted; the sum itself, which the card rounds too, is gloo's here.

npu: Ascend/pytorch, commit 9e73e708: ``getHcclDataType`` (HCCLUtils.cpp) for every collective, and
``checkSupportedDataType`` (ProcessGroupHCCL.cpp) for those that reduce, on cards before Ascend950
(the simulated card is an Ascend910B2). Its allreduce and reduce cast bool and uint8 to int32 first.
PyTorch itself makes float32 of complex64 in most collectives.

Calls of ``torch.distributed`` reach a tensor subclass as ops of the namespace ``c10d``.
DistributedDataParallel's reducer calls from C++ and is not seen.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from porter.device.sim.core.dispatch import Watch, unseen
from porter.device.sim.core.machine import Counters
from porter.device.sim.core.op_schema import OpFacts
from porter.device.sim.core.tensor import tensors_in
from porter.interception.source_lines import ForwardMarks, site_of

_REDUCTIONS = {
    "c10d.allreduce_": "allreduce",
    "c10d.allreduce_coalesced_": "allreduce_coalesced",
    "c10d.reduce_": "reduce",
    "c10d.reduce_scatter_": "reduce_scatter",
    "c10d._reduce_scatter_base_": "_reduce_scatter_base",
    "c10d.reduce_scatter_tensor_coalesced_": "reduce_scatter_tensor_coalesced",
}
_CASTING = frozenset({"c10d.allreduce_", "c10d.allreduce_coalesced_", "c10d.reduce_"})
_OTHERS = frozenset(
    f"c10d.{name}"
    for name in (
        "broadcast_", "allgather_", "_allgather_base_", "allgather_coalesced_",
        "allgather_into_tensor_coalesced_", "gather_", "scatter_", "alltoall_", "alltoall_base_",
        "send", "recv_", "recv_any_source_",
    )
)  # fmt: skip
_PLAIN = frozenset({torch.int8, torch.int32, torch.int64, torch.float16, torch.bfloat16,
                    torch.float32})  # fmt: skip
_EIGHT_BITS = frozenset({torch.float8_e4m3fn, torch.float8_e5m2})


@dataclass(frozen=True)
class Dtypes:
    """What a process group takes. ``as_float32`` are the ops that compute in float32."""

    taken: frozenset[torch.dtype]
    refusal: str
    unchecked: frozenset[str] = frozenset()
    reduced: frozenset[torch.dtype] | None = None
    as_float32: frozenset[str] = frozenset()


DTYPES = {
    "hpu": Dtypes(
        taken=_PLAIN | _EIGHT_BITS | {torch.uint8, torch.bool, torch.float64},
        refusal="Input tensor data type is not supported for HCCL process group: {dtype}",
        unchecked=frozenset({"c10d.broadcast_", "c10d.alltoall_"}),
        as_float32=_CASTING,
    ),
    "npu": Dtypes(
        taken=_PLAIN
        | _EIGHT_BITS
        | {torch.uint8, torch.bool, torch.float64, torch.int16}
        | {torch.uint16, torch.uint32, torch.uint64},
        refusal="Unsupported data type for HCCL process group: {dtype}",
        reduced=_PLAIN | {torch.int16},
    ),
}


class HcclDtypes:
    """Observer that refuses collectives in dtypes that the vendor's process group refuses."""

    def __init__(self, dtypes: Dtypes, counters: Counters, forward: ForwardMarks) -> None:
        self._dtypes = dtypes
        self._counters = counters
        self._forward = forward

    def watch(self, op: OpFacts) -> Watch | None:
        if op.packet not in _REDUCTIONS and op.packet not in _OTHERS:
            return None

        def before(args: Any, _kwargs: Any) -> None:
            tensors = list(tensors_in(list(args)))
            for dtype in {tensor.dtype for tensor in tensors}:
                self._check(op, dtype, tensors)

        return Watch(before=before)

    def _check(self, op: OpFacts, dtype: torch.dtype, tensors: list[torch.Tensor]) -> None:
        limits, name = self._dtypes, str(dtype).removeprefix("torch.")
        if dtype not in limits.taken and op.packet not in limits.unchecked:
            raise RuntimeError(limits.refusal.format(dtype=name))
        called = _REDUCTIONS.get(op.packet)
        cast_first = op.packet in _CASTING and dtype in (torch.bool, torch.uint8)
        if called and limits.reduced and dtype not in limits.reduced and not cast_first:
            raise RuntimeError(f"HCCL {called}: Unsupported data type {name}")
        exact = dtype in (torch.float32, torch.bfloat16)
        if op.packet in limits.as_float32 and not exact:
            site = site_of(self._forward.here(3))
            self._counters.event("reduced_as_float32", op.name, name, site=site)
            if any(_is_rounded(tensor) for tensor in tensors if tensor.dtype is dtype):
                self._counters.event("reduced_inexactly", op.name, name, site=site)


def _is_rounded(tensor: torch.Tensor) -> bool:
    """Whether float32 does not hold a tensor's values exactly."""
    with unseen():
        values = tensor.detach()
        back = values.to(torch.float32).to(torch.float64)
        return not torch.equal(back.nan_to_num(), values.to(torch.float64).nan_to_num())
