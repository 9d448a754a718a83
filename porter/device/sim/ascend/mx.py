"""MX formats in ``torch_npu``: blocks of 8- and 4-bit floats with a power of two each.

Schema: ``op_plugin/config/op_plugin_functions.yaml`` of Ascend/op-plugin (517f2e7d, August 2026);
formula: OCP Microscaling Formats 1.0, which the vendor's page of ``npu_dynamic_mx_quant`` names.
"""

from __future__ import annotations

import torch
from torch import Tensor

from porter.device.sim.ascend.dtypes import dtype_of, is_fp4
from porter.device.sim.ascend.quantization import rounded
from porter.device.sim.vendors.fused_ops import kernel
from porter.errors import BadInput

_MX_EXPONENT = {torch.float8_e4m3fn: 8, torch.float8_e5m2: 15}
"""The exponent of a format's largest number (OCP Microscaling Formats 1.0)."""
_FP4_EXPONENT, _FP4_STEPS = 2, (0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0)


def _fp4(values: Tensor) -> Tensor:
    """Return float4_e2m1fn codes, two to a byte, the first in the low half (our reading)."""
    steps = values.new_tensor(_FP4_STEPS)
    middles = (steps[1:] + steps[:-1]) / 2
    size = values.abs().clamp(max=6.0).unsqueeze(-1)
    # Half way between two numbers the one with an even code is taken.
    even = values.new_tensor([index % 2 for index in range(7)]).bool()
    code = torch.where(even, size >= middles, size > middles).sum(-1)
    code = code + 8 * values.signbit()
    low, high = code.unflatten(-1, (-1, 2)).unbind(-1)
    packed: Tensor = (low + 16 * high).to(torch.uint8)
    return packed


@kernel(
    'npu::npu_dynamic_mx_quant(Tensor input, *, int axis=-1, str round_mode="rint", '
    "int dst_type=296, int block_size=32, int? scale_alg=0, float dst_type_max=0.0, "
    "float max_low_bound=0.0) -> (Tensor, Tensor)"
)
def npu_dynamic_mx_quant(
    input: Tensor,
    *,
    axis: int = -1,
    round_mode: str = "rint",
    dst_type: int = 296,
    block_size: int = 32,
    scale_alg: int | None = 0,
    dst_type_max: float = 0.0,
    max_low_bound: float = 0.0,
) -> tuple[Tensor, Tensor]:
    """Return MX-formatted values and their power-of-two scales, one per block of ``axis``.

    The scale is ``2 ** (floor(log2(max |x|)) - e)`` with e the exponent of the format's largest
    number (OCP Microscaling Formats 1.0). Scales are float8_e8m0fnu in pairs: (..., pairs of
    blocks, 2).
    """
    last = axis in (-1, input.dim() - 1)
    if scale_alg or dst_type_max or max_low_bound or round_mode != "rint" or not last:
        raise BadInput(
            "npu_dynamic_mx_quant: porter's operator computes blocks of the last dimension with "
            "round_mode rint and scale_alg 0"
        )
    is_four = is_fp4(dst_type)
    made = torch.float8_e4m3fn if is_four else dtype_of(dst_type, torch.float8_e4m3fn)
    scales = dtype_of(44, torch.float32)  # float8_e8m0fnu
    length = input.shape[-1]
    blocks = -(-length // block_size)
    padded = torch.nn.functional.pad(input.float(), (0, blocks * block_size - length))
    padded = padded.unflatten(-1, (blocks, block_size))
    largest = padded.abs().amax(-1, keepdim=True)
    exponent = (
        torch.frexp(largest).exponent - 1 - (_FP4_EXPONENT if is_four else _MX_EXPONENT[made])
    )
    exponent = torch.where(largest == 0, -127, exponent).clamp(-127, 127)
    factor = torch.ldexp(torch.ones_like(largest), exponent)
    values = (padded / factor).flatten(-2)[..., :length]
    codes = (exponent.squeeze(-1) + 127).to(torch.uint8)
    codes = torch.nn.functional.pad(codes, (0, blocks % 2)).unflatten(-1, (-1, 2))
    return (_fp4(values) if is_four else rounded(values, made)), codes.view(scales)
