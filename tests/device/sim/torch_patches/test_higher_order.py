"""Higher-order ops on simulated tensors: their composites, op by op on the device."""

from __future__ import annotations

import pytest
import torch
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


@pytest.mark.parametrize("machine", ["cuda", "hpu"], indirect=True)
def test_flex_attention_without_a_compiler_equals_the_hosts(kind: str) -> None:
    from torch.nn.attention.flex_attention import flex_attention

    q = torch.randn(1, 2, 16, 16)
    found = flex_attention(*[q.to(kind)] * 3)
    assert found.device.type == kind
    assert torch.equal(found.cpu(), flex_attention(q, q, q))
