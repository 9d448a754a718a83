"""Detection in ``torch_npu``: boxes, their overlaps, and features below them.

Schemas: ``op_plugin/config/op_plugin_functions.yaml`` of Ascend/op-plugin (517f2e7d, August 2026).
Formulas: the examples of its ``codegen/templates/_op_plugin_docs.py`` and ``test/test_base_ops``,
which the tests here compare with; overlaps: ``torch_npu/contrib/function/iou.py`` of
Ascend/pytorch.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from porter.device.sim.vendors.fused_ops import fused, kernel, wide
from porter.errors import BadInput

_EPSILON = 0.001


def _areas(boxes: Tensor) -> Tensor:
    """Return the areas of boxes (..., x0 y0 x1 y1)."""
    return (boxes[..., 2] - boxes[..., 0]).clamp(min=0) * (boxes[..., 3] - boxes[..., 1]).clamp(
        min=0
    )


def _overlaps(first: Tensor, second: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return the pairs' common areas (first, second), and the areas of both."""
    low = torch.maximum(first[:, None, :2], second[None, :, :2])
    high = torch.minimum(first[:, None, 2:4], second[None, :, 2:4])
    common = (high - low).clamp(min=0).prod(-1)
    return common, _areas(first)[:, None], _areas(second)[None, :]


def _ratio(bboxes: Tensor, gtboxes: Tensor, mode: int, added: float) -> Tensor:
    common, own, other = _overlaps(wide(gtboxes), wide(bboxes))
    whole = own if mode else own + other - common
    return ((common + added) / (whole + _EPSILON)).to(bboxes.dtype)


@kernel("npu::npu_iou(Tensor bboxes, Tensor gtboxes, int mode=0) -> Tensor")
def npu_iou(bboxes: Tensor, gtboxes: Tensor, mode: int = 0) -> Tensor:
    """Return the overlaps (true boxes, boxes): over the union, or the true box (``mode`` 1)."""
    return _ratio(bboxes, gtboxes, mode, _EPSILON)


@kernel("npu::npu_ptiou(Tensor bboxes, Tensor gtboxes, int mode=0) -> Tensor")
def npu_ptiou(bboxes: Tensor, gtboxes: Tensor, mode: int = 0) -> Tensor:
    """:func:`npu_iou` whose common area has no 0.001 added."""
    return _ratio(bboxes, gtboxes, mode, 0.0)


def _kept(boxes: Tensor, threshold: float, candidates: Tensor) -> Tensor:
    """Return which candidates, the best first, no better one covers by more than ``threshold``."""
    common, own, other = _overlaps(boxes, boxes)
    covered = common / (own + other - common).clamp(min=1e-12) > threshold
    kept = candidates.clone()
    for index in range(boxes.shape[0]):
        later = torch.arange(boxes.shape[0], device=boxes.device) > index
        kept = kept & ~(kept[index] & covered[index] & later)
    return kept


@kernel("npu::npu_nms_with_mask(Tensor input, Scalar iou_threshold) -> (Tensor, Tensor, Tensor)")
def npu_nms_with_mask(input: Tensor, iou_threshold: float) -> tuple[Tensor, Tensor, Tensor]:
    """Return boxes with scores (N, 5), their places, and 1 for those that no earlier one covers.

    The rows begin with x0 y0 x1 y1 and the score; they are taken in their order, so the best must
    stand first (our reading: the page does not say).
    """
    boxes = wide(input)[:, :4]
    rows = boxes.shape[0]
    all_rows = torch.ones(rows, dtype=torch.bool, device=input.device)
    kept = _kept(boxes, float(iou_threshold), all_rows)
    places = torch.arange(rows, dtype=torch.int32, device=input.device)
    return input[:, :5].contiguous(), places, kept.to(torch.uint8)


@kernel(
    "npu::npu_batch_nms(Tensor self, Tensor scores, float score_threshold, float iou_threshold, "
    "int max_size_per_class, int max_total_size, bool change_coordinate_frame=False, "
    "bool transpose_box=False) -> (Tensor, Tensor, Tensor, Tensor)"
)
def npu_batch_nms(
    self: Tensor,
    scores: Tensor,
    score_threshold: float,
    iou_threshold: float,
    max_size_per_class: int,
    max_total_size: int,
    change_coordinate_frame: bool = False,
    transpose_box: bool = False,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return boxes, scores, classes (padded with zeros) and how many hold, per image.

    Boxes are (images, N, 1 or classes, 4), scores (images, N, classes). Each class is suppressed by
    itself; then the best of all classes are taken.
    """
    if change_coordinate_frame or transpose_box:
        raise BadInput(
            "npu_batch_nms: porter's operator has neither change_coordinate_frame nor transpose_box"
        )
    images = scores.shape[0]
    found = [
        _image(
            wide(self[image]), wide(scores[image]), score_threshold, iou_threshold,
            max_size_per_class, max_total_size,
        )
        for image in range(images)
    ]  # fmt: skip
    boxes, best, kinds, held = (torch.stack(each) for each in zip(*found, strict=True))
    dtype = self.dtype
    return boxes.to(dtype), best.to(dtype), kinds.to(dtype), held.to(torch.int32)


def _image(
    boxes: Tensor, scores: Tensor, low: float, threshold: float, per_class: int, total: int
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    parts = []
    for kind in range(scores.shape[1]):
        ordered, order = scores[:, kind].sort(descending=True, stable=True)
        mine = boxes[order, kind if boxes.shape[1] > 1 else 0]
        kept = _kept(mine, threshold, ordered > low)
        kept = kept & (kept.cumsum(0) <= per_class)
        parts.append((torch.where(kept, ordered, -math.inf), mine, torch.full_like(ordered, kind)))
    score, box, label = (torch.cat(each) for each in zip(*parts, strict=True))
    order = score.argsort(descending=True, stable=True)[:total]
    score, box, label = score[order], box[order], label[order]
    held = score > -math.inf
    short = total - score.shape[0]
    return (
        F.pad(torch.where(held.unsqueeze(-1), box, 0.0), (0, 0, 0, short)),
        F.pad(torch.where(held, score, 0.0), (0, short)),
        F.pad(torch.where(held, label, 0.0), (0, short)),
        held.sum(),
    )


_MEANS = ", ".join(f"float means{i}" for i in range(4))
_STDS = ", ".join(f"float stds{i}" for i in range(4))


def _centres(boxes: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return centre and size; a box from 1 to 3 is 3 wide."""
    x0, y0, x1, y1 = wide(boxes).unbind(-1)
    return (x0 + x1) / 2, (y0 + y1) / 2, x1 - x0 + 1, y1 - y0 + 1


@kernel(
    f"npu::npu_bounding_box_encode(Tensor anchor_box, Tensor ground_truth_box, {_MEANS}, {_STDS}) "
    "-> Tensor"
)
def npu_bounding_box_encode(
    anchor_box: Tensor,
    ground_truth_box: Tensor,
    means0: float,
    means1: float,
    means2: float,
    means3: float,
    stds0: float,
    stds1: float,
    stds2: float,
    stds3: float,
) -> Tensor:
    """Return (dx, dy, dw, dh) from anchors to true boxes, of which sizes count by magnitude."""
    px, py, pw, ph = _centres(anchor_box)
    gx, gy, gw, gh = _centres(ground_truth_box)
    deltas = torch.stack(
        ((gx - px) / pw, (gy - py) / ph, (gw / pw).abs().log(), (gh / ph).abs().log()), -1
    )
    means, stds = (deltas.new_tensor(each) for each in (
        (means0, means1, means2, means3), (stds0, stds1, stds2, stds3)
    ))  # fmt: skip
    return ((deltas - means) / stds).to(anchor_box.dtype)


@kernel(
    f"npu::npu_bounding_box_decode(Tensor rois, Tensor deltas, {_MEANS}, {_STDS}, "
    "int[1] max_shape, float wh_ratio_clip) -> Tensor"
)
def npu_bounding_box_decode(
    rois: Tensor,
    deltas: Tensor,
    means0: float,
    means1: float,
    means2: float,
    means3: float,
    stds0: float,
    stds1: float,
    stds2: float,
    stds3: float,
    max_shape: list[int],
    wh_ratio_clip: float,
) -> Tensor:
    """Return the boxes that ``deltas`` make of ``rois``, within an image of (height, width)."""
    px, py, pw, ph = _centres(rois)
    stds, means = (stds0, stds1, stds2, stds3), (means0, means1, means2, means3)
    given = wide(deltas) * wide(deltas).new_tensor(stds) + wide(deltas).new_tensor(means)
    dx, dy, dw, dh = given.unbind(-1)
    most = abs(math.log(wh_ratio_clip))
    gw, gh = pw * dw.clamp(-most, most).exp(), ph * dh.clamp(-most, most).exp()
    gx, gy = px + pw * dx, py + ph * dy
    right, bottom = max_shape[1] - 1, max_shape[0] - 1
    made = (
        (gx - gw / 2 + 0.5).clamp(0, right), (gy - gh / 2 + 0.5).clamp(0, bottom),
        (gx + gw / 2 - 0.5).clamp(0, right), (gy + gh / 2 - 0.5).clamp(0, bottom),
    )  # fmt: skip
    return torch.stack(made, -1).to(rois.dtype)


def _roi_align(
    features: Tensor, rois: Tensor, scale: float, height: int, width: int, samples: int, mode: int
) -> Tensor:
    """Return the mean of bilinear samples in each bin (Mask R-CNN, He et al., 2017).

    A roi's last pixel is included (+1) with ``mode`` 1, pixels' centres are half a pixel in with 2.
    """
    if samples <= 0 or mode not in (0, 1, 2):
        raise BadInput(
            f"npu_roi_align: porter's operator takes sample_num > 0 and roi_end_mode 0, 1 or 2, "
            f"found {samples} and {mode}"
        )
    half = 0.5 if mode == 2 else 0.0
    x0, y0 = wide(rois[:, 1]) * scale - half, wide(rois[:, 2]) * scale - half
    x1 = (wide(rois[:, 3]) + (1 if mode == 1 else 0)) * scale - half
    y1 = (wide(rois[:, 4]) + (1 if mode == 1 else 0)) * scale - half
    least = 0.0 if mode == 2 else 1.0
    steps_x, steps_y = (
        (torch.arange(n * samples, device=rois.device) + 0.5) / (n * samples)
        for n in (width, height)
    )
    x = x0[:, None] + (x1 - x0).clamp(min=least)[:, None] * steps_x
    y = y0[:, None] + (y1 - y0).clamp(min=least)[:, None] * steps_y
    own = wide(features)[rois[:, 0].to(torch.int64)]
    across, down = _weights(x, own.shape[-1]), _weights(y, own.shape[-2])
    sampled = down.unsqueeze(1) @ own @ across.unsqueeze(1).transpose(-1, -2)
    pooled: Tensor = sampled.unflatten(-1, (width, samples)).unflatten(-3, (height, samples))
    return pooled.mean((-3, -1)).to(features.dtype)


def _weights(places: Tensor, size: int) -> Tensor:
    """Return the bilinear weights (..., places, size); none beyond one pixel outside."""
    outside = (places < -1) | (places > size)
    at = places.clamp(0, size - 1).unsqueeze(-1)
    weight = (1 - (at - torch.arange(size, device=places.device)).abs()).clamp(min=0)
    return weight.masked_fill(outside.unsqueeze(-1), 0.0)


@fused("npu")
def npu_roi_align(
    self: Tensor,
    rois: Tensor,
    spatial_scale: float,
    pooled_height: int,
    pooled_width: int,
    sample_num: int,
    roi_end_mode: int,
) -> Tensor:
    """Return the features (rois, channels, height, width) below regions (image, x0, y0, x1, y1)."""
    return _roi_align(
        self, rois, spatial_scale, pooled_height, pooled_width, sample_num, roi_end_mode
    )


@kernel(
    "npu::npu_roi_alignbk(Tensor self, Tensor rois, int[] xdiff_shape, int pooled_width, "
    "int pooled_height, float spatial_scale, int sample_num, int? roi_end_mode=None) -> Tensor"
)
def npu_roi_alignbk(
    self: Tensor,
    rois: Tensor,
    xdiff_shape: list[int],
    pooled_width: int,
    pooled_height: int,
    spatial_scale: float,
    sample_num: int,
    roi_end_mode: int | None = None,
) -> Tensor:
    """Return the gradient of the features from that of the result; the mode is 1 unless given."""
    mode = 1 if roi_end_mode is None else roi_end_mode
    images, _, height, width = xdiff_shape
    # The operator is linear in the features: its transpose is that of the weights.
    down = _roi_align(
        torch.eye(height, device=self.device).view(height, 1, height, 1), _line(rois, height, 2),
        spatial_scale, pooled_height, 1, sample_num, mode,
    ).view(rois.shape[0], height, pooled_height)  # fmt: skip
    across = _roi_align(
        torch.eye(width, device=self.device).view(width, 1, 1, width), _line(rois, width, 1),
        spatial_scale, 1, pooled_width, sample_num, mode,
    ).view(rois.shape[0], width, pooled_width)  # fmt: skip
    each = down.unsqueeze(1) @ wide(self) @ across.unsqueeze(1).transpose(-1, -2)
    total = each.new_zeros(images, *each.shape[1:])
    return total.index_add(0, rois[:, 0].to(torch.int64), each).to(self.dtype)


def _line(rois: Tensor, size: int, first: int) -> Tensor:
    """Return each roi once per unit vector, its other axis collapsed onto one pixel."""
    made = rois.new_zeros(rois.shape[0], size, 5)
    made[..., 0] = torch.arange(size, device=rois.device)
    for column in (first, first + 2):
        made[..., column] = rois[:, column].unsqueeze(-1)
    return made.flatten(0, 1)


@kernel(
    "npu::npu_random_choice_with_mask_core(Tensor x, Tensor order, int count) -> (Tensor, Tensor)"
)
def _choice(x: Tensor, order: Tensor, count: int) -> tuple[Tensor, Tensor]:
    flat = x.flatten().bool()
    places = torch.where(flat, order, 2.0).argsort()[:count]
    mask = flat[places]
    index = []
    rest = torch.where(mask, places, 0)
    for size in reversed(x.shape):
        index.append(rest % size)
        rest = rest // size
    made = torch.stack(index[::-1], -1).to(torch.int32)
    short = count - places.shape[0]
    return F.pad(made, (0, 0, 0, short)), F.pad(mask, (0, short))


def npu_random_choice_with_mask(
    x: Tensor, count: int = 256, seed: int = 0, seed2: int = 0
) -> tuple[Tensor, Tensor]:
    """Return places (count, dimensions; int32) of true elements in a random order, and which hold.

    A seed draws from a generator of its own; the order is porter's.
    """
    if seed or seed2:
        generator = torch.Generator().manual_seed(seed * 1000003 + seed2)
        order = torch.rand(x.numel(), generator=generator).to(x.device)
    else:
        order = torch.rand(x.numel(), device=x.device)
    return torch.ops.npu.npu_random_choice_with_mask_core(  # type: ignore[no-any-return]
        x, order, count or x.numel()
    )


@fused("npu", "npu_deformable_conv2d_core")
def _deformable(
    input: Tensor,
    weight: Tensor,
    offset: Tensor,
    bias: Tensor | None,
    kernel: list[int],
    stride: list[int],
    padding: list[int],
    dilation: list[int],
    groups: int,
    parts: int,
) -> tuple[Tensor, Tensor]:
    full, (rows, columns) = wide(input), kernel
    height, width = full.shape[-2:]
    high, across = offset.shape[-2:]
    shifts = wide(offset).view(offset.shape[0], 3, parts, rows, columns, high, across)
    y, x = (
        torch.arange(n, device=input.device) * step - before
        for n, step, before in ((high, stride[0], padding[0]), (across, stride[1], padding[2]))
    )
    taps_y, taps_x = (
        torch.arange(n, device=input.device) * step
        for n, step in ((rows, dilation[0]), (columns, dilation[1]))
    )
    at_x = shifts[:, 0] + taps_x.view(1, -1, 1, 1) + x.view(1, 1, 1, -1)
    at_y = shifts[:, 1] + taps_y.view(-1, 1, 1, 1) + y.view(1, 1, -1, 1)
    # (batch, parts, taps, taps, high, across) -> an image of taps side by side
    order = (0, 1, 4, 2, 5, 3)
    at_x, at_y, mask = (
        t.permute(order).flatten(2, 3).flatten(3) for t in (at_x, at_y, shifts[:, 2])
    )
    grid = torch.stack(
        (at_x * 2 / max(width - 1, 1) - 1, at_y * 2 / max(height - 1, 1) - 1), -1
    ).flatten(0, 1)
    channels = full.unflatten(1, (parts, -1)).flatten(0, 1)
    sampled = F.grid_sample(channels, grid, padding_mode="zeros", align_corners=True)
    sampled = sampled * mask.flatten(0, 1).unsqueeze(1)
    sampled = sampled.unflatten(0, (-1, parts)).flatten(1, 2)
    shift = None if bias is None else wide(bias)
    result = F.conv2d(sampled, wide(weight), shift, stride=kernel, groups=groups)
    return result.to(input.dtype), sampled.to(input.dtype)


def npu_deformable_conv2d(
    input: Tensor,
    weight: Tensor,
    offset: Tensor,
    bias: Tensor | None,
    kernel_size: list[int],
    stride: list[int],
    padding: list[int],
    dilation: list[int] | tuple[int, ...] = (1, 1, 1, 1),
    groups: int = 1,
    deformable_groups: int = 1,
    modulated: bool = True,
) -> tuple[Tensor, Tensor]:
    """Return a deformable convolution (version 2) and the samples that it convolves.

    All are NCHW; ``offset`` holds the shifts to the right, down, and the weights of all taps.
    Strides and dilations are four numbers, of which the last two count; paddings top, bottom, left,
    right.
    """
    if not modulated:
        raise BadInput("npu_deformable_conv2d: modulated=False is not supported by the operator")
    return _deformable(
        input, weight, offset, bias, list(kernel_size), list(stride[-2:]), list(padding),
        list(dilation[-2:]), groups, deformable_groups,
    )  # fmt: skip


def npu_deformable_conv2dbk(
    input: Tensor,
    grad_output: Tensor,
    offset_out: Tensor,
    weight: Tensor,
    offset: Tensor,
    kernel_size: list[int],
    stride: list[int],
    padding: list[int],
    dilation: list[int] | tuple[int, ...] = (1, 1, 1, 1),
    groups: int = 1,
    deformable_groups: int = 1,
    modulated: bool = True,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return the gradients of input, weight, offset and bias."""
    if not modulated:
        raise BadInput("npu_deformable_conv2dbk: modulated=False is not supported by the operator")
    given = [input, weight, offset, grad_output.new_zeros(weight.shape[0])]
    found = torch.ops.npu.npu_deformable_conv2d_core_simulated_backward(
        [grad_output, None], *given, list(kernel_size), list(stride[-2:]), list(padding),
        list(dilation[-2:]), groups, deformable_groups,
    )  # fmt: skip
    return tuple(found)
