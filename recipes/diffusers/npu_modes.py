"""``--npu_jit_compile`` and ``--npu_internal_format``: what the NPU is told by each script."""

from __future__ import annotations

from collections.abc import Callable

import torch
from script_training import SCRIPT, refusal, train, words, write_inputs
from task_training import TASKS, task_words, write_task_inputs

from porter.verify.probe import Probe

OPTIONS = ("--npu_jit_compile", "--npu_internal_format")


def run(probe: Probe) -> None:
    """Train one step under both values of both options, set the other way before; on another device
    than an NPU count the options that are refused.

    ``NAME/told``: how often, of four, the NPU had the value afterwards.
    """
    write_inputs(probe, "sd15")
    _count(probe, "text_to_image", SCRIPT, "train_loss", lambda *more: words("sd15", 1, *more))
    write_task_inputs(probe, "sd15")
    for name, task in TASKS.items():
        if "device_training" in (probe.tree / task.script).read_text(encoding="utf-8"):
            _count(probe, name, task.script, "loss", lambda *more, t=task: task_words(t, 1, *more))


def _count(
    probe: Probe, name: str, script: str, logged: str, line: Callable[..., list[str]]
) -> None:
    with probe.attempt(name):
        if probe.device.type != "npu":
            refused = [refusal(probe, line(option, "false"), script) for option in OPTIONS]
            probe.count(f"{name}/refused", sum("needs an NPU" in text for text in refused))
            return
        told = 0
        for value in (True, False):
            torch.npu.set_compile_mode(jit_compile=not value)
            torch.npu.config.allow_internal_format = not value
            given = [word for option in OPTIONS for word in (option, str(value).lower())]
            train(probe, line(*given), script, logged)
            told += torch.npu.is_jit_compile_false() is not value
            told += torch.npu.config.allow_internal_format is value
        probe.count(f"{name}/told", told)
