"""Which ops a device runs itself, by the vendors' tables, and how the others are counted."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import pytest
import torch

from porter.device.sim.accounting.cpu_fallback import DATA, OpTable, op_table
from porter.device.sim.accounting.ledger import DeviceAccounting
from porter.device.sim.accounting.op_tables import hpu_table, npu_table
from porter.device.sim.activate import activate
from porter.device.sim.core.op_schema import facts_of
from porter.errors import BadInput
from tests.device.sim.op_recorder import on_device

aten = torch.ops.aten


def runs(device: str, op: object) -> bool:
    table = op_table(device)
    assert table is not None
    return table.runs(facts_of(op))  # type: ignore[arg-type]


@pytest.mark.parametrize("device", ["hpu", "npu"])
@pytest.mark.parametrize(
    "op",
    [
        aten.addmm.default, aten.convolution.default, aten.convolution_backward.default,
        aten.native_group_norm.default, aten.native_layer_norm_backward.default,
        aten._softmax.default, aten.silu.default, aten.silu_backward.default, aten.relu_.default,
        aten.native_batch_norm.default, aten.embedding_dense_backward.default,
        aten.upsample_nearest2d.default, aten.normal_.default, aten.index.Tensor,
        aten.select.int, aten.view.default, aten.detach.default, aten.copy_.default,
        aten.multinomial.default, aten._fused_adamw_.default, aten.where.self,
    ],
)  # fmt: skip
def test_ops_of_diffusion_models_run_on_the_device(device: str, op: object) -> None:
    assert runs(device, op)


@pytest.mark.parametrize("device", ["hpu", "npu"])
@pytest.mark.parametrize("op", [aten.digamma.default, aten._linalg_eigvals.default])
def test_ops_no_vendor_lists_fall_back(device: str, op: object) -> None:
    assert not runs(device, op)


def test_tables_differ_where_vendors_do() -> None:
    assert runs("npu", aten._fft_r2c.default)
    assert not runs("hpu", aten._fft_r2c.default)
    assert not runs("npu", aten.lgamma.default)


def test_op_that_pytorch_takes_apart_does_not_fall_back() -> None:
    nothing = OpTable("none", "", "", frozenset())
    assert nothing.runs(facts_of(aten._foreach_add_.List))
    assert nothing.runs(facts_of(aten.pixel_shuffle.default))
    assert not nothing.runs(facts_of(aten.exp.default))


def test_structured_op_needs_only_its_out_form() -> None:
    exp_out = OpTable("one", "", "", frozenset({"aten.exp.out"}))
    assert exp_out.runs(facts_of(aten.exp.default))
    assert exp_out.runs(facts_of(aten.exp_.default))


def test_cuda_runs_everything() -> None:
    assert op_table("cuda") is None


def test_fallback_is_counted_with_the_users_line_and_bytes() -> None:
    accounting = DeviceAccounting(activate("npu"))
    x = on_device(accounting.machine, torch.ones(3))
    for _ in range(2):
        x.lgamma()
    ((event, count),) = accounting.counters.of_kind("cpu_fallback").items()
    assert (event.what, event.site.file, count) == ("aten.lgamma.default", __file__, 2)
    assert accounting.counters.totals["cpu_fallback_bytes"] == 24


def test_backward_fallback_is_charged_to_its_forward_line() -> None:
    accounting = DeviceAccounting(activate("npu"))
    x = on_device(accounting.machine, torch.ones(3)).requires_grad_()

    def forward() -> torch.Tensor:
        return torch.lgamma(x)

    forward().sum().backward()
    whats = {event.what: event.site for event in accounting.counters.of_kind("cpu_fallback")}
    assert whats["aten.digamma.default"].line == forward.__code__.co_firstlineno + 1


def test_fallback_ends_the_lazy_graph_and_is_in_none() -> None:
    accounting = DeviceAccounting(activate("hpu"), lazy=True)
    x = on_device(accounting.machine, torch.ones(3))
    x.exp().digamma().sin()
    accounting.mark_step()
    assert accounting.graphs is not None
    assert (accounting.graphs.graphs, accounting.graphs.ops) == (2, 2)


PAGE = """
**PyTorch Operator**   **FP32** **BF16** **FP16** **FP8**  **Operator Type**
conv2d                    Yes      Yes      Yes     No     torch.nn.functional
relu\\_                    Yes      Yes      No      No     torch.nn.functional
"""


def test_hpu_table_comes_from_the_vendors_page() -> None:
    table = hpu_table(PAGE, "1.0", "2025-01-01")
    assert table["documented"] == 2
    assert {"aten.convolution", "aten.convolution_backward", "aten.relu_"} <= set(table["ops"])


def test_page_without_table_is_refused() -> None:
    with pytest.raises(BadInput, match="no operator table"):
        hpu_table("nothing here", "1.0", "2025-01-01")


def test_npu_table_is_read_from_the_wheel(tmp_path: Path) -> None:
    wheel = tmp_path / "torch_npu-9.9.0-cp311-cp311-linux_x86_64.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr(
            "torch_npu/csrc/aten/npu_native_functions.yaml",
            "supported:\n  - clone\n  - func: add.Tensor\n    impl_ns: acl_op\n"
            "custom:\n  - func: npu_gelu(Tensor x) -> Tensor\n",
        )
    table = npu_table(wheel)
    assert table["ops"] == ["aten.add.Tensor", "aten.clone.default", "npu.npu_gelu.default"]
    assert table["version"] == "9.9.0"


@pytest.mark.parametrize("device", ["hpu", "npu"])
def test_shipped_tables_name_source_and_version(device: str) -> None:
    table = json.loads((DATA / f"{device}_ops.json").read_text())
    assert table["source"]
    assert table["version"]
    assert table["ops"] == sorted(table["ops"])
