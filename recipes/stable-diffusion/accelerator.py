"""LDM_ACCELERATOR, which chooses who serves CUDA calls, whatever is installed."""

from __future__ import annotations

import importlib
import os
from unittest import mock

import torch

from porter.verify.probe import Probe


def run(probe: Probe) -> None:
    """Import the chooser with the run's variables, and again with a word that it must refuse."""
    from ldm import accelerator

    probe.count("cuda_answers", int(torch.cuda.is_available()))
    with mock.patch.dict(os.environ, {"LDM_ACCELERATOR": "tpu"}):
        try:
            importlib.reload(accelerator)
        except ValueError:
            probe.count("refused", 1)
    with mock.patch.dict(os.environ, {"LDM_ACCELERATOR": probe.device.type}):
        try:
            importlib.reload(accelerator)
        except ImportError as error:
            probe.count("too_old", int("Gaudi software 1.9 or newer is needed" in str(error)))
        else:
            probe.count("too_old", 0)
