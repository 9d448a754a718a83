"""Attention with ordinary inputs: what must not change, and what may only get better."""

from __future__ import annotations

import torch
from forms import Form, all_forms, attention_forms

from porter.verify.probe import Probe


def run(probe: Probe) -> None:
    """Record every form plain and masked, with the upcasting flags, backward, under autocast."""

    def draw(label: str, *shape: int) -> torch.Tensor:
        return probe.normal(label, *shape, scale=2.0)

    half = probe.dtype in (torch.float16, torch.bfloat16)
    with torch.no_grad():
        for name, form in all_forms().items():
            probe.alive(form.module, name)
            with probe.attempt(f"plain/{name}"):
                probe.record(f"plain/{name}", form.call(draw, False))
            if form.takes_mask:
                with probe.attempt(f"masked/{name}"):
                    probe.record(f"masked/{name}", form.call(draw, True))
        for flag in ("upcast_attention", "upcast_softmax"):
            # Upstream can add only a float32 mask to scores that it has upcast.
            masked = flag != "upcast_attention"
            for name, form in attention_forms(**{flag: True}).items():
                probe.alive(form.module, name)
                with probe.attempt(f"{flag}/{name}"):
                    probe.record(f"{flag}/{name}", form.call(draw, masked))
    for name, form in all_forms().items():
        probe.alive(form.module, name)
        with probe.attempt(f"gradient/{name}"):
            _record_gradients(probe, name, form)
    if not half:
        for lower in (torch.float16, torch.bfloat16):
            _record_autocast(probe, lower)


def _record_gradients(probe: Probe, name: str, form: Form) -> None:
    leaves: dict[str, torch.Tensor] = {}

    def draw(label: str, *shape: int) -> torch.Tensor:
        return leaves.setdefault(label, probe.normal(label, *shape, scale=2.0).requires_grad_())

    output = form.call(draw, form.takes_mask)
    (output * probe.normal("cotangent", *output.shape)).sum().backward()
    probe.record(f"gradient/{name}", leaves["hidden"].grad)


def _record_autocast(probe: Probe, lower: torch.dtype) -> None:
    def draw(label: str, *shape: int) -> torch.Tensor:
        return probe.normal(label, *shape, scale=2.0)

    short = str(lower).removeprefix("torch.")
    for name, form in all_forms().items():
        probe.alive(form.module, name)
        output = f"autocast-{short}/{name}"
        mixed = torch.autocast(probe.device.type, dtype=lower)
        with probe.attempt(output), torch.no_grad(), mixed:
            # Wider than what was computed, so that level 0's own error is the allowance and not an
            # ulp of float32 or float64.
            probe.record(output, form.call(draw, form.takes_mask).to(probe.dtype))
