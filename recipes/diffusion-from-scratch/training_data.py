"""What training reads from disk: a folder that torchvision takes for ImageNet."""

from __future__ import annotations

from pathlib import Path

import torch
from PIL import Image

from porter.verify.probe import Probe


def write_images(probe: Probe, folder: Path, images: int) -> None:
    """Write ``images`` small JPEG files of three classes, and the metadata of an unpacked archive.

    ``folder`` is what stands at ./data/ImageNet12 for upstream.
    """
    classes = [f"n{number:08d}" for number in range(3)]
    for number in range(images):
        name = classes[number % len(classes)]
        generator = probe.generator("image", number)
        pixels = torch.randint(0, 256, (6 * 8 * 3,), generator=generator, dtype=torch.uint8)
        path = folder / "train" / name / f"{name}_{number}.JPEG"
        path.parent.mkdir(parents=True, exist_ok=True)
        small = Image.frombytes("RGB", (8, 6), bytes(pixels.tolist()))
        small.resize((64, 48), Image.Resampling.BICUBIC).save(path)
    torch.save(({name: (name,) for name in classes}, []), folder / "meta.bin")
