"""``torch_npu.npu.utils``."""

from __future__ import annotations

import math
from typing import Any

import torch


def is_support_inf_nan() -> bool:
    """Whether overflow gives inf and nan: True, as on the A2 series."""
    return True


def npu_check_overflow(grad: Any) -> bool:
    """Whether a gradient's sum, read on the host, is infinite or no number.

    Raises RuntimeError for what is neither a tensor nor a float (``torch_npu/npu/utils.py`` of
    Ascend/pytorch, 9e73e708).
    """
    if not isinstance(grad, float | torch.Tensor):
        raise RuntimeError("Unsupported type.")  # noqa: TRY004  # the vendor's class and text
    total = float(grad.float().sum()) if isinstance(grad, torch.Tensor) else grad
    return not math.isfinite(total)
