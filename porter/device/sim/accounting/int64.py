"""int64 on Gaudi: the bridge stores it as int32, and converts at each copy from the host.

HabanaAI/gaudi-pytorch-bridge 1.19.0: ``IsInt64Supported`` (common/lazy/utils.cpp and
common/eager/utils.cpp) is ``PT_ENABLE_INT64_SUPPORT``, which unset means no in lazy mode and yes in
eager mode on Gaudi2 and newer. Without it, ``preProcessIfLongorDouble`` (lazy_kernels.cpp) and
``_copy_from_h2d`` (habana_eager/ops/copy_from.cpp) copy ``src.to(Int)``. Lazy mode first refuses
values outside int32 (``validateDownCast``), unless ``PT_HPU_ENABLE_VALID_DATA_RANGE_CHECK`` is 0;
eager mode copies their low 32 bits. What int64 ops on the card make of values that grow there is
not modelled.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch

from porter.device.sim.core.machine import Counters
from porter.interception.source_lines import ForwardMarks, Site, site_of, warn_once

_INT32 = torch.iinfo(torch.int32)


def _flag(environ: Mapping[str, str], name: str, unset: bool) -> bool:
    """Read a switch as the bridge does: 1 or true, and empty means unset."""
    value = environ.get(name, "")
    return value.lower() in ("1", "true") if value else unset


def keeps_int64(environ: Mapping[str, str], lazy: bool) -> bool:
    """Whether int64 stays int64 on a Gaudi2."""
    return _flag(environ, "PT_ENABLE_INT64_SUPPORT", unset=not lazy)


class Int64AsInt32:
    """Counts the int64 tensors that are copied from the host, and gives what the card holds."""

    def __init__(
        self, counters: Counters, forward: ForwardMarks, environ: Mapping[str, str], lazy: bool
    ) -> None:
        self._counters = counters
        self._forward = forward
        self._refuses = lazy and _flag(environ, "PT_HPU_ENABLE_VALID_DATA_RANGE_CHECK", unset=True)
        self._warned: set[Site] = set()

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
