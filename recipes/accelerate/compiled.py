"""Training with the model compiled by the device's own backend: the losses, and what is compiled.

Before the level that knows these backends, and on the CPU, the same training is not compiled.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from unittest import mock

import torch

from porter.verify.probe import Probe, ProbeError

BACKENDS = {"npu": "npu", "hpu": "hpu_backend"}
VISIBLE = {"npu": "ASCEND_RT_VISIBLE_DEVICES", "hpu": "HABANA_VISIBLE_MODULES"}
HALF = {"npu": "fp16", "hpu": "bf16", "cpu": "no"}

# Ten rows in batches of four: the last batch of both epochs is smaller
WORKER = """
import json, sys
from pathlib import Path

import torch
from accelerate import Accelerator
from accelerate.utils import set_seed


def train(**options):
    accelerator = Accelerator(**options)
    set_seed(5)
    model = torch.nn.Sequential(
        torch.nn.Conv2d(3, 8, 3, padding=1), torch.nn.GroupNorm(2, 8), torch.nn.SiLU(),
        torch.nn.Flatten(), torch.nn.Linear(512, 4),
    )
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    rows = torch.utils.data.TensorDataset(torch.randn(10, 3, 8, 8))
    loader = torch.utils.data.DataLoader(rows, batch_size=4)
    model, optimizer, loader = accelerator.prepare(model, optimizer, loader)
    losses = []
    for _ in range(2):
        for (batch,) in loader:
            loss = model(batch).square().mean()
            accelerator.backward(loss)
            optimizer.step()
            optimizer.zero_grad()
            losses.append(loss.item())
    return losses


if __name__ == "__main__":
    Path("launched.json").write_text(json.dumps(train(mixed_precision=sys.argv[1])))
"""


def run(probe: Probe) -> None:
    """Record ``given`` and ``half``, whose Accelerator is given the backend, and ``launched``,
    where ``accelerate launch`` is; count ``arrived/...``, what the launchers' options become.
    """
    from accelerate.utils import DynamoBackend

    kind = probe.device.type
    knows = kind in BACKENDS and BACKENDS[kind].upper() in DynamoBackend.__members__
    Path("worker.py").write_text(WORKER)
    if kind == "cpu":
        os.environ["ACCELERATE_USE_CPU"] = "1"
    else:
        os.environ[VISIBLE[kind]] = "0"  # of several cards the launcher makes several processes
    scope: dict[str, object] = {"__name__": "worker"}
    exec(compile(WORKER, "worker.py", "exec"), scope)
    train = scope["train"]
    if not callable(train):
        raise ProbeError("the worker has no train")
    options = {"dynamo_backend": BACKENDS[kind]} if knows else {}
    for name, precision in (("given", "no"), ("half", HALF[kind])):
        with probe.attempt(name):
            _forget()
            with probe.section(name):
                losses = train(mixed_precision=precision, **options)
            probe.record(name, torch.tensor(losses, dtype=torch.float32))
    with probe.attempt("launched"):
        words: list[object] = ["-m", "accelerate.commands.launch", "--num_processes", 1]
        words += ["--dynamo_backend", BACKENDS[kind]] if knows else []
        probe.launch([*words, "worker.py", "no"])
        losses = json.loads(Path("launched.json").read_text())
        probe.record("launched", torch.tensor(losses, dtype=torch.float32))
    if knows:
        with probe.attempt("arrived"):
            _count_arrived(probe, BACKENDS[kind])


def _forget() -> None:
    """Nothing is prepared or compiled yet."""
    from accelerate.state import AcceleratorState, GradientState

    AcceleratorState._reset_state(True)
    GradientState._reset_state()
    torch._dynamo.reset()


def _count_arrived(probe: Probe, backend: str) -> None:
    """Count the cases in which torch.compile gets what was chosen, and nothing else."""
    from accelerate.commands import launch
    from accelerate.utils import TorchDynamoPlugin
    from accelerate.utils import launch as environments

    chosen: dict[str, dict[str, object]] = {
        "backend": {"backend": backend},
        "all": {"backend": backend, "mode": "max-autotune", "fullgraph": True, "dynamic": True},
    }
    for name, expected in chosen.items():
        words = ["--num_processes", "1", "--dynamo_backend", backend]
        if name == "all":
            words += ["--dynamo_mode", "max-autotune"]
            words += ["--dynamo_use_fullgraph", "--dynamo_use_dynamic"]
        args = launch.launch_command_parser().parse_args([*words, "script.py"])
        launch._validate_launch_command(args)
        for launcher, environ in (
            ("one", environments.prepare_simple_launcher_cmd_env(args)[1]),
            ("several", environments.prepare_multi_gpu_env(args)),
        ):
            _count_kwargs(probe, f"arrived/{name}-{launcher}", environ, expected)
    off = {name: value for name, value in os.environ.items() if "DYNAMO" not in name}
    _count_kwargs(probe, "arrived/nothing", off, {})
    options = TorchDynamoPlugin(backend, options={"a": 1}, disable=True).to_kwargs()
    wanted = {"backend": backend, "options": {"a": 1}, "disable": True}
    probe.count("arrived/options", int(options == wanted))


def _count_kwargs(
    probe: Probe, name: str, environ: Mapping[str, str], expected: Mapping[str, object]
) -> None:
    from accelerate.utils import TorchDynamoPlugin

    with mock.patch.dict(os.environ, environ, clear=True):
        found = TorchDynamoPlugin().to_kwargs()
    print(name, found)
    probe.count(name, int(found == expected))
