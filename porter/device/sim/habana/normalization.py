"""``habana_frameworks.torch.hpex.normalization``: FusedRMSNorm and FusedClipNorm."""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from torch import Tensor

from porter.device.sim.vendors.fused_ops import fused


@fused("hpu", "rms_norm")
def _rms_norm(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    full = x if x.dtype == torch.float64 else x.float()
    normal = full * torch.rsqrt(full.square().mean(-1, keepdim=True) + eps)
    result: Tensor = (normal * weight.to(full.dtype)).to(x.dtype)
    return result


class FusedRMSNorm:
    """RMS normalisation over the last dimension as one kernel."""

    @staticmethod
    def apply(
        data_in: Tensor,
        gamma: Tensor,
        eps: float,
        use_stages: bool = True,
        bwd_mode: int = 0,
        fast_math: bool = False,
    ) -> Tensor:
        """Return ``x / rms(x) * gamma``, in float32; the last three select the card's kernel."""
        del use_stages, bwd_mode, fast_math
        result: Tensor = _rms_norm(data_in, gamma, eps)
        return result


class FusedClipNorm:
    """Gradient clipping by total norm that never reads a value on the host."""

    def __init__(self, parameters: Iterable[Tensor] | Tensor, max_norm: float) -> None:
        self.max_norm = float(max_norm)
        self.parameters = _listed(parameters)

    @torch.no_grad()
    def clip_norm(
        self, parameters: Iterable[Tensor] | Tensor | None = None, norm_type: float = 2.0
    ) -> Tensor:
        """Clip the gradients of ``parameters`` in place; returns their total norm before that."""
        params = self.parameters if parameters is None else _listed(parameters)
        grads = [p.grad for p in params if p.grad is not None]
        if not grads:
            return torch.tensor(0.0)
        order = float(norm_type)
        norms = torch.stack(torch._foreach_norm(grads, order))
        total = norms.max() if order == math.inf else norms.norm(order)
        coefficient = (self.max_norm / (total + 1e-6)).clamp(max=1.0)
        torch._foreach_mul_(grads, coefficient)
        return total


def _listed(parameters: Iterable[Tensor] | Tensor) -> list[Tensor]:
    return [parameters] if isinstance(parameters, Tensor) else list(parameters)


__all__ = ["FusedClipNorm", "FusedRMSNorm"]
