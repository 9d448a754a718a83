"""The optimizers that the script offers, with clipping that bites: the losses of torch's AdamW."""

from __future__ import annotations

import sys
import types
from typing import Any

import torch
from script_training import numbers_of_the_cpu, record_losses, train, words, write_inputs

from porter.verify.probe import Probe, ProbeError

STEPS = 6
# A small epsilon: the Gaudi's optimizer adds it before the second moment's bias is corrected, which
# is another sum, by 2e-3 of the loss with the default.
GIVEN = ("--max_grad_norm", 0.05, "--adam_weight_decay", 0.5, "--adam_epsilon", 1e-12)
ACCUMULATED = ("--gradient_accumulation_steps", 2)
OPTIONS: dict[str, dict[str, list[object]]] = {
    "npu": {
        "fused": ["--use_npu_fuse_adamW"],
        "fused-clipping": ["--use_npu_fuse_adamW", "--use_clip_grad_norm_fused"],
        "megatron": ["--use_megatron_npu_adamW"],
    },
    "hpu": {"fused": ["--use_hpu_fused_adamW"]},
    "cpu": {},  # the reference: torch's, whatever the device's is
}


class MegatronAdamW(torch.optim.AdamW):
    """Stands for Megatron's, which nothing here can install."""

    made = 0

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        MegatronAdamW.made += 1
        super().__init__(*args, **kwargs)


def run(probe: Probe) -> None:
    """Record the losses with the optimizer that ``optimizer`` names, accumulating two batches."""
    write_inputs(probe, "sd15")
    for name in ("megatron_npu", "megatron_npu.adaptor_optimizer_optimizer"):
        sys.modules[name] = types.ModuleType(name)
    sys.modules["megatron_npu.adaptor_optimizer_optimizer"].AdamW = MegatronAdamW  # type: ignore[attr-defined]
    chosen = OPTIONS[probe.device.type].get(probe.parameters["optimizer"], [])
    with numbers_of_the_cpu():
        record_losses(
            probe, "losses", train(probe, words("sd15", STEPS, *GIVEN, *ACCUMULATED, *chosen))
        )
    expected = int("--use_megatron_npu_adamW" in chosen)
    if MegatronAdamW.made != expected:
        raise ProbeError(f"expected {expected} of Megatron's optimizer, found {MegatronAdamW.made}")
