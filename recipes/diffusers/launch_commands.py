"""The commands of the launch script, to the letter the published ones' options."""

from __future__ import annotations

import subprocess

from launched_runs import LAUNCHER, MODES, RUNS, command, published

from porter.verify.probe import Probe, ProbeError


def run(probe: Probe) -> None:
    """Record each run's options as a text, with the published optimizer; check the usage errors.

    Level 0, which has no such script, gives the published ones.
    """
    launcher = probe.tree / LAUNCHER
    for name in RUNS:
        given = published(name) | MODES
        with probe.attempt(name):
            if launcher.is_file():
                flash = name.endswith("-fa")
                given = command(probe, name, *([] if flash else ["--optimizer=megatron"]))
            lines = [f"{key}={given[key]}" for key in sorted(given)]
            probe.record_text(name, "\n".join(lines) + "\n")
    if not launcher.is_file():
        return
    own = command(probe, "8p-full-sd15-fp32", "--model_name=a b", "--batch_size=3", "--processes=2")
    expected = {"--pretrained_model_name_or_path": "a b", "--train_batch_size": "3"}
    expected |= {"--nproc_per_node": "2", "--use_npu_fuse_adamW": ""}
    for key, value in expected.items():
        if own.get(key) != value:
            raise ProbeError(f"{key}: expected {value!r}, found {own.get(key)!r}")
    for words, told in (
        (["8p-full-sd15"], "expected a run"),
        (["1p-full", "--optimizer=adam"], "expected fused or megatron, found 'adam'"),
    ):
        done = subprocess.run(
            ["bash", launcher, *words], check=False, capture_output=True, text=True
        )
        if done.returncode != 2 or told not in done.stderr:
            raise ProbeError(f"{words}: expected exit code 2 and {told!r}, found {done}")
        probe.count("refused", 1)
