"""Attention, GEGLU and layer norms on a device: its kernels against upstream's arithmetic."""

from __future__ import annotations

from typing import Any
from unittest import mock

import torch

from porter.verify.probe import Probe, ProbeError

HEADS, HEAD_WIDTH, TOKENS, WORDS, BATCH = 4, 32, 24, 7, 2
WIDTH, ODD_WIDTH = HEADS * HEAD_WIDTH, 40


def run(probe: Probe) -> None:
    """Record attention plain, masked and across, with gradients; GEGLU; norms under autocast."""
    for case in ("self", "cross", "masked", "biased", "normed", "odd"):
        with probe.attempt(f"attention/{case}"):
            _record_attention(probe, case)
    for name, part in {
        "geglu": _record_geglu, "adaptive": _record_adaptive, "norm": _record_norms,
    }.items():  # fmt: skip
        with probe.attempt(name):
            part(probe)
    if probe.device.type == "npu":
        _count_refusals(probe)
    if probe.device.type == "hpu":
        with probe.attempt("odd_on_host"):
            _count_odd_on_host(probe)


def _count_odd_on_host(probe: Probe) -> None:
    """Count the heads of any width that a Gaudi's kernel takes of a model that is not there yet."""
    from diffusers.models.attention_processor import Attention

    try:
        from diffusers.models.flash_attention import FlashAttnProcessor, use_flash_attention
    except ImportError:
        return
    use_flash_attention(odd := Attention(ODD_WIDTH, heads=1, dim_head=ODD_WIDTH), "layer")
    probe.count("odd_on_host", int(type(odd.processor) is FlashAttnProcessor))


def _attention(probe: Probe, case: str) -> Any:
    from diffusers.models.attention_processor import Attention

    # "normed": what an autoencoder's or an upsampler's attention has besides
    more: dict[str, Any] = {"norm_num_groups": 8, "residual_connection": True, "bias": True}
    # "odd": heads as wide as Stable Diffusion 1.x's, which a Gaudi's kernel takes, an NPU's not
    head_width = ODD_WIDTH if case == "odd" else HEAD_WIDTH
    attention = probe.alive(
        Attention(
            HEADS * head_width,
            cross_attention_dim=48 if case == "cross" else None,
            heads=HEADS,
            dim_head=head_width,
            **(more if case == "normed" else {}),
        ),
        case,
    )
    if case != "odd" or probe.device.type == "hpu":
        _choose_processor(probe, attention)
    return attention


def _choose_processor(probe: Probe, attention: Any) -> None:
    """Flash attention where level, device and dtype have it; else the plain processor."""
    from diffusers.models.attention_processor import AttnProcessor

    attention.set_processor(AttnProcessor())
    if not probe.parameters["flash"] or probe.dtype not in (torch.float16, torch.bfloat16):
        return
    if probe.device.type in ("npu", "hpu"):
        try:
            from diffusers.models.flash_attention import use_flash_attention
        except ImportError:  # a level without it
            return
        use_flash_attention(attention, "attention")


def _record_attention(probe: Probe, case: str) -> None:
    attention = _attention(probe, case)
    width = attention.to_q.in_features
    hidden = probe.normal(f"{case} hidden", BATCH, TOKENS, width).requires_grad_()
    given: dict[str, torch.Tensor] = {}
    if case == "cross":
        given["encoder_hidden_states"] = probe.normal("words", BATCH, WORDS, 48)
    if case in ("masked", "biased"):
        mask = torch.zeros(BATCH, 1, TOKENS)
        mask[..., -5:] = -10000.0
        mask[0, :, 3] = -10000.0
        if case == "biased":
            # so large that a bias in fewer bits than the scores have is seen
            mask[..., :6] = torch.linspace(9.3, 11.1, 6)
        given["attention_mask"] = mask.to(hidden)
    attended = attention(hidden, **given)
    probe.record(f"attention/{case}", attended)
    (attended * probe.normal("cotangent", *attended.shape)).sum().backward()
    assert hidden.grad is not None
    probe.record(f"gradient/{case}", hidden.grad)


def _record_geglu(probe: Probe) -> None:
    from diffusers.models.attention import GEGLU

    gated = probe.alive(GEGLU(32, 48))
    x = probe.normal("gated", 5, 32, scale=3.0).requires_grad_()
    out = gated(x)
    probe.record("geglu", out)
    out.square().sum().backward()
    assert x.grad is not None
    probe.record("gradient/geglu", x.grad)


def _record_adaptive(probe: Probe) -> None:
    """Norms that a timestep shifts and scales, of patches and of a vocabulary of latents."""
    from diffusers import Transformer2DModel

    common: dict[str, Any] = {"num_attention_heads": 2, "attention_head_dim": 16}
    patches: dict[str, Any] = {"patch_size": 2, "in_channels": 4, "out_channels": 4}
    words: dict[str, Any] = {"num_vector_embeds": 12, "num_embeds_ada_norm": 10}
    scaled = {"norm_type": "ada_norm_zero", "num_embeds_ada_norm": 10}
    by_patch = probe.alive(
        Transformer2DModel(sample_size=8, **common, **patches, **scaled), "by patch"
    )
    by_patch.eval()  # class labels are dropped at random in training
    image = probe.normal("adaptive", 2, 4, 8, 8)
    labels = {
        "timestep": torch.tensor([3, 7], device=probe.device),
        "class_labels": torch.tensor([1, 2], device=probe.device),
    }
    with torch.no_grad():
        probe.record("adaptive/patches", by_patch(image, **labels).sample)
        by_word = probe.alive(Transformer2DModel(sample_size=4, **common, **words), "by word")
        latents = torch.arange(32, device=probe.device).view(2, 16) % 12
        probe.record("adaptive/words", by_word(latents, timestep=labels["timestep"][0]).sample)


def _record_norms(probe: Probe) -> None:
    """Of a half precision input far from zero, with float32 parameters: mixed precision training.

    The input has 8 significant bits, which every dtype holds: what is measured is the norm.
    """
    from diffusers.models.attention_processor import Attention

    if probe.dtype not in (torch.float64, torch.float32):
        return
    attention = Attention(8, 64, heads=2, dim_head=4, cross_attention_norm="layer_norm")
    norm = probe.alive(attention).norm_encoder_hidden_states
    drawn = torch.randn(4, 6, 64, generator=probe.generator("norm"), dtype=torch.float64)
    x = (300 + 40 * drawn).bfloat16().to(probe.device)
    if probe.dtype == torch.float64:
        probe.record("norm", norm(x.double()))
        return
    lower = torch.bfloat16 if probe.device.type == "hpu" else torch.float16
    with torch.no_grad(), torch.autocast(probe.device.type, dtype=lower):
        probe.record("norm", norm(x.to(lower)).to(probe.dtype))


def _count_refusals(probe: Probe) -> None:
    from diffusers.models.attention_processor import Attention, AttnProcessor, LoRAAttnProcessor

    try:
        from diffusers.models.flash_attention import FlashAttnProcessor, use_flash_attention
    except ImportError:
        return
    for width, word in ((40, "found 40"), (512, "at most 256")):
        _expect_words(use_flash_attention, Attention(width, heads=1, dim_head=width), word)
    lora = Attention(WIDTH, heads=HEADS, dim_head=HEAD_WIDTH, processor=LoRAAttnProcessor(WIDTH))
    _expect_words(use_flash_attention, lora, "LoRAAttnProcessor")
    added = Attention(WIDTH, heads=HEADS, dim_head=HEAD_WIDTH, added_kv_proj_dim=16)
    added.set_processor(AttnProcessor())
    _expect_words(use_flash_attention, added, "keys of its own")
    plain = Attention(WIDTH, heads=HEADS, dim_head=HEAD_WIDTH, processor=FlashAttnProcessor())
    plain = plain.to(probe.device)
    x = torch.ones(1, 4, WIDTH, device=probe.device)
    _expect_words(lambda attention, _: attention(x), plain, "found torch.float32")
    _expect_words(lambda a, _: a.cpu().half()(x.cpu().half()), plain, "found a tensor on cpu")
    probe.count("refused", 6)
    with probe.attempt("switched"):
        use_flash_attention(widest := Attention(256, heads=1, dim_head=256), "layer")
        probe.count("switched/widest", int(type(widest.processor) is FlashAttnProcessor))
        _count_switched(probe, FlashAttnProcessor)


def _count_switched(probe: Probe, processor: type) -> None:
    """Count the layers with the kernel after a pipeline's switch, and after training's option."""
    from diffusers import (
        AutoencoderKL,
        DDPMScheduler,
        DiffusionPipeline,
        UNet2DConditionModel,
        device_training,
    )
    from diffusers.models.attention_processor import Attention, SlicedAttnProcessor

    class Both(DiffusionPipeline):
        """A pipeline of a network and an autoencoder, whose one head is too wide."""

        def __init__(self, unet: Any, vae: Any, scheduler: Any) -> None:
            super().__init__()
            self.register_modules(unet=unet, vae=vae, scheduler=scheduler)

    def network() -> Any:
        return UNet2DConditionModel(
            sample_size=8, block_out_channels=(32,), layers_per_block=1, cross_attention_dim=16,
            attention_head_dim=2, down_block_types=("CrossAttnDownBlock2D",),
            up_block_types=("CrossAttnUpBlock2D",),
        )  # fmt: skip

    def switched(model: Any) -> int:
        return sum(type(one) is processor for one in model.attn_processors.values())

    pipe = Both(network(), AutoencoderKL(block_out_channels=(32,)), DDPMScheduler())
    pipe.enable_npu_flash_attention()
    layers = len(pipe.unet.attn_processors)
    probe.count("switched/pipeline", switched(pipe.unet) == layers)
    pipe.disable_npu_flash_attention()
    probe.count("switched/back", switched(pipe.unet))
    pipe.enable_npu_flash_attention()
    own = next(one for one in pipe.unet.modules() if isinstance(one, Attention))
    own.set_processor(SlicedAttnProcessor(1))
    pipe.disable_npu_flash_attention()
    probe.count("switched/others_kept", type(own.processor) is SlicedAttnProcessor)
    trained = network()
    asked = mock.Mock(enable_npu_flash_attention=True)
    accelerator = mock.Mock(device=probe.device, mixed_precision="bf16")
    device_training.enable_flash_attention(asked, accelerator, trained)
    probe.count("switched/training", switched(trained) == layers)


def _expect_words(act: Any, attention: Any, word: str) -> None:
    try:
        act(attention, "layer")
    except ValueError as error:
        if word in str(error):
            return
        raise ProbeError(f"expected {word!r}, found {error}") from error
    raise ProbeError(f"expected a ValueError with {word!r}, found none")
