"""``torch_npu.profiler``: PyTorch's own profiler of the host, under the vendor's names.

Nothing of a card is traced: there is none, and no time here is a card's. Signatures are those of
the torch-npu 2.13.0 wheel; levels and metrics are kept and choose nothing.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterable
from typing import Any

import torch


class ProfilerActivity(enum.Enum):
    """What is traced; ``NPU`` adds nothing here."""

    CPU = "CPU"
    NPU = "NPU"


class ProfilerLevel(enum.Enum):
    """How much is traced of a card."""

    Level0 = "Level0"
    Level1 = "Level1"
    Level2 = "Level2"
    Level_none = "Level_none"


class AiCMetrics(enum.Enum):
    """Which counters of a card's cores are read."""

    PipeUtilization = "PipeUtilization"
    ArithmeticUtilization = "ArithmeticUtilization"
    Memory = "Memory"
    MemoryL0 = "MemoryL0"
    MemoryUB = "MemoryUB"
    ResourceConflictRatio = "ResourceConflictRatio"
    L2Cache = "L2Cache"
    MemoryAccess = "MemoryAccess"
    AiCoreNone = "AiCoreNone"


class ExportType(enum.Enum):
    """In which form a trace is written."""

    Text = "text"
    Db = "db"


class _ExperimentalConfig:
    """Options of a card's trace, kept by name."""

    def __init__(
        self,
        profiler_level: ProfilerLevel = ProfilerLevel.Level0,
        aic_metrics: AiCMetrics = AiCMetrics.PipeUtilization,
        l2_cache: bool = False,
        msprof_tx: bool = False,
        mstx: bool = False,
        data_simplification: bool = True,
        record_op_args: bool = False,
        op_attr: bool = False,
        gc_detect_threshold: float | None = None,
        export_type: ExportType | list[ExportType] = ExportType.Text,
        host_sys: Any = None,
        mstx_domain_include: Any = None,
        mstx_domain_exclude: Any = None,
        sys_io: bool = False,
        sys_interconnection: bool = False,
    ) -> None:
        options = dict(locals())
        options.pop("self")
        vars(self).update(options)

    def __call__(self) -> _ExperimentalConfig:
        """Return the options."""
        return self


class schedule:
    """Which steps are traced; PyTorch's, with ``active`` before ``warmup``."""

    def __init__(
        self,
        wait: int,
        active: int,
        warmup: int = 0,
        repeat: int = 0,
        skip_first: int = 0,
        skip_first_wait: int = 0,
    ) -> None:
        self._first = skip_first
        self._ahead = wait if skip_first_wait else 0  # the first cycle does not wait
        self._of = torch.profiler.schedule(
            wait=wait, warmup=warmup, active=active, repeat=repeat, skip_first=skip_first
        )

    def __call__(self, step: int) -> Any:
        """Return what is done at a step."""
        return self._of(step + self._ahead if step >= self._first else step)


def tensorboard_trace_handler(
    dir_name: str | None = None,
    worker_name: str | None = None,
    analyse_flag: bool = True,
    async_mode: bool = False,
) -> Callable[[Any], None]:
    """Return a handler that writes the host's trace into a folder."""
    return torch.profiler.tensorboard_trace_handler(dir_name or "./", worker_name)  # type: ignore[no-any-return]


class profile(torch.profiler.profile):
    """``with torch_npu.profiler.profile() as prof:`` traces the host."""

    def __init__(
        self,
        *,
        activities: Iterable[ProfilerActivity] | None = None,
        schedule: Callable[[int], Any] | None = None,
        on_trace_ready: Callable[..., Any] | None = None,
        record_shapes: bool = False,
        profile_memory: bool = False,
        with_stack: bool = False,
        with_flops: bool = False,
        with_modules: bool = False,
        experimental_config: _ExperimentalConfig | None = None,
        execution_trace_observer: Any = None,
        custom_trace_id_callback: Callable[[], str] | None = None,
        use_cuda: bool | None = None,
    ) -> None:
        super().__init__(
            activities=[torch.profiler.ProfilerActivity.CPU],
            schedule=schedule,
            on_trace_ready=on_trace_ready,
            record_shapes=record_shapes,
            profile_memory=profile_memory,
            with_stack=with_stack,
            with_flops=with_flops,
            with_modules=with_modules,
        )
        self.activities_asked = tuple(activities or ProfilerActivity)


__all__ = [
    "AiCMetrics", "ExportType", "ProfilerActivity", "ProfilerLevel", "_ExperimentalConfig",
    "profile", "schedule", "tensorboard_trace_handler",
]  # fmt: skip
