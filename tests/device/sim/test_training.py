"""Training on the device equals training on the CPU, to the bit."""

from __future__ import annotations

import copy
import warnings

import pytest
import torch
from torch import nn
from torch.nn import functional as F


class Block(nn.Module):
    """A small convolutional classifier with the layers of diffusion models."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Conv2d(3, 8, 3, padding=1)
        self.norm = nn.GroupNorm(2, 8)
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)
        self.head = nn.Linear(8, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = F.silu(self.norm(self.inner(x))).flatten(2).transpose(1, 2)
        h = h + self.attention(h, h, h, need_weights=False)[0]
        out: torch.Tensor = self.head(h.mean(1))
        return out


def _train(model: nn.Module, device: str, optimizer: str, steps: int = 3) -> list[float]:
    x, target = torch.randn(4, 3, 8, 8).to(device), torch.arange(4).to(device)
    step = getattr(torch.optim, optimizer)(model.parameters(), lr=1e-2, foreach=False)
    losses = []
    for _ in range(steps):
        step.zero_grad(set_to_none=True)
        loss = F.cross_entropy(model(x), target)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        step.step()
        losses.append(loss.item())
    return losses


@pytest.mark.parametrize("optimizer", ["AdamW", "SGD", "RMSprop"])
def test_training_is_bit_equal_to_the_cpu(kind: str, optimizer: str) -> None:
    torch.manual_seed(0)
    model = Block()
    twin = copy.deepcopy(model).to(kind)
    torch.manual_seed(1)
    expected = _train(model, "cpu", optimizer)
    torch.manual_seed(1)
    assert _train(twin, kind, optimizer) == expected
    for ours, theirs in zip(twin.parameters(), model.parameters(), strict=True):
        assert torch.equal(ours.cpu(), theirs)


@pytest.mark.parametrize("form", [{}, {"foreach": True}, {"fused": True}, {"capturable": True}])
def test_every_form_of_adamw_runs(kind: str, form: dict[str, bool]) -> None:
    model = nn.Linear(3, 3).to(kind)
    optimizer = torch.optim.AdamW(model.parameters(), **form)
    before = model.weight.detach().clone()
    model(torch.ones(1, 3, device=kind)).sum().backward()
    optimizer.step()
    assert not torch.equal(model.weight, before)
    assert optimizer.state[model.weight]["exp_avg"].device.type == kind


def test_functional_transforms_and_scripts_run(kind: str) -> None:
    x = torch.randn(4, 3, device=kind)
    model = nn.Linear(3, 3).to(kind)
    found = [
        torch.vmap(lambda a: a * 2)(x),
        torch.func.grad(lambda a: (a**2).sum())(x),
        torch.func.jvp(lambda a: a**2, (x,), (x,))[1],
        torch.func.functional_call(model, dict(model.named_parameters()), (x,)),
        torch.jit.trace(model, x)(x),
        torch.jit.script(model)(x),
    ]
    assert {tensor.device.type for tensor in found} == {kind}


def test_autocast_follows_the_devices_own_lists(kind: str) -> None:
    x, weight = torch.randn(4, 4, device=kind), nn.Parameter(torch.randn(4, 4, device=kind))
    low = {"cuda": torch.float16, "hpu": torch.bfloat16, "npu": torch.float16}[kind]
    norm = {"cuda": torch.float32, "hpu": torch.bfloat16, "npu": torch.float32}[kind]
    with torch.autocast(kind):
        assert (x @ weight).dtype == low
        assert F.layer_norm(x.half(), (4,)).dtype in (norm, torch.bfloat16)
        assert (x.to(low) * 2).dtype == low
        assert torch.exp(x.to(low)).dtype == torch.float32
        assert F.softmax(x, -1).dtype == (low if kind == "hpu" else torch.float32)
        assert (torch.randn(4, 4) @ torch.randn(4, 4)).dtype == torch.float32
        with torch.autocast(kind, enabled=False):
            assert (x @ weight).dtype == torch.float32
    assert (x @ weight).dtype == torch.float32


def test_autocast_gradients_reach_float32_weights(kind: str) -> None:
    model = nn.Linear(4, 4).to(kind)
    with torch.autocast(kind, dtype=torch.bfloat16):
        loss = model(torch.randn(2, 4, device=kind)).float().sum()
    loss.backward()
    assert model.weight.grad is not None
    assert model.weight.grad.dtype == torch.float32


def test_autocast_of_another_device_does_nothing(kind: str) -> None:
    x = torch.randn(2, 2, device=kind)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert (x @ x).device.type == kind


@pytest.mark.filterwarnings("ignore:.*GradScaler.*")
def test_grad_scaler_unscales_and_skips_overflows(kind: str) -> None:
    model = nn.Linear(2, 1).to(kind)
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    scaler = torch.amp.GradScaler(kind, init_scale=1024.0)
    scaler.scale(model(torch.ones(1, 2, device=kind)).sum()).backward()
    before = model.weight.detach().clone()
    scaler.step(optimizer)
    scaler.update()
    assert torch.equal(before - 1, model.weight.detach())
    model.weight.grad = torch.full_like(model.weight, float("inf"))
    scaler.scale(torch.ones(1, device=kind))
    scaler.step(optimizer)
    scaler.update()
    assert torch.equal(before - 1, model.weight.detach())
    assert scaler.get_scale() == 512.0


def test_half_products_may_have_float32_results(kind: str) -> None:
    a, b = torch.randn(3, 4, device=kind).half(), torch.randn(4, 2, device=kind).half()
    wide = torch.mm(a, b, out_dtype=torch.float32)
    assert torch.equal(wide, a.float() @ b.float())
    assert wide.device.type == kind


def test_inference_mode_and_no_grad_work(kind: str) -> None:
    model = nn.Linear(2, 2).to(kind)
    with torch.inference_mode():
        out = model(torch.ones(1, 2, device=kind))
    with torch.no_grad():
        other = model(torch.ones(1, 2, device=kind))
    assert torch.equal(out, other)
    assert out.device.type == kind
    assert not other.requires_grad


def test_custom_autograd_functions_see_device_tensors(kind: str) -> None:
    seen = []

    class Double(torch.autograd.Function):
        @staticmethod
        def forward(_: object, x: torch.Tensor) -> torch.Tensor:
            seen.append(x.device.type)
            return x * 2

        @staticmethod
        def backward(_: object, grad: torch.Tensor) -> torch.Tensor:
            seen.append(grad.device.type)
            return grad * 2

    x = torch.ones(2, device=kind, requires_grad=True)
    Double.apply(x).sum().backward()
    assert seen == [kind, kind]
    assert x.grad is not None
    assert x.grad.tolist() == [2, 2]


def test_a_simulation_leaves_no_trace_behind() -> None:
    from porter.device.sim.activate import simulated

    before = (torch.tensor, torch.Tensor.to, torch.Generator, torch.nn.Module._apply, torch.compile)
    with simulated("hpu"):
        assert torch.Tensor.to is not before[1]
    after = (torch.tensor, torch.Tensor.to, torch.Generator, torch.nn.Module._apply, torch.compile)
    assert before == after
    assert not hasattr(torch, "hpu")
    with warnings.catch_warnings(), pytest.raises((RuntimeError, ModuleNotFoundError)):
        torch.ones(1, device="hpu")


def test_clipping_gradients_copies_nothing_off_the_device(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = nn.Linear(3, 3).to(kind)
    model(torch.ones(1, 3, device=kind)).sum().backward()
    moved: list[str] = []
    native = torch.Tensor.to

    def to(self: torch.Tensor, *args: object, **kwargs: object) -> torch.Tensor:
        moved.extend(str(a) for a in args if isinstance(a, torch.device) and a.type == "cpu")
        return native(self, *args, **kwargs)

    monkeypatch.setattr(torch.Tensor, "to", to)
    nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    assert not moved
