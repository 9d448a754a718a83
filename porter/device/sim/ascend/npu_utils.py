"""``torch_npu.npu.utils``."""

from __future__ import annotations


def is_support_inf_nan() -> bool:
    """Whether overflow gives inf and nan: True, as on the A2 series."""
    return True
