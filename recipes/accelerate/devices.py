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
    one = _found(probe, ["worker.py", "one.json"])
    _expect(one, {"type": "NO", "backend": "none", "device": kind, "processes": 1})
    together = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", 2]
    two = _found(probe, [*together, "worker.py", "two.json"])
    if kind == "cpu":
        _expect(two, {"type": "MULTI_CPU", "backend": "gloo", "device": kind, "processes": 2})
    else:
        several = f"MULTI_{kind.upper()}"
        _expect(two, {"type": several, "backend": "hccl", "device": kind, "processes": 2})
        if not one["restored"]:
            raise ProbeError(f"{kind}: the device's random state was not restored")
    for name, found in (("one", one), ("two", two)):
        probe.record(name, torch.tensor(found["losses"], dtype=torch.float32))


def _found(probe: Probe, arguments: list[object]) -> dict[str, object]:
    probe.launch(arguments)
    found: dict[str, object] = json.loads(Path(str(arguments[-1])).read_text())
    return found


def _expect(found: dict[str, object], expected: dict[str, object]) -> None:
    for name, value in expected.items():
        if found[name] != value:
            raise ProbeError(f"{name}: expected {value}, found {found[name]}")
