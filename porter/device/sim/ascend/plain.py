"""``torch_npu`` functions that are PyTorch operators with other names, and storage formats."""

from __future__ import annotations

import enum
from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from porter.device.sim.vendors.fused_ops import fused


class Format(enum.IntEnum):
    """The card's storage formats, by ACL number."""

    UNDEFINED = -1
    NCHW = 0
    NHWC = 1
    ND = 2
    NC1HWC0 = 3
    FRACTAL_Z = 4
    FRACTAL_NZ = 29
    NDC1HWC0 = 32
    FRACTAL_Z_3D = 33


_FORMAT = "_porter_acl_format"


@fused("npu", "npu_format_cast")
def _format_cast(
    self: Tensor,
    acl_format: int,
    *,
    customize_dtype: int | None = None,
    input_dtype: int | None = None,
) -> Tensor:
    return self.clone()


def get_npu_format(self: Tensor) -> int:
    """Return the storage format: the last cast's, else NCHW in four dimensions, else ND."""
    cast = getattr(self, _FORMAT, None)
    if cast is not None:
        return int(cast)
    return int(Format.NCHW if self.dim() == 4 else Format.ND)


def npu_format_cast(
    self: Tensor,
    acl_format: int | Tensor,
    *,
    customize_dtype: int | None = None,
    input_dtype: int | None = None,
) -> Tensor:
    """Return the tensor in another storage format, same values: one kernel if it differs."""
    wanted = get_npu_format(acl_format) if isinstance(acl_format, Tensor) else int(acl_format)
    if wanted == get_npu_format(self):
        return self
    result = _format_cast(self, wanted)
    setattr(result, _FORMAT, wanted)
    return result


def npu_format_cast_(
    self: Tensor,
    src: int | Tensor,
    *,
    customize_dtype: int | None = None,
    input_dtype: int | None = None,
) -> Tensor:
    """Change the storage format in place; the values stay."""
    setattr(self, _FORMAT, get_npu_format(src) if isinstance(src, Tensor) else int(src))
    return self


def empty_with_format(
    size: Sequence[int],
    *,
    dtype: torch.dtype | None = None,
    layout: torch.layout | None = None,
    device: torch.device | str | None = None,
    pin_memory: bool | None = None,
    acl_format: int = 2,
    base_addr_aligned_kb: int | None = None,
) -> Tensor:
    """``torch.empty`` in a storage format."""
    result = torch.empty(size, dtype=dtype, device=device or "npu")
    setattr(result, _FORMAT, acl_format)
    return result


def npu_dtype_cast(self: Tensor, dtype: torch.dtype, input_dtype: int | None = None) -> Tensor:
    """``Tensor.to(dtype)``."""
    return self.to(dtype)


def npu_linear(input: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """``F.linear``."""
    return F.linear(input, weight, bias)


def npu_bmmV2(self: Tensor, mat2: Tensor, output_sizes: Sequence[int]) -> Tensor:
    """Batched matrix product, viewed as ``output_sizes`` if given."""
    result = torch.matmul(self, mat2)
    return result.view(output_sizes) if output_sizes else result


def npu_transpose(self: Tensor, perm: Sequence[int], require_contiguous: bool = True) -> Tensor:
    """``permute``, contiguous by default."""
    result = self.permute(tuple(perm))
    return result.contiguous() if require_contiguous else result


def npu_broadcast(self: Tensor, size: Sequence[int]) -> Tensor:
    """``expand``, copied."""
    return self.expand(size).contiguous()


def npu_reshape(self: Tensor, shape: Sequence[int], can_refresh: bool = False) -> Tensor:
    """``reshape``."""
    return self.reshape(shape)


def npu_slice(self: Tensor, offsets: Sequence[int], size: Sequence[int]) -> Tensor:
    """The block of the given ``size`` that begins at ``offsets``."""
    block = tuple(slice(o, o + s) for o, s in zip(offsets, size, strict=True))
    return self[block].contiguous()


def npu_pad(input: Tensor, paddings: Sequence[int]) -> Tensor:
    """Zero padding; ``paddings`` holds (before, after) per dimension, the first dimension first."""
    pairs = [tuple(paddings[i : i + 2]) for i in range(0, len(paddings), 2)]
    return F.pad(input, [amount for pair in reversed(pairs) for amount in pair])


def npu_one_hot(
    self: Tensor, num_classes: int = -1, depth: int = 1, on_value: float = 1, off_value: float = 0
) -> Tensor:
    """One-hot rows in float32; ``num_classes`` -1 takes ``depth``."""
    classes = torch.arange(depth if num_classes == -1 else num_classes, device=self.device)
    hot = self.unsqueeze(-1) == classes
    return torch.where(hot, float(on_value), float(off_value)).to(torch.float32)


def npu_max(self: Tensor, dim: int, keepdim: bool = False) -> tuple[Tensor, Tensor]:
    """Largest values along a dimension and their int32 indices."""
    values, indices = self.max(dim, keepdim)
    return values, indices.to(torch.int32)


def npu_min(self: Tensor, dim: int, keepdim: bool = False) -> tuple[Tensor, Tensor]:
    """Smallest values along a dimension and their int32 indices."""
    values, indices = self.min(dim, keepdim)
    return values, indices.to(torch.int32)


def npu_sort_v2(self: Tensor, dim: int = -1, descending: bool = False) -> Tensor:
    """Sorted values, without indices."""
    return self.sort(dim, descending)[0]


def npu_silu(self: Tensor) -> Tensor:
    """``F.silu``."""
    return F.silu(self)


def npu_masked_fill_range(
    self: Tensor, start: Tensor, end: Tensor, value: Tensor, axis: int = -1
) -> Tensor:
    """Fill positions ``start[i] <= p < end[i]`` along ``axis`` with ``value[i]``, for each i."""
    position = torch.arange(self.shape[axis], device=self.device)
    shape = [1] * self.dim()
    shape[axis] = -1
    result = self
    for first, last, filling in zip(start.flatten(), end.flatten(), value.flatten(), strict=True):
        inside = ((position >= first) & (position < last)).view(shape)
        result = torch.where(inside, filling.to(self.dtype), result)
    return result


def _convolution(convolve: Callable[..., Tensor], title: str) -> Callable[..., Tensor]:
    def convolution(
        input: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        stride: Sequence[int],
        padding: Sequence[int],
        dilation: Sequence[int],
        groups: int,
    ) -> Tensor:
        return convolve(input, weight, bias, list(stride), list(padding), list(dilation), groups)

    convolution.__doc__ = title
    return convolution


def _by_dimensions(input: Tensor, *rest: Any) -> Tensor:
    return (F.conv3d if input.dim() == 5 else F.conv2d)(input, *rest)


npu_conv2d = _convolution(F.conv2d, "``F.conv2d``.")
npu_conv3d = _convolution(F.conv3d, "``F.conv3d``.")
npu_convolution = _convolution(
    _by_dimensions, "``F.conv2d`` or ``F.conv3d`` by the input's dimensions."
)


def npu_conv_transpose2d(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    padding: Sequence[int],
    output_padding: Sequence[int],
    stride: Sequence[int],
    dilation: Sequence[int],
    groups: int,
) -> Tensor:
    """``F.conv_transpose2d``."""
    return F.conv_transpose2d(
        input, weight, bias, list(stride), list(padding), list(output_padding), groups,
        list(dilation),
    )  # fmt: skip


def npu_alloc_float_status(self: Tensor) -> Tensor:
    """The float status buffer: eight zeros, because overflow gives inf and nan."""
    return torch.zeros(8, device=self.device)


def npu_get_float_status(self: Tensor, mode: int = 0) -> Tensor:
    """The register's content: always zero, because overflow gives inf and nan."""
    return torch.zeros_like(self)


def npu_clear_float_status(self: Tensor, mode: int = 0) -> Tensor:
    """Clear the register."""
    return torch.zeros_like(self)


def copy_memory_(self: Tensor, src: Tensor, non_blocking: bool = False) -> Tensor:
    """``copy_`` between tensors on the card."""
    return self.copy_(src, non_blocking)


def one_(self: Tensor) -> Tensor:
    """``fill_(1)``."""
    return self.fill_(1)


def scatter_update(self: Tensor, indices: Tensor, updates: Tensor, axis: int) -> Tensor:
    """A copy where row ``i``'s block at ``indices[i]`` along ``axis`` is ``updates[i]``."""
    return scatter_update_(self.clone(), indices, updates, axis)


def scatter_update_(self: Tensor, indices: Tensor, updates: Tensor, axis: int) -> Tensor:
    """:func:`scatter_update` in place."""
    length = updates.shape[axis]
    steps = torch.arange(length, device=self.device)
    for row, start in enumerate(indices):
        positions = (start + steps).to(torch.int64)
        self[row].index_copy_(
            axis - 1 if axis > 0 else axis, positions, updates[row].to(self.dtype)
        )
    return self
