"""The environment variables of a run: what porter sets, and a few of the user's by an allow-list.

Everything else stays out: tokens, passwords and proxies of the user's shell, and what would change
a run's results.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path

_PASSED = frozenset(
    {"PATH", "LANG", "LANGUAGE", "TZ", "TERM", "USER", "LOGNAME", "CC", "CXX", "LD_LIBRARY_PATH"}
)
_IN_KEYS = (
    "TORCH", "PYTORCH_", "ATEN_", "DNNL_", "ONEDNN_", "CUDA_", "CUBLAS_", "CUDNN_", "NVIDIA_",
    "PT_", "HABANA_", "GC_KERNEL_", "ASCEND_", "NPU_", "LD_PRELOAD", "LD_LIBRARY_PATH",
    "GLIBC_TUNABLES",
)  # fmt: skip
"""What torch, a driver or a device's plugin reads: passed on, and part of a trace's key."""
_REMOVED = ("PT_HPU_", "TORCH_HOME", "TORCHELASTIC_")
_CARDS = frozenset({"CUDA_VISIBLE_DEVICES", "HABANA_VISIBLE_MODULES", "ASCEND_RT_VISIBLE_DEVICES"})
"""By which Ray gives a task its cards (Ray, Accelerator Support)."""
_SECRET = re.compile(r"TOKEN|SECRET|PASSWORD|PASSWD|CREDENTIAL|API_?KEY|PROXY", re.IGNORECASE)


def passed_variables() -> dict[str, str]:
    """Return the user's variables that a run gets."""
    return {name: value for name, value in os.environ.items() if _is_passed(name)}


def _is_passed(name: str) -> bool:
    if name.startswith(_REMOVED) or _SECRET.search(name):
        return False
    return name in _PASSED or name.startswith(("LC_", *_IN_KEYS))


def shared_variables(threads: int, environ: Mapping[str, str]) -> dict[str, str]:
    """Return the variables that all runs with this number of threads share.

    ``environ`` are the recipe's own; they override all others.
    """
    count = str(threads)
    return {
        **passed_variables(),
        "HF_HUB_OFFLINE": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "TRANSFORMERS_OFFLINE": "1",
        "DIFFUSERS_OFFLINE": "1",
        "WANDB_MODE": "disabled",
        "OMP_NUM_THREADS": count,
        "MKL_NUM_THREADS": count,
        "OPENBLAS_NUM_THREADS": count,
        "NUMEXPR_NUM_THREADS": count,
        "TOKENIZERS_PARALLELISM": "false",
        "PYTHONHASHSEED": "0",
        "PYTHONNOUSERSITE": "1",
        "PYTHONDONTWRITEBYTECODE": "1",  # the level's tree in the cache must keep its id
        "PYTHONUNBUFFERED": "1",
        "PYTHONIOENCODING": "utf-8",
        **environ,
    }


def own_variables(folder: Path) -> dict[str, str]:
    """Return the variables that name a run's own folders: home, caches, temporary files.

    The home is beside the working folder, which is empty when a probe starts.
    """
    home = folder / "home"
    return {
        "HOME": str(home),
        "XDG_CACHE_HOME": str(home / ".cache"),
        "XDG_CONFIG_HOME": str(home / ".config"),
        "HF_HOME": str(home / "huggingface"),
        "MPLCONFIGDIR": str(home / "matplotlib"),
        "TMPDIR": str(folder / "tmp"),
    }


def inherited() -> dict[str, str]:
    """Return the user's variables that reach a run and may change its results.

    They are part of a trace's key: drivers and libraries read them, and porter cannot tell which
    matter.
    """
    return {k: v for k, v in sorted(passed_variables().items()) if k.startswith(_IN_KEYS)}


def adopt(variables: Mapping[str, str], *, keep_cards: bool) -> None:
    """Make :func:`inherited` return another machine's variables here.

    ``keep_cards``: those that choose this process's cards stay as they are.
    """
    kept = _CARDS if keep_cards else frozenset()
    for name in inherited().keys() - variables.keys() - kept:
        del os.environ[name]
    os.environ.update({name: text for name, text in variables.items() if name not in kept})
