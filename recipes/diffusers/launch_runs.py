"""Each documented run by its command, with a small model, small pictures and two steps."""

from __future__ import annotations

import json
import re

import torch
from launched_runs import LAUNCHER, SD21, published
from script_training import SCRIPT, SIDE, write_inputs

from porter.verify.probe import Probe, ProbeError

STEPS, BATCH = 2, 2
BY_TWO = ("8p-full-sd15-fp32", "8p-full-sd21-fp32", "8p-full-sd21-fp16-fa")
# One process in float32 with noise from the CPU has the loss of level 0 there. Two take other
# pictures, and float16 draws other numbers.
COMPARED = ("1p-full", "8p-performance-sd15-fp32", "8p-performance-sd21-fp32")


def run(probe: Probe) -> None:
    """Record the loss that the progress bar shows at each step, and count images per step.

    On the CPU the training script runs with the same options, by itself, where its loss is the
    reference; where none is compared, nothing runs.
    """
    name = probe.parameters["run"]
    if probe.device.type == "cpu" and name not in COMPARED:
        probe.record("losses", torch.ones(STEPS))
        return
    options = published(name)
    architecture = "sd21" if options["--pretrained_model_name_or_path"] == SD21 else "sd15"
    write_inputs(probe, architecture)
    small = [f"--resolution={SIDE}", f"--max_train_steps={STEPS}", "--seed=0", "--output_dir=out"]
    small += ["--learning_rate=1e-3"]
    if "--dataloader_num_workers" in options:
        small += ["--dataloader_num_workers=1"]
    if probe.device.type == "cpu":
        small += [f"--pretrained_model_name_or_path={architecture}", "--train_data_dir=data"]
        small += ["--center_crop", "--random_flip", "--gradient_checkpointing"]
        small += ["--lr_warmup_steps=0", f"--train_batch_size={BATCH}", "--use_ema"]
        done = probe.launch([probe.tree / SCRIPT, *small])
        _record_losses(probe, done.stdout + done.stderr)
        return
    import datasets

    datasets.load_dataset("imagefolder", data_dir="data").save_to_disk("saved")
    processes = 2 if name in BY_TWO else 1
    small += [f"--model_name={architecture}", f"--batch_size={BATCH}", f"--processes={processes}"]
    small += ["--local_data_dir=saved", "--noise_on_cpu", "--report_json=report.json"]
    shell = "import os, subprocess, sys; os.environ['PYTHON'] = sys.executable; "
    shell += "sys.exit(subprocess.run(['bash', *sys.argv[1:]]).returncode)"
    done = probe.launch(["-c", shell, probe.tree / LAUNCHER, name, *small])
    _record_losses(probe, done.stdout)
    log = (probe.scratch / "out" / "train.log").read_text()
    shown = set(done.stdout.split())
    if lacking := [word for word in log.split() if word not in shown]:
        raise ProbeError(f"expected in train.log what the terminal shows, found also {lacking[:9]}")
    report = json.loads((probe.scratch / "report.json").read_text())
    probe.count("images_per_process", report["images_per_step"] / processes)
    probe.count("steps", len(report["steps"]))


def _record_losses(probe: Probe, shown: str) -> None:
    """Record what the progress bar showed last at every step."""
    shown_at = dict(re.findall(rf"\b(\d+)/{STEPS} \[[^\]]*step_loss=([0-9.e+-]+|nan)", shown))
    expected = [str(step + 1) for step in range(STEPS)]
    if missing := [step for step in expected if step not in shown_at]:
        raise ProbeError(f"expected step_loss= at steps {missing} of {STEPS} in {shown[-2000:]}")
    probe.record("losses", torch.tensor([float(shown_at[step]) for step in expected]))
