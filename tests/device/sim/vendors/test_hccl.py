"""``hccl`` on simulated devices: collectives and DDP give gloo's results."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.processes import PATIENCE, own_environment

torch = pytest.importorskip("torch")

PROGRAM = """
import sys, torch, torch.distributed as dist
from porter.device.sim.activate import activate
kind, rank, path = sys.argv[1], int(sys.argv[2]), sys.argv[3]
activate(kind)
dist.init_process_group("hccl", init_method=f"file://{path}", rank=rank, world_size=2)
total = torch.full((2,), float(rank + 1), device=kind)
dist.all_reduce(total)
torch.manual_seed(0)
module = torch.nn.parallel.DistributedDataParallel(torch.nn.Linear(2, 1).to(kind))
module(torch.full((1, 2), float(rank), device=kind)).sum().backward()
dist.barrier()
print(dist.get_backend(), total.device, total.cpu().tolist(),
      module.module.weight.grad.cpu().tolist())
dist.destroy_process_group()
"""


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["hpu", "npu"])
def test_two_ranks_reduce_and_train_together(kind, tmp_path):
    ranks = [
        subprocess.Popen(
            [sys.executable, "-c", PROGRAM, kind, str(rank), str(tmp_path / "store")],
            env=own_environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    found = [process.communicate(timeout=PATIENCE) for process in ranks]
    for out, error in found:
        assert out.strip() == f"hccl {kind}:0 [3.0, 3.0] [[0.5, 0.5]]", error[-2000:]


@pytest.mark.parametrize("named", ["{kind}:{backend}", None])
def test_a_backend_of_the_device_alone_takes_its_tensors(kind, named):
    distributed = torch.distributed
    backend = "nccl" if kind == "cuda" else "hccl"
    chosen = named and named.format(kind=kind, backend=backend)
    distributed.init_process_group(chosen, store=distributed.HashStore(), rank=0, world_size=1)
    try:
        total = torch.ones(2, device=kind)
        distributed.all_reduce(total)
        distributed.barrier()
        assert total.tolist() == [1.0, 1.0]
    finally:
        distributed.destroy_process_group()
