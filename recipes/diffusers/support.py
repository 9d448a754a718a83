"""The published port's table of what trains, over the two architectures, small.

Stable Diffusion 1.5: float16 yes, float16 with flash attention no, float32 yes; 2.1: all three.
What is not supported says so, in words.
"""

from __future__ import annotations

import math

from script_training import (
    numbers_of_the_cpu,
    record_losses,
    refusal,
    train,
    words,
    write_inputs,
)

from porter.verify.probe import Probe, ProbeError

STEPS = 3
PRECISIONS: dict[str, list[object]] = {
    "float32": ["--mixed_precision", "no"],
    "float16": ["--mixed_precision", "fp16"],
    "float16-flash": ["--mixed_precision", "fp16", "--enable_npu_flash_attention"],
}
UNSUPPORTED = ("sd15", "float16-flash")
TOLD = ("multiple of 16", "Stable Diffusion 1.x", "down_blocks.0.attentions.0")
REFUSED: dict[str, tuple[list[object], str]] = {
    "flash attention in float32": (["--enable_npu_flash_attention"], "needs --mixed_precision"),
    "clipping without its optimizer": (["--use_clip_grad_norm_fused"], "--use_npu_fuse_adamW"),
    "two optimizers": (["--use_npu_fuse_adamW", "--use_8bit_adam"], "at most one optimizer"),
    "no Megatron": (["--use_megatron_npu_adamW"], "gitee.com/ascend/Megatron-LM"),
    "another device's optimizer": (["--use_hpu_fused_adamW"], "needs a Gaudi, found npu"),
    "workers to keep, none": (["--enable_persistent_workers"], "--dataloader_num_workers above 0"),
    "two data sets": (["--local_data_dir", "data"], "only one of them"),
    "no step logged": (["--logging_steps", "0"], "expected 1 or more"),
}


def run(probe: Probe) -> None:
    """Record the losses of what trains; count ``supported/...`` (1 or 0) and refusals."""
    write_inputs(probe, "sd15", "sd21")
    on_cpu = probe.device.type == "cpu"  # the reference, in float32
    for architecture in ("sd15", "sd21"):
        for precision, options in PRECISIONS.items():
            name = f"{architecture}/{precision}"
            given = words(architecture, STEPS, *([] if on_cpu else options))
            if (architecture, precision) == UNSUPPORTED:
                if not on_cpu:
                    with probe.attempt(name):
                        expect_words(probe, given, TOLD)
                        probe.count(f"supported/{name}", 0)
                continue
            with probe.attempt(name), numbers_of_the_cpu():
                losses = train(probe, given)
                if not all(map(math.isfinite, losses)):
                    raise ProbeError(f"{name}: losses {losses}")
                record_losses(probe, name, losses)
                probe.count(f"supported/{name}", 1)
    if not on_cpu:
        for number, (options, word) in enumerate(REFUSED.values()):
            with probe.attempt(f"refused/{number}"):
                expect_words(probe, words("sd21", 1, *options), (word,))
                probe.count("refused", 1)


def expect_words(probe: Probe, arguments: list[str], expected: tuple[str, ...]) -> None:
    """Fail the run unless the script's last line has all the words."""
    told = refusal(probe, arguments)
    for word in expected:
        if word not in told:
            raise ProbeError(f"expected {word!r} in what the script says, found {told!r}")
