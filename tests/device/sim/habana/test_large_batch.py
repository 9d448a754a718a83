"""LAMB, LARS and the moving average of Gaudi's package against plain torch, one value at a time."""

from __future__ import annotations

import copy
import math

import pytest

torch = pytest.importorskip("torch")

from porter.device.sim.habana import lamb as lamb_ops  # noqa: E402
from porter.device.sim.habana import large_batch  # noqa: E402


def model():
    torch.manual_seed(3)
    return torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Tanh(), torch.nn.Linear(4, 2))


def grads_of(module, step):
    module.zero_grad()
    generator = torch.Generator().manual_seed(step)
    module(torch.randn(5, 3, generator=generator)).square().sum().backward()


def lamb(weights, grads, means, squares, step, *, decay, use_lamb, averaging, correct):
    norm = math.sqrt(sum(g.double().square().sum().item() for g in grads))
    clip = max(norm, 1.0)
    for weight, grad, mean, square in zip(weights, grads, means, squares, strict=True):
        grad = grad / clip
        mean.copy_(0.9 * mean + (0.1 if averaging else 1.0) * grad)
        square.copy_(0.999 * square + 0.001 * grad**2)
        first, second = (1 - 0.9**step, 1 - 0.999**step) if correct else (1, 1)
        update = mean / first / ((square / second).sqrt() + 1e-6) + decay * weight
        ratio = weight.norm() / update.norm() if decay or use_lamb else 1.0
        weight.sub_(0.01 * ratio * update)


def test_the_operators_of_lamb_are_the_optimizer():
    ours, grads_by = model(), []
    plain = copy.deepcopy(ours)
    optimizer = large_batch.FusedLamb(plain.parameters(), lr=0.01, weight_decay=0.1)
    weights = [p.detach() for p in ours.parameters()]
    means, squares, steps = ([torch.zeros_like(w) for w in weights] for _ in range(3))
    sizes, slopes = ([torch.zeros(1) for _ in weights] for _ in range(2))
    for step in range(1, 3):
        grads_of(plain, step)
        grads_by = [p.grad.clone() for p in plain.parameters()]
        optimizer.step()
        clip = torch.ops.hpu.optimizer_lamb_fused_norm(grads_by, 1.0)
        torch.ops.hpu.optimizer_lamb_phase1(
            grads_by, weights, means, squares, sizes, slopes, steps, clip, 1, 0.9, 0.999, 1e-6,
            torch.tensor(1 - 0.9**step), torch.tensor(1 - 0.999**step), 0.1,
        )  # fmt: skip
        torch.ops.hpu.optimizer_lamb_phase2(
            weights, slopes, sizes, steps, torch.tensor(-0.01), 0.1, False
        )
    assert clip.shape == (1,)
    for weight, param in zip(weights, plain.parameters(), strict=True):
        assert torch.allclose(weight, param, atol=1e-6)


def test_the_softmax_is_that_of_the_vendors_test():
    x = torch.tensor(
        [[0.0, 1, 2, 3], [1000, 1000, 0, 1004], [-9984, -9984, -9984, -1000]], dtype=torch.bfloat16
    ).requires_grad_()
    out = lamb_ops.CustomSoftmax.apply(x, 0)
    expected = [[0.0320, 0.0869, 0.2373, 0.6445], [0.0177, 0.0177, 0, 0.9648], [0, 0, 0, 1]]
    assert torch.allclose(out.float(), torch.tensor(expected), atol=1e-3)
    slope = torch.arange(12.0).view(3, 4).bfloat16()
    out.backward(slope)
    plain = x.detach().float().requires_grad_()
    plain.softmax(-1).backward(slope.float())
    assert torch.allclose(x.grad.float(), plain.grad, atol=0.02)


@pytest.mark.parametrize(
    "options",
    [
        {"decay": 0.1, "use_lamb": False, "averaging": True, "correct": True},
        {"decay": 0.0, "use_lamb": True, "averaging": False, "correct": True},
        {"decay": 0.0, "use_lamb": False, "averaging": True, "correct": False},
    ],
)
def test_lamb_takes_the_steps_of_its_paper(options):
    ours = model()
    weights = [p.detach().clone() for p in ours.parameters()]
    means, squares = ([torch.zeros_like(w) for w in weights] for _ in range(2))
    optimizer = large_batch.FusedLamb(
        ours.parameters(), lr=0.01, weight_decay=options["decay"], use_lamb=options["use_lamb"],
        grad_averaging=options["averaging"], bias_correction=options["correct"],
    )  # fmt: skip
    for step in range(1, 4):
        grads_of(ours, step)
        grads = [p.grad.clone() for p in ours.parameters()]
        optimizer.step()
        lamb(weights, grads, means, squares, step, **options)
    for param, weight in zip(ours.parameters(), weights, strict=True):
        assert torch.allclose(param, weight, atol=1e-5)
    optimizer.zero_grad()
    assert all(p.grad is None for p in ours.parameters())


def test_lars_scales_what_its_mask_marks_and_the_momentum_adds_its_first_gradient():
    ours, mask = model(), [1, 0, 0, 1]
    weights = [p.detach().clone() for p in ours.parameters()]
    inner = large_batch.FusedResourceApplyMomentum(ours.parameters(), 0.1, 0.9, 0.01)
    optimizer = large_batch.FusedLars(inner, mask)
    buffers = [None] * 4
    for step in range(3):
        grads_of(ours, step)
        grads = [p.grad.clone() for p in ours.parameters()]
        optimizer.step()
        for at, (weight, grad) in enumerate(zip(weights, grads, strict=True)):
            rate = 0.1
            if mask[at]:
                ratio = 0.001 * weight.norm() / (grad.norm() + 0.01 * weight.norm() + 1e-8)
                rate, grad = rate * ratio, grad + 0.01 * weight
            first = buffers[at] is None
            buffers[at] = rate * grad if first else 0.9 * buffers[at] - rate * grad
            weight.add_(buffers[at])
    assert inner.param_groups[0]["weight_decay"] == 0.01
    for param, weight in zip(ours.parameters(), weights, strict=True):
        assert torch.allclose(param, weight, atol=1e-6)


def test_an_average_follows_with_a_growing_decay():
    average, ours = large_batch.FusedEMA(model(), 0.5), model()
    expected = copy.deepcopy(average.ema.state_dict())
    for step in range(1, 3):
        for param in ours.parameters():
            param.data.add_(step)
        average.update(ours)
        decay = 0.5 * (1 - math.exp(-step / 2000))
        for name, value in ours.state_dict().items():
            expected[name] = expected[name] * decay + value * (1 - decay)
    for name, value in average.ema.state_dict().items():
        assert torch.allclose(value, expected[name], atol=1e-6)
    ours.note, ours.process_group = "kept", "left"
    average.update_attr(ours)
    assert average.ema.note == "kept"
    assert not hasattr(average.ema, "process_group")
