"""PT2xx, PT4xx and PT5xx: dtypes, draws, reads and graphs."""

from __future__ import annotations

import pytest

from tests.scan.rules.conftest import Found

T = "import torch\nimport numpy as np\nimport torch.nn.functional as F\n"


def loop(*body: str, head: str = "for i in range(n):") -> str:
    return T + head + "\n" + "".join(f"    {line}\n" for line in ("x = model(x)", *body))


def test_a_scope_that_is_autocast_under_another_name(found: Found) -> None:
    text = (
        "from torch import autocast\nfrom contextlib import nullcontext\n"
        "scope = autocast if half else nullcontext\nwith scope('cuda'): pass\n"
    )

    assert found("PT201", text) == ["4 sure warning"]


def test_autocast_that_is_off_needs_no_dtype(found: Found) -> None:
    assert found("PT202", T + "with torch.autocast('cpu', enabled=False): pass") == []
    assert found("PT202", T + "with torch.autocast(d, dtype=torch.float16): pass") == [
        "4 sure note"
    ]
    assert found("PT202", T + "with torch.autocast(d, dtype=torch.bfloat16): pass") == []


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("x = torch.zeros(3, dtype=torch.float64, device=d)", ["4 likely error"]),
        ("x = torch.zeros(3, dtype=torch.float64)", ["4 possible warning"]),
        ("x = torch.zeros(3, dtype=torch.float64, device='cpu')", ["4 possible warning"]),
        ("ok = x.dtype == torch.float64", []),
        ("names = {'double': torch.float64}", []),
        ("x = np.zeros(3, dtype=np.float64)", []),
        ("dtype = torch.float32 if mps else torch.float64", ["4 likely error"]),
        ("if d.type == 'mps': x = x.half()", []),
        ("if d.type in ('mps', 'hpu'): x = x.to(torch.float32)", []),
    ],
)
def test_float64(found: Found, text: str, expected: list[str]) -> None:
    assert found("PT204", T + text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("torch.randn(3)", []),
        ("torch.randn(3, device='cpu')", []),
        ("cpu = torch.device('cpu')\ntorch.randn(3, device=cpu)", []),
        ("torch.randn(3, device=None)", []),
        ("torch.randn(3, device=d)", ["4 sure warning"]),
        ("np.random.randn(3)", []),
    ],
)
def test_draws(found: Found, text: str, expected: list[str]) -> None:
    assert found("PT401", T + text) == expected


def test_the_draw_of_a_latent_counts_unless_a_generator_is_given(found: Found) -> None:
    assert found("PT402", T + "z = vae.encode(x).latent_dist.sample()") == ["4 likely warning"]
    assert found("PT402", T + "z = vae.encode(x).latent_dist.sample(g)") == []
    assert found("PT402", T + "z = dataset.sample()") == []


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("total += loss.item()", ["6 sure warning"]),
        ("total += loss.cpu()", ["6 likely warning"]),
        ("if i % 10 == 0: print(loss.item())", ["6 sure note"]),
        ("if accelerator.is_main_process: print(loss.item())", ["6 sure note"]),
        ("total += loss.cpu().item()", ["6 likely warning"]),
        ("k = x.item(0)", []),
        ("v = np.mean(y); k = v.item()", []),
    ],
)
def test_reads_in_a_loop(found: Found, body: str, expected: list[str]) -> None:
    assert found("PT501", loop(body)) == expected


def test_a_loop_that_runs_no_model_may_read(found: Found) -> None:
    assert found("PT501", T + "for x in rows:\n    total += x.item()\n") == []


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("x = x * sigmas[i]", ["6 likely warning"]),
        ("x = x * sigmas[i + 1]", ["6 likely warning"]),
        ("x = x * sigmas[k]", []),
        ("name = names[i]", []),
        ("x = x * [1, 2][i]", []),
    ],
)
def test_reads_by_the_loops_number(found: Found, body: str, expected: list[str]) -> None:
    assert found("PT511", loop(body)) == expected


def test_a_list_or_an_array_may_be_read_by_the_loops_number(found: Found) -> None:
    array = loop("x = x * a[i]").replace("for i", "a = np.ones(3)\nfor i")
    assert found("PT511", array) == []
    assert found("PT511", loop("x = x * a[i]").replace("for i", "a = [1, 2]\nfor i")) == []
    tensor = loop("f(a[i])").replace("for i", "a = torch.ones(3)\nfor i")
    assert found("PT511", tensor) == ["7 sure warning"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("for b in batches:\n    model(b)", ["4 likely warning"]),
        ("for b in batches:\n    loss.backward()\n    optimizer.step()", ["4 sure warning"]),
        ("for b in batches:\n    x = scheduler.step(e, t, x)", ["4 sure warning"]),
        ("for b in batches:\n    lr_scheduler.step()", []),
        ("for b in batches:\n    save_model(b)", []),
        ("for b in batches:\n    model(b)\n    mark_step()", []),
        ("for a in b:\n    for c in a:\n        net(c)", ["5 likely warning"]),
        ("for b in batches:\n    print(b)", []),
    ],
)
def test_loops_without_marks(found: Found, text: str, expected: list[str]) -> None:
    assert found("PT513", T + text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("x[x > 0]", ["4 likely note"]),
        ("class N:\n    def forward(self, x):\n        return x[~m]", ["6 likely warning"]),
        ("x[attention_mask]", ["4 possible note"]),
        ("a = np.ones(3)\na[a > 0]", []),
        ("d['mask']", []),
        ("x[i]", []),
        ("x['a' in y]", []),
    ],
)
def test_masks(found: Found, text: str, expected: list[str]) -> None:
    assert found("PT514", T + text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("x.repeat_interleave(2)", []),
        ("x.repeat_interleave(x.shape[0], 0)", []),
        ("x.repeat_interleave(n, 0)", ["4 possible note"]),
        ("torch.repeat_interleave(x, n, output_size=k)", []),
        ("torch.where(m, x, 0)", []),
    ],
)
def test_repeats(found: Found, text: str, expected: list[str]) -> None:
    assert found("PT516", T + text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("nn.GroupNorm(32, c)", []),
        ("nn.GroupNorm(num_channels=c, num_groups=1)", ["2 sure note"]),
        ("nn.GroupNorm(c // 4 if c > 4 else 1, c)", ["2 likely note"]),
        ("def f(c, groups=1): return nn.GroupNorm(groups, c)", ["2 possible note"]),
        ("def f(c, groups=8): return nn.GroupNorm(groups, c)", []),
    ],
)
def test_one_group(found: Found, text: str, expected: list[str]) -> None:
    assert found("PT601", "from torch import nn\n" + text) == expected


def test_scores_in_float32_are_right(found: Found) -> None:
    assert found("PT205", T + "(q.float() @ k.float()).softmax(-1)") == []
    assert found("PT205", T + "s = F.softmax(x, dim=-1)") == []
    text = T + "s = torch.einsum('ij,kj->ik', q, k)\ns = s * 2\np = F.softmax(s, -1)"
    assert found("PT205", text) == ["4 likely warning"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("import flash_attn", ["1 sure error"]),
        ("def f():\n    import flash_attn", []),
        ("if available():\n    import xformers.ops", []),
        ("import torch_npu.contrib", []),
        ("from .triton import kernels", []),
    ],
)
def test_packages_of_one_vendor(found: Found, text: str, expected: list[str]) -> None:
    assert found("PT801", text) == expected
