"""NpuFusedAdamW, its fused clipping, and GradScaler with ``dynamic``, against PyTorch's own."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from porter.device.sim.ascend.amp import GradScaler  # noqa: E402
from porter.device.sim.ascend.optimizers import (  # noqa: E402
    NpuFusedAdam,
    NpuFusedAdamW,
    NpuFusedSGD,
)


def model():
    torch.manual_seed(7)
    return torch.nn.Sequential(
        torch.nn.Conv2d(3, 4, 3), torch.nn.Flatten(), torch.nn.Linear(16, 2)
    ).to(memory_format=torch.channels_last)


def train(module, optimizer, steps=4):
    for step in range(steps):
        optimizer.zero_grad(set_to_none=False)
        data = torch.randn(2, 3, 4, 4, generator=torch.Generator().manual_seed(step))
        module(data).square().sum().backward()
        optimizer.step()
    return [p.detach().clone() for p in module.parameters()]


@pytest.mark.parametrize(
    ("fused", "plain", "options"),
    [
        (NpuFusedAdamW, torch.optim.AdamW, {"lr": 1e-2}),
        (NpuFusedAdamW, torch.optim.AdamW, {"lr": 1e-2, "amsgrad": True, "weight_decay": 0.1}),
        (NpuFusedAdam, torch.optim.Adam, {"lr": 1e-2, "weight_decay": 0.1}),
        (NpuFusedSGD, torch.optim.SGD, {"lr": 1e-3, "momentum": 0.9, "nesterov": True}),
    ],
)
def test_the_fused_optimizers_take_the_steps_of_the_plain_ones(fused, plain, options):
    first, second = model(), model()
    found = train(first, fused(first.parameters(), **options))
    expected = train(second, plain(second.parameters(), **options))
    for one, other in zip(found, expected, strict=True):
        assert torch.allclose(one, other, atol=1e-6)


def test_parameters_and_gradients_become_views_of_one_buffer():
    module = model()
    optimizer = NpuFusedAdamW(module.parameters())
    train(module, optimizer, 1)
    (buffer,) = optimizer.get_combined_params()
    pointers = {p.untyped_storage().data_ptr() for p in module.parameters()}
    assert pointers == {buffer.untyped_storage().data_ptr()}
    assert module[0].weight.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("norm_type", [2.0, 1.0, float("inf")])
def test_fused_clipping_is_clip_grad_norm(norm_type):
    first, second = model(), model()
    data = torch.randn(2, 3, 4, 4)
    for module in (first, second):
        module(data).square().sum().backward()
    optimizer = NpuFusedAdamW(first.parameters())
    norm = optimizer.clip_grad_norm_fused_(0.5, norm_type)
    expected = torch.nn.utils.clip_grad_norm_(second.parameters(), 0.5, norm_type)
    assert torch.allclose(norm, expected)
    for one, other in zip(first.parameters(), second.parameters(), strict=True):
        assert torch.allclose(one.grad, other.grad, atol=1e-7)


def test_small_gradients_are_left_as_they_are():
    module = model()
    module(torch.ones(1, 3, 4, 4)).sum().backward()
    before = [p.grad.clone() for p in module.parameters()]
    NpuFusedAdamW(module.parameters()).clip_grad_norm_fused_(1e9)
    assert all(torch.equal(p.grad, b) for p, b in zip(module.parameters(), before, strict=True))


def test_dropping_gradients_is_refused_and_dropping_them_elsewhere_warns():
    module = model()
    optimizer = NpuFusedAdamW(module.parameters())
    train(module, optimizer, 1)
    with pytest.raises(ValueError, match="set_to_none"):
        optimizer.zero_grad(set_to_none=True)
    module.zero_grad()
    module(torch.ones(1, 3, 4, 4)).sum().backward()
    with pytest.warns(UserWarning, match="combined"):
        optimizer.step()


def test_bfloat16_parameters_are_refused_as_by_the_vendor():
    weight = torch.nn.Parameter(torch.ones(2, dtype=torch.bfloat16))
    weight.sum().backward()
    with pytest.raises(TypeError, match="bfloat16"):
        NpuFusedAdamW([weight]).step()


def test_a_saved_optimizer_continues_where_it_was():
    first, second = model(), model()
    one = NpuFusedAdamW(first.parameters(), lr=1e-2)
    train(first, one, 2)
    second.load_state_dict(first.state_dict())
    other = NpuFusedAdamW(second.parameters(), lr=1e-2)
    other.load_state_dict(one.state_dict())
    for found, expected in zip(train(second, other, 2), train(first, one, 2), strict=True):
        assert torch.equal(found, expected)


def scaled_step(scaler, weight, optimizer, factor=1.0):
    optimizer.zero_grad(set_to_none=False)
    scaler.scale((weight * factor).sum()).backward()
    scaler.step(optimizer)
    scaler.update()


def test_a_static_scaler_keeps_its_scale_and_skips_no_step():
    weight = torch.nn.Parameter(torch.ones(2))
    optimizer = torch.optim.SGD([weight], lr=1.0)
    scaler = GradScaler(init_scale=128.0, dynamic=False)
    scaled_step(scaler, weight, optimizer)
    assert torch.equal(weight, torch.zeros(2))
    scaled_step(scaler, weight, optimizer, float("inf"))
    assert torch.isinf(weight).all()
    assert scaler.get_scale() == 128.0


def test_a_dynamic_scaler_skips_an_overflow_and_backs_off():
    weight = torch.nn.Parameter(torch.ones(2))
    optimizer = torch.optim.SGD([weight], lr=1.0)
    scaler = GradScaler(init_scale=128.0, growth_interval=2)
    scaled_step(scaler, weight, optimizer, float("inf"))
    assert torch.equal(weight, torch.ones(2))
    assert scaler.get_scale() == 64.0
    for _ in range(2):
        scaled_step(scaler, weight, optimizer)
    assert scaler.get_scale() == 128.0


def test_a_static_scaler_reads_nothing_on_the_host(monkeypatch):
    weight = torch.nn.Parameter(torch.ones(2))
    optimizer = NpuFusedAdamW([weight])
    scaler = GradScaler(dynamic=False)
    monkeypatch.setattr(torch.Tensor, "item", lambda _: pytest.fail("host read"))
    scaled_step(scaler, weight, optimizer)
    assert scaler.is_enabled()


def test_the_state_holds_whether_the_scaler_is_dynamic():
    scaler = GradScaler(dynamic=False)
    scaler.scale(torch.ones(1))
    other = GradScaler()
    other.load_state_dict(scaler.state_dict())
    assert other.state_dict()["dynamic"] is False
