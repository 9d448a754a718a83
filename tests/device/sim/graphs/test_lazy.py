"""Lazy graphs: what is one graph, what compiles, and how differences are reported."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from porter.device.sim.graphs.lazy import LazyGraphs, RecipeFolder, folder_from_environment
from tests.device.sim.op_recorder import OpRecorder
from tests.processes import own_environment


def small_net() -> torch.nn.Sequential:
    return torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.ReLU(), torch.nn.Linear(8, 4))


def run_steps(graphs: LazyGraphs, step: object, times: int) -> None:
    with torch.no_grad(), OpRecorder(graphs):
        for number in range(times):
            step(number)  # type: ignore[operator]
            graphs.step()


def test_equal_steps_compile_once() -> None:
    graphs, net, x = LazyGraphs(), small_net(), torch.randn(2, 4)
    run_steps(graphs, lambda _: net(x), 5)
    assert (graphs.graphs, graphs.compilations, graphs.cache_hits) == (5, 1, 4)
    assert graphs.largest * 5 == graphs.ops


def test_step_without_ops_is_no_graph() -> None:
    graphs = LazyGraphs()
    assert graphs.step() is None
    assert graphs.graphs == 0


def test_changing_python_index_compiles_each_step() -> None:
    graphs, schedule, x = LazyGraphs(), torch.linspace(1, 0, 11), torch.randn(2, 4)
    run_steps(graphs, lambda i: x * schedule[i], 10)
    assert graphs.compilations == 10


def test_index_read_from_a_rolled_schedule_compiles_once() -> None:
    graphs, x = LazyGraphs(), torch.randn(2, 4)
    schedule = [torch.linspace(1, 0, 11)]

    def step(_: int) -> None:
        x * schedule[0][0]
        schedule[0] = schedule[0].roll(-1, 0)

    run_steps(graphs, step, 10)
    assert graphs.compilations == 1


def test_new_input_shape_compiles() -> None:
    graphs, net = LazyGraphs(), small_net()
    run_steps(graphs, lambda i: net(torch.zeros(2 + i % 2, 4)), 6)
    assert graphs.compilations == 2


@pytest.mark.parametrize(("one", "other"), [(1, 1.0), (-1, -2), (True, 1), (0.5, 0.25)])
def test_scalars_that_are_equal_in_python_are_distinguished(one: float, other: float) -> None:
    graphs, x = LazyGraphs(), torch.ones(3)
    run_steps(graphs, lambda i: x.add(one if i else other), 2)
    assert graphs.compilations == 2


def test_connectivity_is_part_of_the_signature() -> None:
    graphs, a, b = LazyGraphs(), torch.ones(3), torch.ones(3)
    run_steps(graphs, lambda i: (a + b) * (a if i else b), 2)
    assert graphs.compilations == 2


def test_strides_of_inputs_are_part_of_the_signature() -> None:
    graphs, x = LazyGraphs(), torch.ones(3, 3)
    transposed = x.t()
    run_steps(graphs, lambda i: torch.exp(transposed if i else x), 2)
    assert graphs.compilations == 2


def test_alternating_graphs_hit_the_cache_without_a_third_compilation() -> None:
    graphs, x = LazyGraphs(), torch.ones(3)
    run_steps(graphs, lambda i: x.exp() if i % 3 else x.sin().cos(), 12)
    assert (graphs.compilations, graphs.cache_hits) == (2, 10)


def test_prefix_of_a_known_graph_is_another_graph() -> None:
    graphs, x = LazyGraphs(), torch.ones(3)
    run_steps(graphs, lambda i: x.exp() if i else x.exp().sin(), 2)
    assert graphs.compilations == 2


def test_what_differed_names_argument_line_and_both_values() -> None:
    graphs, schedule = LazyGraphs(), torch.linspace(1, 0, 11)

    def step(i: int) -> None:
        schedule[i].exp()  # the line that must be named

    run_steps(graphs, step, 3)
    line = step.__code__.co_firstlineno + 1
    assert graphs.log[-1].differs == (f"arg 2 of aten.select.int at {__file__}:{line}: 2 was 1",)
    assert graphs.log[-1].ended.file == __file__


def test_backward_difference_is_charged_to_its_forward_line() -> None:
    graphs, x = LazyGraphs(), torch.ones(3, requires_grad=True)

    def loss(i: int) -> torch.Tensor:
        return torch.nn.functional.leaky_relu(x, 0.1 + i).sum()

    with OpRecorder(graphs):
        for i in range(2):
            loss(i).backward()
            graphs.step()
    line = loss.__code__.co_firstlineno + 1
    backward = [text for text in graphs.log[-1].differs if "leaky_relu_backward" in text]
    assert f"{__file__}:{line}" in backward[0]


def test_generator_is_not_part_of_the_signature() -> None:
    graphs, x = LazyGraphs(), torch.ones(3)
    run_steps(graphs, lambda i: x.clone().normal_(generator=torch.Generator().manual_seed(i)), 3)
    assert graphs.compilations == 1


def adamw_compilations(**options: bool) -> int:
    graphs, net, x = LazyGraphs(), small_net(), torch.randn(2, 4)
    optimizer = torch.optim.AdamW(net.parameters(), **options)
    with OpRecorder(graphs):
        for _ in range(10):
            net(x).square().sum().backward()
            optimizer.step()
            optimizer.zero_grad()
            graphs.step()
    return graphs.compilations


@pytest.mark.parametrize(
    ("options", "compilations"),
    [({"foreach": False}, 10), ({"foreach": True}, 10), ({"fused": True}, 2)],
)
def test_adamw_compiles_every_step_unless_fused(
    options: dict[str, bool], compilations: int
) -> None:
    assert adamw_compilations(**options) == compilations


SCRIPT = """
import sys
from pathlib import Path
from tests.device.sim.graphs.test_lazy import compilations_with
print(*compilations_with(Path(sys.argv[1])))
"""


def compilations_with(folder: Path) -> tuple[int, int]:
    """Compile a graph with a folder of recipes; return compilations and hits on disk."""
    graphs = LazyGraphs(RecipeFolder(folder))
    with OpRecorder(graphs):
        torch.ones(3).exp().sum(0)
        graphs.step()
    return graphs.compilations, graphs.disk_hits


def test_second_process_reads_the_recipe_from_disk(tmp_path: Path) -> None:
    assert compilations_with(tmp_path) == (1, 0)
    command = [sys.executable, "-c", SCRIPT, str(tmp_path)]
    done = subprocess.run(
        command, env=own_environment(), capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "0 1"


def test_recipe_folder_is_read_from_the_vendors_variable(tmp_path: Path) -> None:
    RecipeFolder(tmp_path).add("aa")
    kept = folder_from_environment({"PT_HPU_RECIPE_CACHE_CONFIG": f"{tmp_path},false,1024"})
    assert kept is not None
    assert not kept.add("aa")
    cleared = folder_from_environment({"PT_HPU_RECIPE_CACHE_CONFIG": f"{tmp_path},True,1024"})
    assert cleared is not None
    assert cleared.add("aa")
    assert folder_from_environment({}) is None


def test_a_number_may_come_first() -> None:
    graphs, x = LazyGraphs(), torch.rand(3)
    run_steps(graphs, lambda _: torch.div(1.5, x, rounding_mode="floor"), 2)
    assert graphs.compilations == 1
    run_steps(graphs, lambda i: torch.div(2.5 + i, x, rounding_mode="floor"), 2)
    assert graphs.compilations == 3
