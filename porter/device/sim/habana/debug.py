"""``habana_frameworks.torch.utils.debug``: what the vendor's own tests ask of the bridge.

Switches of the card's compiler change nothing here, and its dumps write nothing; what is counted is
answered from the simulator's counters.
"""

from __future__ import annotations

from typing import Any

from porter.device.sim.accounting.ledger import accounting_of
from porter.device.sim.contract import HABANA
from porter.device.sim.vendors.stub_module import constant_functions

_SWITCH = "Select what the card's compiler does. Nothing changes here."
_DUMP = "Write the bridge's figures to its log. Nothing is written here."
_EMPTY = "The ops that a compiler of the card does not take, by its own account: not known here."
_ANSWERS: dict[str, tuple[Any, str]] = {
    **dict.fromkeys(
        (
            "_enable_bn_param_recalculation", "_enable_constant_pooling",
            "_enable_eliminate_common_subexpression", "_enable_eliminate_dead_code",
            "_enable_fuse_bn_relu_optimization", "_enable_fuse_conv_bn_optimization",
            "_enable_fuse_t_mm_optimization", "_enable_peephole_optimization",
            "_enable_permute_pass", "_enable_replace_inplace_ops", "_enable_replace_views",
            "_disable_bucket_refinement", "_set_dynamic_mode", "_set_module_name",
            "_towl_configure", "clear_dynamic_bucket_recipe_info", "_flush_disk_cache",
        ),
        (None, _SWITCH),
    ),
    **dict.fromkeys(
        (
            "_dump_bucket_memory_stat", "_dump_dynamic_shape_memory_stat",
            "_dump_history_memory_stat", "_dump_memory_reporter", "_dump_recipe_memory_stat",
            "_dump_refined_recipe_stat", "_dump_synapse_recipe_memory_stat", "_hb_print",
            "_hg_print", "_memstat_devmem_start_collect", "_memstat_devmem_stop_collect",
            "_memstat_livealloc", "_towl_print",
        ),
        (None, _DUMP),
    ),
    "_mem_log": (False, _DUMP),
    "_is_enabled_lazy_collectives": (False, "Whether collectives are part of lazy graphs: no."),
    "_is_enabled_synapse_layout_handling": (False, "Whether weights are permuted: no."),
    "_is_enabled_weight_permute_pass": (False, "Whether weights are permuted: no."),
    "_get_eager_compiler_unsupported_op_prefixes": (set(), _EMPTY),
    "_get_shape_agnostic_unsupported_ops": (set(), _EMPTY),
}  # fmt: skip
globals().update(
    constant_functions("habana_frameworks.torch.utils.debug", __name__, _ANSWERS, HABANA)
)


def _get_fallback_op_count() -> dict[str, int]:
    """Return how often each op ran on the CPU."""
    accounting = accounting_of("hpu")
    found: dict[str, int] = {}
    for event, count in accounting.counters.of_kind("cpu_fallback").items() if accounting else ():
        found[event.what] = found.get(event.what, 0) + count
    return found


def _bridge_cleanup() -> None:
    """End the accumulated graph, as at the end of a process."""
    accounting = accounting_of("hpu")
    if accounting is not None:
        accounting.end_graph("_bridge_cleanup")


DEBUG = (*_ANSWERS, "_get_fallback_op_count", "_bridge_cleanup")
"""The names of the module. Sizes of the bridge's caches are not known here."""
