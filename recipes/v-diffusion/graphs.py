"""What a device is asked for while the samplers run: compilations, waits, fallbacks, ops.

The network is cc12m_1 at its full depth, so that it has as many operators as the real one. It is
called as the level's scripts call it: guided, and captured from the level on that captures graphs.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from narrow import narrow
from torch_alone import stand_in

from porter.verify.probe import Probe


def model_call(probe: Probe, model: torch.nn.Module) -> Callable[..., torch.Tensor]:
    """The guided model call of cfg_sample.py at this level."""
    from diffusion import sampling

    network = sampling.make_autocast_model_fn(model)
    prompt = probe.normal("prompt", 1, 512)
    embeddings = torch.cat([torch.zeros_like(prompt), prompt])
    weights = torch.tensor([-2.0, 3.0], dtype=probe.dtype).to(probe.device)

    def guided(
        x: torch.Tensor, t: torch.Tensor, clip_embed: torch.Tensor, weights: torch.Tensor
    ) -> torch.Tensor:
        n, conditions = x.shape[0], len(clip_embed)
        each = clip_embed.repeat_interleave(n, 0, output_size=conditions * n)
        vs = network(x.repeat([conditions, 1, 1, 1]), t.repeat([conditions]), each)
        vs = vs.view([conditions, n, *x.shape[1:]])
        return vs.mul(weights[:, None, None, None, None]).sum(0)

    call: Callable[..., torch.Tensor] = guided
    try:
        from diffusion import graphs
    except ImportError:
        pass
    else:
        if graphs.can_capture(probe.device):
            call = graphs.GraphedFunction(guided, probe.device)
    return partial(call, clip_embed=embeddings, weights=weights)


def run(probe: Probe) -> None:
    """Count a first batch as ``METHOD/...``, and as ``METHOD-again/...`` a second one, by when
    everything is compiled and captured. With ``images``, record those of the second.
    """
    stand_in()
    from diffusion import sampling, utils

    steps = probe.parameters["steps"]
    t = torch.linspace(1, 0, steps + 1)[:-1]
    t = utils.get_spliced_ddpm_cosine_schedule(t).to(probe.device)
    model = probe.alive(narrow("cc12m_1", probe.parameters["factor"]), gain=0.5)
    call = model_call(probe, model.requires_grad_(False))
    for method in probe.parameters["methods"]:
        etas = {"ddpm": 1.0, "ddim": 0.0}
        with probe.attempt(method):
            for section in (method, f"{method}-again"):
                x = probe.normal(section, 1, 3, 64, 64)
                end_graph(probe)  # what came before is no part of the section
                with probe.section(section, per=steps):
                    if method in etas:
                        images = sampling.sample(call, x, t, etas[method], {})
                    else:
                        images = getattr(sampling, f"{method}_sample")(call, x, t, {})
                    end_graph(probe)
            if probe.parameters["images"] and method != "ddpm":  # its noise is the recipe noise's
                probe.record(f"{method}/images", images)


def end_graph(probe: Probe) -> None:
    """Launch what lazy mode has accumulated."""
    if probe.device.type == "hpu":
        import habana_frameworks.torch.core as htcore

        htcore.mark_step()
