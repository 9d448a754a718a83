"""The script's command lines: which files they leave, and what is in them."""

from __future__ import annotations

import shlex

import torch

from porter.verify.probe import Probe


def run(probe: Probe) -> None:
    """Run the recipe's ``cases``, each for itself: what fails in one is judged in the others."""
    from denoiser import Denoiser

    checkpoint = probe.scratch / "weights.pth"
    torch.save(probe.alive(Denoiser()).to("cpu").state_dict(), checkpoint)
    for name, line in probe.parameters["cases"].items():
        with probe.attempt(name):
            words = [*shlex.split(line), "--checkpoint", checkpoint, "--device", probe.device.type]
            folder = probe.script("generate.py", words, cwd=name).folder
            probe.record_files(f"{name}/files", folder)
            for path in sorted(folder.glob("*.ppm")):
                head, pixels = path.read_bytes().split(b"\n", 1)
                width, height = map(int, head.split()[1:3])
                image = torch.frombuffer(bytearray(pixels), dtype=torch.uint8)
                probe.record(f"{name}/{path.name}", image.view(height, width, 3))
