"""``torch_npu.npu.utils``."""

from __future__ import annotations


def is_support_inf_nan() -> bool:
    """Whether overflow shows as inf and nan in the results: yes, as on the A2 series."""
    return True


__all__ = ["is_support_inf_nan"]
