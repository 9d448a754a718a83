"""The simulated habana_frameworks kernels, optimizers and clipping against plain PyTorch."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")
import torch.nn.functional as F  # noqa: E402

from porter.device.sim.habana import kernels, optimizers  # noqa: E402


def drawn(*shape, dtype=torch.float32, seed=0):
    generator = torch.Generator().manual_seed(seed + sum(shape))
    return torch.randn(*shape, generator=generator, dtype=torch.float64).to(dtype)


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("scale", [None, 0.2])
def test_fused_sdpa_is_sdpa(causal, scale):
    q, k, v = (drawn(2, 3, 5, 8, seed=s) for s in range(3))
    out = kernels.FusedSDPA.apply(q, k, v, None, 0.0, causal, scale, "fast", True)
    expected = F.scaled_dot_product_attention(q, k, v, is_causal=causal, scale=scale)
    assert torch.allclose(out, expected, atol=1e-6)


def test_a_boolean_mask_shows_and_a_float_mask_is_added():
    q, k, v = (drawn(1, 2, 4, 8, seed=s) for s in range(3))
    for mask in (torch.eye(4, dtype=torch.bool), drawn(4, 4)):
        out = kernels.FusedSDPA.apply(q, k, v, mask)
        expected = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        assert torch.allclose(out, expected, atol=1e-6)


@pytest.mark.parametrize("side", ["left", "right"])
def test_valid_lengths_hide_the_padding(side):
    q, k, v = (drawn(2, 1, 4, 8, seed=s) for s in range(3))
    out = kernels.FusedSDPA.apply(
        q, k, v, None, 0.0, False, None, "fast", None, torch.tensor([4, 2]), side
    )
    part = slice(2, 4) if side == "left" else slice(0, 2)
    expected = F.scaled_dot_product_attention(q[1:], k[1:, :, part], v[1:, :, part])
    assert torch.allclose(out[1:], expected, atol=1e-6)


def test_sdpa_gradients_are_those_of_the_formula():
    tensors = [drawn(1, 1, 3, 4, dtype=torch.float64, seed=s).requires_grad_() for s in range(3)]
    assert torch.autograd.gradcheck(lambda q, k, v: kernels.FusedSDPA.apply(q, k, v), tensors)


def test_bfloat16_attention_rounds_once():
    q, k, v = (drawn(1, 2, 8, 16, dtype=torch.bfloat16, seed=s) for s in range(3))
    expected = F.scaled_dot_product_attention(q.float(), k.float(), v.float()).bfloat16()
    assert torch.equal(kernels.FusedSDPA.apply(q, k, v), expected)


def test_rope_picks_the_positions_given():
    p, angles = drawn(2, 3, 4, 8), drawn(10, 8)
    ids = torch.tensor([[0, 1, 2, 3], [5, 6, 7, 9]])
    out = kernels.RotaryPosEmbeddingHelperV2.apply(p, angles.cos(), angles.sin(), ids)
    first, second = p.chunk(2, -1)
    turned = torch.cat((-second, first), -1)
    cos, sin = (t[ids].unsqueeze(1) for t in (angles.cos(), angles.sin()))
    assert torch.equal(out, p * cos + turned * sin)


def test_rope_from_a_cache_turns_pairs_and_passes_the_rest():
    p, angles = drawn(3, 1, 2, 8), drawn(3, 1, 2)
    cache = torch.stack((angles.cos(), angles.sin()), -1)
    out = kernels.RotaryPosEmbeddingHelperV3.apply(p, cache)
    pairs = torch.view_as_complex(p[..., :4].unflatten(-1, (2, 2)).contiguous())
    turned = torch.view_as_real(pairs * torch.polar(torch.ones_like(angles), angles).unsqueeze(1))
    assert torch.allclose(out[..., :4], turned.flatten(-2), atol=1e-6)
    assert torch.equal(out[..., 4:], p[..., 4:])


def test_rms_norm_is_torchs():
    x, weight = drawn(4, 16), drawn(16)
    out = kernels.FusedRMSNorm.apply(x, weight, 1e-6)
    assert torch.allclose(out, F.rms_norm(x, (16,), weight, 1e-6), atol=1e-6)


@pytest.mark.parametrize(
    ("dtype", "limit"), [(torch.float8_e4m3fn, 240.0), (torch.float8_e5m2, 57344.0)]
)
def test_fp8_saturates_at_the_limits_of_a_gaudi2(dtype, limit):
    out, largest = kernels.cast_to_fp8_v2(torch.tensor([1.0, -1e9]), None, False, True, dtype)
    assert out.float().tolist() == [1.0, -limit]
    assert largest.item() == pytest.approx(1e9)


def model():
    torch.manual_seed(3)
    return torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.Tanh(), torch.nn.Linear(8, 2))


def train(module, optimizer, steps=4):
    for step in range(steps):
        optimizer.zero_grad()
        data = torch.randn(2, 4, generator=torch.Generator().manual_seed(step))
        module(data).square().sum().backward()
        optimizer.step()
    return torch.nn.utils.parameters_to_vector(module.parameters()).detach()


@pytest.mark.parametrize(
    ("fused", "plain", "options"),
    [
        (optimizers.FusedAdamW, torch.optim.AdamW, {"lr": 1e-2, "weight_decay": 0.1, "eps": 1e-12}),
        (optimizers.FusedSGD, torch.optim.SGD, {"lr": 1e-2, "momentum": 0.9, "nesterov": True}),
        (optimizers.FusedSGD, torch.optim.SGD, {"lr": 1e-2, "weight_decay": 0.1}),
        (optimizers.FusedAdagrad, torch.optim.Adagrad, {"lr": 1e-2, "lr_decay": 0.1}),
    ],
)
def test_the_fused_optimizers_take_the_steps_of_the_plain_ones(fused, plain, options):
    first, second = model(), model()
    found = train(first, fused(first.parameters(), **options))
    expected = train(second, plain(second.parameters(), **options))
    assert torch.allclose(found, expected, atol=1e-6)


def test_without_bias_correction_the_first_step_is_the_raw_ratio():
    weight = torch.nn.Parameter(torch.zeros(1))
    weight.grad = torch.tensor([2.0])
    optimizers.FusedAdamW([weight], lr=1.0, eps=0.0, bias_correction=False).step()
    assert weight.item() == pytest.approx(-0.1 * 2 / (0.001**0.5 * 2), rel=1e-5)


@pytest.mark.parametrize("max_norm", [0.1, 1e6])
def test_fused_clipping_is_clip_grad_norm_without_a_host_read(max_norm, monkeypatch):
    first, second = model(), model()
    for module in (first, second):
        module(torch.ones(2, 4)).square().sum().backward()
    expected = torch.nn.utils.clip_grad_norm_(second.parameters(), max_norm)
    monkeypatch.setattr(torch.Tensor, "item", lambda _: pytest.fail("host read"))
    norm = kernels.FusedClipNorm(first.parameters(), max_norm).clip_norm(first.parameters())
    assert torch.allclose(norm, expected)
    for one, other in zip(first.parameters(), second.parameters(), strict=True):
        assert torch.allclose(one.grad, other.grad)
