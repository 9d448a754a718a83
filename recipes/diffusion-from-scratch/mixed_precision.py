"""Autocast by the device at hand: what is float32 in it, and what bfloat16."""

from __future__ import annotations

import contextlib
from typing import Any

import torch
from small import device_word, has, prepare, small_model
from training import log_stand_in, make_trainer, process_group, train
from training_data import write_images

from porter.verify.probe import Probe


def mixed(probe: Probe) -> Any:
    """Autocast of the device, at levels that have it by device; the others give the truth."""
    if not has(probe, "src/blocks/float32.py"):
        return contextlib.nullcontext()
    return torch.autocast(probe.device.type, torch.bfloat16)


def norms(probe: Probe) -> None:
    """Record what norms, timesteps and rotary positions give: bfloat16 would not hold it."""
    for legacy in (False, True):
        model = small_model(probe, positional_encoding="RoPE", legacy_norm=legacy)
        block = model.blocks[0]
        x = 100 + probe.normal("x", 2, 9, 32)
        heads = probe.normal("heads", 2, 2, 9, 32 if legacy else 16, scale=3.0)
        with torch.no_grad(), mixed(probe):
            outputs = {"layer": block.norm1.norm(x), "query": block.attn.q_norm(heads)}
            outputs["key"] = block.attn.k_norm(heads + 1)
            if not legacy:
                times = probe.uniform("times", 5)
                outputs["timesteps"] = model.t_emb(times)
                outputs["rotary"] = block.attn.rotary_emb.rotate_queries_or_keys(heads)
        for name, output in outputs.items():
            probe.record(f"norms/{'legacy-' * legacy}{name}", output)


def forward(probe: Probe) -> None:
    """Record a prediction, and count the linear layers that worked in bfloat16."""
    model = small_model(probe, positional_encoding="RoPE")
    narrow: list[str] = []

    def look(_: Any, __: Any, output: torch.Tensor) -> None:
        narrow.append(str(output.dtype))

    for module in model.modules():
        if isinstance(module, torch.nn.Linear):
            module.register_forward_hook(look)
    classes = torch.tensor([1, 2], device=probe.device)
    with torch.no_grad(), mixed(probe):
        # Exact times: upstream's encoding takes sines of large multiples of them, and answers to
        # one ulp with another velocity.
        t = torch.tensor([0.25, 0.75], device=probe.device, dtype=probe.dtype)
        x = probe.normal("latents", 2, 4, 32, 32)
        probe.record("forward/velocity", model(x, t, classes).float())
    probe.count("forward/narrow", narrow.count("torch.bfloat16") / len(narrow))


def training(probe: Probe) -> None:
    """Record a loss curve of the trainer's default, which is mixed precision."""
    log_stand_in([])
    write_images(probe, probe.scratch / "data" / "ImageNet12", 1)
    device = device_word(probe)
    with process_group(probe, device):
        model = small_model(probe, positional_encoding="RoPE")
        trainer = make_trainer(probe, model, device, use_amp=True)
        train(probe, trainer, "training", 20)
    probe.record("training/loss", torch.tensor(trainer.losses_comb, dtype=torch.float32))
    probe.count("training/scaled", int(trainer.grad_scaler.is_enabled()))


def run(probe: Probe) -> None:
    prepare(probe)
    for part in (norms, forward, training):
        with probe.attempt(part.__name__):
            part(probe)
