"""Which device, backend and type of run accelerate finds, and what it keeps of the device."""

from __future__ import annotations

import json
import os
from pathlib import Path

import torch

from porter.verify.probe import Probe, ProbeError

WORKER = """
import json, sys
from pathlib import Path

import torch
from accelerate import Accelerator
from accelerate.utils import set_seed

accelerator = Accelerator()
set_seed(5)
model = torch.nn.Linear(4, 2)
optimizer = torch.optim.AdamW(model.parameters(), lr=0.1)
model, optimizer = accelerator.prepare(model, optimizer)
rows = torch.arange(16.0).view(4, 4)[accelerator.process_index :: accelerator.num_processes]
losses = []
for _ in range(3):
    loss = model(rows.to(accelerator.device)).square().mean()
    accelerator.backward(loss)
    accelerator.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    optimizer.zero_grad()
    losses.append(accelerator.gather(loss.detach().reshape(1)).mean().item())
accelerator.save_state("state")
accelerator.wait_for_everyone()
first = torch.rand(3, device=accelerator.device).cpu()
accelerator.load_state("state")
again = torch.rand(3, device=accelerator.device).cpu()
if accelerator.is_main_process:
    state = accelerator.state
    found = {
        "type": state.distributed_type.value,
        "backend": state.backend or "none",
        "device": state.device.type,
        "processes": state.num_processes,
        "losses": losses,
        "restored": torch.equal(first, again),
    }
    Path(sys.argv[1]).write_text(json.dumps(found))
"""


def run(probe: Probe) -> None:
    """Record the losses of one process and of two; check what accelerate says it found."""
    Path("worker.py").write_text(WORKER)
    kind = probe.device.type
    if kind == "cpu":
        os.environ["ACCELERATE_USE_CPU"] = "1"
    together = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", 2]
    several = {"type": f"MULTI_{kind.upper()}", "backend": "gloo" if kind == "cpu" else "hccl"}
    ways: dict[str, tuple[list[object], dict[str, object]]] = {
        "one": ([], {"type": "NO", "backend": "none", "device": kind, "processes": 1}),
        "two": (list(together), several | {"device": kind, "processes": 2}),
    }
    for name, (launcher, expected) in ways.items():
        with probe.attempt(name):
            probe.launch([*launcher, "worker.py", f"{name}.json"])
            found = json.loads(Path(f"{name}.json").read_text())
            probe.record(name, torch.tensor(found["losses"], dtype=torch.float32))
            with probe.attempt(f"found-by-{name}"):
                _expect(found, expected)
                if kind != "cpu" and name == "one" and not found["restored"]:
                    raise ProbeError(f"{kind}: the device's random state was not restored")


def _expect(found: dict[str, object], expected: dict[str, object]) -> None:
    for name, value in expected.items():
        if found[name] != value:
            raise ProbeError(f"{name}: expected {value}, found {found[name]}")
