"""Batches of a loader with ``--enable_pin_memory``, from pinned memory on every PyTorch."""

from __future__ import annotations

from argparse import Namespace

import torch

from porter.verify.probe import Probe

STEPS = 4


def run(probe: Probe) -> None:
    """Record the rows that a prepared loader gives; count the host's waits for their copies.

    The loader has what ``device_training.loader_options`` gives it. Level 0, without that module,
    has none of it.
    """
    import accelerate

    torch.manual_seed(0)
    rows = torch.randn(STEPS * 2, 4)
    options = {}
    if probe.device.type != "cpu":
        from diffusers import device_training

        asked = Namespace(enable_pin_memory=True, enable_persistent_workers=False)
        options = device_training.loader_options(asked, probe.device)
    loader = torch.utils.data.DataLoader(
        torch.utils.data.TensorDataset(rows), batch_size=2, **options
    )
    loader = accelerate.Accelerator(cpu=probe.device.type == "cpu").prepare(loader)
    with probe.section("loading", per=STEPS):
        batches = [batch for (batch,) in loader]
    probe.record("rows", torch.cat(batches))
