"""Where a sampler's lazy graphs end: after each model call, and after each step.

The model is a formula, so a run costs next to nothing. Nothing is copied to the host inside, which
would end a graph too.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from graphs import end_graph
from samplers import backward, formula, forward, guided, schedule
from torch_alone import stand_in

from porter.verify.probe import Probe


def run(probe: Probe) -> None:
    """Count ``METHOD/graphs`` and so on, forward, reversed and guided; record the images."""
    stand_in()
    steps = probe.parameters["steps"]
    shift = probe.normal("shift", 1, 3, 1, 1)
    x = probe.normal("x", 2, 3, 4, 6)
    ways: list[tuple[str, Callable[..., torch.Tensor]]] = [("guided", guided)]
    ways += [(name, partial(forward, name)) for name in probe.parameters["methods"]]
    ways += [(f"{name}-reverse", partial(backward, name)) for name in probe.parameters["reversed"]]
    for name, sample in ways:
        if name.endswith("-reverse"):
            t = schedule(probe, steps, 0, 0.9)
        else:
            t = schedule(probe, steps, 0.9, 0)[:-1]
        end_graph(probe)  # what came before is no part of the section
        with probe.attempt(name):
            with probe.section(name):
                images = sample(formula([]), x, t, extra_args={"shift": shift})
            if name not in ("guided", "ddpm"):  # their noise is the recipe noise's
                probe.record(f"{name}/images", images)
