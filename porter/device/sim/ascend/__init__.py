"""Simulate ``torch_npu`` and ``torchair``, which a ported tree imports on ``sim:npu``.

Each name computes the documented result with plain torch ops, in the documented precision.
Arguments that only choose how the card computes are not read.

Sources: the signatures of the torch-npu 2.13.0 wheel (``porter/device/sim/contract``) and Huawei's
operator and API documentation (hiascend.com, Ascend Extension for PyTorch API reference).
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from types import ModuleType

import torch

from porter.device.sim.contract.releases import release_of
from porter.device.sim.core.machine import machines
from porter.device.sim.core.tensor import TYPE_NAMES
from porter.device.sim.torch_patches.distributed import process_group
from porter.device.sim.vendors.stub_module import Package, merge_device_module
from porter.migrate.calls import typed_tensor
from porter.migrate.migration import activate

_ATTENTION = "attention:npu_fusion_attention npu_fusion_attention_v2 npu_prompt_flash_attention"
_DTYPES = (
    "dtypes:float4_e1m2fn_x2 float4_e2m1fn_x2 float8_e4m3fn float8_e5m2 float8_e8m0fnu "
    "hifloat8 int4"
)
_OPERATORS = (
    "attention_grad:npu_fusion_attention_grad", "boxes", "dropout", "grouped",
    "mx:npu_dynamic_mx_quant", "quantization", "routing",
)  # fmt: skip
_EARLIER = (
    "earlier:disable_graph_mode enable_graph_mode is_graph_mode launch_graph profile "
    "global_step_inc set_start_fuzz_compile_step"
)
_FIA = "npu_fused_infer_attention_score"
_PAGED = (
    f"paged:npu_attention_update npu_gather_pa_kv_cache npu_scatter_pa_cache {_FIA} {_FIA}_v2 "
    f"npu_scatter_pa_kv_cache _{_FIA}_get_max_workspace _{_FIA}_v2_get_max_workspace"
)
_TASKS = (
    "npu:graph_task_group_begin graph_task_group_end graph_task_update_begin",
    "npu:graph_task_update_end",
)
_GRAPHS = (
    "npu:NPUGraph graph graph_pool_handle is_current_stream_capturing make_graphed_callables",
)


class _TensorType(type):
    """``torch.npu.FloatTensor``: makes such tensors, and recognises them."""

    porter_dtype: torch.dtype

    def __call__(cls, *args: object) -> torch.Tensor:
        return typed_tensor(args, cls.porter_dtype, "npu")

    def __instancecheck__(cls, instance: object) -> bool:
        return (
            isinstance(instance, torch.Tensor)
            and instance.device.type == "npu"
            and instance.dtype == cls.porter_dtype
        )


def _publish(modules: Mapping[str, ModuleType]) -> None:
    """Make ``torch.npu`` and ``torch_npu.npu`` one module, as on the card, with tensor types."""
    ours = modules["torch_npu.npu"]
    for dtype, name in TYPE_NAMES.items():
        if not dtype.is_complex:
            title = f"{name}Tensor"
            setattr(ours, title, _TensorType(title, (), {"porter_dtype": dtype}))
    machine = machines.get("npu")
    release = (machine.profile.release if machine is not None else None) or release_of("sim:npu")
    for dotted in release.absent if release is not None else ():
        home, _, name = dotted.rpartition(".")
        if home == "torch_npu.npu" and dotted not in modules:
            vars(ours).pop(name, None)
    merge_device_module(ours, "npu", modules["torch_npu.npu.random"])
    if torch.distributed.is_available():
        group = process_group("ProcessGroupHCCL")
        setattr(modules["torch_npu._C._distributed_c10d"], group.__name__, group)
    version = f"{torch.__version__.partition('+')[0]}+simulated"
    setattr(modules["torch_npu"], "__version__", version)  # noqa: B010


ASCEND = Package(
    root="torch_npu",
    home=__name__,
    contents={
        "torch_npu": (
            "plain",
            "kernels",
            *_OPERATORS,
            _ATTENTION,
            _DTYPES,
            _PAGED,
        ),
        "torch_npu._C": (),
        "torch_npu._C._distributed_c10d": (),
        "torch_npu.contrib": ("contrib:npu_iou npu_ptiou",),
        "torch_npu.contrib.function": ("contrib:npu_iou npu_ptiou",),
        "torch_npu.contrib.module": ("contrib:NpuPreGenDropout Prefetcher",),
        "torch_npu.contrib.module.prefetcher": ("contrib:Prefetcher",),
        "torch_npu.contrib.transfer_to_npu": (),
        "torch_npu.npu": ("npu", "npu:_lazy_call", *_GRAPHS, *_TASKS, _EARLIER),
        "torch_npu.npu.amp": ("amp",),
        "torch_npu.npu.amp.autocast_mode": ("amp",),
        "torch_npu.npu.amp.grad_scaler": ("amp:GradScaler",),
        "torch_npu.npu.graphs": (*_GRAPHS, *_TASKS),
        "torch_npu.npu.random": (),
        "torch_npu.npu.utils": ("npu_utils",),
        "torch_npu.optim": ("optimizers",),
        "torch_npu.profiler": ("profiler",),
        "torch_npu.utils": (),
        "torch_npu.utils.collect_env": ("environment:get_cann_version",),
        "torch_npu.utils.profiler": ("earlier:Profile",),
    },
    acting={"torch_npu.contrib.transfer_to_npu": partial(activate, "npu")},
    publish=_publish,
)

_AIR = ("CompilerConfig", "get_compiler", "get_npu_backend", "logger", "patch_for_hcom",
        "register_fx_node_ge_converter", "use_internal_format_weight")  # fmt: skip

TORCHAIR = Package(
    root="torchair",
    home=__name__,
    contents={
        "torchair": (f"torchair:{' '.join(_AIR)}",),
        "torchair.configs": (),
        "torchair.configs.compiler_config": ("torchair:CompilerConfig",),
        "torchair.core": (),
        "torchair.core.utils": ("torchair:logger",),
        "torchair.inference": ("torchair:cache_compile set_dim_gears",),
        "torchair.scope": ("torchair_scope",),
    },
)
