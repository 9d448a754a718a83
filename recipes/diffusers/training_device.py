"""Training on a device: the CPU's losses, and what a step costs in operations and waits."""

from __future__ import annotations

from script_training import (
    numbers_of_the_cpu,
    options_of,
    record_losses,
    train,
    words,
    write_inputs,
)

from porter.verify.probe import Probe

FEW = 4
COUNTED = ("ops", "kernels", "host_sync", "h2d", "d2h", "cpu_fallback")


def run(probe: Probe) -> None:
    """Record the losses of ``steps`` steps, and count what a step takes.

    ``precision`` is that of the device; the reference, on the CPU, is float32. ``options`` "new"
    takes whatever the level's script has for the device.
    """
    write_inputs(probe, "sd21")
    script = options_of(probe)
    on_cpu = probe.device.type == "cpu"
    half = probe.parameters["precision"] if not on_cpu else "no"
    options: list[object] = ["--mixed_precision", half]
    if probe.parameters["options"] == "new" and not on_cpu:
        options += _new_options(script, probe.device.type, half)
    with probe.attempt("losses"), numbers_of_the_cpu():
        record_losses(
            probe, "losses", train(probe, words("sd21", probe.parameters["steps"], *options))
        )
    if on_cpu:
        return
    if probe.parameters["options"] == "new" and "--logging_steps" in script:
        options += ["--logging_steps", 3 * FEW]  # nothing is logged
    with probe.attempt("step"):
        with probe.section("few"):
            train(probe, words("sd21", FEW, *options))
        with probe.section("many"):
            train(probe, words("sd21", 2 * FEW, *options))
        for name in COUNTED:
            more = probe.counters.get(f"many/{name}", 0) - probe.counters.get(f"few/{name}", 0)
            probe.count(f"step/{name}", more / FEW)


def _new_options(script: str, device: str, half: str) -> list[object]:
    options: list[object] = []
    if "--use_npu_fuse_adamW" in script:
        on_npu = ["--use_npu_fuse_adamW", "--use_clip_grad_norm_fused"]
        options += on_npu if device == "npu" else ["--use_hpu_fused_adamW"]
    if "--enable_npu_flash_attention" in script and half != "no":
        options += ["--enable_npu_flash_attention"]
    if "--enable_pin_memory" in script:
        options += ["--enable_pin_memory"]
    if "--loss_scale" in script and half == "fp16":
        options += ["--loss_scale", 1024]
    return options
