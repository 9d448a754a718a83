"""``habana_frameworks.torch.hpex.kernels.Fp8Ops``."""

from __future__ import annotations

from porter.device.sim.habana.kernels import cast_to_fp8_v2

__all__ = ["cast_to_fp8_v2"]
