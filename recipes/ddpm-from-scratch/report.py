"""The throughput that is counted and printed, with the probe's own clock and world size."""

from __future__ import annotations

import sys
import time
from typing import Any

import torch
from small import small_model
from training import launched, train, trainer

from porter.verify.probe import Probe


class Told:
    """Stands in for a throughput object and keeps its calls."""

    def __init__(self, *_given: Any) -> None:
        self.images: list[float] = []
        TOLD.append(self)

    def step(self, images: float) -> None:
        self.images.append(images)

    def report(self, *_given: Any) -> str:
        return "told"


TOLD: list[Told] = []


def lines(throughput: Any, device: torch.device) -> list[str]:
    """Return the reports after no, one, two and three steps, a second of the clock each."""
    clock = iter(range(100))
    perf_counter, time.perf_counter = time.perf_counter, lambda: float(next(clock))
    try:
        told = throughput(device)
        reports = [told.report()]
        for images in (4, 6, 8):
            told.step(images)
            reports.append(told.report("step"))
    finally:
        time.perf_counter = perf_counter
    return reports


def run(probe: Probe) -> None:
    """Count, for each rule, 1 where it holds."""
    sys.path.insert(0, str(probe.tree / "src"))
    import model_trainer
    from src.helpers.throughput import throughput

    with probe.attempt("reports"):
        _count_reports(probe, throughput)
    with probe.attempt("sampling"):
        model = small_model(probe, ("res",), timesteps=3)
        told = Told()
        model.sample_imgs(2, 3, report=told)
        probe.count("sampling_steps", len(told.images))
        probe.count("sampling_images", round(sum(told.images), 3))
    with probe.attempt("training"):
        _count_training(probe, model_trainer)


def _count_reports(probe: Probe, throughput: Any) -> None:
    with probe.section("waits"):
        reports = lines(throughput, probe.device)
    # the clock is read at the start, after the first step, and for every report after two or more
    probe.count("reports", int(reports == [
        "No steps", "first step: 1.00 s",
        "6.00 images/s, 1.00 steps/s, first step: 1.00 s",
        "7.00 images/s, 1.00 steps/s, first step: 1.00 s",
    ]))  # fmt: skip


def _count_training(probe: Probe, model_trainer: Any) -> None:
    model_trainer.throughput = Told
    with launched(probe, always=True):
        made = trainer(probe, small_model(probe, ("res",), timesteps=20), batchSize=2)
        get_world_size = torch.distributed.get_world_size
        torch.distributed.get_world_size = lambda *_given: 3
        try:
            train(probe, made, 3, "training")
        finally:
            torch.distributed.get_world_size = get_world_size
    probe.count("training_images", TOLD[-1].images[0])
