"""The port's own device functions: names, availability, backends, copies, ranks."""

from __future__ import annotations

import contextlib
import importlib
import io
import os
import sys
from typing import Any
from unittest import mock

import torch
from small import small_model
from training import device_word

from porter.verify.probe import Probe


def run(probe: Probe) -> None:
    """Count, for each rule, 1 where it holds."""
    sys.path.insert(0, str(probe.tree / "src"))
    import model_trainer
    from helpers import device

    word = device_word(probe)
    with probe.attempt("names"):
        _count_names(probe, device, word)
    with probe.attempt("backends"):
        _count_backend(probe, device, word)
    with probe.attempt("ranks"):
        _count_ranks(probe, model_trainer, word)
    if hasattr(device, "to_device"):
        with probe.attempt("copies"):
            there = device.to_device(torch.ones(2), probe.device)
            back = device.to_device(there, torch.device("cpu"))
            copied = there.device.type == probe.device.type and back.device.type == "cpu"
            probe.count("copied", int(copied and bool((back == 1).all())))


def _count_names(probe: Probe, device: Any, word: str) -> None:
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        found = {name: device.find_device(name, 0) for name in {"cpu", "gpu", "GPU", word}}
    probe.count("own_device", int(found[word].type == probe.device.type))
    absent = found["gpu"].type == "cpu" and "GPU not available" in printed.getvalue()
    probe.count("absent_gpu_is_cpu", int(absent))  # other absent devices: asked_devices.py
    probe.count("any_case", int(found["GPU"] == found["gpu"]))
    numbered = device.find_device(word, 1)
    expected = {"cpu": None, "hpu": 0}.get(word, 1)
    probe.count("index", int(numbered.index == expected))


def _count_backend(probe: Probe, device: Any, word: str) -> None:
    backend = {"cpu": "gloo", "gpu": "nccl", "hpu": "hccl", "npu": "hccl"}[word]
    with mock.patch("importlib.import_module", wraps=importlib.import_module) as imported:
        probe.count("backend", int(device.distributed_backend(probe.device) == backend))
    # importing it is what makes Gaudi's backend known to torch.distributed
    known = mock.call("habana_frameworks.torch.distributed.hccl") in imported.mock_calls
    probe.count("backend_is_known", int(known or word != "hpu"))


def _count_ranks(probe: Probe, model_trainer: Any, word: str) -> None:
    asked: list[int] = []

    def find(_name: str, index: int = 0) -> torch.device:
        asked.append(index)
        return torch.device("cpu")

    with mock.patch.object(model_trainer, "find_device", find):
        for rank, most in ((2, 1), (0, 1), (3, None), (None, None)):
            if rank is not None:
                os.environ["LOCAL_RANK"] = str(rank)
            model = small_model(probe, ("res",)).cpu()
            model_trainer.model_trainer(
                model, 2, 1, 1, 1e-3, word, 0.1, "saved", 9, False, 0.1, max_world_size=most,
            )  # fmt: skip
            os.environ.pop("LOCAL_RANK", None)
    probe.count("local_rank", int(asked == [1, 0, 3, 0]))
