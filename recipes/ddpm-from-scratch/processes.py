"""``torchrun src/train.py`` with one process and with two: one training, whoever shares it."""

from __future__ import annotations

import torch
from commands import newest, save_checkpoint, weights
from training import device_word, write_data

from porter.verify.probe import Probe

BATCH, ACCUMULATED, IMAGES, EPOCHS = 8, 2, 16, 2


def run(probe: Probe) -> None:
    """Train from a checkpoint; record losses, weights and files, and how the processes agreed.

    The processes' batches together are `BATCH`. A loss is the mean over a batch, so that of the
    whole batch is the mean of the processes'; DDP averages gradients the same way.
    """
    processes = probe.parameters["processes"]
    save_checkpoint(
        probe, "saved", optimizer=True, timesteps=20, blocks=("res", "clsAtn", "chnAtn")
    )
    write_data(probe.scratch / "images", IMAGES)
    done = probe.launch(
        ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", processes,
         probe.folder / "batch_rows.py", probe.tree / "src/train.py", "--device",
         device_word(probe), "--data_path", "images", "--load_into_mem", "False",
         "--batchSize", BATCH // processes, "--gradAccSteps", ACCUMULATED, "--epochs", EPOCHS,
         "--numSaveSteps", 4, "--saveDir", "trained", "--loadModel", "True", "--loadDir", "saved",
         "--loadFile", "model_1e_4s.pkl", "--optimFile", "optim_1e_4s.pkl",
         "--loadDefFile", "model_params_1e_4s.json", "--Lambda", 1.0],
    )  # fmt: skip
    left = [torch.load(probe.scratch / f"process{rank}.pt") for rank in range(processes)]
    for kind in ("comb", "mean", "var"):
        losses = torch.stack([each[kind] for each in left])
        probe.record(f"loss/{kind}", losses.mean(0).float())
    probe.record("weights", left[0]["weights"])
    saved = weights(newest(probe.scratch / "trained", "model_*.pkl"))
    probe.record("saved", saved)
    probe.record_files("files", probe.scratch / "trained")
    apart = sum((each["weights"] != left[0]["weights"]).sum().item() for each in left)
    probe.count("differing_weights", int(apart))
    same = torch.equal(left[0]["comb"], left[-1]["comb"])
    probe.count("same_losses", int(same))
    for backend in ("gloo", "hccl", "nccl"):
        probe.count(f"processes/{backend}", sum(each["backend"] == backend for each in left))
    device = probe.device.type
    own_card = [each.get("card") == rank for rank, each in enumerate(left)]
    probe.count("processes/own_card", sum(own_card))
    probe.count("processes/device", sum(each["device"] == device for each in left))
    probe.count("printed", done.stdout.count("Latest loss estimate"))
