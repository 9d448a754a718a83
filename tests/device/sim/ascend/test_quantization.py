"""Quantisation of torch_npu against numpy and plain torch, number by number."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from porter.device.sim.activate import simulated  # noqa: E402
from porter.device.sim.ascend import dtypes, grouped, mx, quantization  # noqa: E402, F401
from porter.errors import BadInput  # noqa: E402

npu = torch.ops.npu


def drawn(*shape, dtype=torch.float32, seed=0):
    generator = torch.Generator().manual_seed(seed + sum(shape))
    return torch.randn(*shape, generator=generator, dtype=torch.float64).to(dtype)


def integers(*shape, low=-7, high=8, seed=0):
    generator = torch.Generator().manual_seed(seed + sum(shape))
    return torch.randint(low, high, shape, generator=generator)


def test_4_bit_integers_are_packed_from_the_lowest_bits_and_come_back():
    values = integers(3, 16, low=-8)
    packed = dtypes.packed_int4(values)
    for row, word in enumerate(packed.numpy().view(np.uint32)):
        for place in range(16):
            nibble = int(word[place // 8]) >> 4 * (place % 8) & 15
            assert nibble == int(values[row, place]) % 16
    assert torch.equal(dtypes.unpacked_int4(packed), values.to(torch.int32))


@pytest.mark.parametrize("dtype", [torch.qint8, torch.int8])
def test_quantize_divides_rounds_and_shifts(dtype):
    x, scale, zero = drawn(4, 6) * 50, drawn(6).abs() + 0.1, integers(6).float()
    out = npu.npu_quantize(x, scale, zero, dtype, -1)
    expected = np.clip(np.rint((x / scale).numpy()) + zero.numpy(), -128, 127)
    assert out.dtype == torch.int8
    assert np.array_equal(out.numpy(), expected)
    times = npu.npu_quantize(x, scale, zero, dtype, -1, False)
    assert np.array_equal(times.numpy(), np.clip(np.rint((x * scale + zero).numpy()), -128, 127))


def test_dynamic_quantization_uses_the_whole_range_of_each_row():
    x = drawn(2, 3, 16, dtype=torch.float16)
    out, scale = npu.npu_dynamic_quant(x)
    largest = np.abs(x.numpy().astype(np.float32)).max(-1)
    assert np.allclose(scale.numpy(), largest / 127, rtol=1e-6)
    assert np.array_equal(out.numpy(), np.rint(x.numpy() / scale.numpy()[..., None]))
    assert out.abs().amax(-1).eq(127).all()
    four, scale = npu.npu_dynamic_quant(x, dst_type=torch.quint4x2)
    assert four.shape == (2, 3, 2)
    assert np.allclose(scale.numpy(), largest / 7, rtol=1e-6)
    assert dtypes.unpacked_int4(four).abs().amax() == 7


def test_experts_have_their_own_smooth_scales_and_columns_their_own_maximum():
    x, smooth = drawn(6, 8), drawn(2, 8).abs()
    ends = torch.tensor([2, 6], dtype=torch.int32)
    out, scale = npu.npu_dynamic_quant(x, smooth_scales=smooth, group_index=ends)
    scaled = torch.cat((x[:2] * smooth[0], x[2:] * smooth[1]))
    assert torch.allclose(scale, scaled.abs().amax(-1) / 127)
    assert torch.equal(out, (scaled / scale.unsqueeze(-1)).round().to(torch.int8))
    columns = npu.npu_dynamic_quant(x, quant_mode="perchannel")[1]
    assert torch.allclose(columns, x.abs().amax(0) / 127)
    with pytest.raises(BadInput, match="quant_mode is 'no'"):
        npu.npu_dynamic_quant(x, quant_mode="no")


def test_scales_for_the_matrix_unit_are_those_of_the_vendors_test():
    scale = np.linspace(2, 3, 5, dtype=np.float32)
    bits = (scale.view(np.uint32) & 0xFFFFE000).astype(np.uint64) | np.uint64(1 << 46)
    made = npu.npu_trans_quant_param(torch.from_numpy(scale))
    assert np.array_equal(made.numpy(), bits.astype(np.int64))


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("int_bias", [False, True])
def test_a_quantized_product_is_scaled_by_column_and_token(packed, int_bias):
    x1, x2 = integers(5, 16), integers(16, 8, seed=1)
    scale, token = drawn(8).abs(), drawn(5).abs()
    bias = integers(8).to(torch.int32) if int_bias else drawn(8)
    left, right = x1.to(torch.int8), x2.to(torch.int8)
    if packed:
        left, right = dtypes.packed_int4(x1), npu.npu_convert_weight_to_int4pack(x2.int())
    out = quantization.npu_quant_matmul(
        left, right, scale, pertoken_scale=token, bias=bias, output_dtype=torch.float32
    )
    exact = x1.numpy() @ x2.numpy()
    whole = exact + bias.numpy() if int_bias else exact
    expected = whole * scale.numpy() * token.numpy()[:, None]
    assert np.allclose(out.numpy(), expected if int_bias else expected + bias.numpy(), rtol=1e-5)


def test_without_a_dtype_a_quantized_product_is_int8_with_an_offset():
    x1, x2 = integers(4, 6).to(torch.int8), integers(6, 3).to(torch.int8)
    scale = npu.npu_trans_quant_param(torch.tensor([0.5]), torch.tensor([3.0]))
    out = npu.npu_quant_matmul(x1, x2, scale)
    exact = x1.numpy().astype(int) @ x2.numpy().astype(int)
    assert np.array_equal(out.numpy(), np.clip(np.rint(exact * 0.5 + 3), -128, 127))
    with pytest.raises(BadInput, match="no blocks"):
        npu.npu_quant_matmul(x1, x2, scale, group_sizes=[1, 1, 32])


def test_a_weight_of_integers_is_scaled_back_before_the_product():
    x, weight = drawn(3, 8), integers(8, 4)
    scale, offset = drawn(2, 4).abs(), drawn(2, 4)
    out = npu.npu_weight_quant_batchmatmul(
        x, weight.to(torch.int8), scale, offset, bias=drawn(4), antiquant_group_size=4
    )
    rows = torch.tensor([0] * 4 + [1] * 4)
    assert torch.allclose(out, x @ ((weight + offset[rows]) * scale[rows]) + drawn(4), atol=1e-5)


def by_group(x, weights, sizes):
    parts, start = [], 0
    for weight, size in zip(weights, sizes, strict=True):
        parts.append(x[start : start + size] @ weight)
        start += size
    return torch.cat(parts)


@pytest.mark.parametrize("counts", [False, True])
@pytest.mark.parametrize("listed", [False, True])
def test_groups_of_rows_meet_the_weights_of_their_experts(counts, listed):
    x, weights, sizes = drawn(7, 4), [drawn(4, 5, seed=i) for i in range(3)], [2, 0, 5]
    given = torch.tensor(sizes if counts else [2, 2, 7])
    weight = weights if listed else [torch.stack(weights)]
    out = npu.npu_grouped_matmul(
        [x], weight, group_list=given, split_item=3, group_type=0, group_list_type=int(counts)
    )
    assert torch.allclose(out[0], by_group(x, weights, sizes), atol=1e-5)
    parts = npu.npu_grouped_matmul([x], weight, group_list=[2, 2, 7], group_type=0)
    assert [len(part) for part in parts] == sizes
    each = npu.npu_grouped_matmul([x, x], weights[:2], split_item=0)
    assert torch.allclose(each[1], x @ weights[1], atol=1e-6)


def test_groups_of_the_inner_dimension_give_one_product_each():
    x, weight = drawn(3, 6), drawn(6, 4)
    out = npu.npu_grouped_matmul(
        [x], [weight], group_list=torch.tensor([2, 6]), split_item=3, group_type=2
    )[0]
    assert torch.allclose(out, torch.stack((x[:, :2] @ weight[:2], x[:, 2:] @ weight[2:])))


def test_quantized_groups_are_scaled_by_expert_and_token():
    x, weights = integers(4, 6).to(torch.int8), integers(2, 6, 3).to(torch.int8)
    scale, token = drawn(2, 3).abs(), drawn(4).abs()
    out = npu.npu_grouped_matmul(
        [x], [weights], scale=[scale], per_token_scale=[token], group_list=torch.tensor([1, 3]),
        split_item=3, group_type=0, group_list_type=1, output_dtype=torch.float32,
    )[0]  # fmt: skip
    factors = torch.stack([scale[0], *[scale[1]] * 3]) * token[:, None]
    whole = by_group(x.double(), weights.double(), [1, 3])
    assert torch.allclose(out, (whole * factors).float(), rtol=1e-5)
    with pytest.raises(BadInput, match="no activation"):
        npu.npu_grouped_matmul([x], [weights], act_type=1)


def test_the_other_quantized_operators_are_their_parts():
    x, gamma = drawn(4, 8), drawn(8)
    first, second, total = npu.npu_add_rms_norm_quant(
        x, x, gamma, torch.full((8,), 0.05), None, dst_type=torch.int8
    )
    normed = torch.nn.functional.rms_norm(2 * x, (8,), gamma, 1e-6)
    assert torch.equal(total, 2 * x)
    assert torch.equal(first, (normed / 0.05).round().clamp(-128, 127).to(torch.int8))
    assert not second.any()
    weight = integers(2, 3, 8).to(torch.int8)
    out = npu.npu_quant_grouped_matmul_dequant(x, weight, drawn(2, 3).abs(), torch.tensor([1, 4]))
    made, scale = npu.npu_dynamic_quant(x)
    exact = by_group(made.float(), weight.float().mT, [1, 3])
    columns = torch.stack([drawn(2, 3).abs()[0], *[drawn(2, 3).abs()[1]] * 3])
    assert torch.allclose(out, exact * columns * scale[:, None], rtol=1e-5)
    left, right = integers(4, 2, 8).to(torch.int8), integers(2, 8, 3).to(torch.int8)
    batched = npu.npu_transpose_quant_batchmatmul(
        left, right, torch.float32, x1_scale=drawn(4).abs(), x2_scale=drawn(3).abs()
    )
    exact = torch.einsum("mbk,bkn->mbn", left.double(), right.double())
    exact = exact * drawn(4).abs()[:, None, None] * drawn(3).abs()
    assert torch.allclose(batched.double(), exact, rtol=1e-5)


needs_e8m0 = pytest.mark.skipif(
    not hasattr(torch, "float8_e8m0fnu"), reason="this PyTorch has no float8_e8m0fnu"
)


@needs_e8m0
@pytest.mark.parametrize("dtype", [torch.float8_e4m3fn, torch.float8_e5m2])
def test_blocks_in_mx_formats_have_the_scale_of_the_specification(dtype):
    x = drawn(2, 96) * torch.logspace(-3, 3, 96)
    out, scale = npu.npu_dynamic_mx_quant(x, dst_type=dtype)
    assert scale.shape == (2, 2, 2)
    largest_exponent = {torch.float8_e4m3fn: 8, torch.float8_e5m2: 15}[dtype]
    for row in range(2):
        for block in range(3):
            part = x[row, block * 32 : block * 32 + 32]
            exponent = np.floor(np.log2(part.abs().max().item())) - largest_exponent
            found = scale[row, block // 2, block % 2].float().item()
            assert found == 2.0**exponent
            limit = torch.finfo(dtype).max
            expected = (part / found).clamp(-limit, limit).to(dtype).float()
            assert torch.equal(out[row, block * 32 : block * 32 + 32].float(), expected)


@needs_e8m0
def test_4_bit_floats_are_the_nearest_of_their_16_values():
    steps = [0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0]
    x = torch.tensor([[6.0, -0.2, 0.25, 0.75, -1.7, 2.5, 3.4, -5.0] * 4])
    out, scale = npu.npu_dynamic_mx_quant(x, dst_type=dtypes.float4_e2m1fn_x2)
    assert out.shape == (1, 16)
    assert scale[0, 0, 0].float().item() == 1.0
    codes = [code for byte in out[0, :4].tolist() for code in (byte & 15, byte >> 4)]
    meant = [(-1 if code & 8 else 1) * steps[code & 7] for code in codes]
    assert meant == [6.0, -0.0, 0.0, 1.0, -1.5, 2.0, 3.0, -4.0]


CALLS = {
    "dynamic_quant": lambda d: npu.npu_dynamic_quant(drawn(4, 8).to(d)),
    "quant_matmul": lambda d: npu.npu_quant_matmul(
        integers(4, 6).to(torch.int8).to(d), integers(6, 3).to(torch.int8).to(d),
        drawn(3).to(d), output_dtype=torch.float16,
    ),
    "grouped_matmul": lambda d: npu.npu_grouped_matmul(
        [drawn(4, 6).to(d)], [drawn(2, 6, 3).to(d)], group_list=torch.tensor([1, 4]).to(d),
        split_item=3, group_type=0,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CALLS)
def test_on_the_device_an_operator_gives_the_cpus_values_and_compiles(name):
    def listed(result):
        return [result] if isinstance(result, torch.Tensor) else list(result)

    with simulated("npu"):
        expected = listed(CALLS[name]("cpu"))
        compiled = torch.compile(CALLS[name], backend="npu")
        for found in (listed(CALLS[name]("npu")), listed(compiled("npu"))):
            for ours, theirs in zip(found, expected, strict=True):
                assert ours.device.type == "npu"
                assert torch.equal(ours.cpu(), theirs)
        shapes = [(t.shape, t.dtype) for t in listed(CALLS[name]("meta"))]
    assert shapes == [(t.shape, t.dtype) for t in expected]
    torch._dynamo.reset()
