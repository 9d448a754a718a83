"""``habana_frameworks.torch.dynamo.compile_backend.config``: flags of the compile backend.

Names, variables and defaults are those of that module in HabanaAI/gaudi-pytorch-bridge 1.19.0. The
simulated backend runs graphs op by op and reads none of them; programs do.
"""

from __future__ import annotations

import os
import sys
from typing import Any

_ON = ("on", "1", "yes", "true", "y", "t")
_VARIABLES: dict[str, tuple[str, bool | str]] = {
    "use_compiled_recipes": ("COMPILE_USE_RECIPES", True),
    "decomposition_mode": ("COMPILE_DECOMPOSITION_MODE", "habana"),
    "keep_input_mutations": ("KEEP_INPUT_MUTATIONS", True),
    "use_eager_fallback": ("USE_EAGER_FALLBACK", True),
    "use_graph_freezing": ("COMPILE_GRAPH_FREEZE", False),
    "discard_frozen_params": ("COMPILE_DISCARD_FROZEN_PARAMS", False),
    "remove_unnecessary_clones": ("COMPILE_REMOVE_UNNECESSARY_CLONES", True),
    "use_inplace_allreduce": ("USE_INPLACE_COLLECTIVE", True),
    "use_inplace_index_copy": ("USE_INPLACE_INDEX_COPY", True),
    "inference": ("USE_INFERENCE_COMPILER", True),
    "enable_sfg": ("ENABLE_SFG", False),
    "use_cpp_partitioner": ("USE_CPP_PARTITIONER", True),
    "enable_allreduce_graph_split": ("ENABLE_ALLREDUCE_GRAPH_SPLIT", True),
    "force_static_compile": ("FORCE_STATIC_COMPILE", False),
    "reinplace_add": ("REINPLACE_ADD", True),
    "reassign_full_copy": ("REASSIGN_FULL_COPY", True),
    "reassign_copy_": ("REASSIGN_COPY_", True),
    "use_boxed_input": ("USE_BOXED_INPUT", True),
}


def _value(variable: str, default: bool | str) -> bool | str:
    text = os.environ.get(f"PT_HPU_{variable}")
    if text is None:
        return default
    return text.lower() in _ON if isinstance(default, bool) else text.lower()


DEFAULTS = {name: _value(*row) for name, row in _VARIABLES.items()}
globals().update(DEFAULTS)


class _Flags:
    """The module's values by name, as an older interface of the vendor's has them."""

    def __getitem__(self, name: str) -> Any:
        return getattr(self._module(), name)

    def __setitem__(self, name: str, value: Any) -> None:
        setattr(self._module(), name, value)

    @staticmethod
    def _module() -> Any:
        return sys.modules["habana_frameworks.torch.dynamo.compile_backend.config"]


configuration_flags = _Flags()
