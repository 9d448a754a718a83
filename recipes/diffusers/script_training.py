"""``train_text_to_image.py`` run from its own command line, on a small pipeline and pictures."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from small_pipelines import image_folder, stable_diffusion

from porter.verify.probe import Probe, ProbeError

SCRIPT = "examples/text_to_image/train_text_to_image.py"
PICTURES, SIDE = 16, 16


def write_inputs(probe: Probe, *architectures: str) -> None:
    """Write a pipeline to a folder named for each architecture, and pictures to ``data``."""
    for architecture in architectures:
        stable_diffusion(probe, architecture, probe.scratch / architecture)
    image_folder(probe, probe.scratch / "data", PICTURES, SIDE)


def words(
    model: str, steps: int, *more: object, batch: int = 2, output: str = "trained"
) -> list[str]:
    """The script's arguments: what every run has, and ``more``."""
    common: dict[str, object] = {
        "--pretrained_model_name_or_path": model,
        "--train_data_dir": "data",
        "--resolution": SIDE,
        "--train_batch_size": batch,
        "--max_train_steps": steps,
        "--learning_rate": 1e-3,
        "--seed": 0,
        "--output_dir": output,
    }
    pairs = [str(word) for pair in common.items() for word in pair]
    # A later option overrides an earlier one; a crop in the middle draws no random numbers.
    return [*pairs, "--center_crop", *map(str, more)]


def options_of(probe: Probe, script: str = SCRIPT) -> str:
    """The texts of the script and of what it takes options from: the options of this level."""
    shared = ("device_training.py", "step_report.py")
    files = [probe.tree / script, *(probe.tree / "src/diffusers" / name for name in shared)]
    return "".join(file.read_text(encoding="utf-8") for file in files if file.is_file())


def train(
    probe: Probe, arguments: Sequence[str], script: str = SCRIPT, logged: str = "train_loss"
) -> list[float]:
    """Run the script; returns the losses that it logged, one a step."""
    import accelerate

    _forget_the_last_run()
    losses: list[float] = []
    log = accelerate.Accelerator.log

    def hear(self: Any, values: dict[str, Any], *args: Any, **kwargs: Any) -> None:
        losses.append(values[logged])
        log(self, values, *args, **kwargs)

    accelerate.Accelerator.log = hear
    try:
        probe.script(script, arguments)
    finally:
        accelerate.Accelerator.log = log
    return losses


def refusal(probe: Probe, arguments: Sequence[str], script: str = SCRIPT) -> str:
    """Run the script, which must fail; returns the last line that it printed."""
    _forget_the_last_run()
    return probe.script(script, arguments, expect=1).stderr.strip().splitlines()[-1]


def _forget_the_last_run() -> None:
    from accelerate.state import AcceleratorState, GradientState

    AcceleratorState._reset_state(True)
    GradientState._reset_state()


def record_losses(probe: Probe, name: str, losses: Sequence[float]) -> None:
    """Record a curve, in the float32 that losses are computed in."""
    if not losses:
        raise ProbeError(f"{name}: the script logged losses 0 times, expected once a step")
    probe.record(name, torch.tensor(losses, dtype=torch.float32))


@contextlib.contextmanager
def numbers_of_the_cpu() -> Iterator[None]:
    """Draw what the script draws (noise, timesteps) from the CPU's stream on every device.

    Levels before no-host-sync cannot do it themselves, and devices have streams of their own.
    """
    native = {name: getattr(torch, name) for name in ("randn", "randn_like", "randint")}

    def from_cpu(name: str) -> Any:
        def draw(*args: Any, **kwargs: Any) -> torch.Tensor:
            device = kwargs.pop("device", None)
            if device is None and args and isinstance(args[0], torch.Tensor):
                device = args[0].device
            drawn: torch.Tensor = native[name](*args, **kwargs, device="cpu")
            return drawn if device is None else drawn.to(device)

        return draw

    for name in native:
        setattr(torch, name, from_cpu(name))
    try:
        yield
    finally:
        for name, function in native.items():
            setattr(torch, name, function)
