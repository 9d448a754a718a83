"""What each vendor documents as not capturable, as data.

Sources, read November 2026:

* HPU: `HPU Graphs for inference
  <https://docs.habana.ai/en/latest/PyTorch/Inference_on_PyTorch/Inference_Using_HPU_Graphs.html>`_
  (device-side inputs, constant output addresses, no CPU ops, no dynamic shapes, no data-dependent
  flow, no in-place view updates) and `for training
  <https://docs.habana.ai/en/latest/PyTorch/PyTorch_Model_Porting/HPU_Graphs_Training.html>`_ (lazy
  mode only, static inputs). The published bridge (1.19.0) runs the ops while it captures unless
  ``dry_run=True``, ends a graph at ``capture_begin``, ``capture_end`` and ``replay``, and gives
  random ops a new seed at every replay.
* CUDA: `PyTorch's CUDA graphs notes
  <https://docs.pytorch.org/docs/stable/notes/cuda.html#cuda-graphs>`_ and `NVIDIA's constraints
  <https://docs.nvidia.com/dl-cuda-graph/cuda-graph-basics/constraints.html>`_ (nothing runs at
  capture; no synchronisation; no pageable copies; static shapes and addresses; default generators
  advance at every replay as the eager program would; some eager iterations precede a capture).
* NPU: `NPUGraph developer notes
  <https://gitcode.com/Ascend/pytorch/blob/master/docs/zh/developer_notes/npugraph.md>`_ (as CUDA;
  addresses fixed at capture; only ops that run on the device).
"""

from __future__ import annotations

from dataclasses import dataclass, field

CPU_OP = "cpu_op"
HOST_READ = "host_read"
DYNAMIC_SHAPE = "dynamic_shape"
HOST_TO_DEVICE = "h2d"
DEVICE_TO_HOST = "d2h"
VIEW_UPDATE = "inplace_view_update"
SYNCHRONIZE = "synchronize"


@dataclass(frozen=True, slots=True)
class CaptureLimits:
    """The limits of a vendor's graph capture.

    ``refused`` maps what a program may do (:data:`HOST_READ` and the others) to why it cannot be
    captured. ``runs_while_capturing``: results exist after ``capture_end``, not only after the
    first replay. ``pinned_copies`` allows asynchronous copies from pinned host memory.
    """

    title: str
    refused: dict[str, str] = field(default_factory=dict)
    counted: frozenset[str] = frozenset()
    """Of these, what the vendor documents against and yet lets pass: it is counted with a warning,
    and refused only under ``porter run --strict-capture``."""
    runs_while_capturing: bool = False
    pinned_copies: bool = False
    lazy_mode_only: bool = False
    warms_up: bool = False
    """Every op has to run once before a capture: its first run sets up what a capture may not."""


_STATIC = "the output's shape depends on data, and graphs hold static shapes only"
_NO_SYNC = "it makes the host wait for the device, which a capture does not allow"

HPU = CaptureLimits(
    "HPU graph",
    {
        CPU_OP: "the op is not supported during HPU Graph capturing: it falls back to the CPU",
        HOST_READ: "data-dependent flow is not supported with HPU Graphs",
        DYNAMIC_SHAPE: "dynamic shapes are not supported with HPU Graphs: " + _STATIC,
        HOST_TO_DEVICE: "HPU Graphs take device-side inputs only; the host's data would be copied "
        "once, at capture, and never again",
        DEVICE_TO_HOST: "a copy to the host ends the graph",
        VIEW_UPDATE: "in-place updates of views are not supported with HPU Graphs",
    },
    # The vendor's published stable-diffusion copies constants inside its wrapped modules
    # (HabanaAI/Model-References, PyTorch/generative_models/stable-diffusion): cards took it.
    counted=frozenset({HOST_TO_DEVICE}),
    runs_while_capturing=True,
    lazy_mode_only=True,
)

_STREAM_CAPTURE = {
    CPU_OP: "the op runs on the CPU, outside the captured stream",
    HOST_READ: _NO_SYNC,
    DYNAMIC_SHAPE: _NO_SYNC + ", and " + _STATIC,
    HOST_TO_DEVICE: "a copy from pageable host memory synchronises; use a pinned source and "
    "non_blocking=True, or copy before the capture",
    DEVICE_TO_HOST: _NO_SYNC,
    SYNCHRONIZE: _NO_SYNC,
}

CUDA = CaptureLimits("CUDA graph", _STREAM_CAPTURE, pinned_copies=True, warms_up=True)
NPU = CaptureLimits("NPU graph", _STREAM_CAPTURE, pinned_copies=True, warms_up=True)

LIMITS = {"hpu": HPU, "cuda": CUDA, "npu": NPU}
