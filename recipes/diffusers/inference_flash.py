"""An inference script asked for flash attention computes every attention of the UNet with it."""

from __future__ import annotations

from typing import Any
from unittest import mock

from inference import PROMPT, SCRIPTS, write_pictures
from task_pipelines import inpaint

from porter.verify.probe import Probe


def run(probe: Probe) -> None:
    """Record an image in float16, and count the calls of flash attention with and without it."""
    from diffusers.models.flash_attention import FlashAttnProcessor

    write_pictures(probe)
    (probe.scratch / "model").mkdir()
    inpaint(probe, probe.scratch / "model")
    words = ["--model", "model", "--prompt", PROMPT, "--image", "pictures/000.png", "--steps", 2]
    words += ["--mask", "pictures/mask.png", "--dtype", "float16"]
    attend, calls = FlashAttnProcessor.__call__, 0

    def counted(*args: Any, **kwargs: Any) -> Any:
        nonlocal calls
        calls += 1
        return attend(*args, **kwargs)

    for name, asked in (("with", ["--enable_npu_flash_attention"]), ("without", [])):
        calls = 0
        with probe.attempt(name), mock.patch.object(FlashAttnProcessor, "__call__", counted):
            probe.script(f"{SCRIPTS}/inpaint.py", [*words, *asked, "--output", f"{name}.png"])
            probe.count(f"{name}/flash", calls)
            probe.record_image(name, f"{name}.png")
