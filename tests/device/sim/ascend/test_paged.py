"""Attention for inference of torch_npu against PyTorch's, and graphs whose tasks are updated."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")
import torch.nn.functional as F  # noqa: E402

from porter.device.sim.accounting.ledger import open_accounting  # noqa: E402
from porter.device.sim.activate import simulated  # noqa: E402
from porter.device.sim.ascend import paged  # noqa: E402, F401
from porter.device.sim.graphs.capture import CaptureRefused  # noqa: E402
from porter.errors import BadInput  # noqa: E402

npu = torch.ops.npu


def drawn(*shape, dtype=torch.float32, seed=0):
    generator = torch.Generator().manual_seed(seed + sum(shape))
    return torch.randn(*shape, generator=generator, dtype=torch.float64).to(dtype)


def plain(q, k, v, visible=None, scale=0.3):
    """Attention of (heads, rows, size) with fewer heads of keys, and the log-sum-exp."""
    k, v = (t.repeat_interleave(q.shape[0] // k.shape[0], 0) for t in (k, v))
    scores = q @ k.mT * scale
    if visible is not None:
        scores = scores.masked_fill(~visible, -torch.inf)
    return F.scaled_dot_product_attention(q, k, v, visible, scale=scale), scores.logsumexp(-1)


@pytest.mark.parametrize("layout", ["BSH", "BNSD", "BSND", "BNSD_BSND"])
@pytest.mark.parametrize("masked", [False, True])
def test_inference_attention_agrees_with_sdpa_in_every_layout(layout, masked):
    q, k, v = drawn(2, 5, 4, 8), drawn(2, 6, 2, 8, seed=1), drawn(2, 6, 2, 8, seed=2)
    hidden = torch.ones(5, 6, dtype=torch.bool).triu(2) if masked else None

    def shaped(tensor, form):
        return {"BSH": lambda: tensor.flatten(2), "BSND": lambda: tensor}.get(
            form, lambda: tensor.transpose(1, 2)
        )()

    given = [shaped(t, layout.split("_")[0]) for t in (q, k, v)]
    out, lse = npu.npu_fused_infer_attention_score(
        *given, atten_mask=hidden, num_heads=4, num_key_value_heads=2, scale=0.3,
        input_layout=layout, softmax_lse_flag=True,
    )  # fmt: skip
    for batch in range(2):
        expected, sums = plain(
            *(t[batch].transpose(0, 1) for t in (q, k, v)), None if hidden is None else ~hidden
        )
        form = layout.split("_")[-1]
        mine = shaped(expected.transpose(0, 1).unsqueeze(0), form)[0]
        assert torch.allclose(out[batch], mine, atol=1e-5)
        assert torch.allclose(lse[batch, ..., 0], sums, atol=1e-5)


@pytest.mark.parametrize("block_shape", [3, 4])
def test_pages_are_read_in_the_order_of_their_table(block_shape):
    lengths, size = [5, 3], 4
    table = torch.tensor([[2, 0], [3, 1]], dtype=torch.int32)
    keys = [drawn(n, 2, 8, seed=n) for n in lengths]
    values = [drawn(n, 2, 8, seed=n + 50) for n in lengths]
    caches = [torch.zeros(4, size, 2, 8) for _ in range(2)]
    slots = torch.cat([
        torch.tensor([int(table[b, t // size]) * size + t % size for t in range(n)])
        for b, n in enumerate(lengths)
    ])  # fmt: skip
    npu.npu_scatter_pa_kv_cache(
        torch.cat(keys), torch.cat(values), *caches, slots.int(), cache_mode="Norm"
    )
    assert torch.equal(caches[0][2, 1], keys[0][1])
    q = drawn(2, 1, 4, 8)
    stored = [c.flatten(2) if block_shape == 3 else c.transpose(1, 2).contiguous() for c in caches]
    out, _ = npu.npu_fused_infer_attention_score(
        q, *stored, num_heads=4, num_key_value_heads=2, scale=0.3, input_layout="BSND",
        block_table=table, block_size=size, actual_seq_lengths_kv=lengths,
    )  # fmt: skip
    for batch in range(2):
        parts = [t[batch].transpose(0, 1) for t in (q, keys, values)]
        assert torch.allclose(out[batch].transpose(0, 1), plain(*parts)[0], atol=1e-5)
    key, value = torch.zeros(8, 2, 8), torch.zeros(8, 2, 8)
    npu.npu_gather_pa_kv_cache(*caches, table, torch.tensor(lengths), key, value)
    assert torch.equal(key, torch.cat(keys))
    assert torch.equal(value, torch.cat(values))
    later = torch.zeros(4, 2, 8)
    npu.npu_gather_pa_kv_cache(
        *caches, table, torch.tensor([0, 3, 4]), later, later.clone(),
        seq_offset=torch.tensor([2, 1]), is_seq_lens_cumsum=True,
    )  # fmt: skip
    assert torch.equal(later, torch.cat((keys[0][2:5], keys[1][1:2])))


def test_a_cache_in_sixteenths_holds_the_same_rows():
    key, cache = drawn(3, 2, 24), torch.zeros(2, 3, 4, 16)
    npu.npu_scatter_pa_kv_cache(key, key, cache, cache.clone(), torch.tensor([5, -1, 0]))
    assert torch.equal(cache[1, :, 1].flatten(), key[0].flatten())
    assert torch.equal(cache[0, :, 0].flatten(), key[2].flatten())
    assert cache.any(-1).sum() == 6


@pytest.mark.parametrize("mode", [0, 3])
def test_packed_sequences_do_not_see_each_other(mode):
    q, k, v = drawn(6, 4, 8), drawn(7, 2, 8, seed=1), drawn(7, 2, 8, seed=2)
    mask = torch.ones(2048, 2048, dtype=torch.bool).triu(1) if mode else None
    out, lse = npu.npu_fused_infer_attention_score(
        q, k, v, atten_mask=mask, actual_seq_lengths=[2, 6], actual_seq_lengths_kv=[3, 7],
        num_heads=4, num_key_value_heads=2, scale=0.3, input_layout="TND", sparse_mode=mode,
        softmax_lse_flag=True,
    )  # fmt: skip
    for rows, columns in ((slice(0, 2), slice(0, 3)), (slice(2, 6), slice(3, 7))):
        parts = [t[s].transpose(0, 1) for t, s in ((q, rows), (k, columns), (v, columns))]
        n, m = parts[0].shape[1], parts[1].shape[1]
        visible = ~torch.ones(n, m, dtype=torch.bool).triu(m - n + 1) if mode else None
        expected, sums = plain(*parts, visible)
        assert torch.allclose(out[rows].transpose(0, 1), expected, atol=1e-5)
        assert torch.allclose(lse[rows, :, 0].T, sums, atol=1e-5)


def test_the_second_version_takes_rope_parts_and_refuses_what_it_lacks():
    q, k, v = drawn(1, 4, 3, 8), drawn(1, 4, 5, 8, seed=1), drawn(1, 4, 5, 8, seed=2)
    turned = drawn(1, 4, 3, 4), drawn(1, 4, 5, 4, seed=3)
    out, lse = npu.npu_fused_infer_attention_score_v2(
        q, k, v, query_rope=turned[0], key_rope=turned[1], num_query_heads=4,
        softmax_scale=0.3, input_layout="BNSD",
    )  # fmt: skip
    expected, _ = plain(torch.cat((q, turned[0]), -1)[0], torch.cat((k, turned[1]), -1)[0], v[0])
    assert torch.allclose(out[0], expected, atol=1e-5)
    assert lse.shape == (1,)
    with pytest.raises(BadInput, match="no learnable_sink"):
        npu.npu_fused_infer_attention_score_v2(q, k, v, learnable_sink=q)
    with pytest.raises(BadInput, match="input_layout is 'NO'"):
        npu.npu_fused_infer_attention_score(q, k, v, input_layout="NO")


def test_attention_over_parts_of_the_keys_is_merged():
    q, k, v = drawn(2, 4, 8), drawn(2, 6, 8, seed=1), drawn(2, 6, 8, seed=2)
    whole, sums = plain(q, k, v)
    parts = [plain(q, k[:, s], v[:, s]) for s in (slice(0, 2), slice(2, 6))]
    out, merged = npu.npu_attention_update(
        [lse.flatten() for _, lse in parts], [o.flatten(0, 1) for o, _ in parts], 1
    )
    assert torch.allclose(out, whole.flatten(0, 1), atol=1e-5)
    assert torch.allclose(merged, sums.flatten(), atol=1e-5)
    one, _ = npu.npu_attention_update(
        [parts[0][1].flatten(), torch.full((8,), torch.inf)],
        [parts[0][0].flatten(0, 1), torch.full((8, 8), 9.0)], 0,
    )  # fmt: skip
    assert torch.allclose(one, parts[0][0].flatten(0, 1), atol=1e-5)


def test_a_captured_attention_takes_new_lengths_between_replays():
    with simulated("npu") as machine:
        import torch_npu

        open_accounting(machine)
        q, k, v = (drawn(1, 4, n, 8, seed=n).npu() for n in (1, 6, 6))
        out, lse = torch.zeros_like(q), torch.zeros(1, device="npu")
        event, graph = torch.npu.ExternalEvent(), torch.npu.NPUGraph()
        stream = torch.npu.current_stream()
        options = {"num_heads": 4, "scale": 0.3, "input_layout": "BNSD"}
        space = torch_npu._npu_fused_infer_attention_score_get_max_workspace(q, k, v, **options)

        def attend(length):
            torch_npu.npu_fused_infer_attention_score.out(
                q, k, v, actual_seq_lengths_kv=[length], workspace=space, **options,
                attention_out=out, softmax_lse=lse,
            )  # fmt: skip

        with torch.npu.graph(graph):
            event.wait(stream)
            event.reset(stream)
            torch.npu.graph_task_group_begin(stream)
            attend(2)
            handle = torch.npu.graph_task_group_end(stream)
            doubled = out * 2
        for length in (2, 5):
            if length != 2:
                torch.npu.graph_task_update_begin(stream, handle)
                attend(length)
                torch.npu.graph_task_update_end(stream)
                event.record(stream)
            out.zero_()
            graph.replay()
            expected, _ = plain(q[0].cpu(), k[0, :, :length].cpu(), v[0, :, :length].cpu())
            assert torch.allclose(out[0].cpu(), expected, atol=1e-5)
            assert torch.equal(doubled.cpu(), out.cpu() * 2)


def test_an_update_with_other_operators_than_the_groups_is_refused():
    with simulated("npu") as machine:
        open_accounting(machine)
        x = torch.ones(2, device="npu")
        stream, graph = torch.npu.current_stream(), torch.npu.NPUGraph()
        with pytest.raises(CaptureRefused, match="no capture is in progress"):
            torch.npu.graph_task_group_begin(stream)
        with torch.npu.graph(graph):
            torch.npu.graph_task_group_begin(stream)
            x.mul_(2)
            handle = torch.npu.graph_task_group_end(stream)
        torch.npu.graph_task_update_begin(stream, handle)
        with pytest.raises(CaptureRefused, match=r"aten.add_.Tensor ran where .* aten.mul_"):
            x.add_(1)
        with pytest.raises(CaptureRefused, match="0 ops ran, the group has 1"):
            torch.npu.graph_task_update_end(stream)


def test_compiled_code_writes_a_paged_cache_and_attends_to_it():
    def step(q, k, v, caches, slots, table):
        torch.ops.npu.npu_scatter_pa_kv_cache(k, v, *caches, slots, cache_mode="Norm")
        return torch.ops.npu.npu_fused_infer_attention_score(
            q, *(c.flatten(2) for c in caches), num_heads=4, num_key_value_heads=2, scale=0.3,
            input_layout="BSND", block_table=table, block_size=4, actual_seq_lengths_kv=[3],
        )[0]  # fmt: skip

    with simulated("npu"):
        given = [drawn(1, 1, 4, 8), drawn(3, 2, 8), drawn(3, 2, 8, seed=1)]
        places = [torch.tensor([4, 5, 6], dtype=torch.int32), torch.tensor([[1]])]
        compiled = torch.compile(step, backend="npu", fullgraph=True)
        found = []
        for run in (step, compiled):
            caches = [torch.zeros(2, 4, 2, 8).npu() for _ in range(2)]
            slots, table = (t.npu() for t in places)
            found.append(run(*(t.npu() for t in given), caches, slots, table).cpu())
            assert torch.equal(caches[0][1, :3].cpu(), given[1])
        assert torch.equal(*found)
        expected, _ = plain(given[0][0].transpose(0, 1), *(t.transpose(0, 1) for t in given[1:]))
        assert torch.allclose(found[0][0].transpose(0, 1), expected, atol=1e-5)
    torch._dynamo.reset()
