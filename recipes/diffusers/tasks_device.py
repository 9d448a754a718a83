"""The other tasks' training on a device: the CPU's losses, a validation, and a step's waits."""

from __future__ import annotations

from script_training import numbers_of_the_cpu, record_losses
from task_training import TASKS, device_options, task_words, train_task, write_task_inputs

from porter.verify.probe import Probe

STEPS, FEW = 8, 2


def run(probe: Probe) -> None:
    """Record the losses of training with a validation, and count what a step takes.

    ``precision`` is that of the device; the reference, on the CPU, is float32. ``options`` "new"
    takes whatever the level's script has for the device.
    """
    task = TASKS[probe.parameters["task"]]
    write_task_inputs(probe, "sd21")
    on_cpu = probe.device.type == "cpu"
    precision = "no" if on_cpu else probe.parameters["precision"]
    given: list[object] = ["--mixed_precision", precision]
    if not on_cpu and probe.parameters["options"] == "new":
        given += device_options(probe, task, precision)
    with numbers_of_the_cpu():
        words = task_words(task, STEPS, *given, *task.prompt, "--validation_steps", 4)
        record_losses(probe, "losses", train_task(probe, task, words))
    if on_cpu or probe.parameters["options"] != "new":
        return
    given += ["--logging_steps", 4 * FEW]  # nothing is logged
    for name, steps in (("few", FEW), ("many", 2 * FEW)):
        with probe.section(name):
            probe.script(task.script, task_words(task, steps, *given))
    for name in ("host_sync", "cpu_fallback", "ops"):
        more = probe.counters.get(f"many/{name}", 0) - probe.counters.get(f"few/{name}", 0)
        probe.count(f"step/{name}", more / FEW)
