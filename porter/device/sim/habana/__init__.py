"""Simulate ``habana_frameworks.torch``, which a ported tree imports on ``sim:hpu``.

Each name computes the documented result with plain torch ops, in the documented precision.
Arguments that only choose how the card computes are not read.

Sources:
Intel's Gaudi documentation (docs.habana.ai), and the vendor's published bridge
(``porter/device/sim/contract/habana-frameworks.json``).
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from types import ModuleType

import torch

from porter.device.sim.habana import (  # noqa: F401  torch.ops.hpu
    compile_config,
    experts,
    fp8,
    inference_ops,
    lamb,
    sdpa,
    triangular_softmax,
)
from porter.device.sim.habana.debug import DEBUG
from porter.device.sim.habana.internal import FLAGS, is_lazy
from porter.device.sim.vendors.stub_module import LAZY_MODE_ONLY, Package, merge_device_module
from porter.migrate.migration import activate

_TORCH = "habana_frameworks.torch"
_GRAPHS = (
    "CachedParams", "HPUGraph", "ModuleCacher", "graph", "is_current_stream_capturing",
    "make_graphed_callables", "wrap_in_hpu_graph", "wrap_in_hpu_graph_func",
)  # fmt: skip
_MEMORY = (
    "max_memory_allocated", "max_memory_cached", "max_memory_reserved", "mem_get_info",
    "memory_allocated", "memory_cached", "memory_reserved", "memory_stats", "memory_summary",
    "reset_accumulated_memory_stats", "reset_peak_memory_stats",
)  # fmt: skip


_FP8_ATTENTION = "sdpa:fp8_fused_sdpa gqa_input_reshape_fwd gqa_output_reshape is_gqa"


def _publish(modules: Mapping[str, ModuleType]) -> None:
    """Make ``torch.hpu`` and ``habana_frameworks.torch.hpu`` one module, as on the card.

    In eager mode it has no graphs: the vendor imports them ``if is_lazy()``
    (``habana_frameworks/torch/hpu/__init__.py`` of HabanaAI/gaudi-pytorch-bridge).
    """
    merge_device_module(modules[f"{_TORCH}.hpu"], "hpu", modules[f"{_TORCH}.hpu.random"])
    vars(modules[_TORCH])["torch"] = torch  # the vendor's module imports it under this name
    generators = list(vars(torch)["hpu"].default_generators)[:1]  # one, as the vendor's list has
    vars(modules[f"{_TORCH}.hpu.random"])["default_generators"] = generators
    for name in _MEMORY:
        setattr(modules[f"{_TORCH}.hpu.memory"], name, vars(modules[f"{_TORCH}.hpu"])[name])
    if is_lazy():
        return
    for dotted in LAZY_MODE_ONLY:
        module, _, name = dotted.rpartition(".")
        homes = [modules[module]] if module in modules else []
        for home in (*homes, *([vars(torch)["hpu"]] if module == f"{_TORCH}.hpu" else [])):
            vars(home).pop(name, None)


HABANA = Package(
    root="habana_frameworks",
    home=__name__,
    contents={
        "habana_frameworks": (),
        _TORCH: (),
        f"{_TORCH}.core": (
            "core:hpu_inference_initialize hpu_inference_set_env hpu_initialize hpu_set_env",
            "core:hpu_set_inference_env hpu_teardown_inference_env mark_step hpu_reset_env",
        ),
        f"{_TORCH}.core.quantization": (
            "core:_check_params_as_const _get_marked_const_count _mark_params_as_const",
        ),
        f"{_TORCH}.distributed": (),
        f"{_TORCH}.distributed.hccl": ("core:initialize_distributed_hpu",),
        f"{_TORCH}.gpu_migration": (),
        f"{_TORCH}.hpex": (),
        # Mixed precision of releases before autocast. pytorch-lightning 1.6 to 1.9 imports it
        # wherever the package is installed and uses it only in its HPUPrecisionPlugin.
        f"{_TORCH}.hpex.hmp": (),
        f"{_TORCH}.hpex.kernels": (
            "kernels",
            "lamb:CustomSoftmax",
            "sdpa:fp8_fused_sdpa gqa_output_reshape",
        ),
        f"{_TORCH}.hpex.kernels.Fp8FusedSDPA": (_FP8_ATTENTION,),
        f"{_TORCH}.hpex.kernels.Fp8Ops": ("kernels:cast_to_fp8_v2",),
        f"{_TORCH}.hpex.normalization": ("kernels:FusedClipNorm FusedRMSNorm",),
        f"{_TORCH}.hpex.movingavrg": ("large_batch:FusedEMA",),
        f"{_TORCH}.hpex.optimizers": (
            "optimizers",
            "large_batch:FusedLamb FusedLars FusedResourceApplyMomentum",
        ),
        f"{_TORCH}.hpu": (
            "hpu",
            f"graphs:{' '.join(_GRAPHS)}",
        ),
        f"{_TORCH}.hpu.graphs": ("graphs",),
        f"{_TORCH}.hpu.metrics": ("metrics:metric_global metric_localcontext",),
        f"{_TORCH}.hpu.random": (),
        f"{_TORCH}.dynamo": (),
        f"{_TORCH}.dynamo.compile_backend": (),
        f"{_TORCH}.dynamo.compile_backend.config": (
            f"compile_config:configuration_flags {' '.join(compile_config.DEFAULTS)}",
        ),
        f"{_TORCH}.dynamo.compile_backend.experimental": ("internal:enable_compiled_autograd",),
        f"{_TORCH}.hpu.memory": (),
        f"{_TORCH}.internal": (),
        f"{_TORCH}.internal.bridge_config": (f"internal:{' '.join(FLAGS)}",),
        f"{_TORCH}.utils": (),
        f"{_TORCH}.utils.debug": (f"debug:{' '.join(DEBUG)}",),
        f"{_TORCH}.utils.distributed_utils": ("core:initialize_distributed_hpu",),
        f"{_TORCH}.utils.internal": ("internal:Timer is_lazy lazy_only",),
        f"{_TORCH}.utils.lib_utils": ("internal:get_include_dir get_lib_dir",),
        f"{_TORCH}.utils.experimental": (
            "core:_data_ptr _get_device_type _set_profiler_tracer_memory synDeviceType",
        ),
        f"{_TORCH}.utils.library_loader": (
            "core:is_habana_avaialble is_habana_available load_habana_module",
        ),
    },
    acting={f"{_TORCH}.gpu_migration": partial(activate, "hpu")},
    aliases={
        f"{_TORCH}.core.hpu": f"{_TORCH}.hpu",
        f"{_TORCH}.hpu.hpu": f"{_TORCH}.hpu",  # its memory module imports it, and is imported whole
        f"{_TORCH}.utils.experimental.hpu": f"{_TORCH}.hpu",
    },
    publish=_publish,
)
