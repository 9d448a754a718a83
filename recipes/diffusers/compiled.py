"""Training and inference with the UNet compiled by the device's own backend.

At levels without ``--compile_unet``, and on the CPU, the same runs are not compiled.
"""

from __future__ import annotations

import os
from typing import Any
from unittest import mock

import torch
from inference import SCRIPTS, by_pipeline, command_line, write_pictures
from script_training import (
    numbers_of_the_cpu,
    options_of,
    record_losses,
    refusal,
    train,
    words,
    write_inputs,
)
from task_pipelines import TASKS

from porter.verify.probe import Probe, ProbeError

BATCH, RUN_STEPS = 6, 6  # of sixteen pictures: the last batch of both epochs is of four
HALF = {"npu": "fp16", "hpu": "bf16"}


def run(probe: Probe) -> None:
    """Record what ``parameters["run"]`` asks for: "training" or "inference"."""
    if probe.parameters["run"] == "training":
        _run_training(probe)
    else:
        _run_inference(probe)


def _run_training(probe: Probe) -> None:
    """Record the losses in float32, with checkpointed gradients, and in half precision with flash
    attention, and the names of the weights; count the refusals."""
    kind = probe.device.type
    write_inputs(probe, "sd21")
    asked = ["--compile_unet"] if _knows(probe) else []
    half: list[object] = []
    if kind in HALF:
        half = ["--mixed_precision", HALF[kind], "--enable_npu_flash_attention"]
    cases = {"float32": [], "checkpointing": ["--gradient_checkpointing"], "half": half}
    for name, more in cases.items():
        line = words("sd21", RUN_STEPS, *more, *asked, batch=BATCH, output=name)
        with probe.attempt(name), numbers_of_the_cpu():
            torch._dynamo.reset()
            with probe.section(name):
                losses = train(probe, line)
            record_losses(probe, name, losses)
    with probe.attempt("names"):
        weights = torch.load("float32/unet/diffusion_pytorch_model.bin", map_location="cpu")
        probe.record_text("names", "\n".join(sorted(weights)))
    if asked:
        with probe.attempt("refused"):
            _count_refusals(probe, words("sd21", 1, *asked))


def _knows(probe: Probe) -> bool:
    return probe.device.type in HALF and "--compile_unet" in options_of(probe)


def _count_refusals(probe: Probe, line: list[str]) -> None:
    """Count what is refused: the CPU, and a Gaudi in lazy mode."""
    with mock.patch.dict(os.environ, {"ACCELERATE_USE_CPU": "1"}):
        told = refusal(probe, line)
    expected = ["needs an NPU or a Gaudi, found cpu"]
    if probe.device.type == "hpu":
        lazy = "habana_frameworks.torch.utils.internal.is_lazy"
        with mock.patch(lazy, return_value=True):
            told += refusal(probe, line)
        expected += ["needs a Gaudi in eager mode, found PT_HPU_LAZY_MODE=1"]
    if not all(text in told for text in expected):
        raise ProbeError(f"expected {expected}, the script said {told}")
    probe.count("refused", len(expected))


def _run_inference(probe: Probe) -> None:
    """Record an image of each of the six scripts, and the second task's in half precision with
    flash attention."""
    write_pictures(probe)
    has_option = (probe.tree / "src/diffusers/models/compilation.py").is_file()
    asked = ["--compile_unet"] if probe.device.type in HALF and has_option else []
    for task, write in TASKS.items():
        folder = probe.scratch / task
        folder.mkdir()
        write(probe, folder)
        _record_image(probe, task, task, asked)
    flash = ["--dtype", "float16", "--enable_npu_flash_attention"]
    _record_image(probe, "half", "inpaint", asked + (flash if probe.device.type in HALF else []))


def _record_image(probe: Probe, name: str, task: str, more: list[Any]) -> None:
    line = [*command_line(probe, task, f"{name}.png"), *more]
    with probe.attempt(f"image/{name}"):
        torch._dynamo.reset()
        with probe.section(name):
            if (probe.tree / SCRIPTS).is_dir():
                probe.script(f"{SCRIPTS}/{task}.py", line)
            else:
                by_pipeline(probe, task).save(f"{name}.png")
        probe.record_image(f"image/{name}", f"{name}.png")
