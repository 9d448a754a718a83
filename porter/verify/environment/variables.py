"""The variables that a run sees: the user's, without what would change its results."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

_TAKEN_OUT = (
    *("PYTHON", "OMP_", "MKL_", "KMP_", "OPENBLAS_", "HF_", "TRANSFORMERS_", "DIFFUSERS_"),
    *("PT_HPU_", "TORCH_HOME", "TORCHELASTIC_", "MASTER_", "RANK", "WORLD_SIZE", "LOCAL_"),
    "PYTEST_",
)
_REACHING = (
    "TORCH", "PYTORCH_", "ATEN_", "DNNL_", "ONEDNN_", "CUDA_", "CUBLAS_", "CUDNN_", "NVIDIA_",
    "PT_", "HABANA_", "GC_KERNEL_", "ASCEND_", "NPU_", "LD_PRELOAD", "GLIBC_TUNABLES",
)  # fmt: skip


def shared_variables(threads: int, environ: Mapping[str, str]) -> dict[str, str]:
    """Return the variables that are the same for every run of so many threads.

    ``environ`` are the recipe's own, which win over all others.
    """
    kept = {k: v for k, v in os.environ.items() if not k.startswith(_TAKEN_OUT)}
    count = str(threads)
    return {
        **kept,
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
        "PYTHONDONTWRITEBYTECODE": "1",  # the level's tree in the cache stays what its id says
        "PYTHONUNBUFFERED": "1",
        "PYTHONIOENCODING": "utf-8",
        **environ,
    }


def own_variables(folder: Path) -> dict[str, str]:
    """Return the variables that name folders of one run: home, caches, temporary files.

    The home stands beside the working folder, which is empty when a probe starts.
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
    """Return those of the user's variables that a run keeps and that may decide its results.

    They are part of a trace's key: drivers and libraries read them, and porter cannot know better.
    """
    return {k: v for k, v in sorted(os.environ.items()) if k.startswith(_REACHING)}
