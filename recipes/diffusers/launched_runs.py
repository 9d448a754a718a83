"""The published port's nine runs, as its launch scripts set them (Ascend/ModelZoo-PyTorch,
PyTorch/built-in/diffusion/diffusers0.18.1/test), and the command of the port's own script.
"""

from __future__ import annotations

import shlex
import subprocess

from porter.verify.probe import Probe, ProbeError

LAUNCHER = "examples/text_to_image/launch/train_npu.sh"
SD14 = "CompVis/stable-diffusion-v1-4"
SD15 = "runwayml/stable-diffusion-v1-5"
SD21 = "stabilityai/stable-diffusion-2-1"
# cards, model, precision, batch per card, steps
RUNS: dict[str, tuple[int, str, str, int, int]] = {
    "1p-full": (1, SD14, "no", 1, 15000),
    "8p-full-sd15-fp16": (8, SD15, "fp16", 1, 15000),
    "8p-full-sd15-fp32": (8, SD15, "no", 1, 15000),
    "8p-full-sd21-fp16": (8, SD21, "fp16", 4, 15000),
    "8p-full-sd21-fp32": (8, SD21, "no", 1, 15000),
    "8p-full-sd21-fp16-fa": (8, SD21, "fp16", 24, 2000),
    "8p-performance-sd15-fp16": (8, SD15, "fp16", 1, 1500),
    "8p-performance-sd15-fp32": (8, SD15, "no", 1, 1500),
    "8p-performance-sd21-fp32": (8, SD21, "no", 1, 1500),
}
# What the port's script adds: modes that the published training script sets in its own text
MODES = {"--npu_jit_compile": "false", "--npu_internal_format": "false"}


def published(run: str) -> dict[str, str]:
    """The options that the published script of that run gives the training script.

    Without ``--output_dir``. ``--nproc_per_node`` is the number of cards. The optimizer is the
    published one: Megatron's, but for flash attention.
    """
    cards, model, precision, batch, steps = RUNS[run]
    options = {
        "--nproc_per_node": str(cards),
        "--pretrained_model_name_or_path": model,
        "--dataset_name": "lambdalabs/pokemon-blip-captions",
        "--resolution": "768" if model == SD21 else "512",
        "--center_crop": "",
        "--random_flip": "",
        "--train_batch_size": str(batch),
        "--gradient_accumulation_steps": "1",
        "--gradient_checkpointing": "",
        "--max_train_steps": str(steps),
        "--learning_rate": "1e-05",
        "--max_grad_norm": "1",
        "--lr_scheduler": "constant",
        "--lr_warmup_steps": "0",
        "--checkpointing_steps": "3000",
        "--mixed_precision": precision,
    }
    if cards > 1:
        options["--dataloader_num_workers"] = "8"
    if run.endswith("-fa"):
        flash = ("--enable_npu_flash_attention", "--enable_pin_memory", "--use_npu_fuse_adamW")
        return options | dict.fromkeys(flash, "")
    return options | {"--use_ema": "", "--use_megatron_npu_adamW": ""}


def command(probe: Probe, run: str, *more: str) -> dict[str, str]:
    """The options of the command that the port's script prints for a run."""
    words = ["bash", str(probe.tree / LAUNCHER), run, *more, "--print_command"]
    printed = subprocess.run(words, check=True, capture_output=True, text=True).stdout
    options = {"--nproc_per_node": "1"}
    for word in shlex.split(printed):
        name, _, value = word.partition("=")
        if name.startswith("--") and name not in ("--standalone", "--output_dir"):
            if name in options and name != "--nproc_per_node":
                raise ProbeError(f"{run}: {name} is given twice: {printed}")
            options[name] = value
    return options
