"""What a replayed model call answers when its arguments change, and how often it is captured."""

from __future__ import annotations

import torch
from narrow import narrow
from torch_alone import stand_in

from porter.verify.probe import Probe


def run(probe: Probe) -> None:
    """Record the model's answers as timesteps, images, prompts and batch sizes change.

    At levels that have no graphs, and on devices that cannot capture any, the model is called as it
    is.
    """
    stand_in()
    model = probe.alive(narrow("cc12m_1", probe.parameters["factor"])).requires_grad_(False)
    call = model
    try:
        from diffusion import graphs
    except ImportError:
        pass
    else:
        if graphs.can_capture(probe.device):
            call = graphs.GraphedFunction(model, probe.device)
    answers = []
    with torch.no_grad():
        # 2, 2, 2, 1: the last batch is short; then the first size comes back with another prompt
        for number, (batch, prompt) in enumerate(
            [(2, "a"), (2, "a"), (2, "b"), (1, "b"), (2, "c")]
        ):
            x = probe.normal(f"x{number}", batch, 3, 64, 64)
            t = probe.uniform(f"t{number}", batch)
            embedding = probe.normal(prompt, 1, 512).repeat(batch, 1)
            if number == 1:
                answers.append(call(x, t, embedding))
            else:
                answers.append(call(x, t, clip_embed=embedding))
    # Recorded at the end: an answer must not change when the next call is made
    for number, answer in enumerate(answers):
        probe.record(f"answer/{number}", answer)
