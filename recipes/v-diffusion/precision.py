"""In which precision the scripts keep the weights of the models, and in which they call them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from small_parts import picture, small_parts

from porter.verify.probe import Probe

DTYPES = (torch.float32, torch.float16, torch.bfloat16)
WATCHED = {"CC12M1Model": "model", "Transformer": "clip"}
"""Classes whose first call is looked at. CLIP's transformer has its text and its image encoder."""


@contextmanager
def watched(probe: Probe, case: str) -> Iterator[None]:
    """Count, at the first call of each watched class, its weights and autocast by dtype."""
    met: set[str] = set()

    def look(module: torch.nn.Module, _args: Any) -> None:
        name = WATCHED.get(type(module).__name__)
        if name is None or name in met:
            return
        met.add(name)
        kind = next(module.parameters()).device.type
        dtypes = [parameter.dtype for parameter in module.parameters()]
        casts = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else None
        for dtype in DTYPES:
            word = str(dtype).removeprefix("torch.")
            probe.count(f"{case}/{name}/{word}", dtypes.count(dtype))
            probe.count(f"{case}/{name}/autocast_{word}", int(casts == dtype))
        probe.count(f"{case}/{name}/on_{probe.device.type}", int(kind == probe.device.type))

    hook = torch.nn.modules.module.register_module_forward_pre_hook(look)
    try:
        yield
    finally:
        hook.remove()


def run(probe: Probe) -> None:
    """Run the three scripts, each with one step; ``flag`` is one of theirs, or empty."""
    from CLIP import clip

    image = picture(probe, probe.scratch / "image.png")
    flags = ["--device", probe.device.type] if probe.device.type in ("hpu", "npu") else []
    flags += [probe.parameters["flag"]] if probe.parameters["flag"] else []
    cases = {
        "cfg": ["cfg_sample.py", "a tower", "--method", "ddim"],
        "clip": ["clip_sample.py", "a tower", "--method", "ddim", "--cutn", "1"],
        "modify": ["cfg_modify_image.py", image, "a tower", "--method", "ddim"],
    }
    jit = 0
    real_load = clip.load

    def load(*args: Any, **kwargs: Any) -> Any:
        nonlocal jit
        jit += bool(kwargs.get("jit"))
        return real_load(*args, **kwargs)

    clip.load = load
    with small_parts(probe, probe.parameters["factor"], probe.parameters["size"]):
        for name, (script, *words) in cases.items():
            with probe.attempt(name), watched(probe, name):
                probe.script(script, [*words, "--steps", "2", *flags], cwd=name)
    clip.load = real_load
    probe.count("jit_archives", jit)
