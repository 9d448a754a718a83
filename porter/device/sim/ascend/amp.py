"""``torch_npu.npu.amp``: autocast, and PyTorch's gradient scaler with a ``dynamic`` switch.

With ``dynamic=False`` the scale is constant: gradients are only divided by it, so a step reads
nothing on the host. With ``dynamic=True`` the host reads at each step whether a gradient overflowed
and at each update how many steps were good: syncs that the simulator counts.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.amp.grad_scaler import OptState


class autocast(torch.autocast):
    """``torch.autocast("npu")`` with float16 as the default."""

    def __init__(
        self,
        enabled: bool = True,
        dtype: torch.dtype = torch.float16,
        cache_enabled: bool = True,
    ) -> None:
        super().__init__("npu", enabled=enabled, dtype=dtype, cache_enabled=cache_enabled)


def custom_fwd(
    fwd: Callable[..., Any] | None = None, *, cast_inputs: torch.dtype | None = None
) -> Any:
    """``torch.amp.custom_fwd`` for npu."""
    if fwd is None:
        return functools.partial(custom_fwd, cast_inputs=cast_inputs)
    return torch.amp.custom_fwd(fwd, device_type="npu", cast_inputs=cast_inputs)


def custom_bwd(bwd: Callable[..., Any]) -> Any:
    """``torch.amp.custom_bwd`` for npu."""
    return torch.amp.custom_bwd(bwd, device_type="npu")


class GradScaler(torch.amp.GradScaler):
    """Gradient scaling for float16 training."""

    def __init__(
        self,
        init_scale: float = 2.0**16,
        growth_factor: float = 2.0,
        backoff_factor: float = 0.5,
        growth_interval: int = 2000,
        dynamic: bool = True,
        enabled: bool = True,
    ) -> None:
        super().__init__("npu", init_scale, growth_factor, backoff_factor, growth_interval, enabled)
        self._dynamic = dynamic
        self._has_overflow = False

    @torch.no_grad()
    def unscale_(self, optimizer: torch.optim.Optimizer) -> None:
        """Divide the optimizer's gradients by the scale; when dynamic, check for overflow."""
        if not self._enabled:
            return
        self._check_scale_growth_tracker("unscale_")
        state = self._per_optimizer_states[id(optimizer)]
        if state["stage"] is OptState.UNSCALED:
            raise RuntimeError(
                "unscale_() has already been called on this optimizer since the last update()."
            )
        if state["stage"] is OptState.STEPPED:
            raise RuntimeError("unscale_() is being called after step().")
        assert self._scale is not None
        inverse = self._scale.float().reciprocal()  # float32: the card has no float64
        found = torch.zeros((), dtype=torch.float32, device=self._scale.device)
        for gradient in self._gradients(optimizer):
            if self._dynamic:
                torch._amp_foreach_non_finite_check_and_unscale_([gradient], found, inverse)
            else:
                gradient.mul_(inverse)
        if self._dynamic and found.item() > 0:
            self._has_overflow = True
        state["found_inf_per_device"] = {found.device: found}
        state["stage"] = OptState.UNSCALED

    @staticmethod
    def _gradients(optimizer: torch.optim.Optimizer) -> list[Tensor]:
        if getattr(optimizer, "is_fused_optimizer", False):
            optimizer._combine_all()  # type: ignore[attr-defined]
            return list(optimizer.get_combined_grads())  # type: ignore[attr-defined]
        gradients = []
        for group in optimizer.param_groups:
            for param in group["params"]:
                if param.grad is None:
                    continue
                if param.grad.dtype == torch.float16:
                    raise TypeError("Attempting to unscale FP16 gradients.")
                gradients.append(param.grad)
        return gradients

    def step(self, optimizer: torch.optim.Optimizer, *args: Any, **kwargs: Any) -> Any:
        """Unscale if not yet done, and step unless (dynamic only) a gradient overflowed."""
        if not self._enabled:
            return optimizer.step(*args, **kwargs)
        if "closure" in kwargs:
            raise RuntimeError("Closure use is not currently supported if GradScaler is enabled.")
        self._check_scale_growth_tracker("step")
        state = self._per_optimizer_states[id(optimizer)]
        if state["stage"] is OptState.STEPPED:
            raise RuntimeError("step() has already been called since the last update().")
        if state["stage"] is OptState.READY:
            self.unscale_(optimizer)
        result = None
        if not (self._dynamic and self._has_overflow):
            result = optimizer.step(*args, **kwargs)
        state["stage"] = OptState.STEPPED
        return result

    def update(self, new_scale: float | Tensor | None = None) -> None:
        """Lower the scale after an overflow; raise it after ``growth_interval`` good steps."""
        if not self._enabled:
            return
        scale, tracker = self._check_scale_growth_tracker("update")
        if new_scale is not None:
            if isinstance(new_scale, Tensor):
                self._scale = new_scale
            else:
                self._scale = torch.full_like(scale, float(new_scale))
        elif self._dynamic:
            self._adapt(scale, tracker)
        self._per_optimizer_states.clear()
        self._has_overflow = False

    def _adapt(self, scale: Tensor, tracker: Tensor) -> None:
        if self._has_overflow:
            scale.mul_(self._backoff_factor)
            tracker.zero_()
            return
        tracker.add_(1)
        if tracker.item() == self._growth_interval:
            grown = scale * self._growth_factor
            if not torch.isinf(grown):
                self._scale = grown
            tracker.zero_()

    def state_dict(self) -> dict[str, Any]:
        """Return the scaler's state, with ``dynamic``."""
        state = super().state_dict()
        if self._enabled:
            state["dynamic"] = self._dynamic
        return state

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Load a state that :meth:`state_dict` returned."""
        if not self._enabled:
            return
        super().load_state_dict(state_dict)
        self._dynamic = bool(state_dict["dynamic"])

    @staticmethod
    def get_npu_overflow_flag() -> bool:
        """Whether the float status register shows an overflow: never, overflow gives inf or nan."""
        return False

    @staticmethod
    def clear_npu_overflow_flag() -> None:
        """Clear the float status register."""
