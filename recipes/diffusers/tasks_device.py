"""The other tasks' training on a device: the CPU's losses, a validation, and a step's waits."""

from __future__ import annotations

import math

import torch
from script_training import numbers_of_the_cpu, record_losses
from task_training import (
    TASKS,
    Task,
    device_options,
    flash_heard,
    task_words,
    train_task,
    write_task_inputs,
)

from porter.verify.probe import Probe

STEPS, FEW = 4, 2
HALF = {"npu": "fp16", "hpu": "bf16"}


def run(probe: Probe) -> None:
    """Record the losses of training with all that the script has for the device; count a step.

    ``precision`` is "no" or "half", which has a validation too; the reference, on the CPU, is
    float32. It validates as well: with seed 0 upstream's scripts draw the picture's noise from the
    stream that training draws from.
    """
    task = TASKS[probe.parameters["task"]]
    write_task_inputs(probe, "sd21")
    on_cpu = probe.device.type == "cpu"
    half = probe.parameters["precision"] == "half"
    precision = HALF[probe.device.type] if half and not on_cpu else "no"
    given: list[object] = [*task.alone, "--mixed_precision", precision]
    given += [] if on_cpu else device_options(probe, task, precision)
    shown = task.prompt if half else ()
    with numbers_of_the_cpu():
        words = task_words(task, STEPS, *given, *shown)
        with flash_heard(probe):
            record_losses(probe, "losses", train_task(probe, task, words))
    if half:
        _count_half_precision(probe)
    if on_cpu or half:
        return
    with probe.attempt("step"):
        _count_a_step(probe, task, given)


def _count_half_precision(probe: Probe) -> None:
    """Count the bits of the significand that DreamBooth's pipeline of class images computes in."""
    try:
        from diffusers.utils.devices import half_precision
    except ImportError:
        return
    probe.count("half_digits", round(-math.log2(torch.finfo(half_precision(probe.device)).eps)))


def _count_a_step(probe: Probe, task: Task, given: list[object]) -> None:
    if device_options(probe, task, "no"):
        given += ["--logging_steps", 4 * FEW]  # nothing is logged
    # The vendor's own optimizer ends a lazy graph by itself
    given = [word for word in given if word != "--use_hpu_fused_adamW"]
    for name, steps in (("few", FEW), ("many", 2 * FEW)):
        with probe.section(name):
            train_task(probe, task, task_words(task, steps, *given))
    for name in ("host_sync", "cpu_fallback", "ops", "graphs"):
        more = probe.counters.get(f"many/{name}", 0) - probe.counters.get(f"few/{name}", 0)
        probe.count(f"step/{name}", more / FEW)
