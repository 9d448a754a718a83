"""scripts/txt2img.py, run as a user runs it: files, grids, pixels, and what each batch costs."""

from __future__ import annotations

import contextlib
import functools
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import draws
import small
import torch
from PIL import Image

from porter.verify.probe import Probe, ProbeError


@contextlib.contextmanager
def batches_apart(probe: Probe, title: str, steps: int) -> Iterator[None]:
    """Count each call of a sampler as a section: ``TITLE/batch1``, ``TITLE/batch2``..."""
    from ldm.models.diffusion.ddim import DDIMSampler
    from ldm.models.diffusion.plms import PLMSSampler

    number = 0

    def counted(sample: Any) -> Any:
        @functools.wraps(sample)
        def call(*args: Any, **kwargs: Any) -> Any:
            nonlocal number
            number += 1
            with probe.section(f"{title}/batch{number}", per=steps):
                return sample(*args, **kwargs)

        return call

    with (
        mock.patch.object(DDIMSampler, "sample", counted(DDIMSampler.sample)),
        mock.patch.object(PLMSSampler, "sample", counted(PLMSSampler.sample)),
    ):
        yield


def record_folder(probe: Probe, title: str, folder: Path, *, images: bool) -> None:
    """Record the names of all files in ``folder``, pixels far from each other, and every image."""
    probe.record_files(f"{title}/files", folder)
    apart = []
    for path in sorted(folder.rglob("*.png")):
        with Image.open(path) as image:
            if images:
                probe.record_image(f"{title}/{path.relative_to(folder)}", image)
            if path.parent != folder:
                few = image.resize(
                    (image.width // 16, image.height // 16), Image.Resampling.NEAREST
                )
                apart.append(torch.frombuffer(bytearray(few.tobytes()), dtype=torch.uint8))
    if not apart:
        raise ProbeError(f"{title}: expected images in a folder of {folder.name}, found none")
    probe.record(f"{title}/pixels", torch.cat(apart))


def run(probe: Probe) -> None:
    """Run every command of ``parameters.commands`` and record what it leaves."""
    steps = probe.parameters.get("steps", 4)
    small.write_vocabulary(probe.scratch)
    small.write_model(
        probe, small.text_to_image(), probe.scratch / "small.yaml", probe.scratch / "small.ckpt"
    )
    (probe.scratch / "prompts.txt").write_text("a cat\na monster in oil\n\na guitar on canvas\n")
    for title, words in probe.parameters["commands"].items():
        given = [word.replace("PROMPT", small.PROMPT) for word in words.split()]
        if "--ddim_steps" not in given:
            given += ["--ddim_steps", str(steps)]
        if "--ckpt" not in given:
            given += ["--config", "small.yaml", "--ckpt", "small.ckpt"]
        given += ["--outdir", f"out/{title}"]
        equal = probe.parameters["equal_noise"]
        with probe.attempt(title):
            with (
                draws.watched(probe, on_the_cpu=equal) as drawn,
                batches_apart(probe, title, int(given[given.index("--ddim_steps") + 1])),
            ):
                probe.script("scripts/txt2img.py", given)
            record_folder(probe, title, probe.scratch / "out" / title, images=equal)
            probe.record(f"{title}/noise", draws.as_one(drawn))
    for package in ("pytorch_lightning", "torchmetrics"):
        probe.count(f"imported/{package}", int(package in sys.modules))
