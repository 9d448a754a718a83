"""``torch_npu`` itself: the operators."""

from __future__ import annotations

from porter.device.sim.ascend.attention import (
    npu_fusion_attention,
    npu_fusion_attention_v2,
    npu_prompt_flash_attention,
)
from porter.device.sim.ascend.blocks import *  # noqa: F403
from porter.device.sim.ascend.blocks import __all__ as _blocks
from porter.device.sim.ascend.kernels import *  # noqa: F403
from porter.device.sim.ascend.kernels import __all__ as _kernels
from porter.device.sim.ascend.kernels import npu_fast_gelu
from porter.device.sim.ascend.plain import *  # noqa: F403
from porter.device.sim.ascend.plain import __all__ as _plain

fast_gelu = npu_fast_gelu

__all__ = [
    "fast_gelu", "npu_fusion_attention", "npu_fusion_attention_v2", "npu_prompt_flash_attention",
    *_blocks, *_kernels, *_plain,
]  # fmt: skip
