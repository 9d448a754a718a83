"""Training by several processes: the losses of one that has the whole batch."""

from __future__ import annotations

import json
from pathlib import Path

from script_training import SCRIPT, record_losses, words, write_inputs

from porter.verify.probe import Probe

BATCH = 4


def run(probe: Probe) -> None:
    """Record the losses of training whose processes' batches together are `BATCH`.

    ``start`` is "alone", or the launcher of two processes: "torchrun", or accelerate's own. Each
    process draws the noise of the whole batch from the CPU and takes its own rows
    (`batch_rows.py`): otherwise processes with one seed would all draw the same, and no single
    process could.
    """
    processes = 1 if probe.parameters["start"] == "alone" else 2
    write_inputs(probe, "sd15")
    training = words("sd15", probe.parameters["steps"], batch=BATCH // processes)
    shim = [probe.folder / "batch_rows.py", probe.tree / SCRIPT, "losses.json", *training]
    common = ["--num_processes", processes, "--mixed_precision", "no"]
    launchers: dict[str, list[object]] = {
        "alone": [],
        "torchrun": ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", processes],
        "accelerate": ["-m", "accelerate.commands.launch", "--multi_gpu", *common],
    }
    probe.launch([*launchers[probe.parameters["start"]], *shim])
    each = [json.loads(Path(f"losses.json.{rank}").read_text()) for rank in range(processes)]
    record_losses(probe, "losses", [sum(of) / processes for of in zip(*each, strict=True)])
