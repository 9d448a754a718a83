"""src/infer_loop.ipynb, its cells run one after another, and what runjob.sh starts.

Of the cells the lines for Jupyter alone (``%``, ``!``) are left out. The second cell names the
device, the last but one asks for few steps, and upstream's class takes smaller sizes
(``scripts.py``).
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import subprocess
import sys
from typing import Any

import torch
from scripts import take_smaller, write_checkpoint
from small import device_word, prepare

from porter.verify.probe import Probe

PROGRAMS = {"scontrol": "echo node", "srun": 'echo "$@" >> words.txt', "hostname": "echo host"}
"""What stands in for a cluster's commands: ``srun`` writes what it is to run."""
ASKED = {"num_steps = 50": "num_steps = 2", "class_label = -1": "class_label = 3",
         "seed = -1": "seed = 5"}  # fmt: skip


def cells(probe: Probe) -> list[str]:
    """Return the code cells that a user runs, with the device and a short request filled in."""
    text = (probe.tree / "src" / "infer_loop.ipynb").read_text(encoding="utf-8")
    found = []
    for cell in json.loads(text)["cells"]:
        lines = "".join(cell["source"]).splitlines()
        found.append("\n".join(line for line in lines if not line.startswith(("%", "!"))))
    found[1] = found[1].replace('device = "gpu"', f'device = "{device_word(probe)}"')
    (last,) = (number for number, source in enumerate(found) if "\nsample_once(" in source)
    for line, short in ASKED.items():
        found[last] = found[last].replace(line, short)
    return found


def started_by_the_job(probe: Probe) -> str:
    """Return the words after train.py with which runjob.sh starts the last process."""
    folder = probe.scratch / "bin"
    folder.mkdir()
    for name, line in PROGRAMS.items():
        (folder / name).write_text(f"#!/bin/sh\n{line}\n")
        (folder / name).chmod(0o755)
    env = os.environ | {"PATH": f"{folder}:{os.environ['PATH']}", "DEVICE": device_word(probe)}
    subprocess.run(["bash", str(probe.tree / "runjob.sh")], cwd=folder, env=env, check=True)
    return (folder / "words.txt").read_text().splitlines()[-1].partition("src/train.py")[2].strip()


def run(probe: Probe) -> None:
    """Record the image that the notebook shows; count whether the job names the device."""
    import matplotlib

    matplotlib.use("agg")
    import matplotlib.pyplot as plt

    prepare(probe)
    with contextlib.redirect_stdout(io.StringIO()):
        write_checkpoint(probe)
    folder = probe.scratch / "src"
    folder.mkdir()
    (folder / "stabilityai").symlink_to(probe.scratch / "stabilityai")
    classes = "imagenet_class_to_string.pkl"
    (probe.scratch / classes).symlink_to(probe.tree / classes)
    sys.path[:0] = [str(probe.tree / "src"), str(probe.tree)]
    take_smaller("models.diff_model")
    shown: list[torch.Tensor] = []
    plt.imshow = lambda image, **_: shown.append(torch.as_tensor(image))  # type: ignore[assignment]
    names: dict[str, Any] = {}
    with contextlib.chdir(folder), contextlib.redirect_stdout(io.StringIO()):
        for source in cells(probe):
            exec(compile(source, "infer_loop.ipynb", "exec"), names)
    probe.record("image", torch.stack(shown)[:, ::4, ::4].to(torch.uint8))
    used = names["model"].device.type
    probe.count("on_the_device", int(used == probe.device.type))
    probe.count("job_names_it", int(started_by_the_job(probe) == f"--device {device_word(probe)}"))
