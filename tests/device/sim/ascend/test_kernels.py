"""The simulated torch_npu kernels against their documented formulas, in plain torch."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")
import torch.nn.functional as F  # noqa: E402
from torch.utils._python_dispatch import TorchDispatchMode  # noqa: E402

from porter.device.sim.ascend import attention, kernels, plain  # noqa: E402
from porter.errors import BadInput  # noqa: E402


def drawn(*shape, dtype=torch.float32, seed=0):
    generator = torch.Generator().manual_seed(seed + sum(shape))
    return torch.randn(*shape, generator=generator, dtype=torch.float64).to(dtype)


class Seen(TorchDispatchMode):
    """The names of the operators that ran."""

    def __init__(self):
        super().__init__()
        self.names = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.names.append(str(func))
        return func(*args, **(kwargs or {}))


def heads(tensor, count):
    return tensor.unflatten(-1, (count, -1)).transpose(1, 2)


def test_a_fused_kernel_is_one_operator_forward_and_one_backward():
    x = drawn(2, 8).requires_grad_()
    with Seen() as seen:
        out, gelu = kernels.npu_geglu(x)
        (out.sum() + gelu.sum()).backward()
    assert [n for n in seen.names if n.startswith("npu.")] == [
        "npu.npu_geglu.default",
        "npu.npu_geglu_simulated_backward.default",
    ]


def test_geglu_is_diffusers_geglu_with_tanh_gelu():
    x = drawn(3, 5, 16)
    left, right = x.chunk(2, -1)
    out, gelu = kernels.npu_geglu(x, dim=-1, approximate=1)
    assert torch.equal(gelu, F.gelu(right, approximate="tanh"))
    assert torch.equal(out, left * F.gelu(right, approximate="tanh"))


def test_geglu_can_activate_the_left_half_with_the_exact_gelu():
    x = drawn(3, 16)
    left, right = x.chunk(2, -1)
    out, _ = kernels.npu_geglu(x, -1, 0, True)
    assert torch.equal(out, right * F.gelu(left))


@pytest.mark.parametrize(
    "kernel",
    [
        lambda x: kernels.npu_geglu(x)[0],
        lambda x: kernels.npu_swiglu(x),
        lambda x: kernels.npu_fast_gelu(x),
        lambda x: kernels.npu_rms_norm(x, torch.linspace(0.5, 1.5, 8, dtype=x.dtype))[0],
        lambda x: kernels.npu_confusion_transpose(x, [1, 0], [2, 12], False),
        lambda x: kernels.npu_rotary_mul(
            x, drawn(3, 8).double(), drawn(3, 8).double(), "interleave"
        ),
    ],
)
def test_gradients_are_those_of_the_formula(kernel):
    x = drawn(3, 8, dtype=torch.float64).requires_grad_()
    assert torch.autograd.gradcheck(kernel, (x,))


def test_half_precision_is_computed_in_float32_and_rounded_once():
    x = (drawn(4, 64) * 8).half()
    weight = drawn(64).half()
    wide = x.float()
    expected = wide * torch.rsqrt(wide.square().mean(-1, keepdim=True) + 1e-6) * weight.float()
    assert torch.equal(kernels.npu_rms_norm(x, weight)[0], expected.half())


@pytest.mark.parametrize("dimensions", [1, 2])
def test_the_norms_own_backward_gives_the_gradients_of_the_forward(dimensions):
    x = drawn(3, 4, 8).requires_grad_()
    gamma = torch.linspace(0.5, 1.5, 8).expand(*x.shape[-dimensions:]).clone().requires_grad_()
    out, reciprocal = kernels.npu_rms_norm(x, gamma)
    slope = drawn(3, 4, 8, seed=2)
    expected = torch.autograd.grad(out, (x, gamma), slope)
    found = kernels.npu_rms_norm_backward(slope, x.detach(), gamma.detach(), reciprocal.detach())
    for ours, theirs in zip(found, expected, strict=True):
        assert torch.allclose(ours, theirs, atol=1e-5)


@pytest.mark.parametrize(
    ("perm", "shape", "first", "expected"),
    [
        ((0, 2, 1, 3), (2, 4, 18), True, (2, 4, 18)),
        ((0, 2, 1), (2, 12, 6), False, (2, 6, 12)),
    ],
)
def test_confusion_transpose_gives_the_shapes_of_its_document(perm, shape, first, expected):
    x = drawn(2, 3, 4, 6)
    out = kernels.npu_confusion_transpose(x, perm, shape, first)
    plainly = x.permute(perm).reshape(shape) if first else x.reshape(shape).permute(perm)
    assert out.shape == expected
    assert out.is_contiguous()
    assert torch.equal(out, plainly)


@pytest.mark.parametrize("layout", ["BSH", "SBH", "BSND", "BNSD"])
def test_fusion_attention_agrees_with_sdpa_in_every_layout(layout):
    q, k, v = drawn(2, 5, 32), drawn(2, 7, 32, seed=1), drawn(2, 7, 32, seed=2)
    scale = 8**-0.5
    expected = F.scaled_dot_product_attention(heads(q, 4), heads(k, 4), heads(v, 4))
    given = [attention.from_heads(heads(t, 4), layout) for t in (q, k, v)]
    out = attention.npu_fusion_attention(*given, 4, layout, scale=scale)
    assert torch.allclose(attention.to_heads(out[0], 4, layout), expected, atol=1e-6)
    assert out[1].shape == out[2].shape == (2, 4, 5, 8)


def test_fusion_attention_hides_where_the_mask_is_true():
    q, k, v = (drawn(1, 2, 4, 8, seed=s) for s in range(3))
    hidden = torch.tensor([[False, True, False, True]]).expand(4, 4)
    out = attention.npu_fusion_attention(q, k, v, 2, "BNSD", atten_mask=hidden, scale=0.3)[0]
    expected = F.scaled_dot_product_attention(q, k, v, attn_mask=~hidden, scale=0.3)
    assert torch.allclose(out, expected, atol=1e-6)


@pytest.mark.parametrize(("mode", "shift"), [(2, 0), (3, 2)])
def test_causal_modes_differ_in_the_corner_they_start_from(mode, shift):
    q, k, v = drawn(1, 1, 3, 8), drawn(1, 1, 5, 8), drawn(1, 1, 5, 8, seed=4)
    compressed = torch.ones(2048, 2048, dtype=torch.bool).triu(1)
    out = attention.npu_fusion_attention(
        q, k, v, 1, "BNSD", atten_mask=compressed, sparse_mode=mode, scale=1.0
    )[0]
    seen = torch.ones(3, 5, dtype=torch.bool).tril(shift)
    expected = F.scaled_dot_product_attention(q, k, v, attn_mask=seen, scale=1.0)
    assert torch.allclose(out, expected, atol=1e-6)


def test_the_position_bias_is_added_before_the_scale_and_in_v2_type_0_after_it():
    q, k, v, pse = (drawn(1, 2, 4, 4, seed=s) for s in range(4))
    first = attention.npu_fusion_attention(q, k, v, 2, "BNSD", pse=pse, scale=0.5)[0]
    after = attention.npu_fusion_attention_v2(q, k, v, 2, "BNSD", pse=pse, scale=0.5, pse_type=0)[0]
    scores = q @ k.transpose(-1, -2)
    assert torch.allclose(first, ((scores + pse) * 0.5).softmax(-1) @ v, atol=1e-6)
    assert torch.allclose(after, (scores * 0.5 + pse).softmax(-1) @ v, atol=1e-6)


def test_large_half_precision_scores_do_not_overflow():
    q = k = torch.full((1, 1, 2, 80), 60.0).half()
    out = attention.npu_fusion_attention(q, k, q, 1, "BNSD", scale=80**-0.5)[0]
    assert torch.isfinite(out).all()
    assert torch.isinf(q @ k.transpose(-1, -2)).all()


def test_packed_sequences_do_not_see_each_other():
    q = drawn(5, 2, 8)
    out = attention.npu_fusion_attention(
        q, q, q, 2, "TND", scale=1.0, actual_seq_qlen=[2, 5], actual_seq_kvlen=[2, 5]
    )[0]
    for start, stop in ((0, 2), (2, 5)):
        part = q[start:stop].transpose(0, 1)
        expected = F.scaled_dot_product_attention(part, part, part, scale=1.0).transpose(0, 1)
        assert torch.allclose(out[start:stop], expected, atol=1e-6)


def test_grouped_queries_share_keys():
    q, k, v = drawn(1, 4, 3, 8), drawn(1, 2, 3, 8), drawn(1, 2, 3, 8, seed=2)
    out = attention.npu_fusion_attention(q, k, v, 4, "BNSD", scale=1.0)[0]
    expected = F.scaled_dot_product_attention(q, k, v, scale=1.0, enable_gqa=True)
    assert torch.allclose(out, expected, atol=1e-6)


def test_attention_gradients_reach_all_three_inputs():
    tensors = [drawn(1, 1, 3, 4, dtype=torch.float64, seed=s).requires_grad_() for s in range(3)]
    assert torch.autograd.gradcheck(
        lambda q, k, v: attention.npu_fusion_attention(q, k, v, 1, "BNSD", scale=0.5)[0], tensors
    )


def test_dropout_scales_what_it_keeps():
    q = drawn(1, 1, 64, 4)
    torch.manual_seed(0)
    out = attention.npu_fusion_attention(q, q, torch.ones_like(q), 1, "BNSD", keep_prob=0.5)[0]
    assert out.std() > 0
    assert out.mean().item() == pytest.approx(1.0, abs=0.2)


def test_what_the_simulated_attention_does_not_compute_is_refused():
    q = drawn(1, 1, 2, 4)
    with pytest.raises(BadInput, match="sparse_mode=6"):
        attention.npu_fusion_attention(q, q, q, 1, "BNSD", sparse_mode=6)
    with pytest.raises(BadInput, match="input_layout is 'BHSD'"):
        attention.npu_fusion_attention(q, q, q, 1, "BHSD")


def test_a_format_cast_changes_the_format_and_no_value():
    x = drawn(2, 3, 4, 5)
    cast = plain.npu_format_cast(x, 29)
    assert plain.get_npu_format(x) == 0
    assert plain.get_npu_format(cast) == 29
    assert torch.equal(cast, x)
    assert plain.npu_format_cast(cast, 29) is cast


def test_one_hot_pad_and_slice_follow_their_documents():
    hot = plain.npu_one_hot(torch.tensor([2, 0]), depth=3)
    assert torch.equal(hot, torch.tensor([[0.0, 0, 1], [1, 0, 0]]))
    assert plain.npu_pad(torch.ones(2, 3), [1, 0, 0, 2]).shape == (3, 5)
    assert torch.equal(
        plain.npu_slice(torch.arange(6).view(2, 3), [0, 1], [2, 2]), torch.tensor([[1, 2], [4, 5]])
    )


@pytest.mark.parametrize(("activation", "function"), [("gelu", F.gelu), ("silu", F.silu)])
def test_a_feed_forward_block_is_two_products(activation, function):
    x, first, second, bias = drawn(3, 4), drawn(4, 8), drawn(8, 4), drawn(4)
    out = kernels.npu_ffn(x, first, second, activation, bias2=bias)
    assert torch.allclose(out, function(x @ first) @ second + bias, atol=1e-5)


def test_a_gated_feed_forward_block_halves_the_inner_size():
    x, first, second = drawn(3, 4), drawn(4, 16), drawn(8, 4)
    left, right = (x @ first).chunk(2, -1)
    out = kernels.npu_ffn(x, first, second, "geglu")
    assert torch.allclose(out, (F.gelu(left) * right) @ second, atol=1e-5)
    with pytest.raises(BadInput, match="activation is 'tanh'"):
        kernels.npu_ffn(x, first, second, "tanh")


def test_cross_entropy_gives_the_loss_the_log_probabilities_and_gradients():
    logits, target = drawn(4, 5, dtype=torch.float64).requires_grad_(), torch.tensor([0, 4, 2, 2])
    loss, log_prob, z_loss, _ = kernels.npu_cross_entropy_loss(logits, target)
    assert loss.shape == (1,)
    assert torch.allclose(loss[0], F.cross_entropy(logits, target))
    assert torch.allclose(log_prob, logits.log_softmax(-1))
    assert z_loss.numel() == 0
    assert torch.autograd.gradcheck(lambda x: kernels.npu_cross_entropy_loss(x, target)[0], logits)


def test_a_product_permutes_its_operands_and_its_result():
    x, weight = drawn(5, 3, 4), drawn(3, 4, 6)
    out = kernels.npu_transpose_batchmatmul(x, weight, perm_x1=[1, 0, 2], perm_y=[1, 0, 2])
    assert torch.allclose(out, torch.einsum("mbk,bkn->mbn", x, weight), atol=1e-5)


def test_scatters_and_gathers_go_by_row():
    table = torch.zeros(4, 2)
    out = kernels.npu_scatter_nd_update(table, torch.tensor([[1], [3]]), torch.ones(2, 2))
    assert out.sum(1).tolist() == [0, 2, 0, 2]
    assert table.sum() == 0
    rows = kernels.npu_gather_sparse_index(out, torch.tensor([[3, 0]]))
    assert torch.equal(rows, torch.tensor([[[1.0, 1], [0, 0]]]))
