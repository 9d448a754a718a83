"""Attention whose scores leave float16's range although the right probabilities are ordinary."""

from __future__ import annotations

import torch
from forms import BATCH, HEAD_WIDTH, HEADS, Form, all_forms, exact, normals
from torch import nn

from porter.verify.probe import Probe


def pass_through(probe: Probe, name: str, form: Form) -> None:
    """Give the form weights that hand its inputs on to the scores as they are.

    Queries and keys are the inputs, the keys with their channels in reverse; LoRA's additions to
    them stay at their initial zero, and normalizations in front are taken out. The values and all
    behind them are ordinary.
    """
    probe.alive(form.module, name)
    gain = 32.0 if name == "pooling" else 1.0  # its query is a mean, and small
    for path, module in form.module.named_modules():
        last = path.rpartition(".")[2]
        if isinstance(module, nn.Linear):
            if last in ("to_q", "to_q_custom_diffusion", "q_proj", "query"):
                _set(module, gain * torch.eye(module.in_features))
            elif last in ("to_k", "add_k_proj", "to_k_custom_diffusion", "k_proj", "key"):
                _set(module, torch.eye(module.in_features).flip(0))
        elif last in ("to_q_lora", "to_k_lora", "add_k_proj_lora"):
            nn.init.zeros_(module.up.weight)
    for norm in ("group_norm", "positional_embedding"):
        if isinstance(getattr(form.module, norm, None), nn.Module):
            setattr(form.module, norm, nn.Identity())
        elif isinstance(getattr(form.module, norm, None), nn.Parameter):
            nn.init.zeros_(getattr(form.module, norm))


def _set(module: nn.Linear, weight: torch.Tensor) -> None:
    with torch.no_grad():
        module.weight.copy_(weight)
        if module.bias is not None:
            module.bias.zero_()


def run(probe: Probe) -> None:
    """Record probabilities for scores of growing size, then every form with the largest."""
    from diffusers.models.attention_processor import Attention, AttnProcessor

    attention = Attention(HEADS * HEAD_WIDTH, heads=HEADS, dim_head=HEAD_WIDTH)
    attention.set_processor(AttnProcessor())
    for scale in probe.parameters["scales"]:
        shape = (BATCH * HEADS, 64, HEAD_WIDTH)
        query, key = (
            exact(probe, normals(probe, label, *shape) * scale) for label in ("query", "key")
        )
        with probe.attempt(f"probabilities/{scale}"):
            probabilities = attention.get_attention_scores(query, key)
            probe.record(f"probabilities/{scale}", probabilities)
            with probe.attempt(f"attended/{scale}"):
                probe.record(f"attended/{scale}", _attended(probe, probabilities))
            _count_naive(probe, query, key, attention.scale, scale)
    autocast = torch.autocast(probe.device.type, dtype=torch.float16)
    with probe.attempt("autocast/float16"), autocast:
        # of the last and largest; autocast would take a float32 product back to float16
        probe.record("autocast/float16", attention.get_attention_scores(query, key))
    with probe.attempt("attended/outlier"):
        query, key = _outlier(probe)
        scores = attention.get_attention_scores(query, key)
        probe.record("attended/outlier", _attended(probe, scores))

    def draw(label: str, *shape: int) -> torch.Tensor:
        # whole numbers: a mean over 16 tokens is exact too
        drawn = (normals(probe, label, *shape) * 4).round().clamp(-15, 15)
        return exact(probe, drawn * probe.parameters["step"])

    with torch.no_grad():
        for name, form in all_forms().items():
            output = name if name == "fused" else f"form/{name}"
            with probe.attempt(output):
                pass_through(probe, name, form)
                probe.record(output, form.call(draw, form.takes_mask))


def _attended(probe: Probe, probabilities: torch.Tensor) -> torch.Tensor:
    value = exact(probe, normals(probe, "value", probabilities.shape[0], 64, HEAD_WIDTH))
    return torch.bmm(probabilities, value)


def _outlier(probe: Probe) -> tuple[torch.Tensor, torch.Tensor]:
    """Queries and keys with one channel far from zero, which the softmax cancels.

    All scores of a row lie near 67,800, and the probabilities come from the ordinary rest. Whole
    numbers, so that float32 sums them without rounding.
    """
    shape = (BATCH * HEADS, 64, HEAD_WIDTH)
    query, key = (normals(probe, label, *shape).round() for label in ("query", "key"))
    query[..., -1], key[..., -1] = 1024.0, 592.0
    return exact(probe, query), exact(probe, key)


def _count_naive(
    probe: Probe, query: torch.Tensor, key: torch.Tensor, factor: float, scale: int
) -> None:
    """Count the infinities of the plain product, and with autocast turned off around it."""
    plain = factor * torch.bmm(query, key.transpose(1, 2))
    with torch.autocast(probe.device.type, enabled=False):
        remedied = factor * torch.bmm(query, key.transpose(1, 2))
    probe.count(f"infinite_scores/{scale}/bmm", int(plain.isinf().sum()))
    probe.count(f"infinite_scores/{scale}/bmm-autocast-off", int(remedied.isinf().sum()))
