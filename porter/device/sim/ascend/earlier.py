"""Names of torch-npu 1.8.1 that later releases have no more: ``sim:npu@1.8.1`` alone has them.

Source: the branch v1.8.1 of Ascend/pytorch (22b4b7a3c, December 2023), ``torch_npu/npu/graph.py``,
``npu_frontend_enhance.py`` and ``torch_npu/utils/profiler.py``; and v1.8.1-3.0.rc1 (74da8806d,
January 2023) for the steps of fuzzy compilation.
"""

from __future__ import annotations

import sys
import time
import warnings
from pathlib import Path
from typing import Any

import torch

_state = {"graph_mode": False}


def enable_graph_mode(verbose: bool = False) -> None:
    """Let operators accumulate until :func:`launch_graph`. Here each still runs at once."""
    _state["graph_mode"] = True


def disable_graph_mode() -> None:
    """Undo :func:`enable_graph_mode`."""
    _state["graph_mode"] = False


def is_graph_mode() -> bool:
    """Whether :func:`enable_graph_mode` was called last."""
    return _state["graph_mode"]


def launch_graph() -> None:
    """Run what has accumulated. Raises RuntimeError outside graph mode."""
    if not _state["graph_mode"]:
        raise RuntimeError("Npu run mode must be graph mode when launch graph")


def set_start_fuzz_compile_step(step: int) -> None:
    """Compile for exact shapes until this step. Nothing compiles here."""
    if not isinstance(step, int):
        raise TypeError(f"step must be a int, but got {type(step)}")


def global_step_inc() -> None:
    """Count a step."""


class profile:
    """``with torch.npu.profile(folder):`` traces a card; here only the folder is made."""

    def __init__(
        self,
        profiler_result_path: str | None = None,
        use_e2e_profiler: bool = False,
        config: Any = None,
    ) -> None:
        self.result_path = profiler_result_path or str(Path.cwd())
        self.use_e2e_profiler, self.config, self.entered = use_e2e_profiler, config, False
        warnings.warn(
            "the E2E and CANN profilers will be deprecated; nothing of a simulated card is traced",
            stacklevel=2,
        )
        Path(self.result_path).mkdir(parents=True, exist_ok=True)

    def __enter__(self) -> profile:
        if self.entered:
            raise RuntimeError("npu profiler traces are not reentrant")
        self.entered = True
        return self

    def __exit__(self, *error: object) -> None:
        pass


_TYPES = ("TORCH", "CANN", "GE")


class Profile:
    """Traces one step and ends the program: ``start()`` and ``end()`` stand around each step.

    There is one per process, of the first call. Without a ``profile_type`` of TORCH, CANN or GE
    nothing happens. TORCH writes the host's trace into ``save_path``; CANN and GE trace a card, of
    which there is none.
    """

    _only: Profile | None = None

    def __new__(cls, *args: Any, **kwargs: Any) -> Profile:
        """Return the process's one object."""
        if cls._only is None:
            cls._only = super().__new__(cls)
        return cls._only

    def __init__(
        self,
        start_step: int = 10,
        save_path: str = "./npu_profiling",
        profile_type: str | None = None,
        use_npu: bool = True,
        use_e2e_profiler: bool = True,
        **kwargs: Any,
    ) -> None:
        if hasattr(self, "enable"):
            return  # those of the first call stay
        self.start_step, self.save_path, self.profile_type = start_step, save_path, profile_type
        self.enable = profile_type in _TYPES
        self.step_count = self.count = 0
        if not self.enable:
            return
        Path(save_path).mkdir(parents=True, exist_ok=True)
        self.prof = torch.autograd.profiler.profile(enabled=profile_type == "TORCH", **kwargs)

    def start(self) -> None:
        """Begin a step. Raises ValueError in a step that has begun."""
        if self.count:
            raise ValueError("start interface can only be called once")
        self.count = 1
        if self.enable:
            self.step_count += 1
            if self.step_count == self.start_step:
                self.prof.__enter__()

    def end(self) -> None:
        """End a step; after the traced one, write the trace and end the program."""
        if not self.count:
            raise ValueError("start interface must be called after end")
        self.count = 0
        if not self.enable or self.step_count != self.start_step:
            return
        self.prof.__exit__(None, None, None)
        if self.profile_type == "TORCH":
            name = time.strftime("torch_prof_%Y%m%d%H%M%S.json")
            self.prof.export_chrome_trace(str(Path(self.save_path) / name))
        sys.exit()
