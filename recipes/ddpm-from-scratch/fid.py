"""The FID scripts, with a few images, a small network in Inception's place, and few threads.

What they have as constants in their functions a user edits; here the constants are replaced.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import pickle
import threading
import zipfile
from pathlib import Path
from types import FunctionType
from typing import Any

import numpy as np
import torch
from commands import save_checkpoint
from small import cpu_noise
from training import device_word

from porter.verify.probe import Probe, ProbeError

FEATURES = 4


class SmallInception(torch.nn.Module):
    """Stands in for torchvision's Inception v3: images of 299 x 299 to features of FEATURES."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = torch.nn.Conv2d(3, FEATURES, 5, stride=5)
        self.fc = torch.nn.Linear(FEATURES, 10)
        self.aux_logits = True

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        if images.shape[1:] != (3, 299, 299):
            raise ValueError(f"expected N x 3 x 299 x 299, found {tuple(images.shape)}")
        return self.fc(self.conv(images).mean((2, 3)))


def edited(function: Any, changes: dict[object, object]) -> Any:
    """Return ``function`` with constants in its code replaced, as one edits the script."""
    constants = tuple(
        changes.get(c, c) if isinstance(c, str | int) and not isinstance(c, bool) else c
        for c in function.__code__.co_consts
    )
    code = function.__code__.replace(co_consts=constants)
    return FunctionType(code, function.__globals__, function.__name__, function.__defaults__)


def write_imagenet() -> None:
    """Write the two archives of ImageNet 64x64, three images each."""
    numbers = np.random.default_rng(0)
    for part in (1, 2):
        data = pickle.dumps({"data": numbers.integers(0, 256, (3, 3 * 64 * 64)).astype(np.uint8)})
        with zipfile.ZipFile(f"data/Imagenet64_train_part{part}.zip", "w") as archive:
            archive.writestr(f"train_data_batch_{part}", data)


def thread_order(module: Any, probe: Probe, word: str) -> None:
    """Record what compute_model_stats_multiple asks for, and count what runs at the same time."""
    asked: list[str] = []
    running = most = 0
    lock, all_there = threading.Lock(), threading.Event()

    def stats(*args: object) -> None:
        nonlocal running, most
        with lock:
            asked.append(" ".join(map(str, args)).replace(f" {word} ", " DEVICE "))
            running += 1
            most = max(most, running)
            if running == 10:
                all_there.set()
        all_there.wait(0.2)
        with lock:
            running -= 1

    threads = set(threading.enumerate())
    module.compute_model_stats = stats
    edited(module.compute_model_stats_multiple, {"gpu": word})()
    for thread in set(threading.enumerate()) - threads:
        thread.join()
    probe.record_text("multiple", "\n".join(sorted(asked)))
    probe.count("at_once", most)


def run(probe: Probe) -> None:
    """Record the statistics, of the model and of the data, and the distance between them."""
    word = device_word(probe)
    save_checkpoint(probe, "saved", timesteps=6, blocks=("res", "clsAtn", "chnAtn"))
    network = probe.alive(SmallInception(), gain=8.0).cpu()
    torch.hub.load = lambda *_args, **_options: network  # type: ignore[assignment]
    modules = [f"compute_{name}" for name in ("model_stats", "imagenet_stats", "FID")]
    model, data, distance = [importlib.import_module(f"eval.{name}") for name in modules]
    multiple = importlib.import_module("eval.compute_model_stats_multiple")
    with contextlib.chdir(probe.scratch), cpu_noise(probe):
        for folder in ("data", "eval/saved_stats"):
            (probe.scratch / folder).mkdir(parents=True)
        with probe.attempt("fake"):
            _record_model_stats(probe, model, word)
        network.fc = torch.nn.Identity()
        with probe.attempt("real"):
            write_imagenet()
            edited(data.compute_imagenet_stats, {300: 2, 100000: 5, "gpu": word})()
            _record_stats(probe, "real")
        with probe.attempt("distance"):
            if {"fake", "real"} & probe.failures.keys():
                raise ProbeError("not run: it needs the statistics of both, and one failed")
            probe.record("distance", torch.tensor([0.0, float(distance.compute_FID())]))
        probe.count(
            "on_device", sum(p.device.type == probe.device.type for p in network.parameters())
        )
    with probe.attempt("multiple"):
        thread_order(multiple, probe, word)


def _record_model_stats(probe: Probe, model: Any, word: str) -> None:
    probe.seed_everything()
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        model.compute_model_stats(
            "saved", "model_1e_4s.pkl", "model_params_1e_4s.json", word, 0, 5, 2, 2, 1, True,
            "eval/saved_stats", "fake_mean_10K.npy", "fake_var_10K.npy",
        )  # fmt: skip
    told = [line for line in printed.getvalue().split("\n") if "Num" in line]
    probe.record_text("fake/loaded", "\n".join(told))
    probe.count("rates", printed.getvalue().count("images/s"))
    _record_stats(probe, "fake")


def _record_stats(probe: Probe, kind: str) -> None:
    files = sorted(Path("eval/saved_stats").glob(f"{kind}_*.npy"))
    for name in ("mean", "var"):
        (file,) = [file for file in files if file.name.startswith(f"{kind}_{name}")]
        probe.record(f"{kind}/{name}", torch.tensor(np.load(file)).double())
