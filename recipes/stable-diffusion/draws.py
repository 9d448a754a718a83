"""Draws that a script asks of its device, made on the CPU instead: equal noise on every device.

Upstream draws sampling noise on the device, whose generator has numbers of its own. To hold pixels
of one device against another's, the reference and every level are run with these draws made by the
CPU's generator, in the same order. From the level randn-to-cpu on a tree makes them there itself,
and nothing is left to redirect: ``device_draws`` counts what was asked of the device.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any
from unittest import mock

import torch
from torch.nn import functional

from porter.verify.probe import Probe, ProbeError


@contextlib.contextmanager
def watched(probe: Probe, *, on_the_cpu: bool) -> Iterator[list[torch.Tensor]]:
    """Count normal draws and dropout masks asked of a device; yields all normal draws, as made.

    With ``on_the_cpu`` those for a device are drawn there and moved, else the device makes them.
    """
    randn, randn_like, dropout = torch.randn, torch.randn_like, functional.dropout
    drawn: list[torch.Tensor] = []

    def away(device: Any) -> bool:
        return device is not None and torch.device(device).type != "cpu"

    def kept(numbers: torch.Tensor) -> torch.Tensor:
        drawn.append(numbers.detach().clone())
        return numbers

    def make(*size: Any, device: Any = None, **options: Any) -> torch.Tensor:
        if "generator" in options:  # the probe's own
            return randn(*size, device=device, **options)
        probe.count("device_draws", int(away(device)))
        if away(device) and on_the_cpu:
            return kept(randn(*size, **options)).to(device)
        return kept(randn(*size, device=device, **options))

    def make_like(like: torch.Tensor, **options: Any) -> torch.Tensor:
        probe.count("device_draws", int(away(like.device)))
        if away(like.device) and on_the_cpu:
            return kept(randn(like.shape)).to(like)
        return kept(randn_like(like, **options))

    def drop(x: torch.Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Any:
        if not training or p == 0:
            return dropout(x, p, training, inplace)
        probe.count("device_draws", int(away(x.device)))
        if away(x.device) and on_the_cpu:
            return x * dropout(torch.ones(x.shape), p).to(x)
        return dropout(x, p, training, inplace)

    with (
        mock.patch.object(torch, "randn", make),
        mock.patch.object(torch, "randn_like", make_like),
        mock.patch.object(functional, "dropout", drop),
    ):
        yield drawn


def as_one(drawn: list[torch.Tensor]) -> torch.Tensor:
    """All numbers that were drawn, one after another, on the CPU."""
    if not drawn:
        raise ProbeError("noise: drawn 0 times, expected once or more")
    return torch.cat([numbers.cpu().flatten().float() for numbers in drawn])
