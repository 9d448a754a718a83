"""The other tasks' training by several processes: the losses of one that has the whole batch."""

from __future__ import annotations

import json
from pathlib import Path

from script_training import record_losses
from task_training import TASKS, device_options, task_words, write_task_inputs

from porter.verify.probe import Probe

BATCH, STEPS = 4, 4


def run(probe: Probe) -> None:
    """Record the losses of training by ``processes``, whose batches together are `BATCH`.

    See ``batch_rows.py`` for what they draw. A process logs the loss of its own rows; recorded is
    the mean.
    """
    task, processes = TASKS[probe.parameters["task"]], int(probe.parameters["processes"])
    write_task_inputs(probe, "sd21")
    words = task_words(task, STEPS, *device_options(probe, task, "no"), batch=BATCH // processes)
    shim = [probe.folder / "batch_rows.py", probe.tree / task.script, "losses.json", *words]
    torchrun = ["-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={processes}"]
    probe.launch([*(torchrun if processes > 1 else []), *shim])
    each = [json.loads(Path(f"losses.json.{rank}").read_text()) for rank in range(processes)]
    record_losses(probe, "losses", [sum(of) / processes for of in zip(*each, strict=True)])
