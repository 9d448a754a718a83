"""What a device is asked for in sampling and in training: compilations, waits, fallbacks, ops."""

from __future__ import annotations

import torch
from small import device_word, noise_of_the_cpu, prepare, small_model
from training import log_stand_in, make_trainer, process_group, train
from training_data import write_images

from porter.verify.probe import Probe


def end_graph(probe: Probe) -> None:
    """Launch what lazy mode has accumulated."""
    if probe.device.type == "hpu":
        import habana_frameworks.torch.core as htcore

        htcore.mark_step()


def sample(probe: Probe, sampler: str) -> None:
    """Count a first batch as ``SAMPLER`` and a second, when all is compiled, as ``SAMPLER-again``.

    The two are of different classes. Records the second's images.
    """
    steps = probe.parameters["steps"]
    model = small_model(probe, positional_encoding="RoPE", num_blocks=4)
    for section, label in ((sampler, 2), (f"{sampler}-again", 5)):
        end_graph(probe)  # what came before is no part of the section
        with probe.section(section, per=steps):
            images = model.sample_imgs(2, steps, label, 2.0, sampler=sampler)
            end_graph(probe)
    probe.record(f"{sampler}/images", images[..., ::4, ::4])


def run(probe: Probe) -> None:
    """Sample with each of ``parameters.samplers``, and train with ``parameters.training``."""
    torch.manual_seed(probe.seed)
    prepare(probe)
    for sampler in probe.parameters["samplers"]:
        with probe.attempt(sampler):
            torch.manual_seed(probe.seed)
            sample(probe, sampler)
    with probe.attempt("training"):
        count_training(probe)


def count_training(probe: Probe) -> None:
    """Count the first steps of training as ``training-first``, and later ones as ``training``."""
    device, steps = device_word(probe), probe.parameters["steps"]
    rows: list[list[float]] = []
    log_stand_in(rows)
    write_images(probe, probe.scratch / "data" / "ImageNet12", 1)
    with process_group(probe, device), noise_of_the_cpu():
        model = small_model(probe, positional_encoding="RoPE")
        options = {"ema_update_freq": 10**6, "numSaveSteps": 10**6, "log_steps": 10**6}
        trainer = make_trainer(probe, model, device, **options | probe.parameters["training"])
        train(probe, trainer, "training-first", 3)
        train(probe, trainer, "training", steps)
    probe.record("training/loss", torch.tensor(trainer.losses_comb, dtype=torch.float32))
