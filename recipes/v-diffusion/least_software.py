"""A PyTorch that is older than a level needs is refused, in one sentence, before anything loads;
and a device that is named brings its plugin.
"""

from __future__ import annotations

import sys
from unittest import mock

import torch
from torch_alone import stand_in

from porter.verify.probe import Probe

PLUGINS = {"hpu": "habana_frameworks.torch.core", "npu": "torch_npu"}
VERSIONS = ("1.13.1", "2.0.1a0", "2.4.1+cpu", "2.5.0", "2.13.0a0+git")


def run(probe: Probe) -> None:
    """Ask for the device under several versions of PyTorch; count those that are refused.

    Whether the plugin was imported is counted too: software before PyTorch 2.5 does not load it by
    itself.
    """
    stand_in()
    from diffusion import devices

    plugin = PLUGINS.get(probe.device.type, "")
    with probe.attempt("imported"):
        sys.modules.pop(plugin, None)
        devices.get_device(f"{probe.device.type}:0")
        probe.count("imported", int(plugin in sys.modules))
    refused = sentences = 0
    with probe.attempt("versions"):
        for version in VERSIONS:
            with mock.patch.object(torch, "__version__", version):
                try:
                    devices.get_device(probe.device.type)
                except SystemExit as end:
                    refused += 1
                    sentences += f"needs PyTorch 2.5 or newer, found {version}" in str(end.code)
        probe.count("refused", refused)
        probe.count("sentences", sentences)
