"""A PyTorch that is older than a level needs is refused, in one sentence, before anything loads."""

from __future__ import annotations

from unittest import mock

import torch

from porter.verify.probe import Probe

VERSIONS = ("1.13.1", "2.0.1a0", "2.4.1+cpu", "2.5.0", "2.13.0a0+git")


def run(probe: Probe) -> None:
    """Ask for the device under several versions of PyTorch; count those that are refused."""
    from diffusion import devices

    refused = sentences = 0
    for version in VERSIONS:
        with mock.patch.object(torch, "__version__", version):
            try:
                devices.get_device(probe.device.type)
            except SystemExit as end:
                refused += 1
                sentences += f"needs PyTorch 2.5 or newer, found {version}" in str(end.code)
    probe.count("refused", refused)
    probe.count("sentences", sentences)
