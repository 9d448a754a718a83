"""DDPM's own sampling loops: of pixels, of latents with a mask, and progressive denoising."""

from __future__ import annotations

import draws
import small
import torch

from porter.verify.probe import Probe, ProbeError


def run(probe: Probe) -> None:
    """Record what each loop gives, and count what each costs."""
    steps = probe.parameters["steps"]
    probe.seed_everything()
    with draws.watched(probe, on_the_cpu=True) as drawn:
        with probe.attempt("pixels"):
            pixels = small.build(probe, small.pixels(steps)).to(probe.device)
            with probe.section("pixels", per=steps):
                samples = pixels.sample(batch_size=2)
            probe.record("pixels", samples)
        latent = small.build(probe, small.without_stages(steps)).to(probe.device)
        cond, shape = probe.normal("c", 2, 7, 32), (2, 4, 4, 4)
        with probe.attempt("progressive"):
            probe.seed_everything()
            with probe.section("progressive", per=steps):
                samples, between = latent.progressive_denoising(
                    cond, shape, verbose=False, temperature=0.8, noise_dropout=0.3
                )
            probe.record("progressive", samples)
            probe.record("progressive/x0", between[0])
        mask = torch.ones(2, 1, 4, 4)
        mask[:, :, :, 2:] = 0
        with probe.attempt("masked"):
            probe.seed_everything()
            with probe.section("masked", per=steps):
                samples = latent.p_sample_loop(
                    cond,
                    shape,
                    verbose=False,
                    mask=mask.to(probe.device),
                    x0=probe.normal("x0", *shape),
                )
            probe.record("masked", samples)
    with probe.attempt("noise"):
        if probe.failures:
            raise ProbeError(f"a part that failed drew less: {', '.join(probe.failures)}")
        probe.record("noise", draws.as_one(drawn))
