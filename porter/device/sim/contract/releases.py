"""Releases of a vendor's software that a simulated device can be: ``sim:hpu@1.12``.

``sim:hpu`` and ``sim:npu`` alone are the newest. A release sets what public sources say of it:
which mode is the default, and which of the simulated names it lacks. Ops and their support are
those of the one published list of each vendor (``porter/device/sim/accounting/data``), and PyTorch
is the one that is installed. Free of torch.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

SimulatedName = Literal[
    "sim:cuda",
    "sim:hpu",
    "sim:hpu@1.7.1",
    "sim:hpu@1.12",
    "sim:hpu@1.19",
    "sim:hpu@1.22",
    "sim:npu",
    "sim:npu@1.8.1",
]
SIMULATED: tuple[str, ...] = get_args(SimulatedName)

_IS_LAZY = "habana_frameworks.torch.utils.internal"


@dataclass(frozen=True, slots=True)
class Release:
    """One release of Intel's Gaudi software, or of torch-npu."""

    name: str
    lazy_by_default: bool
    """What ``PT_HPU_LAZY_MODE`` means when it is unset (Gaudi)."""
    source: str
    absent: tuple[str, ...] = ()
    """Simulated modules and names that no public source has in this release."""


HPU_RELEASES: tuple[Release, ...] = (
    Release(
        "1.7.1",
        lazy_by_default=True,
        source="HabanaAI/Model-References 1.9.0 has the first import of gpu_migration, and lazy "
        "mode in its examples without a variable",
        absent=("habana_frameworks.torch.gpu_migration", _IS_LAZY),
    ),
    Release(
        "1.12",
        lazy_by_default=True,
        source="HabanaAI/Model-References 1.12.0: its examples define is_lazy() themselves; "
        "docs.habana.ai: eager mode begins with 1.13",
        absent=(_IS_LAZY,),
    ),
    Release(
        "1.19",
        lazy_by_default=True,
        source="HabanaAI/gaudi-pytorch-bridge 1.19.0, habana_frameworks/torch/utils/internal.py",
    ),
    Release(
        "1.22",
        lazy_by_default=False,
        source="HabanaAI/Model-References 1.21.0 and 1.22.0, which set PT_HPU_LAZY_MODE=1 for "
        "lazy mode; docs.habana.ai, Runtime Environment Variables: default 0",
    ),
)
"""Oldest first; the last is ``sim:hpu``'s."""

_EARLIER = (
    "torch_npu.npu.disable_graph_mode",
    "torch_npu.npu.enable_graph_mode",
    "torch_npu.npu.global_step_inc",
    "torch_npu.npu.is_graph_mode",
    "torch_npu.npu.launch_graph",
    "torch_npu.npu.profile",
    "torch_npu.npu.set_start_fuzz_compile_step",
    "torch_npu.utils.profiler",
)
_LATER = (
    "torch_npu.npu.ExternalEvent",
    "torch_npu.npu.NPUGraph",
    "torch_npu.npu.graph",
    "torch_npu.npu.graph_pool_handle",
    "torch_npu.npu.graph_task_group_begin",
    "torch_npu.npu.graph_task_group_end",
    "torch_npu.npu.graph_task_update_begin",
    "torch_npu.npu.graph_task_update_end",
    "torch_npu.npu.graphs",
    "torch_npu.npu.make_graphed_callables",
    "torchair",
    "torchair.configs",
    "torchair.configs.compiler_config",
    "torchair.core",
    "torchair.core.utils",
    "torchair.inference",
    "torchair.scope",
)
NPU_RELEASES: tuple[Release, ...] = (
    Release(
        "1.8.1",
        lazy_by_default=False,
        source="Ascend/pytorch, branch v1.8.1 (22b4b7a3c): torch_npu/npu and torch_npu/utils",
        absent=_LATER,
    ),
    Release("2.13", lazy_by_default=False, source="torch-npu 2.13.0 wheel", absent=_EARLIER),
)
"""Oldest first; the last is ``sim:npu``'s. What 2.13 lacks is in ``ascend/earlier.py``."""


def release_of(device: str) -> Release | None:
    """Return the release that a simulated device's name means; None for a device without any."""
    kind, _, wanted = device.partition("@")
    releases = {"sim:hpu": HPU_RELEASES, "sim:npu": NPU_RELEASES}.get(kind, ())
    if not releases:
        return None
    by_name = {release.name: release for release in releases}
    return by_name[wanted] if wanted else releases[-1]


def kind_of(device: str) -> str:
    """Return PyTorch's device type of a name: "hpu" of ``hpu``, ``sim:hpu``, ``sim:hpu@1.12``."""
    return device.removeprefix("sim:").partition("@")[0]
