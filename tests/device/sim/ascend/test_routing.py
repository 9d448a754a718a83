"""Routing, rotary embeddings and small operators of torch_npu against plain torch."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from porter.device.sim.activate import simulated  # noqa: E402
from porter.device.sim.ascend import attention, attention_grad, dropout, routing  # noqa: E402, F401
from porter.errors import BadInput  # noqa: E402

npu = torch.ops.npu
CHOSEN = torch.tensor([[2, 0], [1, 2], [0, 3], [2, 1]])


def drawn(*shape, dtype=torch.float32, seed=0):
    generator = torch.Generator().manual_seed(seed + sum(shape))
    return torch.randn(*shape, generator=generator, dtype=torch.float64).to(dtype)


def test_gating_gives_the_largest_shares_and_where_their_copies_stand():
    x = drawn(3, 5)
    shares, experts, places = npu.npu_moe_gating_top_k_softmax(x, torch.tensor([0, 1, 0]).bool(), 2)
    values, indices = x.softmax(-1).topk(2)
    assert torch.allclose(shares, values)
    assert experts.tolist() == [indices[0].tolist(), [5, 5], indices[2].tolist()]
    assert places.tolist() == [[0, 3], [1, 4], [2, 5]]


def test_tokens_are_permuted_by_expert_and_come_back():
    tokens, shares = drawn(4, 6), drawn(4, 2).softmax(-1)
    copies, places = npu.npu_moe_token_permute(tokens, CHOSEN)
    by_expert = sorted((int(e), t, k) for t in range(4) for k, e in enumerate(CHOSEN[t]))
    assert torch.equal(copies, tokens[[t for _, t, _ in by_expert]])
    for at, (_, token, choice) in enumerate(by_expert):
        assert places[token * 2 + choice] == at
    back = npu.npu_moe_token_unpermute(copies, places, shares)
    assert torch.allclose(back, tokens, atol=1e-6)
    few, _ = npu.npu_moe_token_permute(tokens, CHOSEN, 5)
    assert torch.equal(few, copies[:5])
    dropped = npu.npu_moe_token_unpermute(few, places, shares)
    kept = torch.tensor([[at < 5 for at in row] for row in places.view(4, 2).tolist()])
    assert torch.allclose(dropped, tokens * (shares * kept).sum(-1, keepdim=True), atol=1e-6)


def test_routing_counts_its_experts_and_skips_those_of_others():
    x = drawn(4, 6)
    out, places, counts, _ = npu.npu_moe_init_routing_v2(
        x, CHOSEN, expert_num=4, expert_tokens_num_type=1, expert_tokens_num_flag=True,
        active_expert_range=[0, 4],
    )  # fmt: skip
    assert counts.tolist() == [2, 2, 3, 1]
    assert torch.equal(out[places.view(4, 2).long()], x.unsqueeze(1).expand(4, 2, 6))
    out, order, sums, _ = npu.npu_moe_init_routing_v2(
        x, CHOSEN, expert_num=4, active_expert_range=[1, 3], row_idx_type=1
    )
    assert sums.tolist() == [2, 5]
    assert order.tolist() == [2, 7, 0, 3, 6, -1, -1, -1]
    assert torch.equal(out[:5], x[[1, 3, 0, 1, 3]])
    assert not out[5:].any()


def test_routing_can_quantize_each_copy():
    x, smooth = drawn(4, 6), drawn(4, 6).abs()
    out, places, _, scale = npu.npu_moe_init_routing_v2(
        x, CHOSEN, scale=smooth, expert_num=4, quant_mode=1, active_expert_range=[0, 4]
    )
    for token in range(4):
        for choice in range(2):
            at = int(places[token * 2 + choice])
            wanted = x[token] * smooth[CHOSEN[token, choice]]
            assert scale[at].item() == pytest.approx(wanted.abs().max().item() / 127)
            assert torch.equal(out[at], (wanted / scale[at]).round().to(torch.int8))
    with pytest.raises(BadInput, match="drop_pad_mode 0"):
        npu.npu_moe_init_routing_v2(x, CHOSEN, drop_pad_mode=1)


@pytest.mark.parametrize("interleaved", [False, True])
def test_clipped_swiglu_is_gpt_oss(interleaved):
    x = drawn(3, 4, 8) * 10
    out = npu.npu_clipped_swiglu(x, interleaved=interleaved, group_index=torch.tensor([4, 3]))
    pairs = (x[..., ::2], x[..., 1::2]) if interleaved else x.chunk(2, -1)
    gate, up = pairs[0].clamp(max=7.0), pairs[1].clamp(-7.0, 7.0)
    expected = (up + 1) * gate * torch.sigmoid(gate * 1.702)
    assert torch.allclose(out.flatten(0, 1)[:7], expected.flatten(0, 1)[:7], atol=1e-5)
    assert not out.flatten(0, 1)[7:].any()


def test_interleaved_rope_turns_neighbours_and_leaves_halves():
    x, angle = drawn(1, 2, 3, 8), drawn(1, 1, 3, 4)
    cos, sin = (torch.cat((t, t), -1) for t in (angle.cos(), angle.sin()))
    turned = torch.view_as_complex(x.reshape(1, 2, 3, 4, 2)) * torch.polar(
        torch.ones_like(angle), angle
    )
    expected = torch.cat((turned.real, turned.imag), -1)
    assert torch.allclose(npu.npu_interleave_rope(x, cos, sin), expected, atol=1e-5)
    halves = torch.cat((x[..., ::2], x[..., 1::2]), -1)
    query, _ = npu.npu_apply_rotary_pos_emb(halves, halves, cos, sin)
    assert torch.allclose(query, expected, atol=1e-5)


def test_sampling_hides_what_is_outside_the_nucleus_and_the_k_largest():
    logits = torch.tensor([[1.0, 3.0, 2.0, 0.0, 4.0], [2.0, 2.5, 0.0, 0.1, -5.0]])
    out = npu.npu_top_k_top_p(logits, torch.tensor([0.7, 1.0]), torch.tensor([3, 2]))
    kept = out.isfinite()
    assert kept.tolist() == [[False, True, False, False, True], [True, True, False, False, False]]
    assert torch.equal(out[kept], logits[kept])


def test_softmax_with_dropout_is_that_of_the_vendors_test():
    x, mask = drawn(2, 2, 4, 4), drawn(2, 2, 4, 4, seed=1)
    x.requires_grad_()
    keep, weights, out = dropout.npu_dropout_with_add_softmax(x, mask, 0.5, 0.0, -1)
    assert keep.all()
    assert torch.allclose(out, (mask + x * 0.5).softmax(-1), atol=1e-6)
    keep, weights, out = dropout.npu_dropout_with_add_softmax(x, mask, 0.5, 0.5, -1)
    assert torch.allclose(out, weights * keep * 2, atol=1e-6)
    out.sum().backward()
    other = x.detach().requires_grad_()
    ((mask + other * 0.5).softmax(-1) * keep * 2).sum().backward()
    assert torch.allclose(x.grad, other.grad, atol=1e-6)


def test_dropout_takes_its_mask_bit_by_bit():
    mask = torch.tensor([0b10100101] * 16, dtype=torch.uint8)
    out, _ = dropout.npu_dropout_do_mask(torch.ones(4, 4), mask, 0.5)
    assert out.flatten().tolist() == [2.0, 0, 2, 0, 0, 2, 0, 2] * 2
    torch.manual_seed(0)
    bits = dropout.npu_dropout_gen_mask([100, 100], 0.25, device="cpu")
    assert bits.shape == (10112 // 8,)
    kept, _ = dropout.npu_dropout_do_mask(torch.ones(100, 100), bits, 0.25)
    assert kept.bool().float().mean().item() == pytest.approx(0.75, abs=0.02)


def test_slices_follow_their_masks():
    x = torch.arange(24).view(2, 3, 4)
    assert torch.equal(dropout.npu_indexing(x, [0, 0, 1], [2, 2, 4], [1, 1, 2]), x[0:2, 0:2, 1:4:2])
    out = dropout.npu_indexing(x, [1, 9, 1], [2, 9, 3], [1, 1, 1], 0, 4, 2, 0, 1)
    assert torch.equal(out, x[1, ..., 1:])


@pytest.mark.parametrize("maximize", [False, True])
def test_a_step_of_adam_w_is_torchs(maximize):
    ours, plain = drawn(5), drawn(5).requires_grad_()
    means, squares = torch.zeros(5), torch.zeros(5)
    optimizer = torch.optim.AdamW([plain], lr=0.1, weight_decay=0.1, maximize=maximize)
    for step in range(3):
        grad = drawn(5, seed=step)
        plain.grad = grad.clone()
        optimizer.step()
        dropout.npu_apply_adam_w(
            0.9**step, 0.999**step, 0.1, 0.1, 0.9, 0.999, 1e-8, grad, None, False, maximize,
            out=(ours, means, squares),
        )  # fmt: skip
    assert torch.allclose(ours, plain, atol=1e-5)


@pytest.mark.parametrize("layout", ["BSH", "SBH", "BNSD", "BSND"])
def test_the_attentions_gradients_are_those_of_autograd(layout):
    q, k, v = drawn(2, 5, 4, 8), drawn(2, 6, 2, 8, seed=1), drawn(2, 6, 2, 8, seed=2)
    order = {"BSH": (0, 1), "SBH": (1, 0), "BNSD": (0, 2, 1, 3), "BSND": (0, 1, 2, 3)}[layout]
    if len(order) == 2:
        q, k, v = (t.flatten(2).permute(*order, 2).contiguous() for t in (q, k, v))
    else:
        q, k, v = (t.permute(order).contiguous() for t in (q, k, v))
    given = [t.requires_grad_() for t in (q, k, v)]
    mask = torch.ones(5, 6, dtype=torch.bool).triu(2)
    out, top, total, *_ = attention.npu_fusion_attention(*given, 4, layout, None, None, mask, 0.3)
    slope = drawn(*out.shape, seed=7)
    expected = torch.autograd.grad(out, given, slope)
    plain = [t.detach() for t in given]
    for statistics in ({}, {"softmax_max": top, "softmax_sum": total, "attention_in": out}):
        found = attention_grad.npu_fusion_attention_grad(
            *plain, slope, 4, layout, atten_mask=mask, scale_value=0.3,
            **{name: value.detach() for name, value in statistics.items()},
        )  # fmt: skip
        for ours, theirs in zip(found[:3], expected, strict=True):
            assert torch.allclose(ours, theirs, atol=1e-5)


def test_parts_of_a_ring_add_up_to_the_whole_gradient():
    q, k, v, slope = (drawn(1, 2, 4, 8, seed=s) for s in range(4))
    given = [t.requires_grad_() for t in (q, k, v)]
    out, top, total, *_ = attention.npu_fusion_attention(*given, 2, "BNSD", scale=0.3)
    expected = torch.autograd.grad(out, given, slope)
    q, k, v = (t.detach() for t in given)
    parts = [
        attention_grad.npu_fusion_attention_grad(
            q, k[:, :, s], v[:, :, s], slope, 2, "BNSD", scale_value=0.3,
            softmax_max=top.detach(), softmax_sum=total.detach(), attention_in=out.detach(),
        )
        for s in (slice(0, 2), slice(2, 4))
    ]  # fmt: skip
    assert torch.allclose(parts[0][0] + parts[1][0], expected[0], atol=1e-5)
    assert torch.allclose(torch.cat((parts[0][1], parts[1][1]), 2), expected[1], atol=1e-5)
    assert torch.allclose(torch.cat((parts[0][2], parts[1][2]), 2), expected[2], atol=1e-5)
    with pytest.raises(BadInput, match="keep_prob"):
        attention_grad.npu_fusion_attention_grad(q, k, v, slope, 2, "BNSD", keep_prob=0.5)


def test_contrib_makes_dropout_masks_ahead_and_prefetches():
    with simulated("npu"):
        from torch_npu.contrib.module import NpuPreGenDropout, Prefetcher

        torch.npu.manual_seed(0)
        model = torch.nn.Sequential(NpuPreGenDropout(0.5))
        with pytest.raises(RuntimeError, match="Only Register prob"):
            model(torch.ones(4, device="npu"))
        NpuPreGenDropout.enable_dropout_ensemble(model)
        first, second = (model(torch.ones(8, 128, device="npu")).cpu() for _ in range(2))
        assert set(first.unique().tolist()) == {0.0, 2.0}
        assert not torch.equal(first, second)
        pairs = [(torch.full((2,), float(i)), torch.tensor([i])) for i in range(2)]
        fetcher = Prefetcher(pairs)
        for index in range(2):
            data, target = fetcher.next()
            assert data.device.type == "npu"
            assert target.item() == index
        assert fetcher.next() == (None, None)
        from torch_npu.contrib import npu_iou

        box = torch.tensor([[0.0, 0, 1, 1]], device="npu")
        assert npu_iou(box, box, is_normalized=True).item() == pytest.approx(1.0, abs=1e-4)


def test_overflow_is_read_on_the_host_and_the_profiler_traces_it():
    with simulated("npu") as machine:
        import torch_npu

        assert not torch.npu.utils.npu_check_overflow(torch.ones(3, device="npu"))
        assert torch.npu.utils.npu_check_overflow(torch.tensor([1.0, float("nan")], device="npu"))
        assert machine.counters is not None
        options = torch_npu.profiler._ExperimentalConfig(
            profiler_level=torch_npu.profiler.ProfilerLevel.Level1
        )
        with torch_npu.profiler.profile(experimental_config=options) as found:
            torch.ones(3, device="npu") * 2
        assert found.key_averages()
        steps = torch_npu.profiler.schedule(wait=2, active=1, warmup=1, skip_first=1)
        early = torch_npu.profiler.schedule(2, 1, 1, skip_first=1, skip_first_wait=1)
        names = [[plan(step).name for step in range(6)] for plan in (steps, early)]
        assert names[0] == ["NONE", "NONE", "NONE", "WARMUP", "RECORD_AND_SAVE", "NONE"]
        assert names[1] == ["NONE", "WARMUP", "RECORD_AND_SAVE", "NONE", "NONE", "WARMUP"]
