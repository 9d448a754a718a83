"""Whether every full-size model has the parameters its published checkpoint has."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch.overrides import TorchFunctionMode
from torch_alone import stand_in

from porter.verify.probe import Probe


class WeightsOnMeta(TorchFunctionMode):
    """Takes memory for no weights. Not `torch.device("meta")`: two models compute constants too."""

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        if func in (torch.empty, torch.ones, torch.zeros, torch.randn):
            return func(*args, **{**(kwargs or {}), "device": "meta"})
        return func(*args, **(kwargs or {}))


def run(probe: Probe) -> None:
    """Record every model's state dict as text: names and shapes, in their order."""
    stand_in()
    from diffusion.models.models import get_model, get_models

    for name in get_models():
        with probe.attempt(name):
            with WeightsOnMeta():
                model = get_model(name)()
            lines = [f"{key} {tuple(value.shape)}" for key, value in model.state_dict().items()]
            probe.record_text(f"{name}/keys", "\n".join(lines))
            probe.count(f"{name}_parameters", sum(p.numel() for p in model.parameters()))
