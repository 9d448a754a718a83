"""What ``torch.compile`` did, counted: graphs, breaks, recompilations, ops a backend leaves out."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from porter.device.report import report_lines
from porter.device.sim.accounting.compile_tables import compile_table
from porter.device.sim.accounting.ledger import open_accounting
from porter.device.sim.activate import simulated
from porter.device.sim.core.machine import Machine, machines
from porter.device.sim.torch_patches.compile_counts import converted
from porter.verify.harness.counters import flat


@pytest.fixture(autouse=True)
def _fresh_dynamo() -> Iterator[None]:
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


def _breaking(x: torch.Tensor) -> torch.Tensor:
    y = x + 1
    torch._dynamo.graph_break()
    return y * 2


def _events(machine: Machine, kind: str) -> list[tuple[str, str, int, int]]:
    found = machine.counters.of_kind(kind)
    return [(e.what, e.detail, e.site.line, count) for e, count in found.items()]


def _line(text: str) -> int:
    lines = Path(__file__).read_text().splitlines()
    return next(n for n, line in enumerate(lines, 1) if line.strip() == text)


def test_graphs_breaks_and_recompilations_are_counted_with_line_and_guard(kind: str) -> None:
    step = torch.compile(_breaking, backend="eager", dynamic=False)
    before = dict(torch._dynamo.utils.counters["stats"])
    for rows in (2, 3, 3):
        step(torch.ones(rows, device=kind))
    machine = machines[kind]
    made = torch._dynamo.utils.counters["stats"]["unique_graphs"] - before.get("unique_graphs", 0)
    assert machine.counters.totals["compiled_graph"] == made == 4
    ((what, _, line, count),) = _events(machine, "graph_break")
    assert (what, line, count) == (
        "Call to `torch._dynamo.graph_break()`", _line("torch._dynamo.graph_break()"), 2
    )  # fmt: skip
    first, _ = _events(machine, "recompilation")
    assert first[0] == "_breaking"
    assert "size mismatch at index 0. expected 2, actual 3" in first[1]


def test_a_reset_of_dynamo_loses_no_break() -> None:
    with simulated("cuda") as machine:
        for _ in range(2):
            torch.compile(_breaking, backend="eager")(torch.ones(2, device="cuda"))
            torch._dynamo.reset()
        assert machine.counters.totals["graph_break"] == 2


def test_a_function_that_cannot_be_one_graph_is_counted_as_given_up() -> None:
    with simulated("npu") as machine:
        compiled = torch.compile(_breaking, backend="npu", fullgraph=True)
        with pytest.raises(torch._dynamo.exc.Unsupported):
            compiled(torch.ones(2, device="npu"))
        assert _events(machine, "compile_failed")[0][:2] == ("_breaking", "Unsupported")
        assert not machine.counters.totals["compiled_graph"]


def test_a_plain_graph_is_one_partition(kind: str) -> None:
    model = nn.Sequential(nn.Conv2d(4, 8, 3), nn.GroupNorm(2, 8), nn.SiLU(), nn.Flatten(1))
    model = model.to(kind)
    backend = {"cuda": "inductor", "hpu": "hpu_backend", "npu": "npu"}[kind]
    compiled = torch.compile(model, backend=backend, fullgraph=True)
    compiled(torch.randn(1, 4, 5, 5, device=kind)).sum().backward()
    totals = machines[kind].counters.totals
    assert totals["compiled_graph"] == 1
    assert totals["graph_partitions"] == (0 if compile_table(kind) is None else 1)
    assert not totals["graph_split"] + totals["graph_split_unknown"]


def _doubled(x: torch.Tensor, index: torch.Tensor) -> torch.Tensor:
    y = x.sin()
    z = y[index]
    return z.exp()


def test_gaudis_backend_runs_the_ops_of_its_own_list_eagerly() -> None:
    with simulated("hpu") as machine:
        x, index = torch.randn(4, device="hpu"), torch.tensor([0, 2], device="hpu")
        found = torch.compile(_doubled, backend="hpu_backend", fullgraph=True)(x, index)
        assert torch.equal(found, _doubled(x, index))
        assert _events(machine, "graph_split") == [
            ("aten.index.Tensor", "the backend runs it eagerly", _line("z = y[index]"), 1)
        ]
        assert machine.counters.totals["graph_partitions"] == 2


def test_a_constant_that_the_graph_holds_splits_it_no_more_than_an_input() -> None:
    @torch.compiler.assume_constant_result
    def table(length: int) -> torch.Tensor:
        return torch.arange(length, dtype=torch.float32).to("hpu")  # not traced: no copy

    with simulated("hpu") as machine:
        compiled = torch.compile(lambda x: x * table(4), backend="hpu_backend", fullgraph=True)
        x = torch.ones(4, device="hpu")
        assert compiled(x).cpu().tolist() == [0.0, 1.0, 2.0, 3.0]
        totals = machine.counters.totals
        assert (totals["compiled_graph"], totals["graph_partitions"]) == (1, 1)
        assert {"graph_split", "graph_split_unknown"}.isdisjoint(totals)


@pytest.mark.parametrize("kind", ["hpu", "npu"])
def test_a_size_that_the_host_computes_splits_no_graph(kind: str) -> None:
    def larger(x: torch.Tensor) -> torch.Tensor:  # traced with aten.size, an op without a kernel
        return nn.functional.interpolate(x, scale_factor=2.0, mode="bilinear", align_corners=False)

    with simulated(kind) as machine:
        backend = {"hpu": "hpu_backend", "npu": "npu"}[kind]
        compiled = torch.compile(larger, backend=backend, fullgraph=True)
        for images in (2, 3):  # the second time with a size that is free
            x = torch.randn(images, 3, 4, 4, device=kind)
            assert torch.equal(compiled(x), larger(x))
        assert machine.counters.totals["compiled_graph"] == 2
        assert "compile_failed" not in machine.counters.totals
        assert not [what for what, *_ in _events(machine, "graph_split") if "size" in what]


def test_a_fused_kernel_of_symbolic_sizes_splits_no_graph() -> None:
    with simulated("hpu") as machine:
        from habana_frameworks.torch.hpex.kernels import FusedSDPA

        def attend(x: torch.Tensor) -> torch.Tensor:
            x = x.unflatten(3, (2, 4)).flatten(3)  # asks for the sizes
            return FusedSDPA.apply(x, x, x)

        compiled = torch.compile(attend, backend="hpu_backend", fullgraph=True)
        for images in (2, 3):  # the second time with a size that is free
            x = torch.randn(images, 1, 4, 8, device="hpu")
            assert torch.equal(compiled(x), attend(x))
        assert machine.counters.totals["graph_partitions"] == 2
        assert {"graph_split", "graph_split_unknown"}.isdisjoint(machine.counters.totals)


def test_a_dtype_that_the_device_lacks_splits_the_graph() -> None:
    with simulated("hpu") as machine:
        compiled = torch.compile(lambda x: (x.double() * 2).float().sin(), backend="hpu_backend")
        compiled(torch.randn(3, device="hpu"))
        details = {detail for _, detail, *_ in _events(machine, "graph_split")}
        assert details == {"the device lacks float64"}
        assert machine.counters.totals["graph_partitions"] == 1


def test_torchair_takes_the_ops_that_it_has_converters_for() -> None:
    def program(x: torch.Tensor) -> torch.Tensor:
        return torch.special.airy_ai(x.sin()).cos()

    with simulated("npu") as machine:
        import torchair

        config = torchair.CompilerConfig()
        config.mode = "max-autotune"
        backend = torchair.get_npu_backend(compiler_config=config)
        x = torch.randn(3, device="npu")
        assert torch.equal(torch.compile(program, backend=backend)(x), program(x))
        (split,) = _events(machine, "graph_split")
        assert split[:2] == ("aten.special_airy_ai.default", "no converter")
        assert machine.counters.totals["graph_partitions"] == 2


def test_torchair_takes_a_fused_kernel_by_the_vendors_name() -> None:
    with simulated("npu") as machine:
        import torch_npu

        def program(x: torch.Tensor) -> Any:
            return torch_npu.npu_fusion_attention(x, x, x, 2, "BSH", scale=0.5)[0].cos()

        x = torch.randn(2, 4, 32, device="npu").half()
        assert torch.equal(torch.compile(program, backend="npu")(x), program(x))
        assert _events(machine, "graph_split") == []
        assert machine.counters.totals["graph_partitions"] == 1


def test_a_registered_converter_takes_its_op_into_the_graph() -> None:
    with simulated("npu") as machine:
        import torchair

        op = torch.ops.aten.special_airy_ai.default
        torchair.register_fx_node_ge_converter(op)(lambda x: x)
        try:
            compiled = torch.compile(torch.special.airy_ai, backend=torchair.get_npu_backend())
            compiled(torch.randn(3, device="npu"))
        finally:
            converted.discard(str(op))
        assert not machine.counters.totals["graph_split"]


@pytest.mark.parametrize(
    ("assign", "message"),
    [
        (lambda c: setattr(c, "mode", "fast"), "not in optional list"),
        (lambda c: setattr(c, "speed", 1), "has no option speed"),
        (lambda c: setattr(c.experimental_config, "no_such", 1), "has no option no_such"),
    ],
)
def test_torchairs_options_are_the_vendors(assign: Any, message: str) -> None:
    with simulated("npu"):
        import torchair

        config = torchair.CompilerConfig()
        config.experimental_config.keep_inference_input_mutations = True
        assert config.experimental_config.keep_inference_input_mutations.value == "1"
        with pytest.raises(ValueError, match=message):
            assign(config)


def test_cached_compilation_and_gears_are_dynamos() -> None:
    with simulated("npu") as machine:
        from torchair.inference import cache_compile, set_dim_gears

        compiled = cache_compile(lambda x: x * x.shape[0])
        for rows in (2, 4):
            x = torch.ones(rows, 3, device="npu")
            set_dim_gears(x, {0: [2, 4]})
            assert compiled(x).sum() == rows * rows * 3
        assert machine.counters.totals["compiled_graph"] == 1
        with pytest.raises(AssertionError, match="2 to 100"):
            set_dim_gears(x, {0: [2]})


def test_the_counts_stand_in_the_report_and_in_the_counters_of_recipes() -> None:
    with simulated("hpu") as machine:
        accounting = open_accounting(machine, lazy=False)
        torch.compile(_breaking, backend="hpu_backend")(torch.ones(2, device="hpu"))
        counted = accounting.as_json()
        text = "\n".join(report_lines("simulated", counted))
        assert "graphs compiled by torch.compile: 2" in text
        assert "graph breaks: 1" in text
        numbers = flat(counted, 0)
        names = ("compiled_graphs", "graph_breaks", "recompilations", "graph_partitions")
        assert [numbers[name] for name in names] == [2, 1, 0, 2]
        assert numbers["graph_splits"] == numbers["failed_compilations"] == 0
