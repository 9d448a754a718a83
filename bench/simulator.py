"""Measure the simulator's cost as ratios to the plain CPU, in one run, configurations in turns.

``python bench/simulator.py`` times an op-bound and a compute-bound U-Net in plain PyTorch, under
a ``TorchDispatchMode`` that does nothing (the least a global mode can cost), and on a simulated
device with its features switched on one after another. Only ratios mean anything; they are about
the simulation, not about any card.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import statistics
import time
from collections.abc import Callable
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch
from torch import nn
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode

from porter.device.sim.accounting.ledger import DeviceAccounting
from porter.device.sim.activate import simulated
from porter.device.sim.core.machine import Machine
from porter.device.sim.graphs.lazy import LazyGraphs

Step = Callable[[], None]
FEATURES = ("tensors only", "graph signatures", "everything")


class Nothing(TorchDispatchMode):
    """A dispatch mode that only passes ops on."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return func(*args, **(kwargs or {}))


class Counting(TorchDispatchMode):
    """Counts the ops that pass."""

    ops = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.ops += 1
        return func(*args, **(kwargs or {}))


class Residual(nn.Module):
    """Norm, activation, convolution, twice, and a skip."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norms = nn.ModuleList([nn.GroupNorm(4, width) for _ in range(2)])
        self.convs = nn.ModuleList([nn.Conv2d(width, width, 3, padding=1) for _ in range(2)])
        self.time = nn.Linear(width, width)

    def forward(self, x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        h = self.convs[0](F.silu(self.norms[0](x)))
        h = h + self.time(F.silu(t))[:, :, None, None]
        return x + self.convs[1](F.silu(self.norms[1](h)))


class UNet(nn.Module):
    """A U-Net of residual blocks with skips over average pooling."""

    def __init__(self, width: int, depth: int, blocks: int) -> None:
        super().__init__()
        self.width = width
        self.enter, self.leave = nn.Conv2d(3, width, 1), nn.Conv2d(width, 3, 1)
        self.down = nn.ModuleList([self._stage(blocks) for _ in range(depth)])
        self.up = nn.ModuleList([self._stage(blocks) for _ in range(depth)])

    def _stage(self, blocks: int) -> nn.ModuleList:
        return nn.ModuleList([Residual(self.width) for _ in range(blocks)])

    def forward(self, x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        angles = t[:, None] * torch.arange(self.width // 2, device=t.device)
        embedding = torch.cat([angles.sin(), angles.cos()], 1)
        h = self.enter(x)
        skips = []
        for stage in self.down:
            for block in stage:
                h = block(h, embedding)
            skips.append(h)
            h = F.avg_pool2d(h, 2)
        for stage in self.up:
            h = F.interpolate(h, scale_factor=2.0) + skips.pop()
            for block in stage:
                h = block(h, embedding)
        out: torch.Tensor = self.leave(h)
        return out


def _inputs(size: int, device: str) -> tuple[torch.Tensor, torch.Tensor]:
    torch.manual_seed(0)
    return torch.randn(1, 3, size, size).to(device), torch.full((1,), 0.5).to(device)


def forward_step(model: UNet, size: int, device: str) -> Step:
    """A forward pass."""
    x, t = _inputs(size, device)

    def step() -> None:
        with torch.no_grad():
            model(x, t)

    return step


def training_step(model: UNet, size: int, device: str) -> Step:
    """Forward, backward and AdamW, one op per parameter and operation."""
    x, t = _inputs(size, device)
    optimizer = torch.optim.AdamW(model.parameters(), foreach=False)

    def step() -> None:
        optimizer.zero_grad()
        model(x, t).square().mean().backward()
        optimizer.step()

    return step


def measure(steps: dict[str, Step], rounds: int, repeats: int) -> dict[str, list[float]]:
    """Return the processor times of each step; within a round the steps take turns."""
    times: dict[str, list[float]] = {name: [] for name in steps}
    gc.collect()
    gc.disable()
    for _ in range(rounds):
        for name, step in steps.items():
            step()
            started = time.process_time()
            for _ in range(repeats):
                step()
            times[name].append((time.process_time() - started) / repeats)
    gc.enable()
    return times


def ratio(times: dict[str, list[float]], one: str, other: str) -> float:
    """Return the median over rounds of one step's time to another's: load in a round slows both."""
    return statistics.median(a / b for a, b in zip(times[one], times[other], strict=True))


def configure(machine: Machine, feature: str) -> Step:
    """Switch one feature on (besides the tensors themselves); return what ends a step."""
    for observer in machine.observers:
        machine.unobserve(observer)
    machine.on_transfer = machine.on_dtype = machine.on_synchronize = None
    if feature == "graph signatures":
        graphs = LazyGraphs()
        machine.observe(graphs)
        return lambda: graphs.step("mark_step") and None
    if feature == "everything":
        return DeviceAccounting(machine, lazy=True).mark_step  # type: ignore[return-value]
    return lambda: None


def count_ops(step: Step) -> int:
    """Ops that one step dispatches."""
    with Counting() as counting:
        step()
    return counting.ops


def compare(
    title: str,
    make: Callable[[UNet, int, str], Step],
    shape: tuple[int, int, int],
    size: int,
    rounds: int,
    repeats: int,
) -> dict[str, Any]:
    """Time one workload in every configuration, each in turn with plain and with the mode."""
    plain, passed = make(UNet(*shape), size, "cpu"), make(UNet(*shape), size, "cpu")

    def nothing() -> None:
        with Nothing():
            passed()

    ratios: dict[str, dict[str, float]] = {}
    base: list[float] = []
    with simulated("hpu") as machine:
        device = make(UNet(*shape).to("hpu"), size, "hpu")
        for feature in FEATURES:
            end = configure(machine, feature)

            def stepped(end: Step = end) -> None:
                device()
                end()

            for _ in range(3):
                stepped()
            steps = {"plain": plain, "mode": nothing, "simulated": stepped}
            found = measure(steps, rounds, repeats)
            base += found["plain"]
            ratios[feature] = {
                "to plain": ratio(found, "simulated", "plain"),
                "to do-nothing mode": ratio(found, "simulated", "mode"),
                "do-nothing mode to plain": ratio(found, "mode", "plain"),
            }
    return {
        "workload": title,
        "ops": count_ops(plain),
        "plain_ms": round(1000 * min(base), 3),
        "ratios": ratios,
    }


def main() -> None:
    """Run the workloads and print a table (or JSON)."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer rounds, for a look")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    torch.set_num_threads(1)
    rounds = 5 if args.quick else 30
    tiny, large = (8, 3, 2), (32, 2, 1)
    results = [
        compare("tiny U-Net, forward (op-bound)", forward_step, tiny, 16, rounds, 5),
        compare("tiny U-Net, training (op-bound)", training_step, tiny, 16, rounds, 1),
        compare("U-Net at 256x256, forward", forward_step, large, 256, min(rounds, 12), 1),
    ]
    if args.json:
        print(json.dumps({"simulated": True, "results": results}, indent=1))
        return
    print("simulated device sim:hpu on this CPU: ratios within this run")
    for result in results:
        words = f"{result['ops']} ops, plain {result['plain_ms']:.2f} ms a step"
        print(f"\n{result['workload']}: {words}")
        for feature, ratios in result["ratios"].items():
            line = ", ".join(f"{value:.2f}x {name}" for name, value in ratios.items())
            print(f"  {feature:<17} {line}")


if __name__ == "__main__":
    main()
