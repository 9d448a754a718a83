"""Small pipelines and a dataset, written to a folder the way the upstream's own files lie.

Block layouts, head counts and prediction types are those of Stable Diffusion 1.5 and 2.1; widths,
vocabulary and depth are not. Weights are drawn, and no layer keeps its initial zeros.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from porter.verify.probe import Probe

WORDS = ("red", "green", "blue", "square", "disc", "on", "a", "grey", "wall")
POSITIONS = 16
CROSS, PLAIN = "CrossAttnDownBlock2D", "DownBlock2D"


def unet_config(architecture: str, in_channels: int = 4) -> dict[str, Any]:
    """``UNet2DConditionModel``'s arguments for "sd15" or "sd21"."""
    layout: dict[str, Any] = {
        "in_channels": in_channels,
        "sample_size": 8,
        "block_out_channels": (32, 64),
        "down_block_types": (CROSS, PLAIN),
        "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D"),
        "layers_per_block": 1,
        "norm_num_groups": 8,
        "cross_attention_dim": 32,
    }
    if architecture == "sd15":  # a number of heads: 4 of 8 wide, as 8 of 40 there
        return layout | {"attention_head_dim": 4}
    return layout | {  # 2.1: heads of one width (here 16), linear projections, upcast attention
        "attention_head_dim": (2, 4),
        "use_linear_projection": True,
        "upcast_attention": True,
    }


def write_tokenizer(folder: Path) -> int:
    """Write CLIP's tokenizer files for `WORDS`; returns the size of its vocabulary."""
    folder.mkdir(parents=True)
    letters = sorted({letter for word in WORDS for letter in word})
    entries = [*letters, *(f"{letter}</w>" for letter in letters)]
    merges = []
    for word in WORDS:
        parts = [*word[:-1], f"{word[-1]}</w>"]
        while len(parts) > 1:
            pair = (parts[0], parts[1])
            if pair not in merges:
                merges.append(pair)
            parts[:2] = ["".join(pair)]
            if parts[0] not in entries:
                entries.append(parts[0])
    entries += ["<|startoftext|>", "<|endoftext|>"]
    vocabulary = {entry: at for at, entry in enumerate(entries)}
    (folder / "vocab.json").write_text(json.dumps(vocabulary))
    lines = ["#version: 0.2", *(" ".join(pair) for pair in merges), ""]
    (folder / "merges.txt").write_text("\n".join(lines))
    (folder / "tokenizer_config.json").write_text(
        json.dumps(
            {
                "model_max_length": POSITIONS,
                "tokenizer_class": "CLIPTokenizer",
                "bos_token": "<|startoftext|>",
                "eos_token": "<|endoftext|>",
                "unk_token": "<|endoftext|>",
                "pad_token": "<|endoftext|>",
            }
        )
    )
    return len(vocabulary)


def text_encoder(vocabulary: int) -> torch.nn.Module:
    """CLIP's text model, one layer."""
    from transformers import CLIPTextConfig, CLIPTextModel

    return CLIPTextModel(
        CLIPTextConfig(
            vocab_size=vocabulary,
            hidden_size=32,
            intermediate_size=37,
            num_hidden_layers=1,
            num_attention_heads=4,
            max_position_embeddings=POSITIONS,
            bos_token_id=vocabulary - 2,
            eos_token_id=vocabulary - 1,
            pad_token_id=vocabulary - 1,
        )
    )


def autoencoder() -> torch.nn.Module:
    """An ``AutoencoderKL`` that halves the side once."""
    from diffusers import AutoencoderKL

    return AutoencoderKL(
        block_out_channels=(8, 16),
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        latent_channels=4,
        layers_per_block=1,
        norm_num_groups=4,
        sample_size=16,
    )


def stable_diffusion(probe: Probe, architecture: str, folder: Path) -> Any:
    """Write a Stable Diffusion pipeline to ``folder`` and return it, in float32 on the CPU."""
    from diffusers import DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel
    from transformers import CLIPTokenizer

    vocabulary = write_tokenizer(folder / "words")
    prediction = "epsilon" if architecture == "sd15" else "v_prediction"
    pipeline = StableDiffusionPipeline(
        vae=drawn(probe, autoencoder(), "vae"),
        text_encoder=drawn(probe, text_encoder(vocabulary), "text encoder"),
        tokenizer=CLIPTokenizer.from_pretrained(folder / "words"),
        unet=drawn(probe, UNet2DConditionModel(**unet_config(architecture)), architecture),
        scheduler=DDIMScheduler(
            beta_schedule="scaled_linear",
            beta_start=0.00085,
            beta_end=0.012,
            clip_sample=False,
            set_alpha_to_one=False,
            steps_offset=1,
            prediction_type=prediction,
        ),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipeline.save_pretrained(folder)
    return pipeline


def drawn(probe: Probe, module: torch.nn.Module, label: str) -> torch.nn.Module:
    """The module with drawn weights, in float32 on the CPU whatever the run's dtype and device."""
    generator = probe.generator(label)
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            values = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
            if parameter.dim() > 1:
                values *= parameter[0].numel() ** -0.5
            elif name.endswith("weight"):
                values = 1 + 0.1 * values
            else:
                values *= 0.1
            parameter.copy_(values)
    return module.eval()


def image_folder(probe: Probe, folder: Path, count: int, side: int = 16) -> None:
    """Write ``count`` captioned pictures as an image folder with ``metadata.jsonl``."""
    folder.mkdir(parents=True)
    lines = []
    for at in range(count):
        values = torch.randint(0, 256, (side, side, 3), generator=probe.generator(f"picture {at}"))
        Image.fromarray(values.numpy().astype(np.uint8)).save(folder / f"{at:03}.png")
        caption = f"{WORDS[at % 3]} {WORDS[3 + at % 2]} on a grey wall"
        lines.append(json.dumps({"file_name": f"{at:03}.png", "text": caption}))
    (folder / "metadata.jsonl").write_text("\n".join(lines) + "\n")
