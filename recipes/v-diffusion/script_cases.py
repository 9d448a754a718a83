"""The scripts' own command lines, end to end: what files they leave, and what is in them."""

from __future__ import annotations

import shlex
import sys

from small_parts import picture, small_parts

from porter.verify.probe import Probe


def run(probe: Probe) -> None:
    """Run the recipe's ``cases``. On hpu and npu the device's name is added, and ``flag``, an
    option that upstream does not know, and nothing else.
    """
    flags = ["--device", probe.device.type] if probe.device.type in ("hpu", "npu") else []
    flag = probe.parameters.get("flag")
    if flag and flags:
        flags.append(flag)
    run_cases(probe, flags)


def run_cases(probe: Probe, flags: list[str]) -> None:
    """Run each case in a folder of its own, and as a section; record the names of the files it
    leaves and, unless ``images`` is false, its images. ``IMAGE`` stands for an image file.
    """
    image = picture(probe, probe.scratch / "image.png")
    with small_parts(probe, probe.parameters["factor"], probe.parameters["size"]):
        for name, line in probe.parameters["cases"].items():
            script, *words = shlex.split(line.replace("IMAGE", str(image)))
            if dynamo := sys.modules.get("torch._dynamo"):
                dynamo.reset()  # the scripts share a process here, and what it has compiled
            with probe.attempt(name):
                with probe.section(name):
                    done = probe.script(script, [*words, *flags], cwd=name)
                probe.record_files(f"{name}/files", done.folder)
                if probe.parameters.get("images", True):
                    for path in sorted(done.folder.glob("*.png")):
                        probe.record_image(f"{name}/{path.name}", path)
