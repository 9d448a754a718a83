"""Every way through the three scripts that makes a CUDA call, for the migration logs.

Upstream itself, level 0, is run with the vendor's migration imported by hand, as one tries a model
before porting it. The levels above are run as they are meant to be, with the device's name.

A script of upstream's that believes it is on cuda makes its weights float16, while the migrated
autocast gives bfloat16: the first group_norm with weights is handed both, and the simulator refuses
it. So that the log has all calls and not only those before that, level 0 keeps float32 weights.
"""

from __future__ import annotations

import importlib

import script_cases
import torch

from porter.verify.probe import Probe

_MIGRATIONS = {
    "sim:hpu": "habana_frameworks.torch.gpu_migration",
    "sim:npu": "torch_npu.contrib.transfer_to_npu",
}


def run(probe: Probe) -> None:
    """Run the recipe's cases; record the files they leave, and one guided sample: no script calls
    upstream's ``cond_sample``.
    """
    if (probe.tree / "diffusion" / "devices.py").exists():
        script_cases.run(probe)
        device = probe.device
    else:
        importlib.import_module(_MIGRATIONS[probe.device_name])
        torch.nn.Module.half = lambda module: module  # type: ignore[method-assign]
        script_cases.run_cases(probe, [])
        device = torch.device("cuda")
    from diffusion import sampling, utils

    t = utils.get_spliced_ddpm_cosine_schedule(torch.linspace(1, 0, 3)[:-1]).to(device)
    x = torch.zeros([1, 3, 4, 4]).to(device)
    image = sampling.cond_sample(lambda x, t: x * t, x, t, 0.0, {}, lambda x, t, pred: x + t + pred)
    probe.record("guided/shape", torch.tensor(image.shape))
