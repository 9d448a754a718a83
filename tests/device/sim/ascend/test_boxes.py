"""Detection operators of torch_npu against the vendor's examples and plain loops."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")
import torch.nn.functional as F  # noqa: E402

from porter.device.sim.activate import simulated  # noqa: E402
from porter.device.sim.ascend import boxes  # noqa: E402
from porter.errors import BadInput  # noqa: E402

npu = torch.ops.npu


def random_boxes(count, seed=0, size=20.0):
    generator = torch.Generator().manual_seed(seed)
    low = torch.rand(count, 2, generator=generator) * size
    return torch.cat((low, low + 1 + torch.rand(count, 2, generator=generator) * size), -1)


def overlap(a, b):
    wide = max(0.0, min(a[2], b[2]) - max(a[0], b[0]))
    high = max(0.0, min(a[3], b[3]) - max(a[1], b[1]))
    return wide * high


def area(box):
    return (box[2] - box[0]) * (box[3] - box[1])


@pytest.mark.parametrize("mode", [0, 1])
def test_overlaps_are_rows_of_true_boxes(mode):
    ours, true = random_boxes(4), random_boxes(3, seed=1)
    out, exact = npu.npu_iou(ours, true, mode), npu.npu_ptiou(ours, true, mode)
    for row, gt in enumerate(true.tolist()):
        for column, box in enumerate(ours.tolist()):
            common = overlap(gt, box)
            whole = area(gt) if mode else area(gt) + area(box) - common
            assert out[row, column].item() == pytest.approx(
                (common + 0.001) / (whole + 0.001), 1e-4
            )
            assert exact[row, column].item() == pytest.approx(common / (whole + 0.001), 1e-4)


def test_overlaps_are_close_to_those_of_the_vendors_test():
    ours = torch.tensor([[0.0, 0, 10, 10], [10, 10, 20, 20], [32, 32, 38, 42]])
    true = torch.tensor([[0.0, 0, 10, 20], [0, 10, 10, 10], [10, 10, 20, 20]])
    expected = torch.tensor([[0.4985, 0, 0], [0, 0, 0], [0, 0.9961, 0]])
    assert torch.allclose(npu.npu_iou(ours, true, 0), expected, atol=5e-3)


def greedy(found, threshold):
    """Boxes in order; an earlier kept one suppresses a later one."""
    kept = []
    for index, box in enumerate(found):
        if all(
            overlap(box, found[k]) / (area(box) + area(found[k]) - overlap(box, found[k]))
            <= threshold
            for k in kept
        ):
            kept.append(index)
    return kept


def test_suppression_keeps_what_no_earlier_box_covers():
    given = torch.cat((random_boxes(12), torch.linspace(1, 0, 12).unsqueeze(-1)), -1)
    rows, places, mask = npu.npu_nms_with_mask(given, 0.2)
    assert mask.nonzero().flatten().tolist() == greedy(given[:, :4].tolist(), 0.2)
    assert torch.equal(rows, given)
    assert places.tolist() == list(range(12))
    assert 1 < mask.sum() < 12


@pytest.mark.parametrize("shared", [False, True])
def test_batches_are_suppressed_by_class_and_the_best_of_all_stay(shared):
    images, count, classes = 2, 10, 3
    kinds_of_boxes = 1 if shared else classes
    where = torch.stack([
        torch.stack([random_boxes(count, seed=9 * i + c) for c in range(kinds_of_boxes)], 1)
        for i in range(images)
    ])  # fmt: skip
    scores = torch.rand(images, count, classes, generator=torch.Generator().manual_seed(4))
    out, best, kinds, held = npu.npu_batch_nms(where, scores, 0.3, 0.4, 4, 7)
    for image in range(images):
        wanted = []
        for kind in range(classes):
            order = scores[image, :, kind].argsort(descending=True)
            order = [int(i) for i in order if scores[image, i, kind] > 0.3]
            mine = where[image, order, 0 if shared else kind].tolist()
            for index in greedy(mine, 0.4)[:4]:
                wanted.append((scores[image, order[index], kind].item(), kind, mine[index]))
        wanted = sorted(wanted, key=lambda row: -row[0])[:7]
        number = len(wanted)
        assert held[image] == number
        assert best[image].tolist() == pytest.approx([w[0] for w in wanted] + [0.0] * (7 - number))
        assert kinds[image, :number].tolist() == [w[1] for w in wanted]
        assert torch.allclose(out[image, :number], torch.tensor([w[2] for w in wanted]))
        assert not out[image, number:].any()
    with pytest.raises(BadInput, match="transpose_box"):
        npu.npu_batch_nms(where, scores, 0.3, 0.4, 4, 7, transpose_box=True)


def test_boxes_are_encoded_and_decoded_as_in_the_vendors_examples():
    anchors = torch.tensor([[1.0, 2, 3, 4], [3, 4, 5, 6]])
    true = torch.tensor([[5.0, 6, 7, 8], [7, 8, 9, 6]])
    out = npu.npu_bounding_box_encode(anchors, true, 0, 0, 0, 0, 0.1, 0.1, 0.2, 0.2)
    expected = torch.tensor([[13.3281, 13.3281, 0, 0], [13.3281, 6.6641, 0, -5.4922]])
    assert torch.allclose(out, expected, rtol=1e-3)
    deltas = torch.tensor([[5.0, 6, 7, 8], [7, 8, 9, 6]])
    back = npu.npu_bounding_box_decode(anchors, deltas, 0, 0, 0, 0, 1, 1, 1, 1, (10, 10), 0.1)
    assert torch.allclose(back, torch.tensor([[2.5, 6.5, 9, 9], [9, 9, 9, 9]]), atol=1e-5)


def test_decoding_inverts_encoding():
    anchors, true = random_boxes(6), random_boxes(6, seed=3)
    numbers = (0.1, 0.2, 0.0, -0.1, 0.5, 0.5, 0.2, 0.2)
    deltas = npu.npu_bounding_box_encode(anchors, true, *numbers)
    back = npu.npu_bounding_box_decode(anchors, deltas, *numbers, [99, 99], 0.001)
    assert torch.allclose(back, true, atol=1e-3)


def bilinear(image, y, x):
    height, width = image.shape
    if y < -1 or y > height or x < -1 or x > width:
        return torch.zeros(())
    y, x = min(max(y, 0.0), height - 1.0), min(max(x, 0.0), width - 1.0)
    top, left = min(int(y), height - 2), min(int(x), width - 2)
    dy, dx = y - top, x - left
    rows = image[top, left : left + 2] * (1 - dy) + image[top + 1, left : left + 2] * dy
    return rows[0] * (1 - dx) + rows[1] * dx


FEATURES = torch.arange(1.0, 37.0).view(1, 1, 6, 6)
ROI = torch.tensor([[0, -2.0, -2.0, 22.0, 22.0]])


def test_regions_are_those_of_the_vendors_example():
    out = npu.npu_roi_align(FEATURES, ROI, 0.25, 3, 3, 2, 0)
    expected = torch.tensor([[4.5, 6.5, 8.5], [16.5, 18.5, 20.5], [28.5, 30.5, 32.5]])
    assert torch.allclose(out[0, 0], expected)


def test_the_gradient_of_regions_is_that_of_the_vendors_test():
    """Its numbers are those of mode 1, which the operator takes where none is given."""
    out = npu.npu_roi_align(FEATURES, ROI, 0.25, 3, 3, 2, 0)
    found = npu.npu_roi_alignbk(out, ROI, [1, 1, 6, 6], 3, 3, 0.25, 2)
    first = torch.tensor([1.0786, 1.0557, 1.4942, 1.5248, 1.9226, 2.4709])
    last = torch.tensor([8.2847, 8.1084, 8.6403, 8.6774, 9.1598, 11.4575])
    assert torch.allclose(found[0, 0, 0], first, atol=2e-3)
    assert torch.allclose(found[0, 0, -1], last, atol=5e-3)


@pytest.mark.parametrize("mode", [0, 1, 2])
def test_regions_are_means_of_bilinear_samples(mode):
    features = torch.randn(2, 3, 7, 9, generator=torch.Generator().manual_seed(1))
    rois = torch.tensor([[1, 0.0, 2.0, 11.0, 9.0], [0, 4.0, -6.0, 5.0, 30.0]])
    out = npu.npu_roi_align(features, rois, 0.5, 2, 3, 2, mode)
    half, more = (0.5, 0) if mode == 2 else (0.0, int(mode == 1))
    for number, (image, *corners) in enumerate(rois.tolist()):
        x0, y0 = corners[0] * 0.5 - half, corners[1] * 0.5 - half
        x1, y1 = (corners[2] + more) * 0.5 - half, (corners[3] + more) * 0.5 - half
        least = 0.0 if mode == 2 else 1.0
        step_x, step_y = max(x1 - x0, least) / 3 / 2, max(y1 - y0, least) / 2 / 2
        for row in range(2):
            for column in range(3):
                samples = [
                    bilinear(
                        features[int(image), 1],
                        y0 + (2 * row + i + 0.5) * step_y, x0 + (2 * column + j + 0.5) * step_x,
                    )
                    for i in range(2) for j in range(2)
                ]  # fmt: skip
                assert out[number, 1, row, column].item() == pytest.approx(
                    torch.stack(samples).mean().item(), abs=1e-5
                )
    features.requires_grad_()
    slope = torch.randn(2, 3, 2, 3, generator=torch.Generator().manual_seed(2))
    npu.npu_roi_align(features, rois, 0.5, 2, 3, 2, mode).backward(slope)
    found = npu.npu_roi_alignbk(slope, rois, [2, 3, 7, 9], 3, 2, 0.5, 2, mode)
    assert torch.allclose(found, features.grad, atol=1e-5)


def test_a_choice_takes_true_places_in_a_random_order():
    x = torch.rand(5, 6, generator=torch.Generator().manual_seed(0)) > 0.5
    places, mask = boxes.npu_random_choice_with_mask(x, 40, 1, 2)
    assert mask.sum() == x.sum()
    assert sorted(map(tuple, places[mask].tolist())) == list(map(tuple, x.nonzero().tolist()))
    few, held = boxes.npu_random_choice_with_mask(x, 4, 1, 2)
    assert torch.equal(few, places[:4])
    assert held.all()
    assert not torch.equal(few, boxes.npu_random_choice_with_mask(x, 4, 2, 2)[0])


def deformed(x, weight, offset, bias, kernel, stride, padding, dilation, parts):
    """One tap of one output at a time; shifts to the right come first, then down, then weights."""
    batch, channels = x.shape[:2]
    high, wide = offset.shape[-2:]
    taps = offset.view(batch, 3, parts, *kernel, high, wide)
    out = torch.zeros(batch, weight.shape[0], high, wide, dtype=x.dtype)
    for n, row, column in torch.cartesian_prod(*map(torch.arange, (batch, high, wide))).tolist():
        patch = torch.zeros(channels, *kernel, dtype=x.dtype)
        for i, j, c in torch.cartesian_prod(*map(torch.arange, (*kernel, channels))).tolist():
            dx, dy, mask = taps[n, :, c // (channels // parts), i, j, row, column].tolist()
            y = row * stride[0] - padding[0] + i * dilation[0] + dy
            z = column * stride[1] - padding[2] + j * dilation[1] + dx
            padded = F.pad(x[n, c], (1, 1, 1, 1))
            inside = -1 < y < x.shape[2] and -1 < z < x.shape[3]
            patch[c, i, j] = mask * bilinear(padded, y + 1, z + 1) if inside else 0.0
        out[n, :, row, column] = torch.einsum("ocij,cij->o", weight, patch) + bias
    return out


def test_a_deformable_convolution_samples_between_pixels():
    generator = torch.Generator().manual_seed(5)
    x, weight, bias = (
        torch.randn(*s, generator=generator) for s in ((2, 4, 5, 6), (3, 4, 3, 2), (3,))
    )
    offset = torch.randn(2, 3 * 2 * 6, 3, 6, generator=generator)
    arguments = ([3, 2], [1, 1, 2, 1], [1, 1, 1, 1], [1, 1, 1, 2])
    out, sampled = boxes.npu_deformable_conv2d(
        x, weight, offset, bias, *arguments, deformable_groups=2
    )
    expected = deformed(x, weight, offset, bias, (3, 2), (2, 1), (1, 1, 1, 1), (1, 2), 2)
    assert torch.allclose(out, expected, atol=1e-4)
    assert sampled.shape == (2, 4, 9, 12)
    given = [t.clone().requires_grad_() for t in (x, weight, offset, bias)]
    made, _ = boxes.npu_deformable_conv2d(*given, *arguments, deformable_groups=2)
    slope = torch.randn(made.shape, generator=generator)
    found = boxes.npu_deformable_conv2dbk(
        x, slope, sampled, weight, offset, *arguments, deformable_groups=2
    )
    for ours, theirs in zip(found, torch.autograd.grad(made, given, slope), strict=True):
        assert torch.allclose(ours, theirs, atol=1e-5)


def test_on_the_device_detection_stays_there_and_gives_the_cpus_values():
    where, scores = random_boxes(6).view(1, 6, 1, 4), torch.rand(1, 6, 2)
    with simulated("npu"):
        import torch_npu

        found = torch_npu.npu_batch_nms(where.npu(), scores.npu(), 0.1, 0.5, 3, 4)
        for ours, theirs in zip(
            found, npu.npu_batch_nms(where, scores, 0.1, 0.5, 3, 4), strict=True
        ):
            assert ours.device.type == "npu"
            assert torch.equal(ours.cpu(), theirs)
        places, _ = torch_npu.npu_random_choice_with_mask(torch.ones(5, dtype=torch.bool).npu(), 3)
        assert places.device.type == "npu"
