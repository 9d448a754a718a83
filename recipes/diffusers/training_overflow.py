"""float16 training whose attention scores leave float16's range, without fused attention.

PyTorch 1.8 and 1.11, which the published port was written for, have no fused attention: scores
are formed by a product. So the function is taken away before diffusers is imported. Queries and
keys of the second block are scaled up in the model's file, the values and outputs are not: true
probabilities are ordinary one-hot rows, and the gradients stay small.
"""

from __future__ import annotations

import torch
from script_training import numbers_of_the_cpu, record_losses, train, words, write_inputs

from porter.verify.probe import Probe

STEPS = 6


def run(probe: Probe) -> None:
    """Record the losses in the device's float16; in float32 on the CPU."""
    del torch.nn.functional.scaled_dot_product_attention
    write_inputs(probe, "sd15")
    path = probe.scratch / "sd15" / "unet" / "diffusion_pytorch_model.bin"
    weights = torch.load(path)
    for name in weights:
        if "attn1.to_q" in name or "attn1.to_k" in name:
            weights[name] *= probe.parameters["gain"]
    torch.save(weights, path)
    half = "no" if probe.device.type == "cpu" else "fp16"
    with numbers_of_the_cpu():
        arguments = words("sd15", STEPS, "--mixed_precision", half, "--learning_rate", 1e-5)
        record_losses(probe, "losses", train(probe, arguments))
