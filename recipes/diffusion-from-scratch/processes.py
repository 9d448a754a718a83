"""``torchrun src/train.py`` with one process and with two: one training, whoever shares it."""

from __future__ import annotations

import contextlib
import io

import torch
from scripts import write_checkpoint
from small import device_word, is_upstream, prepare
from training_data import write_images

from porter.verify.probe import Probe

BATCH = 4


def run(probe: Probe) -> None:
    """Train from a checkpoint; record losses, weights and files, and how the processes agreed.

    The processes' batches together are `BATCH`. A loss is the mean over a batch, so that of the
    whole batch is the mean of the processes'; DDP averages gradients the same way.
    """
    processes = probe.parameters["processes"]
    prepare(probe)
    write_images(probe, probe.scratch / "data" / "ImageNet12", BATCH)
    with contextlib.redirect_stdout(io.StringIO()):
        write_checkpoint(probe)
    done = probe.launch(
        ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", processes,
         probe.folder / "batch_rows.py", probe.tree, BATCH,
         *([] if is_upstream(probe) else ["--device", device_word(probe)])],
    )  # fmt: skip
    left = [torch.load(probe.scratch / f"process{rank}.pt") for rank in range(processes)]
    losses = torch.stack([each["losses"] for each in left])
    probe.record("losses", losses.mean(0).float())
    probe.record_files("files", "models/test")
    apart = 0
    for name in ("weights", "average"):
        probe.record(name, left[0][name])
        apart += sum(int((each[name] != left[0][name]).sum()) for each in left)
    probe.count("differing_weights", apart)
    probe.count("same_losses", int(torch.equal(losses[0], losses[-1])))
    for backend in ("gloo", "hccl", "nccl"):
        probe.count(f"processes/{backend}", sum(each["backend"] == backend for each in left))
    device = probe.device.type
    probe.count("processes/device", sum(each["device"] == device for each in left))
    probe.count("saved", done.stdout.count("Saving model"))
