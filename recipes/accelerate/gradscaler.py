"""Which gradient scaler an Accelerator makes on which device, and what it is given.

No device is needed: the process state is told that it has one, and the scalers are stand-ins with
the signatures of torch's and torch_npu's (torch_npu.npu.amp, as documented in its grad_scaler.py).
What a stand-in was given is recorded as numbers, NaN throughout where none was made.

The behaviour on npu is new, so level 0 cannot be its reference: in the reference run (float64) the
probe records what the scaler ought to be given instead.
"""

from __future__ import annotations

import sys
import types
import warnings
from typing import Any

import torch

from porter.verify.probe import Probe, ProbeError

FIELDS = ("init_scale", "growth_factor", "backoff_factor", "growth_interval", "enabled")
DEFAULTS = {
    "init_scale": 65536.0,
    "growth_factor": 2.0,
    "backoff_factor": 0.5,
    "growth_interval": 2000,
    "enabled": True,
    "dynamic": True,
}
CHOSEN = {"init_scale": 1024.0, "growth_interval": 7}
made: list[tuple[str, dict[str, Any]]] = []


def stand_in(owner: str, takes_dynamic: bool) -> type:
    """A scaler class that notes what it is given; ``owner`` tells them apart."""

    class GradScaler:
        def __init__(
            self,
            init_scale: float = 65536.0,
            growth_factor: float = 2.0,
            backoff_factor: float = 0.5,
            growth_interval: int = 2000,
            enabled: bool = True,
        ) -> None:
            given = (init_scale, growth_factor, backoff_factor, growth_interval, enabled)
            made.append((owner, dict(zip(FIELDS, given, strict=True))))

    class DynamicGradScaler(GradScaler):
        def __init__(
            self,
            init_scale: float = 65536.0,
            growth_factor: float = 2.0,
            backoff_factor: float = 0.5,
            growth_interval: int = 2000,
            dynamic: bool = True,
            enabled: bool = True,
        ) -> None:
            super().__init__(init_scale, growth_factor, backoff_factor, growth_interval, enabled)
            made[-1][1]["dynamic"] = dynamic

    return DynamicGradScaler if takes_dynamic else GradScaler


def install_stand_ins() -> None:
    """Put the stand-ins where accelerate looks: torch's, torch's sharded, torch_npu's two."""
    import torch.distributed.fsdp.sharded_grad_scaler as sharded

    torch.cuda.amp.GradScaler = stand_in("torch", False)  # type: ignore[misc]
    sharded.ShardedGradScaler = stand_in("torch sharded", False)  # type: ignore[misc]
    for name in ("torch_npu", "torch_npu.npu", "torch_npu.npu.amp"):
        sys.modules[name] = types.ModuleType(name)
    sys.modules["torch_npu.npu.amp"].GradScaler = stand_in("npu", True)  # type: ignore[attr-defined]
    module = types.ModuleType("torch_npu.npu.amp.sharded_grad_scaler")
    module.ShardedGradScaler = stand_in("npu sharded", False)  # type: ignore[attr-defined]
    sys.modules[module.__name__] = module


def scaler_on(device: str, sharded: bool, options: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """Make an fp16 Accelerator on ``device``; ("refused", {}) when it will not."""
    from accelerate import Accelerator
    from accelerate.state import AcceleratorState, PartialState
    from accelerate.utils import DistributedType, GradScalerKwargs

    AcceleratorState._reset_state(True)
    state = PartialState(cpu=True)
    state.device = types.SimpleNamespace(type=device, index=0)
    made.clear()
    try:
        handlers = [GradScalerKwargs(**options)] if options else []
        if sharded:
            state.distributed_type = DistributedType.FSDP
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            Accelerator(mixed_precision="fp16", kwargs_handlers=handlers)
    except (TypeError, ValueError):
        return "refused", {}
    finally:
        AcceleratorState._reset_state(True)
    if not made:
        return "none", {}
    owner, given = made[-1]
    if not given.get("dynamic", True) or options.get("dynamic", True):
        return owner, given
    if not any("dynamic" in str(warning.message) for warning in caught):
        raise ProbeError(f"{device}: dynamic=False was left out without a warning")
    return owner, given


def record(probe: Probe, name: str, found: tuple[str, dict[str, Any]], expected: Any) -> None:
    """Record what the scaler was given; in the reference run, what it ought to be given."""
    owner, given = expected if probe.dtype == torch.float64 else found
    if owner not in (expected[0], "refused"):
        raise ProbeError(f"{name}: expected the scaler of {expected[0]}, found that of {owner}")
    fields = [*FIELDS, "dynamic"] if "dynamic" in expected[1] else list(FIELDS)
    numbers = [float(given.get(field, float("nan"))) for field in fields]
    probe.record(name, torch.tensor(numbers, dtype=torch.float64))


def run(probe: Probe) -> None:
    """Record ``<device>/...`` for the devices with a scaler, and which devices are refused."""
    import accelerate  # noqa: F401

    if "torch_npu" in sys.modules:
        raise ProbeError("importing accelerate imported torch_npu")
    install_stand_ins()
    plain = {name: DEFAULTS[name] for name in FIELDS}
    for device, owner, defaults in (
        ("cuda", "torch", plain),
        ("mps", "torch", plain),
        ("npu", "npu", DEFAULTS),
    ):
        sharded_owner = "npu sharded" if device == "npu" else "torch sharded"
        static = defaults | CHOSEN | ({"dynamic": False} if device == "npu" else {})
        cases = {
            "default": (False, {}, (owner, defaults)),
            "chosen": (False, CHOSEN, (owner, defaults | CHOSEN)),
            "sharded": (True, CHOSEN, (sharded_owner, plain | CHOSEN)),
            "static": (False, CHOSEN | {"dynamic": False}, (owner, static)),
            "static-sharded": (True, CHOSEN | {"dynamic": False}, (sharded_owner, plain | CHOSEN)),
        }
        for case, (sharded, options, expected) in cases.items():
            with probe.attempt(f"{device}/{case}"):
                record(probe, f"{device}/{case}", scaler_on(device, sharded, options), expected)
    refusals = [scaler_on(device, False, {})[0] == "refused" for device in ("hpu", "tpu", "cuda")]
    probe.record("refused", torch.tensor(refusals).int())
