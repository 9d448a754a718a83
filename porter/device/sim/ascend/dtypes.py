"""The numbers by which ``torch_npu``'s operators name dtypes.

An ``int`` argument takes a ``torch.dtype`` (PyTorch's own number) or one of ``torch_npu``'s
constants, which are ACL's numbers plus 256 (``torch_npu/csrc/custom_dtype`` of Ascend/pytorch,
9e73e708).
"""

from __future__ import annotations

import torch

from porter.errors import BadInput

_OFFSET = 256
hifloat8 = _OFFSET + 34
float8_e5m2 = _OFFSET + 35
float8_e4m3fn = _OFFSET + 36
float8_e8m0fnu = _OFFSET + 37
float4_e2m1fn_x2 = _OFFSET + 40
float4_e1m2fn_x2 = _OFFSET + 41
int4 = _OFFSET + 29

INT4 = "int4"
FP4 = "float4_e2m1fn_x2"
_NAMES: dict[int, str] = {
    0: "uint8", 1: "int8", 2: "int16", 3: "int32", 4: "int64", 5: "float16", 6: "float32",
    7: "float64", 12: "int8", 13: "uint8", 14: "int32", 15: "bfloat16", 16: INT4,
    23: "float8_e5m2", 24: "float8_e4m3fn", 44: "float8_e8m0fnu", 45: FP4,
    _OFFSET: "float32", _OFFSET + 1: "float16", _OFFSET + 2: "int8", _OFFSET + 3: "int32",
    _OFFSET + 4: "uint8", _OFFSET + 6: "int16", _OFFSET + 9: "int64", _OFFSET + 11: "float64",
    _OFFSET + 27: "bfloat16", int4: INT4, float8_e5m2: "float8_e5m2",
    float8_e4m3fn: "float8_e4m3fn", float8_e8m0fnu: "float8_e8m0fnu", float4_e2m1fn_x2: FP4,
}  # fmt: skip
"""Names of PyTorch's dtypes by number, and of the two that hold several values per element.

PyTorch's numbers are those of its ``ScalarType``: qint8 (12), quint8 (13), qint32 (14) mean plain
integers here, quint4x2 (16) eight 4-bit integers in one int32.
"""


def dtype_of(number: int | torch.dtype | None, default: torch.dtype) -> torch.dtype:
    """Return the dtype of a number. Raises BadInput for one that PyTorch does not have."""
    if number is None or isinstance(number, torch.dtype):
        return default if number is None else number
    name = _NAMES.get(int(number), "")
    found = getattr(torch, name, None)
    if not isinstance(found, torch.dtype):
        raise BadInput(
            f"dtype number {number}{f' ({name})' if name else ''}: porter's simulated operators do "
            "not compute in it; choose int8, an 8-bit float, or a dtype of this PyTorch"
        )
    return found


def is_int4(number: int | None) -> bool:
    """Whether a number names eight 4-bit integers in one int32."""
    return number is not None and _NAMES.get(int(number)) == INT4


def is_fp4(number: int | None) -> bool:
    """Whether a number names two float4_e2m1fn in one byte."""
    return number is not None and _NAMES.get(int(number)) == FP4


def packed_int4(values: torch.Tensor) -> torch.Tensor:
    """Return eight integers of each eight, the lowest bits first, in one int32."""
    nibbles = values.to(torch.int32).bitwise_and(15).unflatten(-1, (-1, 8))
    shifts = torch.arange(0, 32, 4, dtype=torch.int32, device=values.device)
    packed: torch.Tensor = nibbles.bitwise_left_shift(shifts).sum(-1, dtype=torch.int32)
    return packed


def unpacked_int4(packed: torch.Tensor) -> torch.Tensor:
    """Invert :func:`packed_int4`: signed values in int32, eight times as many."""
    shifts = torch.arange(0, 32, 4, dtype=torch.int32, device=packed.device)
    nibbles = packed.unsqueeze(-1).bitwise_right_shift(shifts).bitwise_and(15)
    return torch.where(nibbles > 7, nibbles - 16, nibbles).flatten(-2)
