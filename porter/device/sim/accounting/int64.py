"""int64 and float64 on Gaudi: the bridge stores them as int32 and float32.

HabanaAI/gaudi-pytorch-bridge 1.19.0: ``IsInt64Supported`` (common/lazy/utils.cpp and
common/eager/utils.cpp) is ``PT_ENABLE_INT64_SUPPORT``, which unset means no in lazy mode and yes in
eager mode on Gaudi2 and newer. Without it, ``preProcessIfLongorDouble`` (lazy_kernels.cpp) and
``_copy_from_h2d`` (habana_eager/ops/copy_from.cpp) copy ``src.to(Int)``. Lazy mode first refuses
values outside int32 (``validateDownCast``), unless ``PT_HPU_ENABLE_VALID_DATA_RANGE_CHECK`` is 0;
eager mode copies their low 32 bits. What an op on the card makes of values that grow beyond int32
is not published: results outside it are counted and stay.

float64 is float32 on the card in both modes. Lazy mode refuses finite values outside float32 by the
same function and switch; infinities and NaN pass. Values stay float64 here.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from porter.device.sim.core.dispatch import Watch, unseen
from porter.device.sim.core.machine import Counters
from porter.device.sim.core.op_schema import OpFacts
from porter.device.sim.core.tensor import tensors_in
from porter.interception.source_lines import ForwardMarks, Site, site_of, warn_once

_INT32 = torch.iinfo(torch.int32)
_FLOAT32 = torch.finfo(torch.float32)
_RANGE_CHECK = "PT_HPU_ENABLE_VALID_DATA_RANGE_CHECK"
_COPIES = frozenset({"aten._to_copy", "aten.copy_"})


def _flag(environ: Mapping[str, str], name: str, unset: bool) -> bool:
    """Read a switch as the bridge does: 1 or true, and empty means unset."""
    value = environ.get(name, "")
    return value.lower() in ("1", "true") if value else unset


def keeps_int64(environ: Mapping[str, str], lazy: bool) -> bool:
    """Whether int64 stays int64 on a Gaudi2."""
    return _flag(environ, "PT_ENABLE_INT64_SUPPORT", unset=not lazy)


class _NarrowedCopies:
    """What the checks of copies from the host share: where they count, and whether they refuse."""

    def __init__(
        self, counters: Counters, forward: ForwardMarks, environ: Mapping[str, str], lazy: bool
    ) -> None:
        self._counters = counters
        self._forward = forward
        self._refuses = lazy and _flag(environ, _RANGE_CHECK, unset=True)
        self._warned: set[Site] = set()


class Int64AsInt32(_NarrowedCopies):
    """Counts the int64 tensors that are copied from the host, and gives what the card holds."""

    def __call__(self, source: torch.Tensor, what: str) -> torch.Tensor:
        """Return a host tensor of int64 as the copy ``what`` leaves it on the card.

        Raises RuntimeError, with the bridge's text, in lazy mode for values outside int32.
        """
        site = site_of(self._forward.here(2))
        if source.numel() == 0:
            return source
        low, high = (int(each) for each in source.aminmax())
        fits = _INT32.min <= low and high <= _INT32.max
        detail = "" if fits else "values outside int32"
        self._counters.event("int64_as_int32", what, detail, site=site)
        if fits:
            return source
        found = f"values range [{low}, {high}] exceeds Int range [{_INT32.min}, {_INT32.max}]"
        if self._refuses:
            raise RuntimeError(f"Error when trying to cast Long to Int, Input {found}")
        text = f"{site}: int64 is copied to the device as int32, and {found}: bits are lost"
        warn_once(self._warned, site, text)
        return source.to(torch.int32).to(torch.int64)


class Int64Results:
    """Observer that counts results of ops whose int64 values are outside int32."""

    def __init__(self, counters: Counters, forward: ForwardMarks) -> None:
        self._counters = counters
        self._forward = forward
        self._warned: set[Site] = set()

    def watch(self, op: OpFacts) -> Watch | None:
        if op.is_view or op.packet in _COPIES or "empty" in op.packet or "resize" in op.packet:
            return None  # no computed values

        def after(_args: Any, _kwargs: Any, out: Any) -> None:
            for tensor in tensors_in(out):
                if tensor.dtype is torch.int64 and tensor.numel():
                    self._check(op, tensor)

        return Watch(after=after)

    def _check(self, op: OpFacts, tensor: torch.Tensor) -> None:
        with unseen():
            low, high = (int(each) for each in tensor.detach().aminmax())
        if low >= _INT32.min and high <= _INT32.max:
            return
        site = site_of(self._forward.here(2))
        self._counters.event("int64_overflow", op.name, "values outside int32", site=site)
        text = (
            f"{site}: int64 values of {op.name} reach [{low}, {high}]; the card computes them in "
            "int32: keep them within it, or set PT_ENABLE_INT64_SUPPORT=1"
        )
        warn_once(self._warned, site, text)


class Float64AsFloat32(_NarrowedCopies):
    """Checks the float64 tensors that are copied from the host, which the card holds as float32."""

    def __call__(self, source: torch.Tensor, what: str) -> torch.Tensor:
        """Return the tensor. Raises RuntimeError, with the bridge's text, as :mod:`int64` says."""
        if source.numel() == 0:
            return source
        finite = source.detach().nan_to_num(None, _FLOAT32.max, _FLOAT32.min)
        low, high = (float(each) for each in finite.aminmax())
        if low >= _FLOAT32.min and high <= _FLOAT32.max:
            return source
        site = site_of(self._forward.here(2))
        self._counters.event("float64_overflow", what, "values outside float32", site=site)
        found = (
            f"values range [{low:g}, {high:g}] exceeds Float range "
            f"[{_FLOAT32.min:g}, {_FLOAT32.max:g}]"
        )
        if self._refuses:
            raise RuntimeError(f"Error when trying to cast Double to Float, Input {found}")
        text = f"{site}: float64 is copied to the device as float32, and {found}: infinite there"
        warn_once(self._warned, site, text)
        return source
