"""A device used before a fork, and again in the forked process.

CUDA (torch/cuda/__init__.py) and Ascend (torch_npu/npu/__init__.py; test_torch_npu.py asserts it)
refuse with the text below. Gaudi's bridge has no such check; docs.habana.ai, Getting Started, says
of DataLoader's workers that fork "may result in undefined behavior", so there it warns.
"""

from __future__ import annotations

import functools
import os
import warnings

from porter.device.sim.core.machine import Machine, machines


def _mark() -> None:
    for machine in machines.values():
        if machine.was_used:
            machine.forget_compiled()
            machine.on_use_after_fork = refuse_or_warn


def refuse_or_warn(machine: Machine) -> None:
    """Refuse the use of a device that the parent process used, or warn once."""
    kind = machine.profile.name.upper()
    if machine.profile.after_fork == "refused":
        raise RuntimeError(
            f"Cannot re-initialize {kind} in forked subprocess. To use {kind} with "
            "multiprocessing, you must use the 'spawn' start method"
        )
    machine.on_use_after_fork = None
    warnings.warn(
        f"{kind} was used before this process was forked: undefined behaviour on a card; start "
        "processes and DataLoader's workers with 'spawn' or 'forkserver'",
        stacklevel=4,
    )


@functools.cache
def watch_forks() -> None:
    """From now on see when this process is forked."""
    os.register_at_fork(after_in_child=_mark)
