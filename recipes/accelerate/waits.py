"""Where the host waits in a training step: for batches, and for the loss scale."""

from __future__ import annotations

import torch

from porter.verify.probe import Probe

STEPS = 4


def run(probe: Probe) -> None:
    """Count the host's waits of `STEPS` steps, with pinned batches and a constant loss scale."""
    import accelerate
    from accelerate.utils import GradScalerKwargs

    on_npu = probe.device.type == "npu"
    options = [GradScalerKwargs(init_scale=128.0, dynamic=False)] if on_npu else []
    mode = "fp16" if on_npu else "no"
    accelerator = accelerate.Accelerator(
        mixed_precision=mode, kwargs_handlers=options, cpu=not on_npu
    )
    torch.manual_seed(0)
    rows = torch.randn(STEPS * 2, 4)
    # told the device where PyTorch does not find it (before 2.7) and does not mind (before 2.9)
    old = tuple(map(int, torch.__version__.split(".")[:2])) < (2, 9)
    pinned = {"pin_memory": on_npu, "pin_memory_device": "npu" if on_npu and old else ""}
    loader = torch.utils.data.DataLoader(
        torch.utils.data.TensorDataset(rows), batch_size=2, **pinned
    )
    model = torch.nn.Linear(4, 2)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    model, optimizer, loader = accelerator.prepare(model, optimizer, loader)
    losses = []
    with probe.section("training", per=STEPS):
        for (batch,) in loader:
            loss = model(batch).square().mean()
            accelerator.backward(loss)
            optimizer.step()
            optimizer.zero_grad()
            losses.append(loss.detach())
    probe.record("losses", torch.stack(losses))
