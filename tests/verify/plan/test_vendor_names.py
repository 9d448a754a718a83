"""``porter lint`` holds the vendors' names in patches and probes to what the vendors publish."""

from __future__ import annotations

from pathlib import Path

import pytest

from porter.device.sim import contract
from porter.verify.plan.vendor_names import (
    ALSO_PUBLISHED,
    SIGNATURES,
    Use,
    lint_vendor_names,
    problem,
    stand_ins,
    uses,
)
from tests.small_port import SmallPort

FUSED = "from habana_frameworks.torch.hpex.kernels import FusedSDPA as F\n"


def names(text: str) -> list[str]:
    return [use.name for use in uses(text)]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("import torch_npu", ["torch_npu"]),
        ("from torch_npu.optim import Lamb", ["torch_npu.optim", "torch_npu.optim.Lamb"]),
        ("from torch_npu.npu import a, b as c  # why",
         ["torch_npu.npu", "torch_npu.npu.a", "torch_npu.npu.b"]),
        ("from torch_npu.npu import (  # why\n    a,\n    b,\n)",
         ["torch_npu.npu", "torch_npu.npu.a", "torch_npu.npu.b"]),
        ("import habana_frameworks.torch.core as core\ncore.mark_step()",
         ["habana_frameworks.torch.core", "habana_frameworks.torch.core.mark_step"]),
        ("x = torch.npu.current_device", ["torch_npu.npu.current_device"]),
        ("# by `torch_npu.npu_geglu`, one kernel.", ["torch_npu.npu_geglu"]),
        ("importlib.import_module('torch_npu.optim').X", ["torch_npu.optim"]),
        ("torch.npuish, my_torch_npu, https://host/torch_npu/x, torch-npu", []),
    ],
)  # fmt: skip
def test_names_are_found_in_imports_attributes_and_prose(text: str, found: list[str]) -> None:
    assert names(text) == found


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("from torch_npu.npu.amp.sharded_grad_scaler import _ShardedGradScaler", []),
        ("from torch_npu.npu.amp.sharded_grad_scaler import ShardedGradScaler",
         ["did you mean torch_npu.npu.amp.sharded_grad_scaler._ShardedGradScaler?"]),
        ("from torch_npu.npu.amp import GradScaler\nGradScaler(init_scale=2.0, dynamic=False)", []),
        ("from torch_npu.npu.amp import GradScaler\nGradScaler(static=True)", ["found static="]),
        ("torch_npu.npu_geglu(x, dim=-1, approximate=1)[0]", []),
        ("torch_npu.npu_geglu(x,\n    dimension=-1)", ["found dimension="]),
        ("torch_npu.npu_confusion_transpose(x, (0, 2, 1, 3), shape, True, 1)", ["at most 4"]),
        ("torch_npu.npu_confusion_transpose(*everything)", []),
        (f"{FUSED}F.apply(q, k, v, m, 0.0, False)", []),
        (f"{FUSED}F.apply(q, scales=1)", ["found scales="]),
        ("import habana_frameworks.torch.hpex.kernels.Flash", ["hpex.kernels.Flash"]),
        ("torch.hpu.is_available()", []),
        ("torch.npu.is_availabel()", ["found torch_npu.npu.is_availabel"]),
        ("`torch_npu.npu_geglu(...)` in prose (of a tensor", []),
    ],
)  # fmt: skip
def test_what_is_not_published_is_wrong(text: str, wrong: list[str]) -> None:
    found = [said for use in uses(text) if (said := problem(use))]
    assert len(found) == len(wrong), found
    assert all(part in said for part, said in zip(wrong, found, strict=True))


def test_every_name_of_the_contracts_is_published() -> None:
    for data in (contract.TORCH_NPU, contract.HABANA, contract.CLIENT):
        assert [n for n in contract.load(data)["symbols"] if problem(Use(1, n))] == []


def test_a_name_is_published_in_one_place_and_signatures_belong_to_such_names() -> None:
    both = {
        **contract.load(contract.TORCH_NPU)["symbols"],
        **contract.load(contract.HABANA)["symbols"],
    }
    assert not both.keys() & ALSO_PUBLISHED.keys()
    assert SIGNATURES.keys() <= ALSO_PUBLISHED.keys()


def test_what_a_probe_puts_into_a_vendors_module_is_found() -> None:
    text = (
        "import sys, types\n"
        "module = types.ModuleType('torch_npu.npu.amp')\n"
        "module.GradScaler = module.Invented = object\n"
        "module.GradScaler = object\n"
        "sys.modules['torch_npu.optim'].NpuFusedAdamW = object\n"
        "other = types.ModuleType('wandb')\n"
        "other.run = None\n"
    )
    assert [(use.line, use.name) for use in stand_ins(text)] == [
        (3, "torch_npu.npu.amp.GradScaler"),
        (3, "torch_npu.npu.amp.Invented"),
        (4, "torch_npu.npu.amp.GradScaler"),
        (5, "torch_npu.optim.NpuFusedAdamW"),
    ]


def test_lint_names_the_line_of_the_patch_and_of_the_probe(port: SmallPort) -> None:
    path = port.add_patch("one", {"new.py": "import torch_npu\n\ntorch_npu.npu_gelgu(1)\n"})
    folder = port.root / "recipes" / "small"
    folder.mkdir(parents=True)
    probe = "import sys, types\nm = types.ModuleType('torch_npu.optim')\nm.FusedAdam = object\n"
    (folder / "probe.py").write_text(probe)

    found = lint_vendor_names(port.root, "small", port.series().patches)

    line = path.read_text().splitlines().index("+torch_npu.npu_gelgu(1)") + 1
    assert [(f.file, f.line, f.rule) for f in found] == [
        (f"patches/small/{path.name}", line, "vendor"),
        ("recipes/small/probe.py", 3, "vendor"),
    ]


def test_only_added_lines_are_held(port: SmallPort) -> None:
    port.add_patch("one", {"a.py": "import torch_npu.invented\n" + "x = 1\n" * 3})
    port.add_patch("two", {"a.py": "import torch_npu.invented\n" + "x = 1\n" * 2 + "x = 2\n"})

    found = lint_vendor_names(port.root, "small", port.series().patches)

    assert [Path(f.file).name[:4] for f in found] == ["0001"]
