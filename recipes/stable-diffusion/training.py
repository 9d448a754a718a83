"""A latent-diffusion training step: ddpm.py's p_losses, its loss and every parameter's gradient."""

from __future__ import annotations

import small
import torch

from porter.verify.probe import Probe

_WHOLE = (
    "model.diffusion_model.input_blocks.0.0.weight",
    "model.diffusion_model.time_embed.0.weight",
    "model.diffusion_model.middle_block.1.transformer_blocks.0.attn2.to_k.weight",
    "model.diffusion_model.out.2.weight",
)


def run(probe: Probe) -> None:
    """Record the losses of two steps of AdamW and the gradients of the first."""
    if probe.parameters["lightning"]:  # as main.py does, before anything of the model's
        import pytorch_lightning

        del pytorch_lightning
    model = small.build(probe, small.without_stages()).to(probe.device)
    probe.count(
        "is_lightning", int(any("pytorch_lightning" in k.__module__ for k in type(model).__mro__))
    )
    model.train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    x = probe.normal("x", 3, 4, 4, 4)
    noise = probe.normal("noise", 3, 4, 4, 4)
    cond = probe.normal("cond", 3, 7, 32)
    t = torch.tensor([0, 421, 999]).to(probe.device)
    losses = []
    for step in range(2):
        loss, told = model.p_losses(x, cond, t, noise=noise)
        optimizer.zero_grad()
        loss.backward()
        losses += [loss.detach(), told["train/loss_vlb"].detach()]
        if step == 0:
            named = [(n, p.grad) for n, p in model.named_parameters() if p.grad is not None]
            probe.record("gradients/norms", torch.stack([g.float().norm() for _, g in named]))
            for name, gradient in named:
                if name in _WHOLE:
                    probe.record(f"gradients/{name}", gradient)
        optimizer.step()
    probe.record("losses", torch.stack(losses))
    probe.record("q_sample", model.q_sample(x, t, noise=noise))
