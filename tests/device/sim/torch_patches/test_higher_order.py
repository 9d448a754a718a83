"""Higher-order ops on simulated tensors: their composites, op by op on the device."""

from __future__ import annotations

import pytest
import torch
from torch._higher_order_ops.map import map as map_op
from torch._higher_order_ops.scan import scan
from torch._higher_order_ops.while_loop import while_loop

pytestmark = pytest.mark.filterwarnings("ignore")


def test_cond_takes_the_branch_that_the_device_says(kind: str) -> None:
    def double(x: torch.Tensor) -> torch.Tensor:
        return x * 2

    x = torch.ones(2, device=kind)
    found = [torch.cond(x.sum() > limit, double, torch.neg, (x,)) for limit in (1, 3)]
    assert [each.tolist() for each in found] == [[2, 2], [-1, -1]]
    assert {each.device.type for each in found} == {kind}


def test_loops_run_on_the_device(kind: str) -> None:
    x = torch.ones(2, device=kind)
    start = torch.zeros((), dtype=torch.int64, device=kind)
    _, doubled = while_loop(lambda i, _: i < 3, lambda i, a: (i + 1, a * 2), (start, x))
    assert (doubled.device.type, doubled.tolist()) == (kind, [8, 8])
    total, _ = scan(lambda c, a: (c + a, c * 1), x[0], x)
    assert (total.device.type, total.item()) == (kind, 3)


def test_flex_attention_without_a_compiler_equals_the_hosts(kind: str) -> None:
    from torch.nn.attention.flex_attention import flex_attention

    q = torch.randn(1, 2, 16, 16)
    found = flex_attention(*[q.to(kind)] * 3)
    assert found.device.type == kind
    assert torch.equal(found.cpu(), flex_attention(q, q, q))


def _cond(x: torch.Tensor) -> torch.Tensor:
    return torch.cond(x.sum() > 1, lambda y: y * 2, torch.neg, (x,))


def _map(x: torch.Tensor) -> torch.Tensor:
    return map_op(lambda y: torch.where(y > 1, y * 2, y), x)


def _scan(x: torch.Tensor) -> torch.Tensor:
    return scan(lambda c, a: (c + a, c * a), torch.zeros_like(x[0]), x)[1]


@pytest.mark.parametrize("function", [_cond, _map, _scan])
def test_gradients_pass_through_functions_of_the_user(kind: str, function: object) -> None:
    x = torch.arange(1.0, 4.0)
    found, expected = (each.requires_grad_() for each in (x.to(kind), x.clone()))
    function(found).sum().backward()
    function(expected).sum().backward()
    assert found.grad.device.type == kind
    assert found.grad.tolist() == expected.grad.tolist()


def test_flex_attention_has_the_gradients_of_plain_attention(kind: str) -> None:
    from torch.nn.attention.flex_attention import create_block_mask, flex_attention

    torch.manual_seed(0)
    host = [torch.randn(1, 2, 128, 8) for _ in range(3)] + [torch.randn(2)]
    *qkv, bias = (each.to(kind).requires_grad_() for each in host)
    causal = create_block_mask(lambda b, h, i, j: i >= j, None, None, 128, 128, device=kind)
    out = flex_attention(
        *qkv,
        score_mod=lambda s, b, h, i, j: torch.where(i > j, s + bias[h], s),
        block_mask=causal,
    )
    out.square().sum().backward()

    q, k, v, plain = (each.clone().requires_grad_() for each in host)
    rows = torch.arange(128)
    scores = q @ k.transpose(-1, -2) * 8**-0.5
    scores = torch.where(rows[:, None] > rows, scores + plain[:, None, None], scores)
    scores = scores.masked_fill(rows[:, None] < rows, float("-inf"))
    (scores.softmax(-1) @ v).square().sum().backward()
    for found, expected in zip([*qkv, bias], [q, k, v, plain], strict=True):
        assert found.grad.device.type == kind
        torch.testing.assert_close(found.grad.cpu(), expected.grad, atol=1e-4, rtol=1e-4)
