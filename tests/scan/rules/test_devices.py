"""PT1xx and PT3xx: where CUDA is named for good reason, and where it is not."""

from __future__ import annotations

import pytest

from tests.scan.rules.conftest import Found

T = "import torch\n"


@pytest.mark.parametrize(
    "text",
    [
        "x = torch.device('cuda:0')",
        "x = torch.device(f'cuda:{rank}')",
        "x = torch.device('cuda', rank)",
        "y = x.to('cuda')",
        "y = torch.zeros(3, device='cuda')",
        "y = torch.load(path, map_location='cuda:' + str(rank))",
        "device = 'cuda'",
        "self.device = 'cuda'",
        "def f(x, device='cuda'): pass",
        "parser.add_argument('--device', default='cuda')",
        "device = 'cpu' if args.slow else 'cuda'",
    ],
)
def test_a_device_named_cuda_is_found(found: Found, text: str) -> None:
    assert found("PT101", T + text) == ["2 sure error"]


@pytest.mark.parametrize(
    "text",
    [
        "name = 'cuda'",
        "print('cuda')",
        "kinds = {'gpu': 'cuda'}",
        "ok = kind == 'cuda'",
        "developer = 'cuda'",
        "parser.add_argument('--backend', default='cuda')",
        "if device.type == 'cuda': torch.zeros(3, device='cuda')",
        "if kind in ('cuda', 'npu'): y = x.to('cuda')",
        "with torch.autocast(device_type='cuda'): pass",
        "def f(kind):\n    if kind == 'npu': return kind\n    return torch.device('cuda')",
        "import torch_npu\ndevice = torch.device('cuda')",
        "assert torch.cuda.is_available()",
    ],
)
def test_a_text_that_chooses_no_device_is_not_found(found: Found, text: str) -> None:
    assert found("PT101", T + text) == []


@pytest.mark.parametrize(
    "text",
    [
        "device = torch.device('cuda' if torch.cuda.is_available() else 'cpu')",
        "if torch.cuda.is_available(): device = torch.device('cuda')",
        "use = torch.cuda.is_available()\nd = torch.device('cuda' if use else 'cpu')",
        "device = use and torch.cuda.is_available() and torch.device('cuda')",
    ],
)
def test_a_choice_that_asks_for_cuda_is_milder(found: Found, text: str) -> None:
    assert {row.partition(" ")[2] for row in found("PT101", T + text)} <= {
        "sure warning",
        "likely warning",
    }
    assert found("PT101", T + text)


def test_a_guard_that_is_another_branch_is_no_guard(found: Found) -> None:
    text = T + "if dev != 'cpu':\n    m = m.cuda()\nelse:\n    m = m.cpu()\n"

    assert found("PT102", text) == ["3 sure error"]


def test_a_return_for_other_devices_guards_what_follows(found: Found) -> None:
    text = T + "def f(x):\n    if x.device.type != 'cuda': return x\n    return x.cuda()\n"

    assert found("PT102", text) == []


def test_names_count_as_the_imports_mean_them(found: Found) -> None:
    text = "import torch as th\nfrom torch import cuda\nth.cuda.synchronize()\ncuda.synchronize()\n"

    assert found("PT103", text) == ["3 sure error", "4 sure error"]
    assert found("PT103", "class torch: pass\ntorch.cuda.synchronize()\n") == []


def test_what_does_nothing_without_cuda_is_a_note(found: Found) -> None:
    assert found("PT103", T + "torch.cuda.empty_cache()") == ["2 sure note"]


@pytest.mark.parametrize("served", [("hpu", "npu"), ("npu",), ()])
def test_what_a_migration_serves_is_not_asked_on_its_device(
    found: Found, served: tuple[str, ...]
) -> None:
    assert bool(found("PT102", T + "x.cuda()", served=served)) == (len(served) < 2)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("if x.is_cuda: pass", ["2 likely warning"]),
        ("if str(device).startswith('cuda'): pass", ["2 likely warning"]),
        ("if device.type in ('cuda', 'xpu'): pass", ["2 likely warning"]),
        ("if device.type in ('cuda', 'hpu'): pass", []),
        ("if 'cuda' == 'cpu': pass", []),
        ("def f(d):\n    if d == 'cuda': return 1\n    return d == 'hpu'", []),
    ],
)
def test_branches_for_cuda_alone(found: Found, text: str, expected: list[str]) -> None:
    assert found("PT104", T + text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("dist.init_process_group('nccl')", ["2 sure error"]),
        ("backend = 'nccl' if torch.cuda.is_available() else 'gloo'", ["2 sure warning"]),
        ("if backend == 'nccl': pass", ["2 possible warning"]),
        ("log('nccl is slow')", []),
    ],
)
def test_nccl(found: Found, text: str, expected: list[str]) -> None:
    assert found("PT301", T + text) == expected


def test_device_ids_that_are_none_elsewhere_are_right(found: Found) -> None:
    ddp = "from torch.nn.parallel import DistributedDataParallel as DDP\n"

    assert found("PT303", ddp + "DDP(m, device_ids=None)") == []
    assert found("PT303", ddp + "DDP(m, device_ids=[0] if d.type == 'cuda' else None)") == []
    assert found("PT303", ddp + "DDP(m, [0])") == ["2 sure error"]
