"""``torch.ops.hpu`` in 8 and 4 bits, experts and block softmax against plain torch and numpy."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

torch = pytest.importorskip("torch")
import torch.nn.functional as F  # noqa: E402

from porter.device.sim.activate import simulated  # noqa: E402
from porter.device.sim.habana import experts, fp8, sdpa  # noqa: E402, F401
from porter.errors import BadInput  # noqa: E402

hpu = torch.ops.hpu
E4M3, E5M2 = torch.float8_e4m3fn, torch.float8_e5m2


def drawn(*shape, dtype=torch.float32, seed=0):
    generator = torch.Generator().manual_seed(seed + sum(shape))
    return torch.randn(*shape, generator=generator, dtype=torch.float64).to(dtype)


def nearest_fp8(values, dtype, limit):
    """Round by a search among all 256 values of the format, ties to the even code."""
    codes = torch.arange(256, dtype=torch.uint8).view(dtype).double()
    kept = codes.isfinite() & (codes.abs() <= limit)
    table = codes[kept].numpy()
    even = torch.arange(256)[kept].numpy() % 2
    distance = np.abs(values.double().numpy()[..., None] - table)
    return torch.from_numpy(table[np.argmin(distance + even * 1e-12, -1)])


@pytest.mark.parametrize(("dtype", "limit"), [(E4M3, 240.0), (E5M2, 57344.0)])
@pytest.mark.parametrize("scale", [None, 1.3, torch.tensor(0.7)])
def test_a_cast_rounds_to_the_nearest_value_of_the_format(dtype, limit, scale):
    x = drawn(4, 8) * 300
    made, largest = hpu.cast_to_fp8_v2(x, scale, False, True, dtype)
    scaled = x if scale is None else x * scale
    assert torch.equal(made.double(), nearest_fp8(scaled, dtype, limit))
    assert largest == x.abs().max()
    assert largest.dim() == 0
    assert hpu.cast_to_fp8_v2(x, scale, False, False, dtype)[1].numel() == 0


@pytest.mark.parametrize("axis", [0, 1])
def test_scales_by_channel_take_the_shape_given(axis):
    x, scale = drawn(4, 3), [0.5, 2.0, 4.0] if axis == 0 else [0.5, 1.0, 2.0, 4.0]
    shape = [1, 3] if axis == 0 else [4, 1]
    made, _ = hpu.cast_to_fp8_v2(x, scale, False, False, E4M3, shape)
    expected = x * torch.tensor(scale).reshape(shape)
    assert torch.equal(made.double(), nearest_fp8(expected, E4M3, 240.0))
    inverse = [1 / each for each in scale]
    back = hpu.cast_from_fp8(made, inverse, torch.float32, shape)
    assert torch.allclose(back, x, rtol=0.07)


def test_what_the_bridge_refuses_of_fp8_input_is_refused():
    x = drawn(2, 2).to(E4M3)
    with pytest.raises(RuntimeError, match="no amax for float8"):
        hpu.cast_to_fp8_v2(x, None, False, True, E4M3)
    with pytest.raises(RuntimeError, match="Float8_e4m3fn and Float8_e5m2"):
        hpu.cast_to_fp8_v2(x, None, False, False, E5M2)
    assert torch.equal(hpu.cast_to_fp8_v2(x, 1.0, False, False, E4M3)[0].float(), x.float())


@pytest.mark.parametrize("accumulate", [False, True])
@pytest.mark.parametrize("scales", [(None, None), (0.5, 2.0), (torch.tensor(0.5), drawn(3).abs())])
def test_a_product_in_fp8_is_the_product_of_what_the_operands_stand_for(accumulate, scales):
    a, b = drawn(4, 5).to(E4M3), drawn(4, 3).to(E4M3)
    bias, before = drawn(3), drawn(5, 3)
    out = hpu.fp8_gemm_v2(
        a, True, b, False, before, torch.float32, scales[0], scales[1], bias, accumulate
    )
    left, right = (1.0 if s is None else s for s in scales)
    expected = torch.einsum("ki,kj->ij", a.double(), b.double()) * left * right + bias
    assert torch.allclose(out.double(), expected + before if accumulate else expected, atol=1e-5)


def test_the_older_forms_write_their_results():
    a, b, out = drawn(2, 4).to(E5M2), drawn(4, 3).to(E5M2), torch.zeros(2, 3)
    hpu.fp8_gemm(a, False, b, False, out, torch.float32, None, None, None, False, out)
    assert torch.allclose(out, a.float() @ b.float(), atol=1e-6)
    cast, largest = torch.zeros(2, 2, dtype=E5M2), torch.zeros(1)
    hpu.cast_to_fp8(drawn(2, 2), None, False, cast, largest)
    assert torch.equal(cast.float(), drawn(2, 2).to(E5M2).float())
    assert largest.item() == drawn(2, 2).abs().max()
    both = hpu.cast_to_fp8_hybrid(drawn(2, 2), None, torch.tensor(2.0))
    assert [each.dtype for each in both[:2]] == [E5M2, E4M3]
    assert torch.equal(both[1].float(), (drawn(2, 2) * 2).to(E4M3).float())


@pytest.mark.parametrize("scaled", [False, True])
def test_softmax_in_fp8_is_that_of_its_test(scaled):
    x, added = drawn(2, 3, 4), drawn(2, 3, 4, seed=5) if scaled else None
    scales = (0.05, 2.5) if scaled else (None, None)
    out = hpu.softmax_fp8(x.bfloat16(), -1, *scales, torch.tensor(0.1), added)
    scores = x.bfloat16().float() * 0.1 * (scales[0] or 1.0) + (added if scaled else 0.0)
    expected = F.softmax(scores, -1)
    assert out.dtype == (E4M3 if scaled else torch.bfloat16)
    assert torch.allclose(out.float(), expected * (scales[1] or 1.0), rtol=0.07, atol=1e-3)
    with pytest.raises(RuntimeError, match="both given or None"):
        hpu.softmax_fp8(x, -1, torch.tensor(1.0), None)


@pytest.mark.parametrize("signed", [False, True])
def test_4_bit_integers_are_unpacked_from_the_lowest_bits(signed):
    generator = np.random.default_rng(3)
    values = generator.integers(0, 16, (3, 16))
    packed = np.zeros((3, 2), dtype=np.uint32)
    for column, place in itertools.product(range(2), range(8)):
        packed[:, column] |= values[:, column * 8 + place].astype(np.uint32) << (4 * place)
    scale = drawn(3, 16)
    op = hpu.convert_from_int4 if signed else hpu.convert_from_uint4
    out = op(torch.from_numpy(packed.view(np.int32)), scale, None, torch.float32)
    meant = np.where(values > 7, values - 16, values) if signed else values
    assert torch.equal(out, torch.from_numpy(meant).float() * scale)


def test_groups_of_rows_share_scales_and_zero_points():
    packed = torch.tensor([[0x76543210], [0x01234567], [0x11111111], [0x7FFFFFFF]]).to(torch.int32)
    scale = torch.tensor([[1.0] * 8, [2.0] * 8])
    zeros = torch.tensor([[0], [0x11111111]], dtype=torch.int32)
    out = hpu.convert_from_uint4(packed, scale, zeros, torch.float32)
    assert out[0].tolist() == [0, 1, 2, 3, 4, 5, 6, 7]
    assert out[2].tolist() == [0.0] * 8
    assert out[3].tolist() == [28.0] * 7 + [12.0]
    group = torch.tensor([1, 1, 0, 0])
    chosen = hpu.convert_from_uint4(packed, scale, None, torch.float32, group)
    assert chosen[0].tolist() == [0, 2, 4, 6, 8, 10, 12, 14]


def moe_inputs(permuted, dtype=torch.float32):
    tokens, chosen = (
        drawn(5, 6, dtype=dtype),
        torch.tensor([[0, 2], [1, 3], [2, 0], [3, 1], [0, 1]]),
    )
    router = drawn(5, 2, dtype=dtype).abs()
    shapes = [(6, 7), (6, 7), (7, 6)]
    lists = [
        [drawn(*s, dtype=dtype, seed=9 * i + e) for e in range(4)] for i, s in enumerate(shapes)
    ]
    given = [[w.t() if permuted else w for w in each] for each in lists]
    return tokens, chosen, router, lists, given


def by_token(tokens, chosen, router, lists, activation, first=0, last=3):
    """One token and one of its experts at a time."""
    out = torch.zeros_like(tokens)
    for token, slot in itertools.product(range(len(tokens)), range(chosen.shape[1])):
        expert = int(chosen[token, slot])
        if first <= expert <= last:
            w1, w2, w3 = (each[expert] for each in lists)
            inner = activation(tokens[token] @ w1) * (tokens[token] @ w2)
            out[token] += router[token, slot] * (inner @ w3)
    return out


@pytest.mark.parametrize("activation", ["gelu", "relu", "silu"])
@pytest.mark.parametrize("permuted", [False, True])
def test_experts_are_those_of_each_token(activation, permuted):
    tokens, chosen, router, lists, given = moe_inputs(permuted)
    expected = by_token(tokens, chosen, router, lists, getattr(F, activation))
    out = hpu.mixture_of_experts(tokens, chosen, router, *given, permuted, activation, 0, 3)
    assert torch.allclose(out, expected, atol=1e-4)
    joined = [torch.cat(two, 0 if permuted else 1) for two in zip(*given[:2], strict=True)]
    fused = hpu.mixture_of_experts(
        hidden_states=tokens, expert_routing_table=chosen, router_weights=router, w12=joined,
        w3=given[2], permuted_weights=permuted, activation=activation, experts_min=0,
        experts_max=3, chunk_size=4, total_experts=8,
    )  # fmt: skip
    assert torch.allclose(out, fused, atol=1e-5)
    measured, largest = hpu.mixture_of_experts(
        tokens, chosen, router, joined, given[2], permuted, activation, 0, 3, True
    )
    assert torch.equal(measured, fused)
    inner = getattr(F, activation)(tokens @ lists[0][1]) * (tokens @ lists[1][1])
    assert largest[1].item() == pytest.approx(inner.max().item(), rel=1e-5)


def test_the_measured_value_of_experts_is_of_their_own_dtype():
    tokens, chosen, router, _, given = moe_inputs(False)
    half = [[matrix.bfloat16() for matrix in matrices] for matrices in given]
    tokens = tokens.bfloat16()
    joined = [torch.cat(two, 1) for two in zip(*half[:2], strict=True)]
    _, largest = hpu.mixture_of_experts(
        tokens, chosen, router.bfloat16(), joined, half[2], False, "gelu", 0, 3, True
    )
    for expert, (gate, up) in enumerate(zip(*half[:2], strict=True)):
        inner = F.gelu(tokens @ gate) * (tokens @ up)  # each of them rounded to bfloat16
        assert largest[expert] == inner.amax().float()


def test_a_slice_of_the_experts_adds_its_share():
    tokens, chosen, router, lists, given = moe_inputs(False)
    ends = [(0, 1), (2, 3)]
    slices = [
        hpu.mixture_of_experts(
            tokens, chosen, router, *[each[a : b + 1] for each in given], False, "silu", a, b
        )
        for a, b in ends
    ]
    for part, (first, last) in zip(slices, ends, strict=True):
        expected = by_token(tokens, chosen, router, lists, F.silu, first, last)
        assert torch.allclose(part, expected, atol=1e-4)
    with pytest.raises(RuntimeError, match='Activation "tanh" not found'):
        hpu.mixture_of_experts(tokens, chosen, router, *given, False, "tanh", 0, 3)


def test_experts_in_fp8_take_scales_of_channels_or_blocks():
    tokens, chosen, router, lists, _ = moe_inputs(False)
    small = [[w.t().contiguous().to(E4M3) for w in each] for each in lists]
    blocks = [
        [drawn(-(-w.shape[0] // 4), -(-w.shape[1] // 4)).abs() for w in each] for each in small
    ]
    out = hpu.mixture_of_experts(
        hidden_states=tokens, expert_routing_table=chosen, router_weights=router, w1=small[0],
        w2=small[1], w3=small[2], d_scale_w1=blocks[0], d_scale_w2=blocks[1], d_scale_w3=blocks[2],
        permuted_weights=True, activation="silu", block_size=4, experts_min=0, experts_max=3,
    )  # fmt: skip

    def at(weight, scale, row, column):
        return weight[row, column].float() * scale[row // 4, column // 4]

    meant = [
        [
            torch.stack([
                torch.stack([at(w, s, r, c) for r in range(w.shape[0])]) for c in range(w.shape[1])
            ])
            for w, s in zip(ws, ss, strict=True)
        ]
        for ws, ss in zip(small, blocks, strict=True)
    ]  # fmt: skip
    assert torch.allclose(out, by_token(tokens, chosen, router, meant, F.silu), atol=1e-4)

    joined = [torch.cat(two, 0) for two in zip(*small[:2], strict=True)]
    channels = (
        [drawn(14, seed=e).abs() for e in range(4)],
        [drawn(6, seed=e).abs() for e in range(4)],
    )
    x = tokens.to(E4M3)
    arguments = {
        "hidden_states": x, "expert_routing_table": chosen, "router_weights": router,
        "w12": joined, "w3": small[2], "d_scale_hidden_states": torch.full((5, 1), 0.5),
        "d_scale_w12": channels[0], "d_scale_w3": channels[1], "permuted_weights": True,
        "activation": "silu", "experts_min": 0, "experts_max": 3,
    }  # fmt: skip
    out = hpu.mixture_of_experts(**arguments)
    whole = [(w.float() * s[:, None]).t() for w, s in zip(joined, channels[0], strict=True)]
    meant = [
        [w[:, :7] for w in whole], [w[:, 7:] for w in whole],
        [(w.float() * s[:, None]).t() for w, s in zip(small[2], channels[1], strict=True)],
    ]  # fmt: skip
    expected = by_token(x.float() * 0.5, chosen, router, meant, F.silu)
    assert torch.allclose(out, expected, atol=1e-4)
    scales = [torch.tensor(0.1)] * 4
    rounded = hpu.mixture_of_experts(**arguments, d_scale_intermediate_hidden_states=scales)
    assert not torch.equal(rounded, out)
    assert F.cosine_similarity(rounded.flatten(), expected.flatten(), 0) > 0.98


def test_block_softmax_with_its_adjustment_is_the_softmax_of_whole_sequences():
    scores, bias, groups = (
        drawn(5, 2, 1, 3, 4) * 3,
        drawn(5, 1, 1, 1, 4),
        torch.tensor([0, 1, 0, 2, 1]),
    )
    weights, largest, total = hpu.block_softmax(scores, bias, groups)
    factor = hpu.block_softmax_adjustment(largest, total, groups, 3, [5, 2, 1, 3, 1])
    out = weights * factor
    for sequence in range(3):
        mine = (groups == sequence).nonzero().flatten().tolist()
        whole = torch.cat([(scores + bias)[block] for block in mine], -1).softmax(-1)
        assert torch.allclose(torch.cat([out[block] for block in mine], -1), whole, atol=1e-6)


@pytest.mark.parametrize("mask", [None, "bool", "float"])
@pytest.mark.parametrize("grouped", [False, True])
def test_attention_operators_agree_with_sdpa(mask, grouped):
    q, k, v = drawn(2, 4, 5, 8), drawn(2, 2, 5, 8, seed=1), drawn(2, 2, 5, 8, seed=2)
    given = {"bool": drawn(2, 1, 5, 5) > -1, "float": drawn(2, 1, 5, 5)}.get(mask)
    whole_k, whole_v = (t.repeat_interleave(2, 1) for t in (k, v))
    expected = F.scaled_dot_product_attention(
        q, whole_k, whole_v, given, is_causal=mask is None, scale=0.3
    )
    arguments = (q, k, v, given)
    if grouped:
        assert sdpa.is_gqa(q, k)
        arguments = sdpa.gqa_input_reshape_fwd(*arguments)
    out, top, reciprocal, seed = hpu.sdpa_recomp_fwd(
        *arguments, 0.0, 0.3, mask is None, True, "fast", None, "left"
    )
    probabilities = hpu.sdpa_fwd(*arguments, 0.0, 0.3, mask is None, "fast", None, "left")[1]
    if grouped:
        out, top, reciprocal, probabilities = map(
            sdpa.gqa_output_reshape, (out, top, reciprocal, probabilities)
        )
    assert torch.allclose(out, expected, atol=1e-5)
    assert top.shape == reciprocal.shape == (2, 4, 5, 1)
    assert seed.dtype == torch.int32
    assert torch.allclose(probabilities @ whole_v, expected, atol=1e-5)


def test_attention_in_fp8_scales_its_operands_softmax_and_result():
    q, k, v = (drawn(2, 4, 6, 8, seed=s) for s in range(3))
    small = [hpu.cast_to_fp8_v2(t, 16.0, False, False, E4M3)[0] for t in (q, k, v)]
    inverse = torch.tensor(1 / 16)
    out, largest, _ = sdpa.fp8_fused_sdpa(
        *small, None, 0.0, True, None, "None", inverse, inverse, inverse, torch.tensor(128.0),
        torch.tensor(4.0), torch.tensor(1 / 128), True, True, recompute=True,
    )  # fmt: skip
    meant = [t.double() / 16 for t in small]
    hidden = torch.ones(6, 6, dtype=torch.bool).triu(1)
    scores = (meant[0] @ meant[1].mT * 8**-0.5).masked_fill(hidden, -torch.inf)
    rounded = nearest_fp8(scores.softmax(-1) * 128, E4M3, 240.0) / 128
    expected = rounded @ meant[2] * 4
    assert out.dtype == E4M3
    assert torch.allclose(out.double(), expected, rtol=0.0626, atol=1e-3)  # half a unit of e4m3
    assert largest.item() == pytest.approx(1.0)
    half = sdpa.fp8_fused_sdpa(*small, None, 0.0, True, recompute=False)
    assert half[0].dtype == torch.bfloat16
    assert half[2] is None


def test_attention_without_what_is_simulated_is_refused():
    q = drawn(1, 1, 2, 4)
    with pytest.raises(BadInput, match="no dropout"):
        hpu.sdpa_fwd(q, q, q, None, 0.5, 1.0, False, "None", None, "left")
    with pytest.raises(BadInput, match="for inference"):
        sdpa.fp8_fused_sdpa(q.requires_grad_(), q, q)


CALLS = {
    "cast_to_fp8_v2": lambda d: hpu.cast_to_fp8_v2(drawn(2, 8).to(d), 1.5, False, True, E4M3),
    "convert_from_uint4": lambda d: hpu.convert_from_uint4(
        torch.ones(2, 1, dtype=torch.int32).to(d), torch.ones(2, 8).to(d), None, torch.float32
    ),
    "mixture_of_experts": lambda d: hpu.mixture_of_experts(
        *(t.to(d) for t in moe_inputs(False)[:3]),
        *([w.to(d) for w in each] for each in moe_inputs(False)[4]), False, "silu", 0, 3,
    ),
    "fp8_sdpa_recomp_fwd": lambda d: hpu.fp8_sdpa_recomp_fwd(
        *(drawn(1, 2, 3, 4).to(E4M3).to(d) for _ in range(3)), None, 0.0, 1.0, True, True, "fast",
        *[None] * 6, False, False, None, "left",
    ),
}  # fmt: skip


def listed(result):
    return [result] if isinstance(result, torch.Tensor) else list(result)


@pytest.mark.parametrize("name", CALLS)
def test_on_the_device_an_operator_gives_the_cpus_values_and_compiles(name):
    with simulated("hpu"):
        expected, found = listed(CALLS[name]("cpu")), listed(CALLS[name]("hpu"))
        compiled = torch.compile(CALLS[name], backend="hpu_backend")
        for values in (found, listed(compiled("hpu"))):
            for ours, theirs in zip(values, expected, strict=True):
                assert ours.device.type == "hpu"
                assert torch.equal(ours.cpu().float(), theirs.float())
    torch._dynamo.reset()


@pytest.mark.parametrize("name", CALLS)
def test_without_data_an_operator_gives_shapes_and_dtypes(name):
    expected, found = listed(CALLS[name]("cpu")), listed(CALLS[name]("meta"))
    assert [(t.shape, t.dtype) for t in found] == [(t.shape, t.dtype) for t in expected]


@pytest.mark.parametrize("scales", [(None, None), (1.4, 2.3), (torch.tensor(1.4), None)])
def test_a_convolution_of_8_bit_floats_is_summed_in_float32(scales):
    x, weight = (drawn(2, 3, 6, 6).to(E4M3), drawn(4, 3, 2, 2, seed=1).to(E4M3))
    bias = drawn(4)
    given = [] if scales == (None, None) else list(scales)
    made = hpu.conv2d_fp8(x, weight, bias, [1], [0], [1], 1, torch.float32, *given)
    expected = F.conv2d(x.double(), weight.double())
    for scale in scales:
        expected = expected if scale is None else expected * float(scale)
    assert torch.allclose(made, (expected + bias.double().view(1, 4, 1, 1)).float(), atol=1e-4)


@pytest.mark.parametrize("dim", [None, [0], [1]])
def test_a_sum_of_8_bit_floats_is_rounded_once(dim):
    x = drawn(4, 6).to(E4M3)
    wide = hpu.sum_fp8(x, dim, True, torch.float32)
    assert torch.allclose(wide.double(), x.double().sum(dim, keepdim=True))
    narrow = hpu.sum_fp8(x, dim)
    assert narrow.dtype == E4M3
    expected = nearest_fp8(x.double().sum(dim).reshape(-1), E4M3, 240.0)
    assert torch.equal(narrow.double().reshape(-1), expected)
