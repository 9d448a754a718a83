"""What is broken upstream: that it is at every level, and what the level upstream-bugs makes of it.

Each case is tried as a user would. Where it is refused, the same is computed by a way that upstream
has: the refusal is counted, and the outputs of all levels can be held to each other.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import shutil
import sys
from collections.abc import Callable
from typing import Any

import torch
from scripts import take_smaller
from small import device_word, is_upstream, prepare, small_model, write_vae
from training import give_batches, log_stand_in, make_trainer, process_group
from training_data import write_images

from porter.verify.probe import Probe

SHIFT = 0.25


def tried(probe: Probe, name: str, call: Callable[[], Any], errors: Any) -> Any:
    """Return what ``call`` gives, or None where upstream refuses; counted as ``refused/NAME``."""
    try:
        result = call()
    except errors:
        probe.count(f"refused/{name}", 1)
        return None
    probe.count(f"refused/{name}", 0)
    return result


def without_class(probe: Probe) -> None:
    """Class -1 for all images: sampling as if no class had been learned."""
    model = small_model(probe)
    torch.manual_seed(3)
    given = tried(probe, "no-class", lambda: model.sample_imgs(2, 2, -1, 2.0), RuntimeError)
    if (
        given is None
    ):  # upstream's steps by hand: with the null class twice guidance changes nothing
        torch.manual_seed(3)
        latents = torch.randn((2, 4, 32, 32)).to(probe.device)
        classes = torch.zeros(4, dtype=torch.long, device=probe.device)
        null = torch.ones(4, dtype=torch.bool, device=probe.device)
        with torch.no_grad():
            for t in (1.0, 0.5):
                times = torch.full((4,), t, device=probe.device)
                velocity = model(latents.repeat(2, 1, 1, 1), times, classes, null)
                latents = latents - 0.5 * (3.0 * velocity[:2] - 2.0 * velocity[2:])
            given = model.VAE.decode(latents / model.VAE.config.scaling_factor).sample.clamp(-1, 1)
    probe.record("no-class", given[..., ::4, ::4])


def positions(probe: Probe) -> None:
    """The README's name of the absolute positions."""
    model = tried(
        probe, "positions", lambda: small_model(probe, positional_encoding="Absolute"), ValueError
    )
    model = model or small_model(probe, positional_encoding="absolute")
    torch.manual_seed(4)
    probe.record("positions", model.sample_imgs(1, 1, 2, 1.0)[..., ::4, ::4])


def write_folded_vae(probe: Probe) -> None:
    """Write a VAE without a shift factor that does what one of SHIFT is meant to do.

    What is encoded comes out lower by SHIFT, and what is to be decoded is raised by it first.
    """
    vae = write_vae(probe)
    with torch.no_grad():
        vae.quant_conv.bias[:4] -= SHIFT
        vae.post_quant_conv.bias += SHIFT * vae.post_quant_conv.weight.sum((1, 2, 3))
    vae.save_pretrained(probe.scratch / "stabilityai/sd-vae-ft-ema")


def shifted_vae(probe: Probe) -> None:
    """Train on and sample with a VAE that has a shift factor."""
    device = device_word(probe)

    def trained() -> tuple[Any, Any]:
        model = small_model(probe)
        with process_group(probe, device):
            trainer = make_trainer(probe, model, device, totalSteps=3, log_steps=1)
            give_batches(probe, 3, trainer.batchSize)
            torch.manual_seed(8)
            with contextlib.redirect_stderr(io.StringIO()):
                trainer.train()
        torch.manual_seed(9)
        images = model.sample_imgs(1, 1, 2, 1.0)[..., ::4, ::4]
        return torch.tensor(trainer.losses_comb, dtype=torch.float32), images

    write_vae(probe, SHIFT)
    result = tried(probe, "shift", trained, AttributeError)
    if result is None:
        write_folded_vae(probe)
        result = trained()
    probe.record("shift/loss", result[0])
    probe.record("shift/images", result[1])


def default_sampler(probe: Probe) -> None:
    """infer.py without --sampler."""
    write_vae(probe)
    shutil.copy(probe.tree / "imagenet_class_to_string.pkl", probe.scratch)
    with contextlib.redirect_stdout(io.StringIO()):
        small_model(probe, num_classes=1000).to("cpu").saveModel("models")
    sys.path.insert(0, str(probe.tree / "src"))
    take_smaller("models.diff_model")
    if is_upstream(probe):  # infer.py moves the model to the GPU whatever --device says
        importlib.import_module("models.diff_model").diff_model.cuda = lambda model: model
    words = ["--loadDir", "models", "--loadFile", "model.pkl", "--loadDefFile", "model_params.json"]
    words += ["--num_steps", "1", "--batch_size", "1", "--seed", "3", "--device", "cpu"]
    done = probe.script("src/infer.py", words, expect=None)
    probe.count("refused/sampler", int(done.exit_code != 0))
    if done.exit_code:
        if "Invalid sampler specified" not in done.stderr:
            raise RuntimeError(done.stderr)
        probe.script("src/infer.py", [*words, "--sampler", "euler"])
    probe.record_image("sampler", "fig.png_0.png")


def run(probe: Probe) -> None:
    """Try each case."""
    prepare(probe)
    log_stand_in([])
    write_images(probe, probe.scratch / "data" / "ImageNet12", 1)
    for name, case in {
        "no-class": without_class,
        "positions": positions,
        "shift": shifted_vae,
        "sampler": default_sampler,
    }.items():
        with probe.attempt(name):
            case(probe)
