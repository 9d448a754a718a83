"""The scripts' own command lines, end to end: what files they leave, and what is in them."""

from __future__ import annotations

import shlex

from small_parts import picture, small_parts

from porter.verify.probe import Probe


def run(probe: Probe) -> None:
    """Run each of the recipe's ``cases`` in a folder of its own; record the names of the files it
    leaves and, unless ``images`` is false, its images. ``IMAGE`` stands for an image file. On hpu
    and npu the device's name is added, with ``bf16`` also --bf16, and nothing else.
    """
    image = picture(probe, probe.scratch / "image.png")
    flags = ["--device", probe.device.type] if probe.device.type in ("hpu", "npu") else []
    if probe.parameters.get("bf16") and flags:
        flags.append("--bf16")
    with small_parts(probe, probe.parameters["factor"], probe.parameters["size"]):
        for name, line in probe.parameters["cases"].items():
            script, *words = shlex.split(line.replace("IMAGE", str(image)))
            done = probe.script(script, [*words, *flags], cwd=name)
            probe.record_files(f"{name}/files", done.folder)
            made = sorted(done.folder.glob("*.png")) if probe.parameters.get("images", True) else []
            for path in made:
                probe.record_image(f"{name}/{path.name}", path)
