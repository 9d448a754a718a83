"""UNet2DConditionModel, small, in the block layouts of Stable Diffusion 1.5 and 2.1."""

from __future__ import annotations

from typing import Any

import torch

from porter.verify.probe import Probe

CROSS, PLAIN = "CrossAttnDownBlock2D", "DownBlock2D"
LAYOUT: dict[str, Any] = {
    "block_out_channels": (32, 64, 64, 64),
    "down_block_types": (CROSS, CROSS, CROSS, PLAIN),
    "up_block_types": ("UpBlock2D",) + 3 * ("CrossAttnUpBlock2D",),
    "layers_per_block": 1,
    "norm_num_groups": 8,
}
ARCHITECTURES: dict[str, dict[str, Any]] = {
    # 1.5 has 8 heads everywhere, so that their width grows with the channels
    "sd15": LAYOUT | {"attention_head_dim": 8, "cross_attention_dim": 24},
    # 2.1 has heads of one width, linear projections, and asks for upcast attention
    "sd21": LAYOUT
    | {
        "attention_head_dim": (2, 4, 4, 4),
        "cross_attention_dim": 40,
        "use_linear_projection": True,
        "upcast_attention": True,
    },
}


def run(probe: Probe) -> None:
    """Record the predicted noise with each kind of processor, square and not, and a gradient."""
    from diffusers import UNet2DConditionModel
    from diffusers.models.attention_processor import AttnProcessor, AttnProcessor2_0

    for name, config in ARCHITECTURES.items():
        unet = probe.alive(UNet2DConditionModel(**config), name)
        text = probe.normal(f"{name} text", 2, 7, config["cross_attention_dim"])
        t = torch.tensor([981, 20], device=probe.device)
        for kind in ("plain", "sliced", "fused"):
            if kind == "sliced":
                unet.set_attention_slice("max")
            else:
                unet.set_attn_processor(AttnProcessor() if kind == "plain" else AttnProcessor2_0())
            for height, width in probe.parameters["sizes"]:
                sample = probe.normal(f"{height}x{width}", 2, 4, height, width)
                output = f"{name}/{kind}/{height}x{width}"
                with probe.attempt(output), torch.no_grad():
                    probe.record(output, unet(sample, t, encoder_hidden_states=text).sample)
        with probe.attempt(f"{name}/gradient"):
            _record_gradient(probe, name, unet, text)


def _record_gradient(probe: Probe, name: str, unet: torch.nn.Module, text: torch.Tensor) -> None:
    """Of the text, through every cross attention; with plain attention, which has the scores."""
    from diffusers.models.attention_processor import AttnProcessor

    unet.set_attn_processor(AttnProcessor())
    leaf = text.clone().requires_grad_()
    sample = probe.normal("gradient sample", 2, 4, 8, 8)
    noise = unet(sample, 20, encoder_hidden_states=leaf).sample
    (noise * probe.normal("cotangent", *noise.shape)).sum().backward()
    assert leaf.grad is not None
    probe.record(f"{name}/gradient", leaf.grad)
