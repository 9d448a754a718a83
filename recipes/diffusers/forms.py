"""Every place in diffusers that forms attention scores, ready to be called.

A *form* is a module and what it is called with. The processors of ``Attention`` come in through
their own classes; the three modules that compute scores without it stand beside them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn

from porter.verify.probe import Probe

HEADS, HEAD_WIDTH = 4, 80  # 80: the widest heads of Stable Diffusion 1.5's first two resolutions
WIDTH = HEADS * HEAD_WIDTH
TOKENS, TEXT_TOKENS = 48, 11
BATCH = 2

Draw = Callable[..., torch.Tensor]
"""``draw(label, *shape)``: the inputs of a form."""


@dataclass(frozen=True)
class Form:
    """A module that attends, and a call of it: ``call(draw, masked)``."""

    module: nn.Module
    call: Callable[[Draw, bool], torch.Tensor]
    takes_mask: bool = True


def mask(like: torch.Tensor, *shape: int) -> torch.Tensor:
    """An additive mask: the last two of every row of keys shut.

    The pipelines write -10000, which is -9984 in bfloat16; this is the same in every dtype.
    """
    closed = torch.zeros(*shape).to(like)
    closed[..., -2:] = -10240.0
    return closed


def attention_forms(**flags: bool) -> dict[str, Form]:
    """The processors of ``Attention``; ``flags`` go to its constructor (``upcast_attention``)."""
    from diffusers.models import attention_processor as processors

    def attention(processor: object, **kwargs: object) -> nn.Module:
        made: nn.Module = processors.Attention(
            WIDTH, heads=HEADS, dim_head=HEAD_WIDTH, **flags, **kwargs
        )
        made.set_processor(processor)
        return made

    def over_images(module: nn.Module) -> Form:
        def call(draw: Draw, masked: bool) -> torch.Tensor:
            x = draw("hidden", BATCH, TOKENS, WIDTH)
            return module(x, attention_mask=mask(x, BATCH, 1, TOKENS) if masked else None)

        return Form(module, call)

    def over_text(module: nn.Module, tokens: int = TEXT_TOKENS) -> Form:
        def call(draw: Draw, masked: bool) -> torch.Tensor:
            x = draw("hidden", BATCH, TOKENS, WIDTH)
            text = draw("text", BATCH, tokens, WIDTH)
            closed = mask(x, BATCH, 1, tokens) if masked else None
            return module(x, encoder_hidden_states=text, attention_mask=closed)

        return Form(module, call)

    def over_both(processor: object) -> Form:
        module = attention(processor, added_kv_proj_dim=WIDTH, norm_num_groups=8, bias=True)

        def call(draw: Draw, masked: bool) -> torch.Tensor:
            x = draw("hidden", BATCH, TOKENS, WIDTH).transpose(1, 2)
            text = draw("text", BATCH, TEXT_TOKENS, WIDTH)
            # The mask is of the text; upstream pads it to the text and the image.
            closed = mask(x, BATCH, 1, TEXT_TOKENS) if masked else None
            return module(x, encoder_hidden_states=text, attention_mask=closed)

        return Form(module, call)

    lora = processors.LoRAAttnProcessor(WIDTH)
    custom = processors.CustomDiffusionAttnProcessor(hidden_size=WIDTH, cross_attention_dim=WIDTH)
    return {
        "self": over_images(attention(processors.AttnProcessor())),
        "cross": over_text(attention(processors.AttnProcessor())),
        "sliced": over_images(attention(processors.SlicedAttnProcessor(2))),
        "lora": over_images(attention(lora)),
        # Upstream pads this one's mask to the image's length: so the text is as long.
        "custom-diffusion": over_text(attention(custom), TOKENS),
        "added-kv": over_both(processors.AttnAddedKVProcessor()),
        "sliced-added-kv": over_both(processors.SlicedAttnAddedKVProcessor(2)),
        "lora-added-kv": over_both(processors.LoRAAttnAddedKVProcessor(WIDTH, WIDTH)),
        "fused": over_images(attention(processors.AttnProcessor2_0())),
    }


def other_forms() -> dict[str, Form]:
    """The modules that form scores by themselves."""
    from diffusers.models.embeddings import AttentionPooling
    from diffusers.models.unet_1d_blocks import SelfAttention1d
    from diffusers.pipelines.latent_diffusion.pipeline_latent_diffusion import LDMBertAttention

    pooling, rows = AttentionPooling(HEADS, 256), SelfAttention1d(256, HEADS)
    bert = LDMBertAttention(256, HEADS, 64)

    def bert_call(draw: Draw, masked: bool) -> torch.Tensor:
        x = draw("hidden", BATCH, TOKENS, 256)
        closed = mask(x, BATCH, 1, TOKENS, TOKENS) if masked else None
        output: torch.Tensor = bert(x, attention_mask=closed)[0]
        return output

    return {
        "pooling": Form(
            pooling, lambda draw, _: pooling(draw("hidden", BATCH, 16, 256)), takes_mask=False
        ),
        "unet-1d": Form(
            rows, lambda draw, _: rows(draw("hidden", BATCH, 256, TOKENS)), takes_mask=False
        ),
        "ldm-bert": Form(bert, bert_call),
    }


def all_forms() -> dict[str, Form]:
    """Every form, with upstream's default flags."""
    return attention_forms() | other_forms()


def exact(probe: Probe, values: torch.Tensor) -> torch.Tensor:
    """Float64 values with 8 significant bits, which float16, bfloat16 and all wider types hold.

    Large scores turn the rounding of their operands into other probabilities: with exact operands
    what is measured is the computation.
    """
    return values.bfloat16().to(probe.device, probe.dtype)


def normals(probe: Probe, label: str, *shape: int) -> torch.Tensor:
    """Float64 normals, for `exact`: what `probe.normal` gives has been rounded already."""
    return torch.randn(*shape, generator=probe.generator(label), dtype=torch.float64)
