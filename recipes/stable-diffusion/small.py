"""Small latent diffusion models, with everything that upstream's scripts read from disk.

Configurations are of upstream's own kinds, narrow: 32 channels is the least that GroupNorm(32)
takes. Weights are drawn for the run's seed, so that every level and device loads the same
checkpoint; nothing stays zero (upstream starts many last layers at zero, which would hide what
stands before).

    PYTHONPATH=TREE python small.py FOLDER

writes a small text-to-image model there: small.yaml, small.ckpt and the tokenizer's vocabulary.
"""

from __future__ import annotations

import importlib
import math
import os
import sys
import zlib
from pathlib import Path
from typing import Any, Protocol

import torch

Config = dict[str, Any]

PROMPT = "a virus monster is playing guitar, oil on canvas"
_WORDS = (
    "[PAD] [UNK] [CLS] [SEP] [MASK] a is on in of oil canvas virus monster cat playing guitar , ."
)
_DDPM = "ldm.models.diffusion.ddpm.LatentDiffusion"
_GAIN = 0.7  # keeps guided steps of random weights within the range of images
_MIGRATIONS = {
    "sim:hpu": "habana_frameworks.torch.gpu_migration",
    "sim:npu": "torch_npu.contrib.transfer_to_npu",
}


def _unet(**changes: Any) -> Config:
    params: Config = {
        "image_size": 8,
        "in_channels": 4,
        "out_channels": 4,
        "model_channels": 32,
        "attention_resolutions": [2, 1],
        "num_res_blocks": 1,
        "channel_mult": [1, 2],
        "num_heads": 2,
    }
    target = "ldm.modules.diffusionmodules.openaimodel.UNetModel"
    return {"target": target, "params": params | changes}


def _autoencoder(kind: str, channels: int, stages: int, **changes: Any) -> Config:
    layers = {
        "double_z": kind == "AutoencoderKL",
        "z_channels": channels,
        "resolution": 64,
        "in_channels": 3,
        "out_ch": 3,
        "ch": 32,
        "ch_mult": [1] * stages,
        "num_res_blocks": 1,
        "attn_resolutions": [],
        "dropout": 0.0,
    }
    params: Config = {
        "embed_dim": channels,
        "ddconfig": layers,
        "lossconfig": {"target": "torch.nn.Identity"},
    }
    return {"target": f"ldm.models.autoencoder.{kind}", "params": params | changes}


def _diffusion(
    first_stage: Config, cond_stage: Config | str, unet: Config, **changes: Any
) -> Config:
    params: Config = {
        "linear_start": 0.00085,
        "linear_end": 0.012,
        "timesteps": 1000,
        "log_every_t": 200,
        "first_stage_key": "image",
        "image_size": 8,
        "channels": 4,
        "monitor": "val/loss",
        "use_ema": False,
        "unet_config": unet,
        "first_stage_config": first_stage,
        "cond_stage_config": cond_stage,
    }
    return {"model": {"target": _DDPM, "params": params | changes}}


def text_to_image() -> Config:
    """The kind of configs/latent-diffusion/txt2img-1p4B-eval.yaml: KL first stage, BERT."""
    text = {
        "target": "ldm.modules.encoders.modules.BERTEmbedder",
        "params": {"n_embed": 32, "n_layer": 1, "vocab_size": 32},
    }
    return _diffusion(
        _autoencoder("AutoencoderKL", 4, 4),
        text,
        _unet(
            use_spatial_transformer=True,
            transformer_depth=1,
            context_dim=32,
            use_checkpoint=True,
            legacy=False,
        ),
        num_timesteps_cond=1,
        cond_stage_key="caption",
        cond_stage_trainable=True,
        conditioning_key="crossattn",
        scale_factor=0.18215,
    )


def without_stages(timesteps: int = 1000) -> Config:
    """A shallower U-Net alone, given latents and embeddings: no first stage, no text encoder."""
    whole = text_to_image()
    params = whole["model"]["params"]
    params["timesteps"] = timesteps
    params["first_stage_config"] = params["cond_stage_config"] = {"target": "torch.nn.Identity"}
    params["unet_config"]["params"] |= {"channel_mult": [1], "attention_resolutions": [1]}
    return whole


def inpainting() -> Config:
    """The kind of models/ldm/inpainting_big/config.yaml: the VQ first stage conditions too."""
    first = _autoencoder("VQModelInterface", 3, 3, n_embed=64)
    first["params"]["lossconfig"] = {"target": "ldm.modules.losses.contperceptual.DummyLoss"}
    return _diffusion(
        first,
        "__is_first_stage__",
        _unet(image_size=16, in_channels=7, out_channels=3, resblock_updown=True),
        linear_start=0.0015,
        linear_end=0.0205,
        loss_type="l1",
        cond_stage_key="masked_image",
        image_size=16,
        channels=3,
        concat_mode=True,
        use_ema=True,
    )


def unconditional(timesteps: int = 1000) -> Config:
    """The kind of models/ldm/celeba256/config.yaml: unconditional, with averaged weights."""
    return _diffusion(
        _autoencoder("VQModelInterface", 3, 3, n_embed=64),
        "__is_unconditional__",
        _unet(in_channels=3, out_channels=3),
        timesteps=timesteps,
        channels=3,
        use_ema=True,
    )


def pixels(timesteps: int) -> Config:
    """DDPM itself, the class under latent diffusion: pixels, nothing that conditions."""
    params: Config = {
        "timesteps": timesteps,
        "image_size": 8,
        "channels": 3,
        "use_ema": False,
        "unet_config": _unet(in_channels=3, out_channels=3),
    }
    return {"model": {"target": "ldm.models.diffusion.ddpm.DDPM", "params": params}}


class Seeded(Protocol):
    """What gives a generator for a name: a probe."""

    def generator(self, *labels: object) -> torch.Generator: ...


def build(probe: Seeded, config: Config) -> torch.nn.Module:
    """Upstream's model of ``config``, on the CPU, float32, every parameter drawn, in eval mode."""
    from ldm.util import instantiate_from_config
    from omegaconf import OmegaConf

    model = instantiate_from_config(OmegaConf.create(config["model"]))
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            numbers = torch.randn(parameter.shape, generator=probe.generator(name))
            if parameter.dim() >= 2:
                numbers *= _GAIN / math.sqrt(math.prod(parameter.shape[1:]))
            else:
                numbers = numbers * 0.1 + (1.0 if name.endswith("weight") else 0.0)
            parameter.copy_(numbers)
        if getattr(model, "use_ema", False):
            for name, average in model.model_ema.named_buffers():
                if average.dim():  # weights, not the counters: others than the model's own
                    average.copy_(0.9 * average + 0.05)
                    del name
    return model.eval()


def write_model(probe: Seeded, config: Config, config_file: Path, checkpoint: Path) -> None:
    """Write ``config`` and a checkpoint of Lightning's layout, making their folders."""
    from omegaconf import OmegaConf

    for path in (config_file, checkpoint):
        path.parent.mkdir(parents=True, exist_ok=True)
    OmegaConf.save(OmegaConf.create(config), config_file)
    state = build(probe, config).state_dict()
    torch.save({"global_step": 7, "state_dict": state}, checkpoint)


def migrate(tree: Path, device: str) -> None:
    """Import what the port's scripts import first, so that CUDA calls reach a simulated device.

    Where a tree has no such module, the vendor's own migration.
    """
    if (tree / "ldm" / "accelerator.py").exists():
        importlib.import_module("ldm.accelerator")
    elif device in _MIGRATIONS:
        importlib.import_module(_MIGRATIONS[device])


def write_vocabulary(folder: Path) -> None:
    """Write the tokenizer's files where ``from_pretrained("bert-base-uncased")`` looks first."""
    (folder / "bert-base-uncased").mkdir(parents=True, exist_ok=True)
    text = "\n".join(_WORDS.split()) + "\n"
    (folder / "bert-base-uncased" / "vocab.txt").write_text(text, encoding="utf-8")


class _ByName:
    """Generators seeded by name alone, outside a probe."""

    def generator(self, *labels: object) -> torch.Generator:
        return torch.Generator().manual_seed(zlib.crc32(repr(labels).encode()))


if __name__ == "__main__":
    os.chdir(sys.argv[1])
    write_vocabulary(Path())
    write_model(_ByName(), text_to_image(), Path("small.yaml"), Path("small.ckpt"))
