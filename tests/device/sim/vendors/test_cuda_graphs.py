"""``torch.cuda.graph`` and ``CUDAGraph`` as a CUDA script uses them, on a simulated device."""

from __future__ import annotations

import pytest
import torch

from porter.device.sim.accounting.ledger import DeviceAccounting, open_accounting
from porter.device.sim.activate import activate


@pytest.fixture
def accounting() -> DeviceAccounting:
    return open_accounting(activate("cuda"))


def test_whole_network_capture_as_in_pytorchs_notes(accounting: DeviceAccounting) -> None:
    net = torch.nn.Linear(4, 2).cuda()
    static = torch.zeros(3, 4, device="cuda")
    g = torch.cuda.CUDAGraph()
    with torch.no_grad(), torch.cuda.graph(g):
        out = net(static)
    new = torch.randn(3, 4, device="cuda")
    static.copy_(new)
    g.replay()
    assert torch.equal(out.cpu(), net(new).cpu())
    assert accounting.counters.totals["replays"] == 1


def test_forgotten_input_copy_gives_the_old_answer(accounting: DeviceAccounting) -> None:
    x = torch.zeros(3, device="cuda")
    g = torch.cuda.CUDAGraph()
    with torch.cuda.graph(g):
        out = x + 1
    x = torch.full((3,), 5.0, device="cuda")
    g.replay()
    assert out.tolist() == [1.0, 1.0, 1.0]
    assert accounting.counters.totals["captures"] == 1


def test_random_numbers_continue_at_each_replay_as_eager_would(
    accounting: DeviceAccounting,
) -> None:
    def draw() -> torch.Tensor:
        return torch.randn(4, device="cuda")

    torch.cuda.manual_seed(0)
    eager = [draw().tolist() for _ in range(3)]
    torch.cuda.manual_seed(0)
    g = torch.cuda.CUDAGraph()
    with torch.cuda.graph(g):
        out = draw()
    replayed = []
    for _ in range(3):
        g.replay()
        replayed.append(out.tolist())
    assert replayed == eager
    assert accounting.counters.totals["host_ops_saved"] > 0


def test_registered_generator_is_not_advanced_by_the_capture(accounting: DeviceAccounting) -> None:
    generator = torch.Generator("cuda").manual_seed(1)
    g = torch.cuda.CUDAGraph()
    g.register_generator_state(generator)
    before = generator.get_state()
    with torch.cuda.graph(g):
        torch.randn(4, device="cuda", generator=generator)
    assert torch.equal(before, generator.get_state())
    assert accounting.counters.totals["captures"] == 1


def test_optimizer_that_is_not_capturable_is_refused_in_a_capture(
    accounting: DeviceAccounting,
) -> None:
    weight = torch.ones(3, device="cuda", requires_grad=True)
    optimizer = torch.optim.AdamW([weight])
    weight.sum().backward()
    optimizer.step()
    with pytest.raises(RuntimeError, match="capturable"), torch.cuda.graph(torch.cuda.CUDAGraph()):
        optimizer.step()
    assert not accounting.machine.is_capturing


def test_make_graphed_callables_trains_as_without(accounting: DeviceAccounting) -> None:
    def trained(graphed: bool) -> list[float]:
        torch.manual_seed(0)
        net = torch.nn.Linear(4, 2).cuda()
        x = torch.ones(3, 4, device="cuda")
        run = torch.cuda.make_graphed_callables(net, (x,)) if graphed else net
        for _ in range(3):
            net.zero_grad()
            run(x).square().sum().backward()
            with torch.no_grad():
                for p in net.parameters():
                    p.sub_(p.grad, alpha=0.01)
        return list(net.weight.flatten().tolist())

    assert trained(True) == trained(False)
    assert accounting.counters.totals["replays"] > 0


def test_synchronize_inside_a_capture_is_refused(accounting: DeviceAccounting) -> None:
    g = torch.cuda.CUDAGraph()
    with pytest.raises(RuntimeError, match="makes the host wait"), torch.cuda.graph(g):
        torch.cuda.synchronize()
    assert accounting.counters.totals["replays"] == 0
