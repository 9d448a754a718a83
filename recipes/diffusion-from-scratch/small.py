"""A small model of the upstream's own classes, with what upstream reads and imports beside.

Upstream loads a VAE by its name on a hub. A folder of that name in the working folder is found
first, so a probe writes a narrow one there. Level 0 imports packages that it does not use
(flash_attn, xformers) or that talk to a server (wandb); there, and only there, empty ones stand in.
"""

from __future__ import annotations

import contextlib
import importlib.machinery
import sys
import types
from collections.abc import Iterator
from typing import Any

import torch

from porter.verify.probe import Probe

VAE = "stabilityai/sd-vae-ft-ema"
CLASSES = 10
SHAPE = {
    "inCh": 4, "num_classes": CLASSES, "patch_size": 8, "dim": 32, "c_dim": 16, "hidden_scale": 2.0,
    "num_heads": 2, "num_blocks": 2, "positional_encoding": "absolute", "legacy_norm": False,
}  # fmt: skip
"""Arguments of upstream's ``diff_model``; latents are 4 x 32 x 32, which upstream fixes."""


def has(probe: Probe, path: str) -> bool:
    """Does the level have this file? Levels are told by what they add."""
    return (probe.tree / path).exists()


def is_upstream(probe: Probe) -> bool:
    """Does train.py know CUDA alone? That of a port has infer.py's option."""
    return "--device" not in (probe.tree / "src" / "train.py").read_text(encoding="utf-8")


def device_word(probe: Probe) -> str:
    """The name that upstream's --device gives the probe's device."""
    return {"cuda": "gpu"}.get(probe.device.type, probe.device.type)


def stand_in(name: str, **contents: Any) -> types.ModuleType:
    """Put a module made of ``contents`` where ``import NAME`` finds it."""
    module = types.ModuleType(name)
    module.__spec__ = importlib.machinery.ModuleSpec(name, None, is_package=True)
    module.__path__ = []
    module.__dict__.update(contents)
    sys.modules[name] = module
    return module


def write_vae(probe: Probe, shift: float | None = None) -> Any:
    """Write a narrow VAE, 3 x 256 x 256 to 4 x 32 x 32, where upstream looks for the hub's.

    ``shift`` is its ``shift_factor``. Returns the VAE.
    """
    from diffusers import AutoencoderKL

    vae = AutoencoderKL(
        down_block_types=["DownEncoderBlock2D"] * 4,
        up_block_types=["UpDecoderBlock2D"] * 4,
        block_out_channels=[4] * 4,
        latent_channels=4,
        norm_num_groups=2,
        sample_size=256,
        shift_factor=shift,
    )
    with torch.no_grad():
        for name, parameter in vae.named_parameters():
            drawn = torch.randn(parameter.shape, generator=probe.generator("VAE", name))
            if parameter.dim() >= 2:
                parameter.copy_(drawn * 0.5 / parameter[0].numel() ** 0.5)
            else:
                parameter.copy_(0.1 * drawn + (1.0 if "norm" in name and "weight" in name else 0.0))
    vae.save_pretrained(probe.scratch / VAE)
    return vae


def prepare(probe: Probe) -> None:
    """Write the VAE, and at level 0 put packages in place that it imports without need."""
    write_vae(probe)
    if is_upstream(probe):
        stand_in("flash_attn", flash_attn_qkvpacked_func=None, flash_attn_func=None)
        for name in ("xformers", "xformers.ops", "xformers.ops.swiglu_op"):
            stand_in(name, SwiGLU=None)


def small_model(probe: Probe, module: Any = None, **changes: Any) -> Any:
    """Return upstream's ``diff_model`` on the probe's device, in eval mode.

    ``changes`` are of SHAPE; ``module`` is the module to take the class from. Every weight is
    drawn for the run's seed, but for the VAE's, which is as written, and the rotary frequencies.
    """
    if module is None:
        import src.models.diff_model as module  # type: ignore[no-redef]
    model = module.diff_model(**(SHAPE | changes), device=device_word(probe))
    draw_weights(probe, model)
    return model.eval()


def draw_weights(probe: Probe, model: Any) -> None:
    """Give every parameter of the transformer numbers; a trained one has no zeros either."""
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.startswith("VAE.") or name.endswith("freqs"):
                continue
            drawn = torch.randn(parameter.shape, generator=probe.generator(name))
            if parameter.dim() >= 2:
                drawn *= 0.7 / parameter[0].numel() ** 0.5
            else:
                drawn = drawn * 0.1 + (1.0 if "norm.weight" in name else 0.0)
            parameter.copy_(drawn)


@contextlib.contextmanager
def noise_of_the_cpu() -> Iterator[None]:
    """Let ``randn`` and ``randn_like`` for another device draw on the CPU and move the numbers.

    With it levels below randn-to-cpu, and upstream, see the noise that the levels above draw.
    """
    randn, randn_like = torch.randn, torch.randn_like

    def draw(*size: Any, device: Any = None, **options: Any) -> torch.Tensor:
        drawn = randn(*size, **options)
        return drawn if device is None else drawn.to(device)

    def draw_like(like: torch.Tensor, device: Any = None, **options: Any) -> torch.Tensor:
        return randn_like(like.detach().cpu(), **options).to(device or like.device)

    torch.randn, torch.randn_like = draw, draw_like  # type: ignore[assignment]
    try:
        yield
    finally:
        torch.randn, torch.randn_like = randn, randn_like
